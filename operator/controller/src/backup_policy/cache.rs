//! Reads policies as the watch brings them, and keeps of them what decisions read: no spec where the namespace is not served. No I/O.
//!
//! Whoever administers any namespace may make policies there, of 1.5 MB each. So a spec stays text until it is known whose it is:
//! a list of empty objects takes forty times its text once it is read.

use std::collections::{BTreeMap, BTreeSet};

use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicySpec};
use greenlang_backup_api::{labels, text};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher::Event;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Longest spec that is read, in bytes of JSON. What a Job can be told of it has 96 KiB.
const MAX_SPEC: usize = 256 * 1_024;
/// Longest word of a parser that is told, in bytes.
const MAX_ERROR: usize = 512;

/// A policy as the watch brings it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = BackupPolicy)]
pub struct Brought {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    spec: Option<Json>,
    status: Option<Json>,
}

/// A value as text.
#[derive(Clone, Debug)]
struct Json(Vec<u8>);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = Vec::new();
        let mut writer = serde_json::Serializer::new(&mut text);
        serde_transcode::transcode(deserializer, &mut writer).map_err(D::Error::custom)?;
        Ok(Self(text))
    }
}

/// What the operator reads of an object's metadata: neither labels nor managed fields, and no annotations of others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    annotations: Option<BTreeMap<String, String>>,
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let read = Metadata::deserialize(deserializer)?;
    let annotations =
        read.annotations.unwrap_or_default().into_iter().filter(|(key, _)| labels::is_ours(key));
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        uid: read.uid,
        resource_version: read.resource_version,
        generation: read.generation,
        creation_timestamp: read.creation_timestamp,
        deletion_timestamp: read.deletion_timestamp,
        annotations: Some(annotations.collect()),
        ..ObjectMeta::default()
    })
}

/// What is kept of what the watch tells.
pub fn keep(told: Event<Brought>, served: &BTreeSet<String>) -> Event<DeserializeGuard<BackupPolicy>> {
    let kept = |brought| DeserializeGuard(kept(brought, served));
    match told {
        Event::Apply(policy) => Event::Apply(kept(policy)),
        Event::Delete(policy) => Event::Delete(kept(policy)),
        Event::Init => Event::Init,
        Event::InitApply(policy) => Event::InitApply(kept(policy)),
        Event::InitDone => Event::InitDone,
    }
}

#[expect(clippy::result_large_err, reason = "it is what the client's guard holds")]
fn kept(brought: Brought, served: &BTreeSet<String>) -> Result<BackupPolicy, InvalidObject> {
    let Brought { mut metadata, spec, status } = brought;
    let is_served = metadata.namespace.as_ref().is_some_and(|namespace| served.contains(namespace));
    let spec = if is_served {
        spec.ok_or_else(|| "it has no spec".to_owned()).and_then(|spec| read_spec(&spec))
    } else {
        metadata.annotations = None;
        Ok(BackupPolicySpec::default())
    };
    let status = status.map(|Json(text)| serde_json::from_slice(&text)).transpose();
    match (spec, status.map_err(|error| not_ours("status", &error))) {
        (Ok(spec), Ok(status)) => Ok(BackupPolicy { metadata, spec, status }),
        (Err(error), _) | (_, Err(error)) => Err(InvalidObject { error, metadata }),
    }
}

fn read_spec(Json(text): &Json) -> Result<BackupPolicySpec, String> {
    if text.len() > MAX_SPEC {
        return Err(format!(
            "its spec has {} bytes, and no more than {MAX_SPEC} are read: make several policies of it",
            text.len()
        ));
    }
    serde_json::from_slice(text).map_err(|error| not_ours("spec", &error))
}

/// What a parser says may quote what it read.
fn not_ours(part: &str, error: &serde_json::Error) -> String {
    let error = error.to_string();
    format!("{part}: {}", text::cut(&error, MAX_ERROR))
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
