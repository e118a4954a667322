//! The objects of the model: a request, its policy, an application.

use greenlang_backup_api::v1alpha1::{BackupPolicy, RestoreRequest, WorkloadKind, WorkloadRef};
use greenlang_backup_plan::job::RunnerSettings;
use greenlang_backup_plan::restore_request::{
    ApplicationRef, ApplicationState, PartOf, ScaledObjectState, WorkloadState,
};
use serde_json::{Value, json};

use super::DATABASE;

pub fn request(change: &Value) -> RestoreRequest {
    let mut request = json!({
        "apiVersion": "backup.greenlang.io/v1alpha1", "kind": "RestoreRequest",
        "metadata": {"name": "back", "namespace": "greenlang", "uid": "u-1", "generation": 1},
        "spec": {
            "policyRef": {"name": "main"},
            "source": {"backup": {"name": "database", "id": "20251107-020000"}},
            "database": {"credentialsSecretRef": {"name": "admin"}},
            "identitySecretRef": {"name": "identity"},
            "confirm": DATABASE,
            "quiesce": {"drainSeconds": 10, "workloads": [
                {"kind": "Deployment", "name": "api"}, {"kind": "StatefulSet", "name": "worker"}, {"kind": "CronJob", "name": "nightly"}]},
        },
    });
    merge(&mut request, change);
    serde_json::from_value(request).unwrap()
}

pub fn merge(target: &mut Value, change: &Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                if value.is_null() {
                    target.remove(key);
                } else {
                    merge(target.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (target, change) => *target = change.clone(),
    }
}

pub fn policy() -> BackupPolicy {
    serde_json::from_value(json!({
        "apiVersion": "backup.greenlang.io/v1alpha1", "kind": "BackupPolicy",
        "metadata": {"name": "main", "namespace": "greenlang", "uid": "p-1"},
        "spec": {
            "storage": {"s3": {"bucket": "greenlang-backups"}},
            "encryption": {"age": {"recipients": ["age1one", "age1two"]}},
            "postgres": {"host": "db", "database": DATABASE, "credentialsSecretRef": {"name": "db"}},
            "backups": [{"name": "database", "postgresDump": {}}],
        },
    }))
    .unwrap()
}

pub fn workload(replicas: Option<i32>, suspend: Option<bool>) -> WorkloadState {
    WorkloadState {
        uid: "w".into(),
        resource_version: "1".into(),
        replicas,
        ready_replicas: replicas.unwrap_or(0),
        suspend,
        pods: replicas.unwrap_or(0).unsigned_abs(),
        jobs: vec![],
        ledger: None,
        managed_by: Some("helm".into()),
        autoscaler: None,
        autoscaled_for: None,
        part_of: None,
        volumes_would_go: false,
    }
}

/// The ScaledObject of a workload, which something triggers.
pub fn scaled_object(kind: WorkloadKind, name: &str) -> ScaledObjectState {
    ScaledObjectState {
        name: format!("{name}-by-queue"),
        uid: "s".into(),
        resource_version: "1".into(),
        target: Some(WorkloadRef { kind, name: name.into() }),
        ledger: None,
        paused_replicas: None,
        paused_by: None,
        paused: false,
        least: 0,
        polling_seconds: 30,
        paused_at: None,
        active: Some(true),
    }
}

pub fn shop() -> ApplicationRef {
    ApplicationRef { namespace: "argocd".into(), name: "shop".into() }
}

/// The mark of a part of the Application `shop`.
pub fn part_of_shop() -> PartOf {
    PartOf { application: shop(), by_annotation: true }
}

/// An Application that starts again what it has.
pub fn application(heals: Vec<WorkloadRef>) -> ApplicationState {
    ApplicationState {
        uid: "a".into(),
        resource_version: "1".into(),
        ledger: None,
        skip_reconcile: None,
        skipped_by: None,
        heals,
        operating: false,
        made_by: None,
    }
}

pub fn runner() -> RunnerSettings {
    RunnerSettings {
        image: "i".into(),
        image_pull_policy: "Never".into(),
        cluster_uid: "c".into(),
        service_account: "s".into(),
    }
}
