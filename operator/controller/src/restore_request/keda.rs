//! The ScaledObjects of KEDA that scale the applications of a request: how they are. I/O, no decisions.

use std::collections::BTreeSet;

use greenlang_backup_api::labels::{KEDA_PAUSED, KEDA_PAUSED_REPLICAS};
use greenlang_backup_api::v1alpha1::{WorkloadKind, WorkloadRef};
use greenlang_backup_plan::restore_request::{Forbidden, ScaledObjectState};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::managers::annotation_manager;
use super::workloads::ledger_of;
use crate::context::Context;
use crate::errors::Error;
use crate::pages::each;

/// Seconds between two looks of KEDA at its triggers, where a ScaledObject does not say.
const POLLING_SECONDS: u64 = 30;

/// What the API server calls them.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject"),
        "scaledobjects",
    )
}

/// Looks at those that scale one of these workloads, or have one of these names. Without KEDA there are none.
pub async fn look(
    namespace: &str,
    workloads: &BTreeSet<WorkloadRef>,
    names: &BTreeSet<String>,
    context: &Context,
) -> Result<Result<Vec<ScaledObjectState>, Forbidden>, Error> {
    let objects: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource());
    let concerns = |seen: &ScaledObjectState| {
        names.contains(&seen.name) || seen.target.as_ref().is_some_and(|target| workloads.contains(target))
    };
    let mut found = vec![];
    let take = |object| found.extend(Some(state(&object)).filter(concerns));
    match each(&objects, &ListParams::default(), take).await {
        Ok(()) => Ok(Ok(found)),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Err(Forbidden)),
        // By its code: without any resource of the group the server answers 404 in plain text.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Ok(vec![])),
        Err(error) => Err(error.into()),
    }
}

fn state(object: &DynamicObject) -> ScaledObjectState {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let annotation = |key: &str| object.annotations().get(key).cloned();
    let fields = object.metadata.managed_fields.as_deref().unwrap_or_default();
    ScaledObjectState {
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        target: target(&spec["scaleTargetRef"]),
        ledger: ledger_of(&object.metadata),
        paused_replicas: annotation(KEDA_PAUSED_REPLICAS),
        paused_by: annotation_manager(fields, KEDA_PAUSED_REPLICAS)
            .and_then(|(manager, time)| Some((manager, time?))),
        paused: annotation(KEDA_PAUSED).is_some_and(|said| is_true(&said)),
        least: count(&spec["idleReplicaCount"]).or(count(&spec["minReplicaCount"])).unwrap_or_default(),
        polling_seconds: u32::try_from(spec["pollingInterval"].as_u64().unwrap_or(POLLING_SECONDS))
            .unwrap_or(u32::MAX),
        paused_at: count(&status["pausedReplicaCount"]),
        active: active(&status["conditions"]),
    }
}

fn count(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|count| i32::try_from(count).ok())
}

/// What it scales, if a request could stop that. Without a kind it is a Deployment.
fn target(reference: &Value) -> Option<WorkloadRef> {
    let group = reference["apiVersion"].as_str().filter(|version| !version.is_empty());
    if group.is_some_and(|version| !version.starts_with("apps/")) {
        return None;
    }
    let kind = match reference["kind"].as_str().unwrap_or_default() {
        "" | "Deployment" => WorkloadKind::Deployment,
        "StatefulSet" => WorkloadKind::StatefulSet,
        _ => return None,
    };
    Some(WorkloadRef { kind, name: reference["name"].as_str()?.to_owned() })
}

/// As KEDA reads such an annotation: what is not Go's word for false is true.
fn is_true(said: &str) -> bool {
    !["0", "f", "F", "false", "FALSE", "False"].contains(&said)
}

fn active(conditions: &Value) -> Option<bool> {
    let mut all = conditions.as_array()?.iter();
    match all.find(|condition| condition["type"] == "Active")?["status"].as_str()? {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(annotations: &Value, spec: &Value, status: &Value) -> ScaledObjectState {
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "by-queue", "namespace": "greenlang", "uid": "u", "resourceVersion": "7",
                "annotations": annotations,
                "managedFields": [{"manager": "kubectl-annotate", "operation": "Update", "time": "2025-11-07T02:00:00Z",
                    "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:annotations": {"f:autoscaling.keda.sh/paused-replicas": {}}}}}]},
            "spec": spec, "status": status,
        });
        state(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn what_keda_says_is_read() {
        let annotations = json!({"autoscaling.keda.sh/paused-replicas": "2", "autoscaling.keda.sh/paused": "true",
            "backup.greenlang.io/quiesced": r#"{"request": "back", "requestUid": "u-1", "annotation": "3"}"#});
        let conditions = json!([{"type": "Ready", "status": "True"}, {"type": "Active", "status": "False"}]);
        let seen = object(
            &annotations,
            &json!({"scaleTargetRef": {"name": "worker"}, "minReplicaCount": 2, "idleReplicaCount": 1, "pollingInterval": 5}),
            &json!({"pausedReplicaCount": 2, "conditions": conditions}),
        );
        let worker = WorkloadRef { kind: WorkloadKind::Deployment, name: "worker".into() };
        assert_eq!(seen.target, Some(worker));
        assert_eq!((seen.paused_replicas.as_deref(), seen.paused), (Some("2"), true));
        assert_eq!((seen.least, seen.polling_seconds), (1, 5));
        assert_eq!((seen.paused_at, seen.active), (Some(2), Some(false)));
        assert_eq!(seen.paused_by.unwrap().0, "kubectl-annotate");
        assert_eq!(seen.ledger.unwrap().annotation.as_deref(), Some("3"));
    }

    #[test]
    fn what_is_not_said_is_what_keda_takes_for_it() {
        let seen = object(&json!({"autoscaling.keda.sh/paused": "false"}), &json!({}), &json!({}));
        assert_eq!((seen.target, seen.paused, seen.ledger), (None, false, None));
        assert_eq!((seen.least, seen.polling_seconds, seen.paused_at, seen.active), (0, 30, None, None));
        assert!(is_true("yes"), "KEDA pauses whatever it cannot read");
        for (reference, kind) in [
            (
                json!({"name": "a", "kind": "StatefulSet", "apiVersion": "apps/v1"}),
                Some(WorkloadKind::StatefulSet),
            ),
            (json!({"name": "a", "kind": "", "apiVersion": ""}), Some(WorkloadKind::Deployment)),
            (json!({"name": "a", "kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1"}), None),
            (json!({"name": "a", "kind": "Deployment", "apiVersion": "example.com/v1"}), None),
        ] {
            assert_eq!(target(&reference).map(|target| target.kind), kind, "{reference}");
        }
    }
}
