//! The example policy, made fit for a namespace, and what tests and demo do with policies.

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions;
use greenlang_backup_api::labels::RUN_PREFIX;
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus};
use kube::Api;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::operator::checkout;
use crate::parts::{Parts, postgres, s3};
use crate::wait;

/// Field manager of policies.
const MANAGER: &str = "greenlang-backup-tests";

/// Policies of a namespace.
pub fn api(cluster: &Cluster, namespace: &str) -> Api<BackupPolicy> {
    Api::namespaced(cluster.client.clone(), namespace)
}

/// `examples/backup-policy.yaml` with the recipients replaced and nothing else.
pub fn example(parts: &Parts) -> Result<Value> {
    let path = checkout().join("examples/backup-policy.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut policy: Value = serde_yaml::from_str(&text).with_context(|| path.display().to_string())?;
    policy["spec"]["encryption"]["age"]["recipients"] = json!(parts.recipients());
    Ok(policy)
}

/// The example for the parts of another namespace, under another name and with an own prefix in the bucket.
pub fn for_test(parts: &Parts, name: &str) -> Result<Value> {
    let mut policy = example(parts)?;
    policy["metadata"] = json!({"name": name, "namespace": parts.namespace});
    let spec = &mut policy["spec"];
    spec["storage"]["s3"]["endpoint"] = json!(s3::endpoint(&parts.namespace));
    spec["storage"]["s3"]["prefix"] = json!(name);
    spec["postgres"]["host"] = json!(format!("db.{}.svc", parts.namespace));
    // A test names the schedules that it wants; without any a backup is made only on request.
    spec["firstRun"] = json!("AtSchedule");
    spec["backups"][0]["schedules"] = json!([]);
    Ok(policy)
}

/// As [`for_test`], of a small database of that name, which is made here.
pub async fn small(cluster: &Cluster, parts: &Parts, name: &str) -> Result<Value> {
    let database = name.replace('-', "_");
    postgres::small_database(cluster, &parts.namespace, &database).await?;
    let mut policy = for_test(parts, name)?;
    policy["spec"]["postgres"]["database"] = json!(database);
    policy["spec"]["backups"][0]["postgresDump"] = json!({});
    Ok(policy)
}

/// Applies a policy; what an earlier apply set and this one does not name goes away.
pub async fn apply(cluster: &Cluster, policy: &Value) -> Result<BackupPolicy> {
    let text =
        |field: &str| policy["metadata"][field].as_str().with_context(|| format!("a policy without {field}"));
    let params = PatchParams::apply(MANAGER).force();
    Ok(api(cluster, text("namespace")?).patch(text("name")?, &params, &Patch::Apply(policy)).await?)
}

/// Applies a policy that makes its first backup by itself, and waits until that is made.
pub async fn first_backup(cluster: &Cluster, policy: &Value, limit: Duration) -> Result<()> {
    let mut policy = policy.clone();
    policy["spec"]["firstRun"] = json!("Immediately");
    let applied = apply(cluster, &policy).await?;
    let is_made = |status: &BackupPolicyStatus| {
        let backup = status.backup("database");
        backup.is_some_and(|backup| backup.active.is_none() && backup.manual.succeeded == 1)
    };
    until(cluster, &applied, "a backup", limit, is_made).await.map(drop)
}

/// Asks for a run at once by annotation.
pub async fn run_now(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    backup: &str,
    token: &str,
) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {format!("{RUN_PREFIX}{backup}"): token}}});
    api(cluster, namespace).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// Merges a change into a policy.
pub async fn change(cluster: &Cluster, namespace: &str, name: &str, patch: Value) -> Result<BackupPolicy> {
    Ok(api(cluster, namespace).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

/// Deletes a policy and waits until it is gone.
pub async fn delete(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    cluster.kube(&format!("delete backuppolicy -n {namespace} {name} --ignore-not-found")).await.map(drop)
}

/// Status of a policy; an empty one before the operator has seen it.
pub async fn status(cluster: &Cluster, namespace: &str, name: &str) -> Result<BackupPolicyStatus> {
    Ok(api(cluster, namespace).get(name).await?.status.unwrap_or_default())
}

/// Waits until the status says something.
pub async fn until(
    cluster: &Cluster,
    policy: &BackupPolicy,
    what: &str,
    limit: Duration,
    is_so: impl Fn(&BackupPolicyStatus) -> bool,
) -> Result<BackupPolicyStatus> {
    let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
    wait::until_in(cluster, &namespace, &format!("{name}: {what}"), limit, async || {
        let status = status(cluster, &namespace, &name).await?;
        Ok(is_so(&status).then_some(status))
    })
    .await
}

/// Whether a condition about this generation has a status and a reason.
pub fn shows(status: &BackupPolicyStatus, generation: i64, type_: &str, state: &str, reason: &str) -> bool {
    conditions::find(&status.conditions, type_).is_some_and(|condition| {
        condition.status == state
            && condition.reason == reason
            && condition.observed_generation == Some(generation)
    })
}
