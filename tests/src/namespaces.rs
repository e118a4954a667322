//! Namespaces of tests and demo: all enforce the `restricted` Pod Security level, and those that the operator serves are
//! marked, so that demo and tests, which share one operator, find each other's.

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::cluster::Cluster;

/// Label of the namespaces that tests and demo make; its value says what for.
const MADE_FOR: &str = "backup.greenlang.io/test";
/// Value of [`MADE_FOR`]: the operator is told to serve it.
const SERVED: &str = "served";
/// Value of [`MADE_FOR`]: anything else.
const OTHER: &str = "other";

/// Makes a namespace that the operator will be told to serve.
pub async fn ensure_served(cluster: &Cluster, name: &str) -> Result<()> {
    ensure(cluster, name, SERVED).await
}

/// Makes a namespace that the operator is not told of.
pub async fn ensure_other(cluster: &Cluster, name: &str) -> Result<()> {
    ensure(cluster, name, OTHER).await
}

async fn ensure(cluster: &Cluster, name: &str, made_for: &str) -> Result<()> {
    // On somebody's own cluster a namespace of this name may be in use: it must not become ours.
    let there = Api::<Namespace>::all(cluster.client.clone()).get_opt(name).await?;
    if there.is_some_and(|namespace| !namespace.labels().contains_key(MADE_FOR)) {
        bail!("the namespace {name} was not made by demo or tests: nothing was touched; use another cluster");
    }
    let labels = json!({MADE_FOR: made_for, "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    cluster.apply(&namespace.to_string()).await
}

/// Names of the namespaces that the operator is to serve, without those that are going away.
pub async fn served(cluster: &Cluster) -> Result<Vec<String>> {
    let list = Api::<Namespace>::all(cluster.client.clone())
        .list(&ListParams::default().labels(&format!("{MADE_FOR}={SERVED}")))
        .await?;
    Ok(list
        .into_iter()
        .filter(|namespace| namespace.metadata.deletion_timestamp.is_none())
        .map(|namespace| namespace.name_any())
        .collect())
}

/// Copies what policies need to reach the parts of another namespace: Secrets are looked for in the policy's own.
pub async fn copy_secrets(cluster: &Cluster, from: &str, to: &str) -> Result<()> {
    for name in ["backup-s3", "s3-ca", "db-backup", "db-ca"] {
        let found = cluster.kube(&format!("get secret -n {from} {name} -o json")).await?;
        let secret: serde_json::Value = serde_json::from_str(&found)?;
        let metadata = json!({"name": name, "namespace": to});
        let copy =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": secret["data"]});
        cluster.apply(&copy.to_string()).await?;
    }
    Ok(())
}

/// Starts the deletion of one: what a test leaves running takes room from the next.
pub async fn delete(cluster: &Cluster, name: &str) -> Result<()> {
    let api = Api::<Namespace>::all(cluster.client.clone());
    Ok(api.delete(name, &DeleteParams::default()).await.map(drop)?)
}

/// Starts the deletion of every namespace of ours whose name starts with `prefix`.
pub async fn delete_all(cluster: &Cluster, prefix: &str) -> Result<()> {
    let api = Api::<Namespace>::all(cluster.client.clone());
    for namespace in api.list(&ListParams::default().labels(MADE_FOR)).await? {
        if namespace.name_any().starts_with(prefix) && namespace.metadata.deletion_timestamp.is_none() {
            api.delete(&namespace.name_any(), &DeleteParams::default()).await?;
        }
    }
    Ok(())
}
