//! One object that this release cannot read holds up no other. A program of its own, because it loosens the definition for
//! a while.

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::operator::checkout;
use greenlang_backup_tests::{policy, suite, wait};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt as _};
use serde_json::{Value, json};

const NAMES: &[&str] = &["unreadable"];
const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_object_that_cannot_be_read_holds_up_no_other() -> Result<()> {
    let (cluster, namespace) = suite::enter(NAMES, "unreadable").await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let policies: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), &namespace, &BackupPolicy::api_resource());
    let name = BackupPolicy::crd_name();
    let schema = "/spec/versions/0/schema/openAPIV3Schema";
    let strict =
        serde_json::to_value(definitions.get(name).await?)?.pointer(schema).context("a schema")?.clone();
    let set_schema = async |schema_value: &Value| {
        let patch: json_patch::Patch =
            serde_json::from_value(json!([{"op": "replace", "path": schema, "value": schema_value}]))?;
        definitions.patch(name, &PatchParams::default(), &Patch::<()>::Json(patch)).await?;
        anyhow::Ok(())
    };
    // As after a downgrade: the API server holds what this release cannot read.
    set_schema(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await?;
    let told = tell_of_the_unreadable(&cluster, &policies, &namespace).await;
    let _ = policies.delete("unreadable", &DeleteParams::default()).await;
    set_schema(&strict).await?;
    told
}

async fn tell_of_the_unreadable(
    cluster: &Cluster,
    policies: &Api<DynamicObject>,
    namespace: &str,
) -> Result<()> {
    let bad = json!({"apiVersion": BackupPolicy::API_VERSION, "kind": BackupPolicy::KIND,
        "metadata": {"name": "unreadable"}, "spec": {"backups": "all of them, please"}});
    let bad: DynamicObject = serde_json::from_value(bad)?;
    wait::until("the relaxed definition is in use", MINUTE, async || {
        policies.create(&PostParams::default(), &bad).await?;
        Ok(Some(()))
    })
    .await?;
    wait::until_in(cluster, namespace, "its status says so", MINUTE, async || {
        let object = policies.get("unreadable").await?;
        let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        Ok(conditions
            .iter()
            .any(|c| c["type"] == conditions::READY && c["reason"] == "InvalidObject")
            .then_some(()))
    })
    .await?;
    let table: Value =
        serde_yaml::from_str(&std::fs::read_to_string(checkout().join("operator/api/tests/cases.yaml"))?)?;
    let mut good = table["base"].clone();
    good["metadata"] = json!({"name": "readable", "namespace": namespace});
    let good = policy::apply(cluster, &good).await?;
    policy::until(cluster, &good, "the operator looks after it", MINUTE, |status| status.probe.is_some())
        .await?;
    Ok(())
}
