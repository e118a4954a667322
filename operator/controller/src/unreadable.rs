//! Objects that this release cannot read: says so in their status. Others are not held up by them. I/O.

use greenlang_backup_api::conditions::{self, READY, STALLED, State};
use greenlang_backup_api::reasons;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, NotUsed, Object};
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Client, Resource};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::errors::Error;
use crate::writes;

/// An object whose spec may be of any form and size.
type Any = Object<NotUsed, Told>;

/// What another release has said, as far as this one can read it.
#[derive(Clone, Debug, Default)]
struct Told {
    generation: Option<i64>,
    conditions: Vec<Condition>,
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let status = Value::deserialize(deserializer)?;
        let conditions = Vec::deserialize(&status["conditions"]).unwrap_or_default();
        Ok(Self { generation: status["observedGeneration"].as_i64(), conditions })
    }
}

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
    let message = format!(
        "this release cannot read the object: {}; where another release has written it, install the definitions of this one (chart greenlang-backup-crds)",
        invalid.error
    );
    let objects: Api<Any> = Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()));
    let Some(there) = objects.get_opt(name).await? else { return Ok(()) };
    let before = there.status.unwrap_or_default();
    let generation = metadata.generation.unwrap_or_default();
    let mut after = before.conditions.clone();
    conditions::set(&mut after, READY, State::False, reasons::INVALID_OBJECT, &message, generation, now);
    conditions::set(&mut after, STALLED, State::True, reasons::INVALID_OBJECT, &message, generation, now);
    if after == before.conditions && before.generation == Some(generation) {
        return Ok(());
    }
    tracing::warn!(namespace, name, error = invalid.error, "an object cannot be read");
    writes::conditions::<K>(metadata, &after, client).await
}
