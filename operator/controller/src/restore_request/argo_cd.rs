//! The Applications of Argo CD that the applications of a request are marked as parts of: how they are. I/O, no decisions.

use std::collections::BTreeSet;

use greenlang_backup_api::labels::{ARGO_CD_SKIP_RECONCILE, ARGO_CD_TRACKING_ID, INSTANCE};
use greenlang_backup_api::names::is_object_name;
use greenlang_backup_api::v1alpha1::{WorkloadKind, WorkloadRef};
use greenlang_backup_plan::restore_request::{
    ApplicationRef, ApplicationState, Forbidden, ObservedApplication, PartOf,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::managers::annotation_manager;
use super::workloads::ledger_of;
use crate::context::Context;
use crate::errors::Error;

/// What the API server calls them.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application"),
        "applications",
    )
}

/// The Application that a workload is marked as a part of. `home` is the namespace of Argo CD itself.
pub fn part_of(workload: &WorkloadRef, metadata: &ObjectMeta, home: &str) -> Option<PartOf> {
    let mark = metadata.annotations.as_ref().and_then(|all| all.get(ARGO_CD_TRACKING_ID));
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    if let Some(application) = mark.and_then(|mark| tracked(mark, workload, namespace, home)) {
        return Some(PartOf { application, by_annotation: true });
    }
    let name = metadata.labels.as_ref()?.get(INSTANCE).filter(|name| !name.is_empty())?;
    let application = ApplicationRef { namespace: home.to_owned(), name: name.clone() };
    Some(PartOf { application, by_annotation: false })
}

/// Reads `<application>:<group>/<kind>:<namespace>/<name>`, where an Application in another namespace than Argo CD's is
/// `<namespace>_<application>`. A mark that names another object came with a copy, and counts for nothing; neither does one whose
/// names no object can have: they become parts of URLs as they are, and asking for them would fail at every pass.
fn tracked(mark: &str, workload: &WorkloadRef, namespace: &str, home: &str) -> Option<ApplicationRef> {
    let (application, rest) = mark.split_once(':')?;
    let (group, name) = (group(workload.kind), &workload.name);
    if rest != format!("{group}/{}:{namespace}/{name}", workload.kind.as_str()) {
        return None;
    }
    let (namespace, name) = application.split_once('_').unwrap_or((home, application));
    let can_be = [namespace, name].into_iter().all(is_object_name);
    can_be.then(|| ApplicationRef { namespace: namespace.to_owned(), name: name.to_owned() })
}

const fn group(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Deployment | WorkloadKind::StatefulSet => "apps",
        WorkloadKind::CronJob => "batch",
    }
}

/// Looks at these Applications, with what they have in this namespace. Without Argo CD there are none.
pub async fn look(
    applications: BTreeSet<ApplicationRef>,
    namespace: &str,
    context: &Context,
) -> Result<Vec<ObservedApplication>, Error> {
    let mut seen = Vec::with_capacity(applications.len());
    for application in applications {
        let home = &application.namespace;
        let objects: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), home, &resource());
        let state = match objects.get(&application.name).await {
            Ok(found) => Ok(Some(state(&found, namespace))),
            Err(kube::Error::Api(status)) if status.is_forbidden() => Err(Forbidden),
            // By its code: without any resource of the group the server answers 404 in plain text.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => return Err(error.into()),
        };
        seen.push(ObservedApplication { application, state });
    }
    Ok(seen)
}

fn state(object: &DynamicObject, namespace: &str) -> ApplicationState {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let fields = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let phase = status["operationState"]["phase"].as_str().unwrap_or_default();
    let mut owners = object.owner_references().iter();
    ApplicationState {
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        ledger: ledger_of(&object.metadata),
        skip_reconcile: object.annotations().get(ARGO_CD_SKIP_RECONCILE).cloned(),
        skipped_by: annotation_manager(fields, ARGO_CD_SKIP_RECONCILE).map(|(manager, _)| manager),
        heals: heals(spec, status, namespace),
        operating: object.data["operation"].is_object() || ["Running", "Terminating"].contains(&phase),
        made_by: owners.find(|owner| owner.kind == "ApplicationSet").map(|owner| owner.name.clone()),
    }
}

/// Workloads of a namespace that it would start again. It has only what its status lists: whoever writes a mark to a workload decides
/// nothing about an Application.
fn heals(spec: &Value, status: &Value, namespace: &str) -> Vec<WorkloadRef> {
    let automated = &spec["syncPolicy"]["automated"];
    if automated["selfHeal"] != true || automated["enabled"] == false {
        return vec![];
    }
    let resources = status["resources"].as_array().into_iter().flatten();
    let here = resources.filter(|resource| resource["namespace"] == namespace);
    let workloads = here.filter_map(|resource| {
        let kinds = [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::CronJob];
        let is_it =
            |kind: &WorkloadKind| resource["kind"] == kind.as_str() && resource["group"] == group(*kind);
        let kind = kinds.into_iter().find(is_it)?;
        Some(WorkloadRef { kind, name: resource["name"].as_str()?.to_owned() })
    });
    workloads.filter(|workload| !leaves(spec, workload, namespace)).collect()
}

/// Whether it leaves to others how many replicas a workload has, or whether it is suspended.
fn leaves(spec: &Value, workload: &WorkloadRef, namespace: &str) -> bool {
    let field = match workload.kind {
        WorkloadKind::Deployment | WorkloadKind::StatefulSet => "replicas",
        WorkloadKind::CronJob => "suspend",
    };
    let has =
        |list: &Value, text: &str| list.as_array().is_some_and(|list| list.iter().any(|one| one == text));
    let differences = spec["ignoreDifferences"].as_array().into_iter().flatten();
    let mut of_it = differences.filter(|rule| {
        let said = |key: &str| rule[key].as_str().filter(|text| !text.is_empty());
        let is_or_any = |key: &str, value: &str| said(key).is_some_and(|text| text == value || text == "*");
        let is_or_none = |key: &str, value: &str| said(key).is_none_or(|text| text == value);
        is_or_any("group", group(workload.kind))
            && is_or_any("kind", workload.kind.as_str())
            && is_or_none("name", &workload.name)
            && is_or_none("namespace", namespace)
    });
    of_it.any(|rule| {
        has(&rule["jsonPointers"], &format!("/spec/{field}"))
            || has(&rule["jqPathExpressions"], &format!(".spec.{field}"))
    })
}

#[cfg(test)]
#[path = "argo_cd_tests.rs"]
mod tests;
