//! The parts that a backup needs: PostgreSQL, S3 and keys in a namespace, with the Secrets that a policy names.

pub mod hand;
pub mod postgres;
pub mod s3;

use std::collections::BTreeMap;
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cluster::Cluster;

/// How long a part may take to become ready; images are there already, but two cores may serve many Pods.
pub const START: Duration = Duration::from_mins(3);
/// Secret that remembers [`Parts`] for the next run. Only tests and demo read it.
const MEMORY: &str = "parts";

/// What was installed in a namespace, with everything secret about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parts {
    /// The namespace.
    pub namespace: String,
    /// The server.
    pub postgres: postgres::Access,
    /// The bucket.
    pub s3: s3::Access,
    /// Two age key pairs; whoever has one of the private keys can read the backups.
    pub keys: Vec<KeyPair>,
}

/// An age key pair. The private key never enters the namespace of the policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyPair {
    /// `age1…`
    pub recipient: String,
    /// `AGE-SECRET-KEY-1…`
    pub identity: String,
}

impl KeyPair {
    /// A new pair.
    pub fn new() -> Self {
        let identity = age::x25519::Identity::generate();
        Self {
            recipient: identity.to_public().to_string(),
            identity: identity.to_string().expose_secret().to_owned(),
        }
    }
}

impl Default for KeyPair {
    fn default() -> Self {
        Self::new()
    }
}

impl Parts {
    /// Every value that must never be seen outside a Secret.
    pub fn secrets(&self) -> Vec<&str> {
        let mut secrets = vec![
            self.postgres.superuser_password.as_str(),
            &self.postgres.backup_password,
            &self.s3.root_secret,
            &self.s3.secret,
        ];
        secrets.extend(self.keys.iter().map(|key| key.identity.as_str()));
        secrets
    }

    /// Public keys, as a policy names them.
    pub fn recipients(&self) -> Vec<&str> {
        self.keys.iter().map(|key| key.recipient.as_str()).collect()
    }
}

/// Installs all parts, or finds them as an earlier run left them. What is in the server and in the bucket stays.
pub async fn install(cluster: &Cluster, namespace: &str) -> Result<Parts> {
    let parts = if let Some(parts) = remembered(cluster, namespace).await? {
        parts
    } else {
        create(cluster, namespace).await?
    };
    tokio::try_join!(
        postgres::start(cluster, namespace),
        s3::start(cluster, namespace),
        hand::start(cluster, namespace),
    )?;
    tokio::try_join!(postgres::prepare(cluster, &parts), s3::prepare(cluster, &parts))?;
    Ok(parts)
}

async fn create(cluster: &Cluster, namespace: &str) -> Result<Parts> {
    let parts = Parts {
        namespace: namespace.to_owned(),
        postgres: postgres::Access::new()?,
        s3: s3::Access::new()?,
        keys: vec![KeyPair::new(), KeyPair::new()],
    };
    postgres::secrets(cluster, namespace, &parts.postgres).await?;
    s3::secrets(cluster, namespace, &parts.s3).await?;
    // Last, so that a run that was killed before begins again.
    remember(cluster, &parts).await?;
    Ok(parts)
}

async fn remembered(cluster: &Cluster, namespace: &str) -> Result<Option<Parts>> {
    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), namespace);
    let Some(data) = secrets.get_opt(MEMORY).await?.and_then(|mut secret| secret.data.take()?.remove(MEMORY))
    else {
        return Ok(None);
    };
    // An older build's memory may have another shape; everything is made anew then.
    Ok(serde_json::from_slice(&data.0).ok())
}

async fn remember(cluster: &Cluster, parts: &Parts) -> Result<()> {
    let json = serde_json::to_string(parts).context("parts cannot be written")?;
    secret(cluster, &parts.namespace, MEMORY, [(MEMORY, json.as_str())]).await
}

/// Makes or changes a Secret.
pub async fn secret<'a>(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    data: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<()> {
    let data: BTreeMap<_, _> = data.into_iter().collect();
    let metadata = json!({"name": name, "namespace": namespace});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data});
    cluster.apply(&secret.to_string()).await
}

/// Applies a template with the namespace and the images of this cluster.
async fn apply(cluster: &Cluster, namespace: &str, template: &str) -> Result<()> {
    cluster.apply(&template.replace("NAMESPACE", namespace).replace("PREFIX", &cluster.parts_prefix)).await
}
