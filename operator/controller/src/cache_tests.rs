//! What is kept of policies and requests, whoever made them.

use greenlang_backup_api::v1alpha1::RestorePhase;
use serde_json::{Value, json};

use super::*;
use crate::fixture;

/// An object as the API server has it, with what people and tools add.
fn as_stored(object: impl serde::Serialize, status: Value) -> Value {
    let mut object = serde_json::to_value(object).unwrap();
    object["metadata"]["generation"] = json!(3);
    object["metadata"]["resourceVersion"] = json!("7");
    object["metadata"]["creationTimestamp"] = json!("2025-11-07T00:00:00Z");
    object["metadata"]["labels"] = json!({"team": "a"});
    object["metadata"]["managedFields"] = json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]);
    object["metadata"]["annotations"] = json!({
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "backup.greenlang.io.evil.example/adopt": "x",
        "backup.greenlang.io/adopt": "0123456789ab",
        "run.backup.greenlang.io/database": "now",
    });
    object["status"] = status;
    object
}

fn stored(namespace: &str) -> Value {
    as_stored(fixture::policy(namespace, "main"), json!({"observedGeneration": 2, "lastSize": "1 GiB"}))
}

fn stored_request(namespace: &str) -> Value {
    let status = json!({"observedGeneration": 2, "phase": "Succeeded", "progress": "x"});
    as_stored(fixture::request(namespace, "back"), status)
}

#[expect(clippy::result_large_err, reason = "as what is tested")]
fn read<K: Kept>(object: &Value) -> Result<K, InvalidObject> {
    // As text, as the client does.
    let brought: Brought<K> = serde_json::from_str(&object.to_string()).unwrap();
    kept(brought, &["served".to_owned()].into())
}

#[test]
fn of_a_policy_that_is_served_all_that_decisions_read_is_kept() {
    let full: BackupPolicy = serde_json::from_value(stored("served")).unwrap();
    let policy: BackupPolicy = read(&stored("served")).unwrap();
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
    let kept: BackupPolicy = read(&policy).unwrap();
    assert_eq!(kept.spec, BackupPolicySpec::default());
    assert_eq!(kept.status.as_ref().unwrap().last_size.as_deref(), Some("1 GiB"));
    assert_eq!((kept.metadata.generation, kept.metadata.resource_version.as_deref()), (Some(3), Some("7")));
    assert!(serde_json::to_string(&kept).unwrap().len() < 1_000, "{kept:?}");
}

#[test]
fn of_a_request_that_is_served_all_that_decisions_read_is_kept() {
    let full: RestoreRequest = serde_json::from_value(stored_request("served")).unwrap();
    let request: RestoreRequest = read(&stored_request("served")).unwrap();
    assert_eq!((&request.spec, &request.status), (&full.spec, &full.status));
    assert_eq!(request.spec.database.credentials_secret_ref.name, "db-admin");
}

#[test]
fn of_a_request_that_is_not_served_little_is_kept_however_large_it_is() {
    let mut request = stored_request("elsewhere");
    request["spec"]["jobTemplate"] = json!({"tolerations": vec![json!({}); 250_000]});
    let kept: RestoreRequest = read(&request).unwrap();
    assert_eq!(kept.spec, RestoreRequestSpec::default());
    assert_eq!(kept.status.as_ref().unwrap().phase, Some(RestorePhase::Succeeded));
    assert!(serde_json::to_string(&kept).unwrap().len() < 1_000, "{kept:?}");

    request["metadata"]["namespace"] = json!("served");
    let InvalidObject { error, .. } = read::<RestoreRequest>(&request).unwrap_err();
    assert!(
        error.ends_with("no more than 262144 are read: shorten its checks and its jobTemplate"),
        "{error}"
    );
}

#[test]
fn of_a_job_all_is_read_if_it_is_no_longer_than_ours() {
    let stored = |text: &str| {
        let env = json!([{"name": "GREENLANG_TASK", "value": text}]);
        let spec = json!({"template": {"spec": {"containers": [{"name": "runner", "env": env}]}}});
        let status = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        json!({"metadata": {"name": "a", "namespace": "n"}, "spec": spec, "status": status})
    };
    let short = |job: &Value| serde_json::from_str::<Brought<Job>>(&job.to_string()).unwrap().short();
    let longest = stored(&"x".repeat(400_000));
    let full: Job = serde_json::from_value(longest.clone()).unwrap();
    let read = short(&longest).unwrap();
    assert_eq!((read.spec, read.status), (full.spec, full.status));
    assert_eq!(read.metadata.name.as_deref(), Some("a"));
    assert_eq!(short(&stored(&"x".repeat(600_000))), None);
    assert_eq!(short(&json!({"metadata": {"name": "a"}})), None);
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
        let InvalidObject { error, metadata } = read::<BackupPolicy>(&policy).unwrap_err();
        assert!(error.contains(word) && error.len() < 700, "{error}");
        assert_eq!((metadata.name.as_deref(), metadata.generation), (Some("main"), Some(3)));
    }
}
