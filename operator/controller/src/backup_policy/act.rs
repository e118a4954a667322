//! Step 4, act: carries out the effects of a decision, in their order. I/O, no decisions.

use std::time::Instant;

use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_plan::backup_policy::Effect;
use greenlang_backup_plan::jobs::Refusal;
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, Client, ResourceExt as _};

use crate::context::Context;
use crate::errors::Error;
use crate::{crash, writes};

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
                refusals.extend(create(policy, read, job, &context.client).await?);
            }
            Effect::DeleteJob { name, uid } => {
                crash::point(crash::RUN_COUNTED);
                writes::delete_job(name, uid, &jobs).await?;
            }
        }
    }
    Ok(refusals)
}

async fn create(
    policy: &BackupPolicy,
    read: Instant,
    job: &Job,
    client: &Client,
) -> Result<Option<Refusal>, Error> {
    let is_run = job.labels().contains_key(labels::BACKUP);
    if is_run {
        crash::point(crash::RUN_DECIDED);
    }
    let name = policy.name_any();
    let refusal = writes::create_job(policy, read, (labels::POLICY, &name), job, client).await?;
    if is_run && refusal.is_none() {
        crash::point(crash::JOB_CREATED);
    }
    Ok(refusal)
}
