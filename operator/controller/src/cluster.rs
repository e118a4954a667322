//! Which cluster this is: the UID of its namespace `kube-system`, which lives as long as the cluster. I/O.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};

use crate::errors::Error;

/// The namespace that every cluster has.
const NAMESPACE: &str = "kube-system";

/// The UID.
pub async fn uid(client: &Client) -> Result<String, Error> {
    let namespace = Api::<Namespace>::all(client.clone()).get(NAMESPACE).await?;
    namespace.uid().ok_or_else(|| Error::Settings(format!("namespace {NAMESPACE} has no UID")))
}
