//! What tests of runs share: an API server with an operator and a policy at rest, and the Jobs of its runs.

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::{BackupPolicyStatus, RunHistory};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::install_chart;
use greenlang_backup_tests::{kubelet, policy, wait};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::apply_policy;
use crate::replica::{LIMIT, Replica, SERVED, install};

/// An API server with an operator that leads.
pub async fn start() -> Result<(ApiServer, Replica)> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let operator = Replica::start(&api, "operator").await?;
    Ok((api, operator))
}

pub fn jobs(api: &ApiServer) -> Api<Job> {
    Api::namespaced(api.cluster.client.clone(), SERVED)
}

/// Waits for a Job of a policy, other than these.
pub async fn job(api: &ApiServer, policy: &str, task: &str, but: &[&Job]) -> Result<Job> {
    let ours = ListParams::default().labels(&format!("{}={policy},{}={task}", labels::POLICY, labels::TASK));
    wait::until(&format!("{policy}: a Job for {task}"), LIMIT, async || {
        let found = jobs(api).list(&ours).await?.items;
        Ok(found.into_iter().find(|job| but.iter().all(|other| other.uid() != job.uid())))
    })
    .await
}

pub async fn carry_out(api: &ApiServer, job: &Job) -> Result<()> {
    kubelet::carry_out(&api.cluster.client, job, &kubelet::good_report(job)?).await
}

/// Waits until the status says something.
pub async fn until(
    api: &ApiServer,
    name: &str,
    what: &str,
    is_so: impl Fn(&BackupPolicyStatus) -> bool,
) -> Result<BackupPolicyStatus> {
    wait::until(&format!("{name}: {what}"), LIMIT, async || {
        Ok(Some(policy::status(&api.cluster, SERVED, name).await?).filter(&is_so))
    })
    .await
}

/// A policy whose bucket is known to hold nothing, and whose first probe has ended well.
pub async fn probed(api: &ApiServer, name: &str) -> Result<()> {
    apply_policy(api, name).await?;
    for task in [labels::TASK_CATALOGUE, labels::TASK_PROBE] {
        carry_out(api, &job(api, name, task, &[]).await?).await?;
    }
    until(api, name, "probed", |status| {
        status.probe.as_ref().is_some_and(|probe| probe.last_probe_time.is_some())
    })
    .await?;
    wait::until("its Job is gone", LIMIT, async || {
        Ok(jobs(api).list(&ListParams::default()).await?.items.is_empty().then_some(()))
    })
    .await
}

/// Asks for a run and gives its Job, which is none of these.
pub async fn run(api: &ApiServer, name: &str, token: &str, but: &[&Job]) -> Result<Job> {
    policy::run_now(&api.cluster, SERVED, name, "database", token).await?;
    job(api, name, labels::TASK_BACKUP, but).await
}

pub fn over(status: &BackupPolicyStatus, ended: u64) -> bool {
    status.backup("database").is_some_and(|backup| {
        backup.active.is_none() && backup.manual.succeeded + backup.manual.failed >= ended
    })
}

pub fn manual(status: &BackupPolicyStatus) -> Result<(u64, u64, u64)> {
    let RunHistory { attempts, succeeded, failed, .. } =
        status.backup("database").context("no status")?.manual;
    Ok((attempts, succeeded, failed))
}

/// Makes a Job that is nobody's run, with this in its metadata. Nothing starts it.
pub async fn stray(api: &ApiServer, name: &str, labels: Value, owners: Value) -> Result<()> {
    let job = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": SERVED, "labels": labels, "ownerReferences": owners},
        "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "x", "image": "localhost/none:1"}]}}},
    }))?;
    jobs(api).create(&PostParams::default(), &job).await?;
    Ok(())
}
