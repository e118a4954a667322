//! A Pod `hand` with public tools only, where people (and tests in their place) work by hand.

use anyhow::Result;

use super::{Parts, START, apply, s3};
use crate::cluster::Cluster;

/// The Pod.
pub const POD: &str = "hand";

/// Starts the Pod.
pub async fn start(cluster: &Cluster, namespace: &str) -> Result<()> {
    apply(cluster, namespace, include_str!("../../data/parts/hand.yaml")).await?;
    let seconds = START.as_secs();
    cluster
        .kube(&format!("wait -n {namespace} --for=condition=Ready pod/{POD} --timeout={seconds}s"))
        .await
        .map(drop)
}

/// Runs a shell script with the `aws` command set up for the bucket of `parts`, as the user of a key.
pub async fn aws(
    cluster: &Cluster,
    parts: &Parts,
    access: &str,
    secret: &str,
    script: &str,
) -> Result<String> {
    let namespace = &parts.namespace;
    let ca = cluster.kube(&format!("get secret -n {namespace} s3-ca -o jsonpath={{.data.ca\\.crt}}")).await?;
    let environment = format!(
        "export AWS_ACCESS_KEY_ID={access} AWS_SECRET_ACCESS_KEY={secret} AWS_REGION={} AWS_ENDPOINT_URL={}\n\
         export AWS_CA_BUNDLE=/tmp/s3-ca.crt AWS_PAGER=\n\
         base64 -d >$AWS_CA_BUNDLE.$$ <<<{ca} && mv $AWS_CA_BUNDLE.$$ $AWS_CA_BUNDLE\n",
        s3::REGION,
        s3::endpoint(namespace),
    );
    cluster.script_ok(namespace, POD, &format!("{environment}{script}")).await
}
