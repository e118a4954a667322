//! Step 4, act: carries out the effects of a decision, in their order. I/O, no decisions.

use std::time::{Duration, Instant};

use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_api::{conditions, labels, reasons};
use greenlang_backup_plan::backup_policy::Effect;
use greenlang_backup_plan::jobs::Refusal;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};

use crate::context::Context;
use crate::crash;
use crate::errors::Error;

/// A policy that was read longer ago is read again before a Job is made.
const FRESH: Duration = Duration::from_secs(2);

/// Carries out all effects of a decision on a policy that was read at `read`; returns the Jobs that the API server would not have,
/// which is for status to say.
pub async fn act(
    policy: &BackupPolicy,
    read: Instant,
    effects: &[Effect],
    context: &Context,
) -> Result<Vec<Refusal>, Error> {
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &policy.namespace().unwrap_or_default());
    let mut refusals = Vec::new();
    for effect in effects {
        match effect {
            Effect::CreateJob(job) => {
                crash::before_write();
                still_so(policy, read, context).await?;
                refusals.extend(create(policy, job, &jobs).await?);
            }
            Effect::DeleteJob { name, uid } => delete(name, uid, &jobs).await?,
        }
    }
    Ok(refusals)
}

/// Fails where a process that hung for a while would make a Job that another one has made, seen to its end and deleted meanwhile: the
/// name protects only while that Job is there. Writes of status and deletions carry their own protection.
async fn still_so(policy: &BackupPolicy, read: Instant, context: &Context) -> Result<(), Error> {
    if read.elapsed() <= FRESH {
        return Ok(());
    }
    let policies: Api<BackupPolicy> =
        Api::namespaced(context.client.clone(), &policy.namespace().unwrap_or_default());
    let now = policies.get_metadata_opt(&policy.name_any()).await?;
    let is_same = now.is_some_and(|now| now.metadata.resource_version == policy.metadata.resource_version);
    if is_same { Ok(()) } else { Err(Error::Overtaken) }
}

async fn create(policy: &BackupPolicy, job: &Job, jobs: &Api<Job>) -> Result<Option<Refusal>, Error> {
    let name = job.name_any();
    let is_run = job.labels().contains_key(labels::BACKUP);
    let ours = PostParams { field_manager: Some(labels::FIELD_MANAGER.into()), ..PostParams::default() };
    if is_run {
        crash::point(crash::RUN_DECIDED);
    }
    match jobs.create(&ours, job).await {
        Ok(_) => {
            tracing::info!(job = name, "made a Job");
            if is_run {
                crash::point(crash::JOB_CREATED);
            }
            Ok(None)
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => adopt(policy, &name, jobs).await,
        Err(kube::Error::Api(status)) if status.is_forbidden() || status.is_invalid() => {
            // It repeats what the spec says, however long that is.
            let message = format!("the API server refused Job {name}: {}", status.message);
            let message = conditions::cut(&message).to_owned();
            Ok(Some(Refusal { job: name, reason: reasons::JOB_REFUSED, message }))
        }
        Err(error) => Err(error.into()),
    }
}

/// A Job of that name is there: it is the one that was wanted if the policy owns it. One that is on its way out is waited for.
async fn adopt(policy: &BackupPolicy, name: &str, jobs: &Api<Job>) -> Result<Option<Refusal>, Error> {
    let Some(job) = jobs.get_opt(name).await? else {
        return Ok(None);
    };
    let ours = job.owner_references().iter().any(|owner| Some(&owner.uid) == policy.metadata.uid.as_ref());
    // Without its label it would never be seen again, and waited for without end.
    if ours && job.labels().get(labels::POLICY) == policy.metadata.name.as_ref() {
        tracing::info!(job = name, "the Job was there already");
        return Ok(None);
    }
    let message = format!("a Job {name} that is not ours, or has lost its labels, is in the way: delete it");
    Ok(Some(Refusal { job: name.to_owned(), reason: reasons::NAME_COLLISION, message }))
}

async fn delete(name: &str, uid: &str, jobs: &Api<Job>) -> Result<(), Error> {
    crash::point(crash::RUN_COUNTED);
    crash::before_write();
    let this_one = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    match jobs.delete(name, &DeleteParams::background().preconditions(this_one)).await {
        Ok(_) => Ok(()),
        // Gone already, or a namesake has taken its place: either way there is nothing of ours to delete.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
