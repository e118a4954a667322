//! Step 4, act: carries out the effects of a decision on a request, in their order. I/O, no decisions.

use std::time::Instant;

use greenlang_backup_api::conditions::cut;
use greenlang_backup_api::v1alpha1::RestoreRequest;
use greenlang_backup_api::{labels, reasons};
use greenlang_backup_plan::jobs::Refusal;
use greenlang_backup_plan::restore_request::{Effect, PatchRefusal, kept_config_map};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::gather::Seen;
use super::{lock, workloads};
use crate::context::Context;
use crate::errors::Error;
use crate::{crash, writes};

/// What came of the effects.
pub struct Acted {
    /// The request as it is now; none when it went with its finalizer.
    pub request: Option<RestoreRequest>,
    /// Jobs that the API server would not have, and the ConfigMap.
    pub jobs: Vec<Refusal>,
    /// What it would not change.
    pub patches: Vec<PatchRefusal>,
}

impl Acted {
    /// Whether anything was refused.
    pub fn was_refused(&self) -> bool {
        !self.jobs.is_empty() || !self.patches.is_empty()
    }
}

/// Carries out all effects of a decision on what was seen from `read` on.
pub async fn act(seen: &Seen, read: Instant, effects: &[Effect], context: &Context) -> Result<Acted, Error> {
    let mut acted = Acted { request: Some(seen.request.clone()), jobs: vec![], patches: vec![] };
    for effect in effects {
        let Some(request) = acted.request.take() else { break };
        acted.request = carry_out(request, read, effect, seen, context, &mut acted).await?;
    }
    Ok(acted)
}

async fn carry_out(
    mut request: RestoreRequest,
    read: Instant,
    effect: &Effect,
    seen: &Seen,
    context: &Context,
    acted: &mut Acted,
) -> Result<Option<RestoreRequest>, Error> {
    let (client, namespace) = (context.client.clone(), request.namespace().unwrap_or_default());
    // Making a Job looks by itself.
    if !matches!(effect, Effect::CreateJob(_)) {
        writes::still_so(&request, read, &client).await?;
    }
    match effect {
        Effect::CreateJob(job) => {
            let name = request.name_any();
            let refusal = writes::create_job(&request, read, (labels::RESTORE, &name), job, &client).await?;
            acted.jobs.extend(refusal);
        }
        Effect::DeleteJob { name, uid } => {
            writes::delete_job(name, uid, &Api::<Job>::namespaced(client, &namespace)).await?;
        }
        Effect::AddFinalizer => {
            let mut finalizers = request.finalizers().to_vec();
            finalizers.push(labels::RESUME_FINALIZER.to_owned());
            return finalize(request, finalizers, context).await;
        }
        Effect::RemoveFinalizer => {
            let mut finalizers = std::mem::take(request.finalizers_mut());
            finalizers.retain(|finalizer| finalizer != labels::RESUME_FINALIZER);
            return finalize(request, finalizers, context).await;
        }
        Effect::AcquireLock => {
            if let Some(held) = &seen.held {
                lock::acquire(&seen.valid.identity, held, context).await?;
            }
        }
        Effect::ReleaseLock => {
            if let Some(held) = &seen.held {
                lock::release(held, context).await?;
            }
        }
        Effect::Patch { target, patch } => {
            acted.patches.extend(workloads::patch(&namespace, target, patch, context).await?);
        }
        Effect::KeepDatabase(kept) => {
            acted.jobs.extend(keep(&kept_config_map(kept), &Api::namespaced(client, &namespace)).await?);
        }
    }
    Ok(Some(request))
}

/// Sets the finalizers of a request that nobody has changed meanwhile, and returns it as it is then.
async fn finalize(
    request: RestoreRequest,
    finalizers: Vec<String>,
    context: &Context,
) -> Result<Option<RestoreRequest>, Error> {
    let requests: Api<RestoreRequest> =
        Api::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    let version = &request.metadata.resource_version;
    let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}}));
    let ours = PatchParams { field_manager: Some(labels::FIELD_MANAGER.into()), ..PatchParams::default() };
    crash::before_write();
    match requests.patch(&request.name_any(), &ours, &patch).await {
        // With its last finalizer a request that is being deleted goes.
        Ok(now) => {
            Ok(Some(now)
                .filter(|now| now.metadata.deletion_timestamp.is_none() || !now.finalizers().is_empty()))
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes the ConfigMap that remembers the replaced database, in place of one that cannot be read. Its name says whose it is.
async fn keep(kept: &ConfigMap, config_maps: &Api<ConfigMap>) -> Result<Option<Refusal>, Error> {
    crash::before_write();
    let name = kept.name_any();
    let made = match config_maps.create(&writes::ours(), kept).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            config_maps.replace(&name, &writes::ours(), kept).await
        }
        made => made,
    };
    match made {
        Ok(_) => Ok(None),
        // Also where somebody has made one of that name that nobody may change (`immutable`).
        Err(kube::Error::Api(status)) if writes::is_refusal(&status) => {
            let message = format!(
                "the API server refused ConfigMap {name}, which is to remember the database that is replaced: {}",
                status.message
            );
            let message = cut(&message).to_owned();
            Ok(Some(Refusal { job: name, reason: reasons::restore::CONFIG_MAP_REFUSED, message }))
        }
        Err(error) => Err(error.into()),
    }
}
