//! What the watches of Jobs and Pods know, trimmed to what decisions read. I/O: the watches. They save requests and no more:
//! [`super::gather`] says what may be believed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _, future};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_plan::backup_policy::Effect;
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
use crate::family::{JOB_NAME, JOB_UID};
use crate::pages::{LightJob, LightPod, PAGE, turned};
use crate::restore_request::Wake;

/// How long after the start passes wait for the first lists. Later a namespace without them is read by requests.
pub const FIRST_LISTS: Duration = Duration::from_secs(10);

/// Labels that are read. Somebody else's object may have any number of them.
const LABELS: [&str; 5] = [labels::POLICY, labels::BACKUP, labels::RESTORE, JOB_UID, JOB_NAME];
/// Owners that are read: ours have one.
const OWNERS: usize = 8;

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
            let (jobs, seen) = watch::<LightJob, Job>(Api::namespaced(client.clone(), namespace), trim_job);
            let (places, all, of) = (places.clone(), jobs.store.clone(), namespace.clone());
            let seen = seen.inspect(move |news| places.jobs(&of, news, || all.state()));
            let seen = seen.inspect(restores.on(labels::RESTORE));
            controller = controller.watches_stream(applied(seen), policy_of);
            let (pods, seen) = watch::<LightPod, Pod>(Api::namespaced(client.clone(), namespace), trim_pod);
            controller =
                controller.watches_stream(applied(seen.inspect(restores.on(labels::RESTORE))), policy_of);
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
fn watch<L, K>(api: Api<L>, trim: fn(&mut K)) -> (Watched<K>, impl Stream<Item = Event<K>>)
where
    L: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Into<K> + 'static,
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let current = Arc::new(AtomicBool::new(false));
    let told = current.clone();
    let ours = format!("app.kubernetes.io/managed-by={}", labels::MANAGED_BY);
    let seen = watcher(api, watcher::Config::default().labels(&ours).page_size(PAGE))
        .default_backoff()
        .map_ok(turned)
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

/// A Job without what decisions do not read.
fn trim_job(job: &mut Job) {
    trim(&mut job.metadata);
}

fn trim_pod(pod: &mut Pod) {
    trim(&mut pod.metadata);
    pod.spec = None;
}

fn trim(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.annotations = None;
    metadata.finalizers = None;
    metadata.labels.iter_mut().for_each(|labels| labels.retain(|key, _| LABELS.contains(&key.as_str())));
    metadata.owner_references.iter_mut().for_each(|owners| owners.truncate(OWNERS));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn of_somebody_elses_job_little_is_kept_however_large_it_is() {
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "y"});
        let mut labels: Value = (0..20_000).map(|number| (format!("l{number}"), json!(""))).collect();
        labels[labels::POLICY] = json!("main");
        let mut job: Job = serde_json::from_value(json!({"metadata": {
            "name": "a", "uid": "u", "labels": labels, "ownerReferences": vec![owner; 9_000],
            "annotations": {"text": "x".repeat(200_000)}, "finalizers": vec!["example.org/x"; 9_000],
        }}))
        .unwrap();
        trim_job(&mut job);
        assert_eq!((job.name_any(), job.uid().as_deref()), ("a".to_owned(), Some("u")));
        assert_eq!(job.labels().clone(), [(labels::POLICY.to_owned(), "main".to_owned())].into());
        let size = serde_json::to_string(&job).unwrap().len();
        assert!(size < 2_000, "{size} bytes");
    }
}
