//! Reads policies and requests as the watches bring them, and keeps of them what decisions read: no spec where the namespace is not
//! served. No I/O.
//!
//! Whoever administers any namespace may make them there, of 1.5 MB each. So a spec stays text until it is known whose it is:
//! a list of empty objects takes forty times its text once it is read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use greenlang_backup_api::v1alpha1::{
    BackupPolicy, BackupPolicySpec, BackupPolicyStatus, RestoreRequest, RestoreRequestSpec,
    RestoreRequestStatus,
};
use greenlang_backup_api::{labels, text};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher::Event;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

/// Longest spec that is read, in bytes of JSON. What a Job can be told of it has 96 KiB.
const MAX_SPEC: usize = 256 * 1_024;
/// Longest spec of a Job that is read: it has a Task, and what a policy or request says of Pods.
const MAX_JOB_SPEC: usize = 2 * MAX_SPEC;
/// Longest word of a parser that is told, in bytes.
const MAX_ERROR: usize = 512;

/// A kind whose objects are kept so.
pub trait Kept: Resource {
    /// Its spec. Where none is read, the default stands for it.
    type Spec: Default + DeserializeOwned;
    /// Its status.
    type Status: DeserializeOwned;
    /// What a person can do whose spec is too long.
    const SHORTER: &'static str;

    /// The object.
    fn of(metadata: ObjectMeta, spec: Self::Spec, status: Option<Self::Status>) -> Self;
}

impl Kept for BackupPolicy {
    type Spec = BackupPolicySpec;
    type Status = BackupPolicyStatus;
    const SHORTER: &'static str = "make several policies of it";

    fn of(metadata: ObjectMeta, spec: BackupPolicySpec, status: Option<BackupPolicyStatus>) -> Self {
        Self { metadata, spec, status }
    }
}

impl Kept for RestoreRequest {
    type Spec = RestoreRequestSpec;
    type Status = RestoreRequestStatus;
    const SHORTER: &'static str = "shorten its checks and its jobTemplate";

    fn of(metadata: ObjectMeta, spec: RestoreRequestSpec, status: Option<RestoreRequestStatus>) -> Self {
        Self { metadata, spec, status }
    }
}

/// An object as the watch brings it.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "")]
pub struct Brought<K> {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    spec: Option<Json>,
    status: Option<Json>,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K: Resource> Resource for Brought<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &K::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &K::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &K::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &K::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Brought<Job> {
    /// The Job with its spec, if that is no longer than specs of Jobs that are made here: whoever may make Jobs may make others.
    pub fn short(self) -> Option<Job> {
        let Self { metadata, spec, status, .. } = self;
        let spec = spec.filter(|Json(text)| text.len() <= MAX_JOB_SPEC)?;
        let status = status.map(|Json(text)| serde_json::from_slice(&text)).transpose().ok()?;
        Some(Job { metadata, spec: serde_json::from_slice(&spec.0).ok()?, status })
    }
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
pub fn keep<K: Kept>(told: Event<Brought<K>>, served: &BTreeSet<String>) -> Event<DeserializeGuard<K>> {
    let kept = |brought| DeserializeGuard(kept(brought, served));
    match told {
        Event::Apply(object) => Event::Apply(kept(object)),
        Event::Delete(object) => Event::Delete(kept(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(kept(object)),
        Event::InitDone => Event::InitDone,
    }
}

/// What is kept of an object.
#[expect(clippy::result_large_err, reason = "it is what the client's guard holds")]
pub fn kept<K: Kept>(brought: Brought<K>, served: &BTreeSet<String>) -> Result<K, InvalidObject> {
    let Brought { mut metadata, spec, status, .. } = brought;
    let is_served = metadata.namespace.as_ref().is_some_and(|namespace| served.contains(namespace));
    let spec = if is_served {
        spec.ok_or_else(|| "it has no spec".to_owned()).and_then(|spec| read_spec::<K>(&spec))
    } else {
        metadata.annotations = None;
        Ok(K::Spec::default())
    };
    let status = status.map(|Json(text)| serde_json::from_slice(&text)).transpose();
    match (spec, status.map_err(|error| not_ours("status", &error))) {
        (Ok(spec), Ok(status)) => Ok(K::of(metadata, spec, status)),
        (Err(error), _) | (_, Err(error)) => Err(InvalidObject { error, metadata }),
    }
}

fn read_spec<K: Kept>(Json(text): &Json) -> Result<K::Spec, String> {
    if text.len() > MAX_SPEC {
        return Err(format!(
            "its spec has {} bytes, and no more than {MAX_SPEC} are read: {}",
            text.len(),
            K::SHORTER
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
