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

use futures::future::join_all;
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus, BackupStatus};
use greenlang_backup_plan::backup_policy::{Granted, Observed};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _};

use crate::context::Context;
use crate::errors::Error;
use crate::family::{Child, Family};
use crate::time::now;

/// The children of a policy as the watches have them, and the progress of those that run.
pub async fn look(policy: &BackupPolicy, context: &Context) -> Result<Family, Error> {
    let namespace = policy.namespace().unwrap_or_default();
    let mut found = match context.children.of(&namespace, &policy.name_any()).await {
        Some((jobs, pods)) => Family::new(&policy.uid().unwrap_or_default(), jobs, pods),
        None => list(policy, context).await?,
    };
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let now = now();
    // All at the same time: a node that does not answer holds up the pass once, not for each of its Pods.
    let asked = found.children.iter_mut().map(|child| ask(child, &pods, &namespace, &context.client, now));
    join_all(asked).await;
    Ok(found)
}

async fn ask(child: &mut Child, pods: &Api<Pod>, namespace: &str, client: &Client, now: Timestamp) {
    if child.job.labels().contains_key(labels::BACKUP) {
        child.read_progress(pods).await;
    }
    child.ask_events(namespace, client, now).await;
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
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    if !knows_all_jobs(&cache, &policy) || cached.metadata.uid != policy.metadata.uid {
        cache = list(&policy, context).await?;
    } else {
        let pods = Api::namespaced(context.client.clone(), &namespace);
        for child in &mut cache.children {
            child.confirm_pod(&pods).await?;
        }
    }
    join_all(cache.children.iter_mut().map(|child| child.read_details(&pods))).await;
    Ok(Some((policy, cache)))
}

/// What was seen, as plain data. No run has a place yet.
pub fn observe(family: &Family, policy: &BackupPolicy, context: &Context, now: Timestamp) -> Observed {
    let jobs = family.observe(now);
    let (remains, busy) = (family.remains.clone(), context.passes.are_many());
    let restores = context.restores.ongoing(&policy.namespace().unwrap_or_default());
    Observed { now, jobs, remains, restores, places: Granted::default(), busy }
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

/// The children as the API server has them.
async fn list(policy: &BackupPolicy, context: &Context) -> Result<Family, Error> {
    let (uid, name) = (policy.uid().unwrap_or_default(), policy.name_any());
    let namespace = policy.namespace().unwrap_or_default();
    let label = (labels::POLICY, name.as_str());
    Family::list(&uid, &namespace, label, may_wait_for_a_pod(policy), &context.client).await
}

/// Whether a Pod is waited for whose Job may be gone.
fn may_wait_for_a_pod(policy: &BackupPolicy) -> bool {
    let backups = policy.status.iter().flat_map(|status| &status.backups);
    backups.flat_map(BackupStatus::runs).any(|run| run.stopping.is_some() || run.job_uid.is_none())
}
