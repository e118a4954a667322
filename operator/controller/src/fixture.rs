//! A policy for tests, from the table of cases that the API's tests judge. No I/O.

use greenlang_backup_api::v1alpha1::BackupPolicy;
use serde_json::json;

/// A valid policy.
pub fn policy(namespace: &str, name: &str) -> BackupPolicy {
    let table: serde_json::Value = serde_yaml::from_str(include_str!("../../api/tests/cases.yaml")).unwrap();
    let mut policy = table["base"].clone();
    policy["metadata"] = json!({"name": name, "namespace": namespace, "uid": format!("uid-of-{name}")});
    serde_json::from_value(policy).unwrap()
}
