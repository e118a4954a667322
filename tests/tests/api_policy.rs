//! The definition on a real API server: what it accepts and refuses, what `kubectl explain` teaches, and that applying twice
//! changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::operator::checkout;
use greenlang_backup_tests::{policy, suite, wait};
use kube::api::{DynamicObject, PostParams};
use kube::{Api, CustomResourceExt as _, ResourceExt as _};
use serde_json::{Value, json};

const NAMES: &[&str] = &["rules", "twice"];
const MINUTE: Duration = Duration::from_mins(1);

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
    let dry = PostParams { dry_run: true, field_manager: None };
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
        ("backuppolicy.spec.postgres.sslMode", "impostors"),
        ("backuppolicy.status.available", "restorable"),
    ] {
        // The API server publishes a definition's schema a moment after it accepted it.
        wait::until(&format!("`kubectl explain {field}` speaks of {word}"), MINUTE, async || {
            let text = cluster.kube(&format!("explain {field}")).await?;
            Ok(text.contains(word).then_some(()))
        })
        .await?;
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
    let second = policy::api(&cluster, &namespace).get("twice").await?;
    let owns = |field: &str| {
        let ours = second
            .managed_fields()
            .iter()
            .filter(|entry| entry.manager.as_deref() == Some(labels::FIELD_MANAGER));
        ours.filter_map(|entry| entry.fields_v1.as_ref()).any(|fields| fields.0.get(field).is_some())
    };
    assert!(owns("f:status"));
    assert!(!owns("f:spec"), "the operator must not own fields of the spec, or Git and it would fight");
    Ok(())
}
