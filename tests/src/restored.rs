//! What tests of restores share: a small database with a backup and applications that use it, the damage, and what must be true once it is
//! back.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use greenlang_backup_api::v1alpha1::BackupPolicyStatus;
use serde_json::json;

use crate::cluster::Cluster;
use crate::compare::Fingerprint;
use crate::parts::{Parts, postgres};
use crate::{policy, restore};

/// Longer than a backup takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(8);

/// A small database with a backup, and applications that use it. Gives the fingerprint of what was backed up.
pub async fn prepare(cluster: &Cluster, parts: &Parts, name: &str) -> Result<Fingerprint> {
    prepare_with(cluster, parts, name, "").await
}

/// As [`prepare`], of a database in which more is made by SQL.
pub async fn prepare_with(cluster: &Cluster, parts: &Parts, name: &str, more: &str) -> Result<Fingerprint> {
    let namespace = &*parts.namespace;
    let mut wanted = policy::small(cluster, parts, name).await?;
    postgres::psql(cluster, namespace, name, more).await?;
    wanted["spec"]["firstRun"] = json!("Immediately");
    let applied = policy::apply(cluster, &wanted).await?;
    let before = Fingerprint::take(cluster, namespace, name).await?;
    restore::secrets(cluster, parts).await?;
    policy::until(cluster, &applied, "a backup", LIMIT, |status: &BackupPolicyStatus| {
        status
            .backup("database")
            .is_some_and(|backup| backup.active.is_none() && backup.manual.succeeded == 1)
    })
    .await?;
    restore::start_applications(cluster, namespace, name).await?;
    Ok(before)
}

/// What a bad migration does.
pub async fn damage(cluster: &Cluster, parts: &Parts, name: &str) -> Result<Fingerprint> {
    let namespace = &*parts.namespace;
    postgres::psql(cluster, namespace, name, "DROP TABLE note; CREATE TABLE left_over (id int)").await?;
    Fingerprint::take(cluster, namespace, name).await
}

/// Names of the databases of the server.
pub async fn databases(cluster: &Cluster, namespace: &str) -> Result<BTreeSet<String>> {
    let rows = postgres::psql(cluster, namespace, "postgres", "SELECT datname FROM pg_database").await?;
    Ok(rows.lines().map(str::to_owned).collect())
}

/// The database is as it was.
pub async fn expect_equal(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    wanted: &Fingerprint,
) -> Result<()> {
    let now = Fingerprint::take(cluster, namespace, name).await?;
    let differences: Vec<_> = wanted.differences(&now).iter().map(ToString::to_string).collect();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// All applications have what they had, and carry nothing of ours.
pub async fn expect_resumed(cluster: &Cluster, namespace: &str) -> Result<()> {
    let replicas = restore::replicas(cluster, namespace).await?;
    let wanted = restore::APPLICATIONS.map(|(_, count)| (count, count));
    ensure!(replicas == wanted, "asked for and ready: {replicas:?} instead of {wanted:?}");
    let question = format!("get deployments -n {namespace} -o jsonpath={{.items[*].metadata.annotations}}");
    let annotations = cluster.kube(&question).await?;
    ensure!(!annotations.contains("backup.greenlang.io/quiesced"), "{annotations}");
    Ok(())
}
