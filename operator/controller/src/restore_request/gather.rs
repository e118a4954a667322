//! Step 1, gather: all that a decision on a request is made on, as the API server has it. I/O, no decisions.

use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::{BackupPolicy, RestoreRequest};
use greenlang_backup_plan::backup_policy::Invalid;
use greenlang_backup_plan::restore_request::{
    Kept, Lock, Observed, OngoingDump, ValidatedRestore, kept_name, leftover, may_wait_for_dumps, validate,
};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::lock::{self, Held};
use super::{argo_cd, workloads};
use crate::cache::Brought;
use crate::context::Context;
use crate::errors::Error;
use crate::family::Family;
use crate::pages::each;

/// A request and what was seen around it.
pub struct Seen {
    /// As the API server has it.
    pub request: RestoreRequest,
    /// What it asks for, or what is left of it where that cannot be carried out.
    pub valid: ValidatedRestore,
    /// What is wrong with its spec.
    pub invalid: Option<Invalid>,
    /// What the decision reads.
    pub observed: Observed,
    /// The Lease of the database, as it was when it was looked at; none where none was looked for.
    pub held: Option<Held>,
}

/// Looks at everything; none when the request is gone.
pub async fn gather(
    cached: &RestoreRequest,
    context: &Context,
    now: Timestamp,
) -> Result<Option<Seen>, Error> {
    let namespace = cached.namespace().unwrap_or_default();
    let requests: Api<RestoreRequest> = Api::namespaced(context.client.clone(), &namespace);
    let Some(request) = requests.get_opt(&cached.name_any()).await? else { return Ok(None) };
    let policy = policy(&request, context).await?;
    let (valid, invalid) = match validate(&request, policy.as_ref()) {
        Ok(valid) => (valid, None),
        Err(invalid) => (leftover(&request), Some(invalid)),
    };
    let deleting = request.metadata.deletion_timestamp.is_some();
    let mut observed = Observed {
        now,
        deleting,
        namespace_deleting: deleting && is_going(&namespace, context).await?,
        has_finalizer: request.finalizers().iter().any(|one| one == labels::RESUME_FINALIZER),
        jobs: vec![],
        remains: std::collections::BTreeSet::new(),
        lock: Lock::Free,
        workloads: vec![],
        scaled_objects: Ok(vec![]),
        applications: vec![],
        kept: Kept::Absent,
        dumps: vec![],
        past: context.restores.past(&namespace),
    };
    let mut held = None;
    if observed.namespace_deleting {
        let skipped = workloads::skipped(&request).collect();
        observed.applications = argo_cd::look(skipped, &namespace, context).await?;
    }
    // With a namespace the rights in it go, before the request may.
    if !observed.namespace_deleting {
        let family = family(&request, context, now).await?;
        observed.jobs = family.observe(now);
        observed.remains = family.remains;
        let found = workloads::look(&request, context).await?;
        observed.workloads = found.workloads;
        observed.scaled_objects = found.scaled_objects;
        observed.applications = found.applications;
        let found = lock::look(&valid, context).await?;
        observed.lock = found.lock.clone();
        held = Some(found);
        let config_maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
        observed.kept = Kept::of(config_maps.get_opt(&kept_name(&valid.identity)).await?.as_ref());
        if request.status.as_ref().is_some_and(may_wait_for_dumps) {
            observed.dumps = dumps(&namespace, context).await?;
        }
    }
    Ok(Some(Seen { request, valid, invalid, observed, held }))
}

/// The policy that the request names; it counts only until the request has begun.
async fn policy(request: &RestoreRequest, context: &Context) -> Result<Option<BackupPolicy>, Error> {
    let begun = request.status.as_ref().is_some_and(|status| status.place.is_some());
    let Some(reference) = request.spec.policy_ref.as_ref().filter(|_| !begun) else { return Ok(None) };
    let policies: Api<BackupPolicy> =
        Api::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    Ok(policies.get_opt(&reference.name).await?)
}

/// Whether the namespace is being deleted. One that is gone is, too.
async fn is_going(namespace: &str, context: &Context) -> Result<bool, Error> {
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let found = namespaces.get_metadata_opt(namespace).await?;
    Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

/// The dumps that go on in a namespace, of whatever policy.
async fn dumps(namespace: &str, context: &Context) -> Result<Vec<OngoingDump>, Error> {
    let jobs: Api<Brought<Job>> = Api::namespaced(context.client.clone(), namespace);
    let backups = ListParams::default().labels(&format!("{}={}", labels::TASK, labels::TASK_BACKUP));
    let mut found = vec![];
    each(&jobs, &backups, |job| found.extend(job.short().as_ref().and_then(OngoingDump::of))).await?;
    Ok(found)
}

/// The Jobs of the request with their Pods, and what logs and events say of them.
async fn family(request: &RestoreRequest, context: &Context, now: Timestamp) -> Result<Family, Error> {
    let (uid, name) = (request.uid().unwrap_or_default(), request.name_any());
    let namespace = request.namespace().unwrap_or_default();
    let label = (labels::RESTORE, name.as_str());
    let mut family = Family::list(&uid, &namespace, label, true, &context.client).await?;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    for child in &mut family.children {
        child.read_progress(&pods).await;
        child.read_details(&pods).await;
        child.ask_events(&namespace, &context.client, now).await;
    }
    Ok(family)
}
