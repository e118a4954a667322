//! Installs the operator as users do: two Helm charts. One operator serves demo and tests of a cluster.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::cluster::Cluster;
use crate::{command, namespaces, wait};

/// Namespace of the operator.
pub const NAMESPACE: &str = "greenlang-backup-system";
/// Release, and by it the Deployment.
pub const RELEASE: &str = "greenlang-backup";

/// The checkout: that of the package which cargo runs, or the one around the current directory. Where this was compiled comes last:
/// clones may share a target directory, and the one that compiled may be gone.
pub fn checkout() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let mut places = package.into_iter().chain(std::env::current_dir());
    let found = places.find_map(|place| {
        let is_it = |folder: &&Path| folder.join("charts").join(RELEASE).is_dir();
        place.ancestors().find(is_it).map(Path::to_owned)
    });
    found.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
}

/// The charts and the definition as they were at the end of the first slice.
pub fn first_slice() -> PathBuf {
    checkout().join("tests/fixtures/first-slice")
}

/// Installs or upgrades both charts; the operator is told every namespace that is marked as served.
pub async fn install(cluster: &Cluster) -> Result<()> {
    install_with(cluster, json!({})).await
}

/// As [`install`], with further values of the operator's chart.
pub async fn install_with(cluster: &Cluster, more: serde_json::Value) -> Result<()> {
    install_from(cluster, &checkout(), &cluster.image, more).await
}

/// As [`install_with`], with the charts of another checkout and another image.
pub async fn install_from(
    cluster: &Cluster,
    checkout: &Path,
    image: &str,
    more: serde_json::Value,
) -> Result<()> {
    namespaces::ensure_other(cluster, NAMESPACE).await?;
    upgrade(cluster, checkout, "greenlang-backup-crds", json!({})).await?;
    let Some((repository, tag)) = image.rsplit_once(':') else {
        bail!(
            "the operator's image must be named with its tag (`tests/image.sh dev` prints it), not {image:?}"
        );
    };
    let mut values = json!({
        "image": {"repository": repository, "tag": tag},
        "namespaces": namespaces::served(cluster).await?,
    });
    if let (Some(values), Some(more)) = (values.as_object_mut(), more.as_object()) {
        values.extend(more.clone());
    }
    upgrade(cluster, checkout, RELEASE, values).await
}

/// Installs one of the charts as it is at `charts/`, without waiting for Pods: for an API server without nodes.
pub async fn install_chart(cluster: &Cluster, chart: &str, values: serde_json::Value) -> Result<()> {
    install_chart_from(cluster, &checkout(), chart, values).await
}

/// As [`install_chart`], with the chart of another checkout; upgrades one that is installed.
pub async fn install_chart_from(
    cluster: &Cluster,
    checkout: &Path,
    chart: &str,
    values: serde_json::Value,
) -> Result<()> {
    let mut helm = cluster.helm();
    helm.args(["upgrade", "--install", chart]).arg(checkout.join("charts").join(chart));
    helm.args(["--namespace", NAMESPACE, "--create-namespace", "--values", "-"]);
    command::run(&mut helm, values.to_string()).await.map(drop)
}

async fn upgrade(cluster: &Cluster, checkout: &Path, chart: &str, values: serde_json::Value) -> Result<()> {
    // A Helm that was killed leaves its release locked for ever. We hold the cluster's lock, so nobody else is at it.
    let pending = "owner=helm,status in (pending-install,pending-upgrade,pending-rollback)";
    let mut kubectl = cluster.kubectl();
    kubectl.args(["delete", "secret", "-n", NAMESPACE, "-l", pending]);
    command::run(&mut kubectl, "").await?;
    let mut helm = cluster.helm();
    helm.args(["upgrade", "--install", chart]).arg(checkout.join("charts").join(chart));
    // Tests change the definition too (as clients of their own name), and what the chart says goes before that.
    helm.args(["--namespace", NAMESPACE, "--values", "-", "--force-conflicts", "--wait", "--timeout", "3m"]);
    if let Err(error) = command::run(&mut helm, values.to_string()).await {
        bail!("{error:#}\n{}", wait::diagnosis(cluster, NAMESPACE).await);
    }
    Ok(())
}

/// Stops or starts the operator and waits until it is so; no Pod of it is left when it is stopped.
pub async fn scale(cluster: &Cluster, replicas: u8) -> Result<()> {
    cluster.kube(&format!("scale -n {NAMESPACE} deployment/{RELEASE} --replicas={replicas}")).await?;
    if replicas > 0 {
        return wait::rollout(cluster, NAMESPACE, &format!("deployment/{RELEASE}"), crate::parts::START)
            .await;
    }
    kill(cluster).await?;
    wait::until_in(cluster, NAMESPACE, "the operator is gone", crate::parts::START, async || {
        Ok(pods(cluster).await?.is_empty().then_some(()))
    })
    .await
}

/// Kills the operator's Pods without letting them finish anything.
pub async fn kill(cluster: &Cluster) -> Result<()> {
    cluster
        .kube(&format!("delete pod -n {NAMESPACE} -l app.kubernetes.io/component=operator --force --grace-period=0 --ignore-not-found"))
        .await
        .map(drop)
}

async fn pods(cluster: &Cluster) -> Result<String> {
    cluster.kube(&format!("get pods -n {NAMESPACE} -l app.kubernetes.io/component=operator -o name")).await
}

/// What the operator shows to Prometheus.
pub async fn metrics(cluster: &Cluster) -> Result<String> {
    let pods = pods(cluster).await?;
    let pod = pods.lines().next().and_then(|name| name.strip_prefix("pod/")).context("no operator runs")?;
    cluster.kube(&format!("get --raw /api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics")).await
}
