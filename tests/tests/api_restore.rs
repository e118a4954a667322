//! The definition of RestoreRequest on a real API server: what it accepts and refuses, and what an update may change; and that every
//! example, of policies too, is accepted. The definitions are installed by the tests themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::v1alpha1::RestoreRequest;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::checkout;
use greenlang_backup_tests::{command, wait};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::{Api, CustomResourceExt as _, ResourceExt as _};
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(1);

fn table() -> Result<Value> {
    let text = std::fs::read_to_string(checkout().join("operator/api/tests/restore_cases.yaml"))?;
    Ok(serde_yaml::from_str(&text)?)
}

/// The base with a case's change; null removes.
fn merged(table: &Value, change: &Value) -> Result<DynamicObject> {
    let mut request = table["base"].clone();
    json_patch::merge(&mut request, change);
    Ok(serde_json::from_value(request)?)
}

async fn install(server: &ApiServer) -> Result<Api<DynamicObject>> {
    let client = &server.cluster.client;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &RestoreRequest::crd()).await?;
    let requests: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), "default", &RestoreRequest::api_resource());
    wait::until("the definition is served", LIMIT, async || {
        Ok(requests.list(&kube::api::ListParams::default()).await.ok().map(drop))
    })
    .await?;
    Ok(requests)
}

#[tokio::test]
async fn the_api_server_judges_requests_and_their_updates_as_the_table_says() -> Result<()> {
    let server = ApiServer::start().await?;
    let (requests, table) = (install(&server).await?, table()?);
    let dry = PostParams { dry_run: true, field_manager: None };
    for list in ["accepted", "refused"] {
        for case in table[list].as_array().context("a list of cases")? {
            let name = case["name"].as_str().context("a name")?;
            let answer = requests.create(&dry, &merged(&table, &case["change"])?).await;
            judge(name, case["message"].as_str(), answer)?;
        }
    }
    for case in table["updates"].as_array().context("a list of updates")? {
        let name = case["name"].as_str().context("a name")?;
        let before = merged(&table, &case["before"])?;
        let before = requests.create(&PostParams::default(), &before).await.context(name.to_owned())?;
        let mut after = merged(&table, &case["after"])?;
        after.metadata.resource_version = before.resource_version();
        let answer = requests.replace(&after.name_any(), &dry, &after).await;
        judge(name, case["message"].as_str(), answer)?;
        requests.delete(&after.name_any(), &DeleteParams::default()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_example_is_accepted() -> Result<()> {
    let server = ApiServer::start().await?;
    let (cluster, checkout) = (&server.cluster, checkout());
    cluster.kube(&format!("apply --server-side -f {}", checkout.join("crds").display())).await?;
    // The namespace that the examples name.
    cluster.kube("create namespace greenlang").await?;
    let files = std::fs::read_dir(checkout.join("examples"))?;
    let files = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    for path in &files {
        // The API server serves a definition a moment after it accepted it.
        wait::until(&format!("{} is accepted", path.display()), LIMIT, async || {
            let mut kubectl = cluster.kubectl();
            kubectl.args(["apply", "--server-side", "--dry-run=server", "-f"]).arg(path);
            let answer = command::output(&mut kubectl, "").await?;
            let is_served = !answer.stderr.contains("no matches for kind");
            assert!(answer.ok || !is_served, "{}: {}", path.display(), answer.quote());
            Ok(answer.ok.then_some(()))
        })
        .await?;
    }
    assert!(files.len() >= 12, "{} examples", files.len());
    Ok(())
}

fn judge(name: &str, refusal: Option<&str>, answer: kube::Result<DynamicObject>) -> Result<()> {
    match (refusal, answer) {
        (None, answer) => drop(answer.with_context(|| name.to_owned())?),
        (Some(_), Ok(_)) => panic!("{name}: was accepted"),
        (Some(wanted), Err(error)) => assert!(error.to_string().contains(wanted), "{name}: {error}"),
    }
    Ok(())
}
