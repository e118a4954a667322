//! Step 1, gather: what a decision is made on. I/O, no decisions.
//!
//! A pass looks twice. The first look ([`look`]) costs no request but for the log of a Pod that runs and the events of one that starts
//! late: policy, Jobs and Pods are as the watches have them. What they have
//! may be old, so it may only lead to doing nothing, and to a status whose write an old policy cannot pass ([`is_certain`]): news
//! of what they lacked starts another pass. Where the first look says that something else is to be done, the second ([`confirm`])
//! asks the API server for all that a cache could be wrong about, and the decision is made anew:
//!
//! - the policy itself. A decision on an old status could run a slot twice. A write of status by itself carries the
//!   resourceVersion of the policy in the cache, and is refused where that one is old.
//! - Jobs whose UIDs its status has and the cache has not: what was deleted must be told from what has not been seen yet. A Job that is
//!   missing from both has its name to protect it: making it again meets the first one.
//! - Pods, which may lag behind their Jobs: without its Pod's last word an ended Job would count as one without report, and
//!   run again. A container that is seen to have ended says nothing new any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use greenlang_backup_api::labels;
use greenlang_backup_api::progress::Progress;
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus, BackupStatus};
use greenlang_backup_plan::backup_policy::{Observed, Places};
use greenlang_backup_plan::job::CONTAINER;
use greenlang_backup_plan::job_state::{JobState, job_state};
use greenlang_backup_plan::jobs::ObservedJob;
use greenlang_backup_plan::overdue::{NO_POD_SECONDS, by_now, newest_warning};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt as _};

use crate::context::Context;
use crate::errors::Error;

/// Lines of a log in which a progress line is looked for.
const LOG_LINES: i64 = 5;
/// Most lines that a runner logs after its details.
const LINES_AFTER_DETAILS: i64 = 20;
/// Labels that the Job controller puts on Pods.
const JOB_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// What the Jobs of a policy have made of themselves.
#[derive(Default)]
pub struct Family {
    children: Vec<Child>,
    /// UIDs and names of Jobs that are gone while a Pod of theirs is not.
    remains: BTreeSet<String>,
}

/// A Job of a policy with its newest Pod.
struct Child {
    job: Arc<Job>,
    pod: Option<Arc<Pod>>,
    progress: Option<Progress>,
    details: String,
    /// What events say of a start that takes long.
    told: Option<String>,
}

/// The children of a policy as the watches have them, and the progress of those that run.
pub async fn look(policy: &BackupPolicy, context: &Context, now: Timestamp) -> Result<Family, Error> {
    let namespace = policy.namespace().unwrap_or_default();
    if !context.namespaces.contains(&namespace) {
        return Ok(Family::default());
    }
    let mut found = match context.children.of(&namespace, &policy.name_any()).await {
        Some((jobs, pods)) => family(policy, jobs, pods),
        None => list(policy, context).await?,
    };
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    for child in &mut found.children {
        if let (JobState::Running, Some(pod)) = (child.state(), &child.pod)
            && child.job.labels().contains_key(labels::BACKUP)
        {
            child.progress = progress(&pods, &pod.name_any()).await;
        }
        child.ask_events(&namespace, context, now).await;
    }
    Ok(found)
}

/// Whether [`confirm`] would ask for nothing but the policy, so that a status which is decided on the cache may be written.
pub fn is_certain(policy: &BackupPolicy, cache: &Family) -> bool {
    knows_all_jobs(cache, policy) && cache.children.iter().all(Child::is_certain)
}

fn knows_all_jobs(cache: &Family, policy: &BackupPolicy) -> bool {
    let known = |uid: &str| cache.children.iter().any(|child| child.job.metadata.uid.as_deref() == Some(uid));
    policy.status.as_ref().is_none_or(|status| job_uids(status).all(known))
}

/// The policy as the API server has it, and its children as a decision may believe them; none when it is gone or going.
pub async fn confirm(
    cached: &BackupPolicy,
    mut cache: Family,
    context: &Context,
) -> Result<Option<(BackupPolicy, Family)>, Error> {
    let namespace = cached.namespace().unwrap_or_default();
    let policies: Api<BackupPolicy> = Api::namespaced(context.client.clone(), &namespace);
    let policy = policies.get_opt(&cached.name_any()).await?;
    let Some(policy) = policy.filter(|policy| policy.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    if !context.namespaces.contains(&namespace) {
        return Ok(Some((policy, Family::default())));
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    if !knows_all_jobs(&cache, &policy) || cached.metadata.uid != policy.metadata.uid {
        cache = list(&policy, context).await?;
    } else {
        for child in &mut cache.children {
            child.confirm_pod(&pods).await?;
        }
    }
    for child in &mut cache.children {
        child.read_details(&pods).await;
    }
    Ok(Some((policy, cache)))
}

/// What was seen, as plain data. No run has a place yet.
pub fn observe(family: &Family, policy: &BackupPolicy, context: &Context, now: Timestamp) -> Observed {
    let served = context.namespaces.contains(&policy.namespace().unwrap_or_default());
    let jobs = family.children.iter().map(|child| child.observe(now)).collect();
    let (remains, busy) = (family.remains.clone(), context.passes.are_many());
    Observed { now, served, jobs, remains, places: Places::default(), busy }
}

/// UIDs of all Jobs that a status knows to exist.
fn job_uids(status: &BackupPolicyStatus) -> impl Iterator<Item = &str> {
    let probe = status.probe.iter().filter_map(|probe| probe.active.as_ref()?.job_uid.as_deref());
    let others = status.backups.iter().flat_map(|backup| {
        let runs = backup.runs().filter_map(|run| run.job_uid.as_deref());
        let clean_ups = backup.clean_ups.iter();
        let prune = backup.prune.iter().filter_map(|prune| prune.active.as_ref()?.job_uid.as_deref());
        runs.chain(clean_ups.filter_map(|entry| entry.active.as_ref()?.job_uid.as_deref())).chain(prune)
    });
    let catalogue = status.catalogue.iter();
    let catalogue = catalogue.filter_map(|catalogue| catalogue.active.as_ref()?.job_uid.as_deref());
    probe.chain(others).chain(catalogue)
}

/// The children as the API server has them. Jobs first: their Pods are as new or newer.
async fn list(policy: &BackupPolicy, context: &Context) -> Result<Family, Error> {
    let namespace = policy.namespace().unwrap_or_default();
    let ours = ListParams::default().labels(&format!("{}={}", labels::POLICY, policy.name_any()));
    let jobs = Api::<Job>::namespaced(context.client.clone(), &namespace).list(&ours).await?.items;
    if jobs.is_empty() && !may_wait_for_a_pod(policy) {
        return Ok(Family::default());
    }
    let pods = Api::<Pod>::namespaced(context.client.clone(), &namespace).list(&ours).await?.items;
    Ok(family(policy, jobs.into_iter().map(Arc::new).collect(), pods.into_iter().map(Arc::new).collect()))
}

/// Whether a Pod is waited for whose Job may be gone.
fn may_wait_for_a_pod(policy: &BackupPolicy) -> bool {
    let backups = policy.status.iter().flat_map(|status| &status.backups);
    backups.flat_map(BackupStatus::runs).any(|run| run.stopping.is_some() || run.job_uid.is_none())
}

/// The Jobs that the policy owns, in the order of their names, each with its newest Pod: a Job whose Pod was replaced has more than one.
fn family(policy: &BackupPolicy, mut jobs: Vec<Arc<Job>>, mut pods: Vec<Arc<Pod>>) -> Family {
    let uid = policy.uid().unwrap_or_default();
    jobs.retain(|job| job.owner_references().iter().any(|owner| owner.uid == uid));
    jobs.sort_by_key(|job| job.name_any());
    pods.sort_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
    let mut newest: BTreeMap<String, Arc<Pod>> =
        pods.into_iter().filter_map(|pod| Some((pod.labels().get(JOB_UID)?.clone(), pod))).collect();
    let child = |job: Arc<Job>| {
        let pod = newest.remove(&job.uid().unwrap_or_default());
        Child { job, pod, progress: None, details: String::new(), told: None }
    };
    let children = jobs.into_iter().map(child).collect();
    let remains = newest.into_iter().flat_map(|(uid, pod)| [Some(uid), pod.labels().get(JOB_NAME).cloned()]);
    Family { children, remains: remains.flatten().collect() }
}

impl Child {
    fn created(&self) -> Timestamp {
        self.job.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    }

    fn state(&self) -> JobState {
        job_state(&self.job, self.pod.as_deref(), self.created())
    }

    fn observe(&self, now: Timestamp) -> ObservedJob {
        let (pod, told) = (self.pod.as_deref(), self.told.as_deref());
        ObservedJob {
            name: self.job.name_any(),
            uid: self.job.uid().unwrap_or_default(),
            created: self.created(),
            backup: self.job.labels().get(labels::BACKUP).cloned(),
            deleting: self.job.metadata.deletion_timestamp.is_some(),
            state: by_now(self.state(), pod, self.created(), told, now),
            progress: self.progress.clone(),
            details: self.details.clone(),
        }
    }

    /// Whether neither its Pod nor its log has to be asked for.
    fn is_certain(&self) -> bool {
        match self.state() {
            JobState::Ended(ended) => ended.container_ended && ended.report.catalogue.is_none(),
            _ => self.pod.is_none(),
        }
    }

    /// Reads the end of the log where its report has details there. A log that cannot be read does not match the report's digest,
    /// and what depends on it is tried again.
    async fn read_details(&mut self, pods: &Api<Pod>) {
        let JobState::Ended(ended) = self.state() else { return };
        let (Some(catalogue), Some(pod)) = (&ended.report.catalogue, &self.pod) else { return };
        if catalogue.details == 0 {
            return;
        }
        let lines = i64::from(catalogue.details) + LINES_AFTER_DETAILS;
        let end =
            LogParams { tail_lines: Some(lines), container: Some(CONTAINER.into()), ..LogParams::default() };
        let pod = pod.name_any();
        match pods.logs(&pod, &end).await {
            Ok(log) => self.details = log,
            Err(error) => tracing::warn!(pod, %error, "the log cannot be read now"),
        }
    }

    /// Reads why a Pod is not made, or does not start. Events that cannot be read are no news, and no error.
    async fn ask_events(&mut self, namespace: &str, context: &Context, now: Timestamp) {
        let late = now.duration_since(self.created()).as_secs() >= NO_POD_SECONDS;
        if !late || !matches!(self.state(), JobState::Pending(None)) {
            return;
        }
        let uid = self.pod.as_ref().map_or_else(|| self.job.uid(), |pod| pod.uid()).unwrap_or_default();
        let events: Api<Event> = Api::namespaced(context.client.clone(), namespace);
        match events.list(&ListParams::default().fields(&format!("involvedObject.uid={uid}"))).await {
            Ok(found) => self.told = newest_warning(&found.items),
            Err(error) => tracing::debug!(uid, %error, "events cannot be read now"),
        }
    }

    /// Reads the Pod anew where it could have more to say than the cache knows.
    async fn confirm_pod(&mut self, pods: &Api<Pod>) -> Result<(), Error> {
        let ended = match self.state() {
            JobState::Ended(ended) if ended.container_ended => return Ok(()),
            JobState::Ended(_) => true,
            _ => false,
        };
        if let Some(known) = &self.pod
            && let Some(pod) = pods.get_opt(&known.name_any()).await?
        {
            self.pod = Some(Arc::new(pod));
        } else if ended || self.pod.is_some() {
            let of_job = format!("{JOB_UID}={}", self.job.uid().unwrap_or_default());
            let mut found = pods.list(&ListParams::default().labels(&of_job)).await?.items;
            found.sort_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
            self.pod = found.pop().map(Arc::new);
        }
        Ok(())
    }
}

/// The newest progress line. A log that cannot be read (rotation, a node that does not answer) is no news, and no error.
async fn progress(pods: &Api<Pod>, pod: &str) -> Option<Progress> {
    let newest =
        LogParams { tail_lines: Some(LOG_LINES), container: Some(CONTAINER.into()), ..LogParams::default() };
    match pods.logs(pod, &newest).await {
        Ok(log) => Progress::newest(&log),
        Err(error) => {
            tracing::debug!(pod, %error, "the log cannot be read now");
            None
        }
    }
}
