//! Step 5, status: writes what was decided, only if it differs, and tells people. I/O, no decisions.

use greenlang_backup_api::conditions::{self, READY, STALLED, State};
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus};
use greenlang_backup_api::{labels, reasons};
use greenlang_backup_plan::backup_policy::{Decision, Event};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Resource as _, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::json;

use crate::context::Context;
use crate::crash;
use crate::errors::Error;

/// Writes the status if it differs from what the policy has, and returns the policy as it is then. The write carries the
/// resourceVersion that the decision was made on, so a decision on anything older is refused and made anew.
pub async fn write(
    policy: &BackupPolicy,
    decision: &Decision,
    context: &Context,
) -> Result<Option<BackupPolicy>, Error> {
    if policy.status.as_ref() == Some(&decision.status) {
        return Ok(None);
    }
    if ended_runs(&decision.status) > policy.status.as_ref().map_or(0, ended_runs) {
        crash::point(crash::RUN_ENDED);
    }
    let policies: Api<BackupPolicy> =
        Api::namespaced(context.client.clone(), &policy.namespace().unwrap_or_default());
    let ours = PostParams { field_manager: Some(labels::FIELD_MANAGER.into()), ..PostParams::default() };
    crash::before_write();
    let next = BackupPolicy {
        metadata: policy.metadata.clone(),
        spec: policy.spec.clone(),
        status: Some(decision.status.clone()),
    };
    match policies.replace_status(&policy.name_any(), &ours, &next).await {
        Ok(written) => Ok(Some(written)),
        // Deleted meanwhile, and its status with it.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn ended_runs(status: &BackupPolicyStatus) -> u64 {
    let scheduled =
        status.backups.iter().flat_map(|backup| backup.schedules.iter().map(|entry| &entry.history));
    let manual = status.backups.iter().map(|backup| &backup.manual);
    scheduled.chain(manual).map(|history| history.attempts).sum()
}

/// Tells people what a status that was written says.
pub fn tell(policy: &BackupPolicy, events: &[Event], context: &Context) {
    let about = policy.object_ref(&());
    for event in events {
        context.events.tell(&about, event);
    }
}

/// Says in the status of an object that this release cannot read it. Others are not held up by it.
pub async fn unreadable(context: &Context, invalid: &InvalidObject) -> Result<(), Error> {
    let metadata = &invalid.metadata;
    let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
        return Ok(());
    };
    let generation = metadata.generation.unwrap_or_default();
    let message = format!(
        "this release cannot read the object: {}; install the definitions of the same release (chart greenlang-backup-crds)",
        invalid.error
    );
    let kind = ApiResource::erase::<BackupPolicy>(&());
    let policies: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &kind);
    let Some(there) = policies.get_opt(name).await? else { return Ok(()) };
    let status = there.data.get("status").cloned().unwrap_or_default();
    // What another release has said and this one can read stays.
    let before = Vec::<Condition>::deserialize(&status["conditions"]).unwrap_or_default();
    let mut after = before.clone();
    let now = super::now();
    conditions::set(&mut after, READY, State::False, reasons::INVALID_OBJECT, &message, generation, now);
    conditions::set(&mut after, STALLED, State::True, reasons::INVALID_OBJECT, &message, generation, now);
    if after == before && status["observedGeneration"] == generation {
        return Ok(());
    }
    let patch = Patch::Merge(json!({"status": {"observedGeneration": generation, "conditions": after}}));
    let written = policies
        .patch_subresource(
            "status",
            name,
            &PatchParams { field_manager: Some(labels::FIELD_MANAGER.into()), ..PatchParams::default() },
            &patch,
        )
        .await;
    tracing::warn!(namespace, name, error = invalid.error, "an object cannot be read");
    written.map(|_| ()).map_err(Error::from)
}
