//! What the watches of Jobs and Pods know, trimmed to what decisions read. I/O: the watches. They save requests and no more:
//! [`super::gather`] says what may be believed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt as _, future};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_plan::backup_policy::Effect;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Places, Policies};
use crate::restore_request::Wake;

/// How long after the start passes wait for the first lists. Later a namespace without them is read by requests.
pub const FIRST_LISTS: Duration = Duration::from_secs(10);

/// All Jobs and Pods of ours in the namespaces that are served.
pub struct Children {
    namespaces: BTreeMap<String, (Watched<Job>, Watched<Pod>)>,
    patience: Instant,
}

/// What one watch knows.
struct Watched<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    /// Whether the watch works, as far as it has told.
    current: Arc<AtomicBool>,
}

impl Children {
    /// Begins the watches, one for each namespace and kind: the operator has no right to watch them anywhere else. What they
    /// see of a policy's children triggers a pass over it, and what they see of a restore's a pass over that.
    pub fn watch<'a>(
        client: &Client,
        namespaces: impl IntoIterator<Item = &'a String>,
        places: &Arc<Places>,
        restores: &Wake,
        mut controller: Policies,
    ) -> (Self, Policies) {
        let mut watched = BTreeMap::new();
        for namespace in namespaces {
            let (jobs, seen) = watch(Api::namespaced(client.clone(), namespace), trim_job);
            let (places, all, of) = (places.clone(), jobs.store.clone(), namespace.clone());
            let seen = seen.inspect(move |news| places.jobs(&of, news, || all.state()));
            let seen = seen.inspect(restores.on());
            controller = controller.watches_stream(applied(seen), policy_of);
            let (pods, seen) = watch(Api::namespaced(client.clone(), namespace), trim_pod);
            controller = controller.watches_stream(applied(seen.inspect(restores.on())), policy_of);
            watched.insert(namespace.clone(), (jobs, pods));
        }
        (Self { namespaces: watched, patience: Instant::now() + FIRST_LISTS }, controller)
    }

    /// Whether the watch of Jobs shows what was done to them, as far as it works.
    pub fn show(&self, namespace: &str, effects: &[Effect]) -> bool {
        let Some((jobs, _)) = self.namespaces.get(namespace) else { return true };
        !jobs.current.load(Ordering::Acquire) || effects.iter().all(|effect| jobs.shows(namespace, effect))
    }

    /// Jobs and Pods that carry a policy's name; none where the watches do not work and the API server must be asked.
    pub async fn of(&self, namespace: &str, policy: &str) -> Option<(Vec<Arc<Job>>, Vec<Arc<Pod>>)> {
        let (jobs, pods) = self.namespaces.get(namespace)?;
        Some((jobs.of(policy, self.patience).await?, pods.of(policy, self.patience).await?))
    }
}

impl<K: Resource<DynamicType = ()> + Clone> Watched<K> {
    async fn of(&self, policy: &str, patience: Instant) -> Option<Vec<Arc<K>>> {
        tokio::time::timeout_at(patience, self.store.wait_until_ready()).await.ok()?.ok()?;
        let named = |object: &Arc<K>| {
            object.meta().labels.as_ref().and_then(|labels| labels.get(labels::POLICY)).map(String::as_str)
                == Some(policy)
        };
        self.current.load(Ordering::Acquire).then(|| self.store.state().into_iter().filter(named).collect())
    }
}

impl Watched<Job> {
    fn shows(&self, namespace: &str, effect: &Effect) -> bool {
        let known = |name: &str| self.store.get(&ObjectRef::new(name).within(namespace));
        match effect {
            Effect::CreateJob(job) => known(&job.name_any()).is_some(),
            Effect::DeleteJob { name, uid } => known(name).is_none_or(|job| {
                job.metadata.uid.as_ref() != Some(uid) || job.metadata.deletion_timestamp.is_some()
            }),
        }
    }
}

/// The events of a watch; its errors are told, and go no further: an error of one namespace must not slow the others down, which a
/// controller's own pause would do.
fn watch<K>(api: Api<K>, trim: fn(&mut K)) -> (Watched<K>, impl Stream<Item = Event<K>>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let current = Arc::new(AtomicBool::new(false));
    let told = current.clone();
    let ours = format!("app.kubernetes.io/managed-by={}", labels::MANAGED_BY);
    let seen = watcher(api, watcher::Config::default().labels(&ours))
        .default_backoff()
        .modify(trim)
        .reflect(writer)
        .inspect(move |seen| match seen {
            // A list that goes on says nothing before its end.
            Ok(Event::Init | Event::InitApply(_)) => {}
            Ok(_) => told.store(true, Ordering::Release),
            Err(error) => {
                tracing::warn!(%error, kind = %K::kind(&()), "a watch does not work now");
                told.store(false, Ordering::Release);
            }
        })
        .filter_map(|seen| future::ready(seen.ok()));
    (Watched { store, current }, seen)
}

/// What events are about, as a controller takes it.
fn applied<K>(events: impl Stream<Item = Event<K>>) -> impl Stream<Item = watcher::Result<K>> {
    events.map(Ok).touched_objects()
}

/// The policy whose name a child carries.
#[expect(clippy::needless_pass_by_value, reason = "the controller hands it over")]
fn policy_of<K: Resource<DynamicType = ()>>(child: K) -> Option<ObjectRef<DeserializeGuard<BackupPolicy>>> {
    let namespace = child.meta().namespace.as_deref()?;
    Some(ObjectRef::new(child.labels().get(labels::POLICY)?).within(namespace))
}

/// A Job without what decisions do not read: its spec holds the Task, which may have 96 KiB.
fn trim_job(job: &mut Job) {
    trim(&mut job.metadata);
    job.spec = None;
}

fn trim_pod(pod: &mut Pod) {
    trim(&mut pod.metadata);
    pod.spec = None;
}

fn trim(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.annotations = None;
}
