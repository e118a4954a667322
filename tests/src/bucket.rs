//! What lies in the bucket of a namespace, asked with the `aws` command: objects, open uploads, manifests.

use anyhow::{Context as _, Result};
use greenlang_backup_api::manifest::{FILE_NAME, Manifest};
use greenlang_backup_api::owner::FILE_NAME as OWNER_FILE;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cluster::Cluster;
use crate::parts::s3::BUCKET;
use crate::parts::{Parts, hand};

/// An object.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Object {
    /// Key.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// A multipart upload that was neither completed nor aborted.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Upload {
    /// Key that the object would have.
    pub key: String,
}

/// Objects of backups below a prefix, in the order of their keys: not the file that says whose the prefix is, and no reports.
pub async fn objects(cluster: &Cluster, parts: &Parts, prefix: &str) -> Result<Vec<Object>> {
    let query = format!("list-objects-v2 --bucket {BUCKET} --prefix '{prefix}' --query Contents");
    let mut objects: Vec<Object> = list(cluster, parts, &query).await?;
    let beside = |key: &str| key.ends_with(OWNER_FILE) || key.split('/').any(|part| part == "reports");
    objects.retain(|object| !beside(&object.key));
    Ok(objects)
}

/// Open multipart uploads of the whole bucket.
pub async fn uploads(cluster: &Cluster, parts: &Parts) -> Result<Vec<Upload>> {
    list(cluster, parts, &format!("list-multipart-uploads --bucket {BUCKET} --query Uploads")).await
}

/// Objects and uploads below a prefix, by one call and as lines that say what they are.
pub async fn everything(cluster: &Cluster, parts: &Parts, prefix: &str) -> Result<Vec<String>> {
    let objects = objects(cluster, parts, prefix).await?;
    let uploads = uploads(cluster, parts).await?;
    let uploads = uploads.into_iter().filter(|upload| upload.key.starts_with(prefix));
    Ok(objects
        .into_iter()
        .map(|object| format!("object {}", object.key))
        .chain(uploads.map(|upload| format!("open upload {}", upload.key)))
        .collect())
}

/// An object's content as text.
pub async fn read(cluster: &Cluster, parts: &Parts, key: &str) -> Result<String> {
    aws(cluster, parts, &format!("aws s3 cp --quiet 's3://{BUCKET}/{key}' -")).await
}

/// Manifests below a prefix, oldest first.
pub async fn manifests(cluster: &Cluster, parts: &Parts, prefix: &str) -> Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for object in objects(cluster, parts, prefix).await? {
        if object.key.ends_with(&format!("/{FILE_NAME}")) {
            let json = read(cluster, parts, &object.key).await?;
            manifests.push(Manifest::from_slice(json.as_bytes()).with_context(|| object.key.clone())?);
        }
    }
    Ok(manifests)
}

async fn list<T: DeserializeOwned>(cluster: &Cluster, parts: &Parts, question: &str) -> Result<Vec<T>> {
    let answer = aws(cluster, parts, &format!("aws s3api {question} --output json")).await?;
    // The query of a list that is not there answers null, or nothing at all.
    let answer: Option<Vec<T>> = if answer.trim().is_empty() { None } else { serde_json::from_str(&answer)? };
    Ok(answer.unwrap_or_default())
}

/// As root of the server, so that nothing can hide from a look.
async fn aws(cluster: &Cluster, parts: &Parts, script: &str) -> Result<String> {
    hand::aws(cluster, parts, &parts.s3.root_access, &parts.s3.root_secret, script).await
}
