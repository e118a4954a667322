//! A policy and a request for tests, from the tables of cases that the API's tests judge. No I/O.

use greenlang_backup_api::v1alpha1::{BackupPolicy, RestoreRequest};
use serde::de::DeserializeOwned;
use serde_json::json;

/// A valid policy.
pub fn policy(namespace: &str, name: &str) -> BackupPolicy {
    base(include_str!("../../api/tests/cases.yaml"), namespace, name)
}

/// A valid request.
pub fn request(namespace: &str, name: &str) -> RestoreRequest {
    base(include_str!("../../api/tests/restore_cases.yaml"), namespace, name)
}

fn base<K: DeserializeOwned>(table: &str, namespace: &str, name: &str) -> K {
    let table: serde_json::Value = serde_yaml::from_str(table).unwrap();
    let mut object = table["base"].clone();
    object["metadata"] = json!({"name": name, "namespace": namespace, "uid": format!("uid-of-{name}")});
    serde_json::from_value(object).unwrap()
}
