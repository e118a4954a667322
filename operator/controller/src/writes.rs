//! Writes that a pass makes for any of our resources, each protected against being made on what is old. I/O, no decisions.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use axum::http::header::ACCEPT;
use greenlang_backup_api::conditions::cut;
use greenlang_backup_api::{labels, reasons};
use greenlang_backup_plan::jobs::Refusal;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, Request};
use kube::core::object::HasStatus;
use kube::core::{PartialObjectMeta, Status};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::crash;
use crate::errors::Error;

/// An object that was read longer ago is read again before something is made for it.
const FRESH: Duration = Duration::from_secs(2);

/// What an answer is to have of an object.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Parameters of what we make and replace.
pub fn ours() -> PostParams {
    PostParams { field_manager: Some(labels::FIELD_MANAGER.into()), ..PostParams::default() }
}

/// Fails where a process that hung for a while would make what another one has made, seen to its end and deleted meanwhile: a name
/// protects only while that is there. Writes of status and deletions carry their own protection, and [`create_job`] has this.
pub async fn still_so<K>(object: &K, read: Instant, client: &Client) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    if read.elapsed() <= FRESH {
        return Ok(());
    }
    let objects: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let now = objects.get_metadata_opt(&object.name_any()).await?;
    let is_same = now.is_some_and(|now| now.metadata.resource_version == object.meta().resource_version);
    if is_same { Ok(()) } else { Err(Error::Overtaken) }
}

/// Makes a Job for an object that was read at `read`, and fails if that has changed since. A Job that is there already is the one that was
/// wanted if the object owns it and its label says so; else, and where the API server would not have it, that is for status to say.
pub async fn create_job<K>(
    object: &K,
    read: Instant,
    label: (&str, &str),
    job: &Job,
    client: &Client,
) -> Result<Option<Refusal>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    crash::before_write();
    // In this order: a process that hung in the first must not pass the second.
    still_so(object, read, client).await?;
    let jobs: Api<Job> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let (name, owner) = (job.name_any(), object.uid().unwrap_or_default());
    match jobs.create(&ours(), job).await {
        Ok(_) => {
            tracing::info!(job = name, "made a Job");
            Ok(None)
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            adopt(&name, &owner, label, &jobs).await
        }
        Err(kube::Error::Api(status)) if is_refusal(&status) => {
            // It repeats what the spec says, however long that is.
            let message = format!("the API server refused Job {name}: {}", status.message);
            let message = cut(&message).to_owned();
            Ok(Some(Refusal { job: name, reason: reasons::JOB_REFUSED, message }))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the API server will not have something, and says the same to whoever asks again. It says 400 where it cannot read it, as a
/// quantity that is none, and where a webhook denies it and gives no code of its own.
pub fn is_refusal(status: &Status) -> bool {
    let may_pass = matches!(status.code, 401 | 404 | 408 | 409 | 410 | 429);
    status.is_forbidden() || status.is_invalid() || (400..500).contains(&status.code) && !may_pass
}

/// A Job of that name is there. One that is on its way out is waited for.
async fn adopt(
    name: &str,
    owner: &str,
    (key, value): (&str, &str),
    jobs: &Api<Job>,
) -> Result<Option<Refusal>, Error> {
    let Some(job) = jobs.get_opt(name).await? else {
        return Ok(None);
    };
    let is_owned = job.owner_references().iter().any(|reference| reference.uid == owner);
    // Without its label it would never be seen again, and waited for without end.
    if is_owned && job.labels().get(key).is_some_and(|label| label == value) {
        tracing::info!(job = name, "the Job was there already");
        return Ok(None);
    }
    let message = format!("a Job {name} that is not ours, or has lost its labels, is in the way: delete it");
    Ok(Some(Refusal { job: name.to_owned(), reason: reasons::NAME_COLLISION, message }))
}

/// Deletes a Job with its Pods, in the background.
pub async fn delete_job(name: &str, uid: &str, jobs: &Api<Job>) -> Result<(), Error> {
    crash::before_write();
    let this_one = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    match jobs.delete(name, &DeleteParams::background().preconditions(this_one)).await {
        Ok(_) => Ok(()),
        // Gone already, or a namesake has taken its place: either way there is nothing of ours to delete.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a status, and returns the object as it is then; none if it was deleted meanwhile, and its status with it. The write carries the
/// resourceVersion that the decision was made on, so a decision on anything older is refused and made anew.
pub async fn replace_status<K>(object: &K, status: K::Status, client: &Client) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + HasStatus
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let objects: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    crash::before_write();
    let mut next = object.clone();
    *next.status_mut() = Some(status);
    match objects.replace_status(&object.name_any(), &ours(), &next).await {
        Ok(written) => Ok(Some(written)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes conditions, and that they are about the object as it was seen, and nothing else. The answer has neither spec nor status, which
/// may be of any size.
pub async fn conditions<K: Resource<DynamicType = ()>>(
    object: &ObjectMeta,
    conditions: &[Condition],
    client: &Client,
) -> Result<(), Error> {
    let name = object.name.as_deref().unwrap_or_default();
    let ours = PatchParams { field_manager: Some(labels::FIELD_MANAGER.into()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": object.resource_version},
        "status": {"observedGeneration": object.generation.unwrap_or_default(), "conditions": conditions},
    }));
    let mut request = Request::new(K::url_path(&(), object.namespace.as_deref()))
        .patch_subresource("status", name, &ours, &patch)
        .map_err(kube::Error::BuildRequest)?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(METADATA_ONLY));
    crash::before_write();
    match client.request::<PartialObjectMeta<K>>(request).await {
        // Deleted meanwhile.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        written => written.map(drop).map_err(Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_no_refusal() {
        for (code, reason, refused) in [
            (400, "BadRequest", true),
            (400, "", true),
            (403, "Forbidden", true),
            (413, "RequestEntityTooLarge", true),
            (418, "a webhook's own", true),
            (422, "Invalid", true),
            (401, "Unauthorized", false),
            (404, "NotFound", false),
            (408, "", false),
            (409, "Conflict", false),
            (410, "Expired", false),
            (429, "TooManyRequests", false),
            (500, "InternalError", false),
            (503, "ServiceUnavailable", false),
        ] {
            let status = Status::failure("no", reason).with_code(code);
            assert_eq!(is_refusal(&status), refused, "{code} {reason}");
        }
    }
}
