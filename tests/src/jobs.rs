//! Watches the Jobs and Pods of a namespace from the start of a test: the operator deletes finished Jobs, so a look at the
//! end would miss most of them. Keeps every object in its last form, and the whole log of every Pod.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use greenlang_backup_api::labels;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::cluster::Cluster;

/// What was seen so far; recording stops when it is dropped.
pub struct Recorder {
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    jobs: BTreeMap<String, Job>,
    pods: BTreeMap<String, Pod>,
    /// Pods whose log is or was copied.
    following: BTreeSet<String>,
    logs: BTreeMap<String, String>,
}

impl Recorder {
    /// Starts to record the Jobs of policies.
    pub fn start(cluster: &Cluster, namespace: &str) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let mut tasks = JoinSet::new();
        let jobs = seen.clone();
        tasks.spawn(watch::<Job>(cluster.clone(), namespace.to_owned(), move |uid, job| {
            lock(&jobs).jobs.insert(uid, job);
        }));
        let (pods, api) = (seen.clone(), Api::<Pod>::namespaced(cluster.client.clone(), namespace));
        tasks.spawn(watch::<Pod>(cluster.clone(), namespace.to_owned(), move |uid, pod| {
            let is_new = is_started(&pod) && lock(&pods).following.insert(uid.clone());
            if is_new {
                tokio::spawn(follow(api.clone(), pod.name_any(), uid.clone(), Arc::downgrade(&pods)));
            }
            lock(&pods).pods.insert(uid, pod);
        }));
        Self { seen, _tasks: tasks }
    }

    /// Every Job of a policy that ever was, oldest first, with its value of the label that says what it does.
    pub fn jobs(&self, policy: &str, task: &str) -> Vec<Job> {
        of(&lock(&self.seen).jobs, policy, task)
    }

    /// Every Pod of such Jobs, oldest first, in its last form.
    pub fn pods(&self, policy: &str, task: &str) -> Vec<Pod> {
        of(&lock(&self.seen).pods, policy, task)
    }

    /// Everything recorded as named texts: objects as JSON, logs as they are.
    pub fn texts(&self) -> Vec<(String, String)> {
        fn json<T: Resource<DynamicType = ()> + Serialize>(object: &T) -> (String, String) {
            (
                format!("{} {}", T::kind(&()), object.name_any()),
                serde_json::to_string(object).unwrap_or_default(),
            )
        }
        let seen = lock(&self.seen);
        let logs = seen.logs.iter().map(|(uid, log)| {
            let name = seen.pods.get(uid).map(ResourceExt::name_any).unwrap_or_default();
            (format!("log of Pod {name}"), log.clone())
        });
        seen.jobs.values().map(json).chain(seen.pods.values().map(json)).chain(logs).collect()
    }
}

fn of<T: ResourceExt + Clone>(objects: &BTreeMap<String, T>, policy: &str, task: &str) -> Vec<T> {
    let has =
        |object: &T, key: &str, value: &str| object.labels().get(key).is_some_and(|found| found == value);
    let mut found: Vec<_> = objects
        .values()
        .filter(|object| has(object, labels::POLICY, policy) && has(object, labels::TASK, task))
        .cloned()
        .collect();
    found.sort_by_key(|object| (object.creation_timestamp().map(|time| time.0), object.name_any()));
    found
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the container runs or ran, so that there is a log.
fn is_started(pod: &Pod) -> bool {
    let statuses = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
    statuses
        .filter_map(|status| status.state.as_ref())
        .any(|state| state.running.is_some() || state.terminated.is_some())
}

async fn watch<T>(cluster: Cluster, namespace: String, mut note: impl FnMut(String, T))
where
    T: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let config = watcher::Config::default().labels(labels::POLICY);
    let mut objects = pin!(
        watcher(Api::<T>::namespaced(cluster.client, &namespace), config).default_backoff().touched_objects()
    );
    loop {
        match objects.try_next().await {
            Ok(Some(object)) => note(object.uid().unwrap_or_default(), object),
            Ok(None) => return,
            Err(_) => {} // the watcher starts again by itself
        }
    }
}

/// Copies a log until its Pod ends.
async fn follow(api: Api<Pod>, pod: String, uid: String, seen: std::sync::Weak<Mutex<Seen>>) {
    let params = LogParams { follow: true, ..LogParams::default() };
    let Ok(log) = api.log_stream(&pod, &params).await else {
        return;
    };
    let mut lines = pin!(log.lines());
    while let Ok(Some(line)) = lines.try_next().await {
        let Some(seen) = seen.upgrade() else { return };
        let mut seen = lock(&seen);
        let log = seen.logs.entry(uid.clone()).or_default();
        log.push_str(&line);
        log.push('\n');
    }
}
