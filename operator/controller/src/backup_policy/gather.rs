//! Step 1, gather: reads the policy, its Jobs, their Pods and their progress from the API server. I/O, no decisions.

use std::collections::BTreeMap;

use greenlang_backup_api::labels;
use greenlang_backup_api::progress::Progress;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_plan::backup_policy::{Observed, ObservedJob};
use greenlang_backup_plan::job::CONTAINER;
use greenlang_backup_plan::job_state::{JobState, job_state};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};

use crate::context::Context;
use crate::errors::Error;

/// Lines of a log in which a progress line is looked for.
const LOG_LINES: i64 = 5;
/// Label that the Job controller puts on Pods.
const JOB_UID: &str = "batch.kubernetes.io/controller-uid";

/// A policy as the API server has it, and what was seen around it.
pub struct Gathered {
    pub policy: BackupPolicy,
    pub seen: Observed,
}

/// Watches Jobs of ours only.
pub fn our_jobs() -> watcher::Config {
    watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={}", labels::MANAGED_BY))
}

/// Reads everything that a decision needs; none when the policy is gone or going. The policy is read from the API server
/// and not from the cache: a decision on an old status could run a slot twice.
pub async fn gather(
    cached: &BackupPolicy,
    context: &Context,
    now: Timestamp,
) -> Result<Option<Gathered>, Error> {
    let namespace = cached.namespace().unwrap_or_default();
    let policies: Api<BackupPolicy> = Api::namespaced(context.client.clone(), &namespace);
    let Some(policy) = policies.get_opt(&cached.name_any()).await? else {
        return Ok(None);
    };
    if policy.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let served = context.namespaces.contains(&namespace);
    let jobs = if served { jobs(&policy, &namespace, context).await? } else { vec![] };
    Ok(Some(Gathered { policy, seen: Observed { now, served, jobs } }))
}

async fn jobs(policy: &BackupPolicy, namespace: &str, context: &Context) -> Result<Vec<ObservedJob>, Error> {
    let ours = ListParams::default().labels(&format!("{}={}", labels::POLICY, policy.name_any()));
    let uid = policy.uid().unwrap_or_default();
    let mut jobs = Api::<Job>::namespaced(context.client.clone(), namespace).list(&ours).await?.items;
    jobs.retain(|job| job.owner_references().iter().any(|owner| owner.uid == uid));
    if jobs.is_empty() {
        return Ok(vec![]);
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let by_job = by_job(pods.list(&ours).await?.items);
    let mut observed = Vec::with_capacity(jobs.len());
    for job in jobs {
        let pod = job.uid().and_then(|uid| by_job.get(&uid));
        observed.push(observe(&job, pod, &pods).await);
    }
    Ok(observed)
}

/// The newest Pod of each Job: a Job whose Pod was replaced has more than one.
fn by_job(mut pods: Vec<Pod>) -> BTreeMap<String, Pod> {
    pods.sort_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
    pods.into_iter().filter_map(|pod| Some((pod.labels().get(JOB_UID)?.clone(), pod))).collect()
}

async fn observe(job: &Job, pod: Option<&Pod>, pods: &Api<Pod>) -> ObservedJob {
    let created = job.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let backup = job.labels().get(labels::BACKUP).cloned();
    let state = job_state(job, pod, created);
    let progress = match (&state, pod) {
        (JobState::Running, Some(pod)) if backup.is_some() => progress(pods, &pod.name_any()).await,
        _ => None,
    };
    ObservedJob {
        name: job.name_any(),
        uid: job.uid().unwrap_or_default(),
        created,
        backup,
        deleting: job.metadata.deletion_timestamp.is_some(),
        state,
        progress,
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
