//! The definition on a real API server: what it accepts and refuses, what `kubectl explain` teaches, that applying twice
//! changes nothing, and that one object which cannot be read holds up no other.

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::operator::checkout;
use greenlang_backup_tests::{policy, suite, wait};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt as _, ResourceExt as _};
use serde_json::{Value, json};

const NAMES: &[&str] = &["rules", "twice", "unreadable"];
const MINUTE: Duration = Duration::from_secs(60);

fn table() -> Result<Value> {
    let text = std::fs::read_to_string(checkout().join("operator/api/tests/cases.yaml"))?;
    Ok(serde_yaml::from_str(&text)?)
}

/// The base with a case's change; null removes.
fn merged(table: &Value, change: &Value) -> Value {
    let mut policy = table["base"].clone();
    json_patch::merge(&mut policy, change);
    policy
}

fn dynamic(cluster: &Cluster, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(cluster.client.clone(), namespace, &BackupPolicy::api_resource())
}

#[tokio::test]
async fn the_api_server_judges_as_the_table_says() -> Result<()> {
    let (cluster, namespace) = suite::enter(NAMES, "rules").await?;
    let (api, table) = (dynamic(&cluster, &namespace), table()?);
    let dry = PostParams {
        dry_run: true,
        field_manager: None,
    };
    let mut judged = 0;
    for list in ["accepted", "refused"] {
        for case in table[list].as_array().context("a list of cases")? {
            let name = case["name"].as_str().context("a name")?;
            let object: DynamicObject = serde_json::from_value(merged(&table, &case["change"]))?;
            let answer = api.create(&dry, &object).await;
            judged += 1;
            match (list, answer) {
                ("accepted", answer) => {
                    answer.with_context(|| name.to_owned())?;
                }
                (_, Ok(_)) => panic!("{name}: was accepted"),
                (_, Err(error)) => {
                    let wanted = case["message"].as_str().context("a message")?;
                    assert!(error.to_string().contains(wanted), "{name}: {error}");
                }
            }
        }
    }
    assert!(judged > 20, "the table has lost its cases");
    Ok(())
}

#[tokio::test]
async fn explain_teaches_and_applying_twice_changes_nothing() -> Result<()> {
    let (cluster, namespace) = suite::enter(NAMES, "twice").await?;
    for (field, word) in [
        ("backuppolicy.spec.backups.schedules.cron", "SUN#1"),
        ("bkp.spec.encryption.age.recipients", "age-keygen"),
        ("backuppolicy.spec.postgres.sslMode", "VerifyFull"),
        ("backuppolicy.status.available", "restorable"),
    ] {
        let text = cluster.kube(&format!("explain {field}")).await?;
        assert!(text.contains(word), "{field} does not speak of {word}:\n{text}");
    }

    let base = json!({"metadata": {"name": "twice", "namespace": namespace}, "spec": {"suspend": true}});
    let object = merged(&table()?, &base);
    let first = policy::apply(&cluster, &object).await?;
    policy::until(&cluster, &first, "the operator has seen it", MINUTE, |status| {
        status.observed_generation == Some(1)
    })
    .await?;
    let second = policy::apply(&cluster, &object).await?;
    assert_eq!((first.generation(), second.generation()), (1, 1));
    assert_eq!(first.spec, second.spec);
    let owned = second.managed_fields().iter().any(|entry| {
        entry.manager.as_deref() == Some("greenlang-backup-operator")
            && entry
                .fields_v1
                .as_ref()
                .is_some_and(|fields| fields.0.get("f:spec").is_some())
    });
    assert!(
        !owned,
        "the operator must not own fields of the spec, or Git and it would fight"
    );
    Ok(())
}

#[tokio::test]
async fn an_object_that_cannot_be_read_holds_up_no_other() -> Result<()> {
    let (cluster, namespace) = suite::enter(NAMES, "unreadable").await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let policies = dynamic(&cluster, &namespace);
    let name = BackupPolicy::crd_name();
    let schema = "/spec/versions/0/schema/openAPIV3Schema";
    let strict = serde_json::to_value(definitions.get(name).await?)?
        .pointer(schema)
        .context("a schema")?
        .clone();
    let set_schema = async |schema_value: &Value| {
        let patch: json_patch::Patch =
            serde_json::from_value(json!([{"op": "replace", "path": schema, "value": schema_value}]))?;
        definitions
            .patch(name, &PatchParams::default(), &Patch::<()>::Json(patch))
            .await?;
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
        let conditions = object.data["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(conditions
            .iter()
            .any(|c| c["type"] == conditions::READY && c["reason"] == "InvalidObject")
            .then_some(()))
    })
    .await?;
    let change = json!({"metadata": {"name": "readable", "namespace": namespace}});
    let good = policy::apply(cluster, &merged(&table()?, &change)).await?;
    policy::until(cluster, &good, "the operator looks after it", MINUTE, |status| {
        status.probe.is_some()
    })
    .await?;
    Ok(())
}
