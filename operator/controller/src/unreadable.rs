//! Objects that this release cannot read: says so in their status. Others are not held up by them. I/O.

use greenlang_backup_api::conditions::{self, READY, STALLED, State};
use greenlang_backup_api::{labels, reasons};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Client, Resource};
use serde::Deserialize as _;
use serde_json::json;

use crate::errors::Error;

/// Says it in the status of an object of a kind.
pub async fn tell<K: Resource<DynamicType = ()>>(
    client: &Client,
    invalid: &InvalidObject,
    now: Timestamp,
) -> Result<(), Error> {
    let metadata = &invalid.metadata;
    let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
        return Ok(());
    };
    let generation = metadata.generation.unwrap_or_default();
    let message = format!(
        "this release cannot read the object: {}; install the definitions of the same release (chart greenlang-backup-crds)",
        invalid.error
    );
    let objects: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()));
    let Some(there) = objects.get_opt(name).await? else { return Ok(()) };
    let status = there.data.get("status").cloned().unwrap_or_default();
    // What another release has said and this one can read stays.
    let before = Vec::<Condition>::deserialize(&status["conditions"]).unwrap_or_default();
    let mut after = before.clone();
    conditions::set(&mut after, READY, State::False, reasons::INVALID_OBJECT, &message, generation, now);
    conditions::set(&mut after, STALLED, State::True, reasons::INVALID_OBJECT, &message, generation, now);
    if after == before && status["observedGeneration"] == generation {
        return Ok(());
    }
    let patch = Patch::Merge(json!({"status": {"observedGeneration": generation, "conditions": after}}));
    let ours = PatchParams { field_manager: Some(labels::FIELD_MANAGER.into()), ..PatchParams::default() };
    let written = objects.patch_subresource("status", name, &ours, &patch).await;
    tracing::warn!(namespace, name, error = invalid.error, "an object cannot be read");
    written.map(|_| ()).map_err(Error::from)
}
