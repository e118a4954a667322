//! Policies of namespaces that the operator does not serve: they are told so, and however large they are they cost it little memory.

use anyhow::{Result, ensure};
use greenlang_backup_api::conditions::{READY, find};
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_api::{labels, reasons};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::{checkout, install_chart};
use greenlang_backup_tests::{policy, wait};
use kube::Api;
use kube::CustomResourceExt as _;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::replica::{LIMIT, Replica, install};
use crate::runs::job;
use crate::{apply_policy, until_leads};

/// Not served.
const ELSEWHERE: &str = "default";
/// Policies there. Read as a whole they would take 250 MiB, and together with what reading them takes more than the chart's limit.
const CROWD: usize = 40;
/// Most memory of the operator, a test build.
const MOST: u64 = 128 << 20;

/// A policy of a MB and more, a part of it a list that takes forty times its text when it is read.
fn large(table: &Value, number: usize) -> Result<DynamicObject> {
    let mut policy = table["base"].clone();
    policy["metadata"] = json!({"name": format!("large-{number}")});
    policy["spec"]["jobTemplate"] =
        json!({"annotations": {"text": "x".repeat(1_000_000)}, "tolerations": vec![json!({}); 40_000]});
    Ok(serde_json::from_value(policy)?)
}

#[tokio::test]
async fn large_policies_that_are_not_served_cost_little_memory_and_hold_nobody_up() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let table: Value =
        serde_yaml::from_str(&std::fs::read_to_string(checkout().join("operator/api/tests/cases.yaml"))?)?;
    let policies: Api<DynamicObject> =
        Api::namespaced_with(api.cluster.client.clone(), ELSEWHERE, &BackupPolicy::api_resource());
    for number in 0..CROWD {
        let wanted = large(&table, number)?;
        wait::until("the definition is in use", LIMIT, async || {
            policies.create(&PostParams::default(), &wanted).await?;
            Ok(Some(()))
        })
        .await?;
    }
    let operator = Replica::start(&api, "operator").await?;
    until_leads(&api, &operator).await?;
    apply_policy(&api, "small").await?;
    job(&api, "small", labels::TASK_PROBE, &[]).await?;

    wait::until("all are told that nobody serves them", LIMIT, async || {
        for number in 0..CROWD {
            let status = policy::status(&api.cluster, ELSEWHERE, &format!("large-{number}")).await?;
            let ready = find(&status.conditions, READY);
            if ready.is_none_or(|ready| ready.reason != reasons::NAMESPACE_NOT_SERVED) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await?;
    let most = operator.most_memory()?;
    ensure!(most < MOST, "{} MiB", most >> 20);
    Ok(())
}
