//! Large objects that others have made: policies and requests where the operator does not serve, which are told so, and what bears its
//! labels where it does. They cost it little memory.

use anyhow::{Result, ensure};
use greenlang_backup_api::conditions::{READY, find};
use greenlang_backup_api::v1alpha1::{BackupPolicy, RestoreRequest};
use greenlang_backup_api::{labels, reasons};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::{checkout, install_chart};
use greenlang_backup_tests::wait;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, CustomResourceExt as _, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::replica::{LIMIT, Replica, SERVED, install};
use crate::runs::job;
use crate::{apply_policy, until_leads};

/// Not served.
const ELSEWHERE: &str = "default";
/// Policies there, and requests. Those of one kind, read as a whole, would take 250 MiB, and together with what reading them takes more than the chart's limit.
const CROWD: usize = 40;
/// Jobs, Pods and ConfigMaps of a MB each in the namespace that is served: those of one kind, read as a whole, are more than the limit.
const LABELLED: usize = 80;
/// Most memory of the operator, a test build.
const MOST: u64 = 128 << 20;

/// An object of a MB and more, a part of it a list that takes forty times its text when it is read.
fn large(table: &Value, number: usize) -> Result<DynamicObject> {
    let mut object = table["base"].clone();
    object["metadata"] = json!({"name": format!("large-{number}")});
    object["spec"]["jobTemplate"] =
        json!({"annotations": {"text": "x".repeat(1_000_000)}, "tolerations": vec![json!({}); 40_000]});
    Ok(serde_json::from_value(object)?)
}

/// Makes the crowd of a kind, from its table of cases.
async fn make(api: &ApiServer, table: &str, kind: &ApiResource) -> Result<()> {
    let table: Value =
        serde_yaml::from_str(&std::fs::read_to_string(checkout().join("operator/api/tests").join(table))?)?;
    let objects: Api<DynamicObject> = Api::namespaced_with(api.cluster.client.clone(), ELSEWHERE, kind);
    for number in 0..CROWD {
        let wanted = large(&table, number)?;
        wait::until("the definition is in use", LIMIT, async || {
            objects.create(&PostParams::default(), &wanted).await?;
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

/// Whether all of a kind are told that nobody serves them.
async fn are_told(api: &ApiServer, kind: &ApiResource) -> Result<Option<()>> {
    let objects: Api<DynamicObject> = Api::namespaced_with(api.cluster.client.clone(), ELSEWHERE, kind);
    for number in 0..CROWD {
        let status = objects.get(&format!("large-{number}")).await?.data["status"].take();
        let conditions: Vec<Condition> =
            serde_json::from_value(status["conditions"].clone()).unwrap_or_default();
        if find(&conditions, READY).is_none_or(|ready| ready.reason != reasons::NAMESPACE_NOT_SERVED) {
            return Ok(None);
        }
    }
    Ok(Some(()))
}

#[tokio::test]
async fn large_objects_that_are_not_served_cost_little_memory_and_hold_nobody_up() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let (policies, requests) = (BackupPolicy::api_resource(), RestoreRequest::api_resource());
    make(&api, "cases.yaml", &policies).await?;
    make(&api, "restore_cases.yaml", &requests).await?;
    let operator = Replica::start(&api, "operator").await?;
    until_leads(&api, &operator).await?;
    apply_policy(&api, "small").await?;
    job(&api, "small", labels::TASK_PROBE, &[]).await?;

    for kind in [&policies, &requests] {
        let what = format!("each {} is told that nobody serves it", kind.kind);
        wait::until(&what, LIMIT, async || are_told(&api, kind).await).await?;
    }
    let most = operator.most_memory()?;
    ensure!(most < MOST, "{} MiB", most >> 20);
    Ok(())
}

/// Makes many objects that bear labels and differ in their names.
async fn label<K>(api: &ApiServer, labels: &Value, rest: Value) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let objects: Api<K> = Api::namespaced(api.cluster.client.clone(), SERVED);
    let mut object = rest;
    for number in 0..LABELLED {
        object["metadata"] = json!({"name": format!("large-{number}"), "labels": labels});
        objects.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await?;
    }
    Ok(())
}

/// Whoever may make them may give them these labels, and no more is needed to have the operator read them at each start.
#[tokio::test]
async fn large_objects_of_others_that_bear_its_labels_cost_little_memory() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let text = "x".repeat(1_000_000);
    let ours = json!({"app.kubernetes.io/managed-by": labels::MANAGED_BY});
    let pod = json!({"restartPolicy": "Never",
        "containers": [{"name": "x", "image": "localhost/none:1", "env": [{"name": "X", "value": text}]}]});
    // Pods are made in the name of one, and nobody else makes it here.
    api.cluster.kube(&format!("create serviceaccount -n {SERVED} default")).await?;
    label::<Job>(&api, &ours, json!({"spec": {"suspend": true, "template": {"spec": pod}}})).await?;
    label::<Pod>(&api, &ours, json!({"spec": pod})).await?;
    label::<ConfigMap>(&api, &json!({labels::KEPT_DATABASE: "x"}), json!({"data": {"x": text}})).await?;

    let operator = Replica::start(&api, "operator").await?;
    until_leads(&api, &operator).await?;
    apply_policy(&api, "small").await?;
    job(&api, "small", labels::TASK_PROBE, &[]).await?;
    wait::until("all ConfigMaps were looked at", LIMIT, async || {
        let seen = operator.lines("this is no kept database: it is left alone").len();
        Ok((seen >= LABELLED).then_some(()))
    })
    .await?;
    let most = operator.most_memory()?;
    ensure!(most < MOST, "{} MiB", most >> 20);
    Ok(())
}
