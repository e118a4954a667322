//! What is kept of policies, whoever made them.

use serde_json::{Value, json};

use super::*;
use crate::fixture;

/// A policy as the API server has it, with what people and tools add.
fn stored(namespace: &str) -> Value {
    let mut policy = serde_json::to_value(fixture::policy(namespace, "main")).unwrap();
    policy["metadata"]["generation"] = json!(3);
    policy["metadata"]["resourceVersion"] = json!("7");
    policy["metadata"]["creationTimestamp"] = json!("2025-11-07T00:00:00Z");
    policy["metadata"]["labels"] = json!({"team": "a"});
    policy["metadata"]["managedFields"] = json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]);
    policy["metadata"]["annotations"] = json!({
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "backup.greenlang.io.evil.example/adopt": "x",
        "backup.greenlang.io/adopt": "0123456789ab",
        "run.backup.greenlang.io/database": "now",
    });
    policy["status"] = json!({"observedGeneration": 2, "lastSize": "1 GiB"});
    policy
}

#[expect(clippy::result_large_err, reason = "as what is tested")]
fn read(policy: &Value) -> Result<BackupPolicy, InvalidObject> {
    // As text, as the client does.
    let brought = serde_json::from_str(&policy.to_string()).unwrap();
    kept(brought, &["served".to_owned()].into())
}

#[test]
fn of_a_policy_that_is_served_all_that_decisions_read_is_kept() {
    let full: BackupPolicy = serde_json::from_value(stored("served")).unwrap();
    let policy = read(&stored("served")).unwrap();
    assert_eq!((&policy.spec, &policy.status), (&full.spec, &full.status));
    let annotations =
        [("backup.greenlang.io/adopt", "0123456789ab"), ("run.backup.greenlang.io/database", "now")];
    let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let expected =
        ObjectMeta { annotations: Some(annotations), labels: None, managed_fields: None, ..full.metadata };
    assert_eq!(policy.metadata, expected);
}

/// Lists of empty objects and long maps are what takes the most memory once it is read.
#[test]
fn of_a_policy_that_is_not_served_little_is_kept_however_large_it_is() {
    let mut policy = stored("elsewhere");
    policy["metadata"]["annotations"]["backup.greenlang.io/adopt"] = json!("x".repeat(200_000));
    policy["metadata"]["labels"] = (0..20_000).map(|number| (format!("l{number}"), json!(""))).collect();
    policy["spec"]["jobTemplate"] = json!({"tolerations": vec![json!({}); 250_000]});
    let kept = read(&policy).unwrap();
    assert_eq!(kept.spec, BackupPolicySpec::default());
    assert_eq!(kept.status.as_ref().unwrap().last_size.as_deref(), Some("1 GiB"));
    assert_eq!((kept.metadata.generation, kept.metadata.resource_version.as_deref()), (Some(3), Some("7")));
    assert!(serde_json::to_string(&kept).unwrap().len() < 1_000, "{kept:?}");
}

#[test]
fn a_spec_that_is_too_large_or_cannot_be_read_is_told_in_a_few_words() {
    let mut large = stored("served");
    large["spec"]["jobTemplate"] = json!({"tolerations": vec![json!({}); 100_000]});
    let mut odd = stored("served");
    odd["spec"]["suspend"] = json!("x".repeat(100_000));
    let mut bare = stored("served");
    bare.as_object_mut().unwrap().remove("spec");
    let mut status = stored("served");
    status["status"]["backups"] = json!("many");
    for (policy, word) in [
        (large, "and no more than 262144 are read"),
        (odd, "spec: invalid type"),
        (bare, "it has no spec"),
        (status, "status: invalid type"),
    ] {
        let InvalidObject { error, metadata } = read(&policy).unwrap_err();
        assert!(error.contains(word) && error.len() < 700, "{error}");
        assert_eq!((metadata.name.as_deref(), metadata.generation), (Some("main"), Some(3)));
    }
}
