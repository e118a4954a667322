//! The applications that a request stops: how they are, and their patches. I/O, no decisions.

use std::collections::BTreeSet;

use greenlang_backup_api::labels;
use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{RestoreRequest, WorkloadKind, WorkloadRef};
use greenlang_backup_plan::restore_request::{
    ApplicationRef, Forbidden, ObservedApplication, ObservedWorkload, PatchRefusal, Patched,
    ScaledObjectState, WorkloadState,
};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::Selector;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::managers::{replicas_manager, suspend_manager};
use super::{argo_cd, cron_jobs, keda};
use crate::context::Context;
use crate::errors::Error;
use crate::pages::{LightPod, each};
use crate::{crash, writes};

/// The applications of a request, and who else scales or starts them.
pub struct Found {
    pub workloads: Vec<ObservedWorkload>,
    pub scaled_objects: Result<Vec<ScaledObjectState>, Forbidden>,
    pub applications: Vec<ObservedApplication>,
}

/// Looks at all that spec or ledger names.
pub async fn look(request: &RestoreRequest, context: &Context) -> Result<Found, Error> {
    let quiesced = || request.status.iter().flat_map(|status| &status.quiesced);
    let named = request.spec.quiesce.iter().flat_map(|quiesce| quiesce.workloads.iter().cloned());
    let recorded = quiesced().map(|entry| WorkloadRef { kind: entry.kind, name: entry.name.clone() });
    let wanted: BTreeSet<WorkloadRef> = named.chain(recorded).collect();
    if wanted.is_empty() {
        return Ok(Found { workloads: vec![], scaled_objects: Ok(vec![]), applications: vec![] });
    }
    let paused = quiesced().filter_map(|entry| entry.scaled_object.as_ref());
    let paused = paused.map(|paused| paused.name.clone()).collect();
    let namespace = request.namespace().unwrap_or_default();
    let scaled_objects = keda::look(&namespace, &wanted, &paused, context).await?;
    let workloads = look_at_workloads(&namespace, wanted, context).await?;
    // Marks count only until the ledger is there: nothing that somebody writes later keeps the applications from coming back.
    let marked = workloads.iter().filter(|_| quiesced().next().is_none());
    let states = marked.filter_map(|seen| seen.state.as_ref());
    let parts = states.filter_map(|state| Some(state.part_of.as_ref()?.application.clone()));
    let applications = argo_cd::look(skipped(request).chain(parts).collect(), &namespace, context).await?;
    Ok(Found { workloads, scaled_objects, applications })
}

/// The Applications that the ledger names.
pub fn skipped(request: &RestoreRequest) -> impl Iterator<Item = ApplicationRef> {
    let entries = request.status.iter().flat_map(|status| &status.skipped_applications);
    entries.map(|entry| ApplicationRef { namespace: entry.namespace.clone(), name: entry.name.clone() })
}

async fn look_at_workloads(
    namespace: &str,
    wanted: BTreeSet<WorkloadRef>,
    context: &Context,
) -> Result<Vec<ObservedWorkload>, Error> {
    let mut autoscalers: Vec<HorizontalPodAutoscaler> = vec![];
    let all = Api::namespaced(context.client.clone(), namespace);
    let is_wanted = |one: &HorizontalPodAutoscaler| wanted.iter().any(|workload| targets(one, workload));
    each(&all, &ListParams::default(), |one| autoscalers.extend(Some(one).filter(is_wanted))).await?;
    let eye = Eye { namespace, context, autoscalers };
    let mut seen = Vec::with_capacity(wanted.len());
    for workload in wanted {
        let state = eye.state(&workload).await?;
        seen.push(ObservedWorkload { workload, state });
    }
    Ok(seen)
}

/// Looks in one namespace.
struct Eye<'a> {
    namespace: &'a str,
    context: &'a Context,
    autoscalers: Vec<HorizontalPodAutoscaler>,
}

impl Eye<'_> {
    async fn state(&self, workload: &WorkloadRef) -> Result<Option<WorkloadState>, Error> {
        let name = &workload.name;
        match workload.kind {
            WorkloadKind::Deployment => {
                let Some(found) = self.api::<Deployment>().get_opt(name).await? else { return Ok(None) };
                let (spec, status) = (found.spec.unwrap_or_default(), found.status.unwrap_or_default());
                let mut state = self.scalable(workload, &found.metadata, &spec.selector).await?;
                state.replicas = Some(spec.replicas.unwrap_or(1));
                state.ready_replicas = status.ready_replicas.unwrap_or_default();
                Ok(Some(state))
            }
            WorkloadKind::StatefulSet => {
                let Some(found) = self.api::<StatefulSet>().get_opt(name).await? else { return Ok(None) };
                let (spec, status) = (found.spec.unwrap_or_default(), found.status.unwrap_or_default());
                let mut state = self.scalable(workload, &found.metadata, &spec.selector).await?;
                state.replicas = Some(spec.replicas.unwrap_or(1));
                state.ready_replicas = status.ready_replicas.unwrap_or_default();
                let retention = spec.persistent_volume_claim_retention_policy.unwrap_or_default();
                state.volumes_would_go = retention.when_scaled.as_deref() == Some("Delete");
                Ok(Some(state))
            }
            WorkloadKind::CronJob => {
                let Some(found) = self.api::<CronJob>().get_opt(name).await? else { return Ok(None) };
                let mut state = self.common(workload, &found.metadata);
                state.suspend = Some(found.spec.and_then(|spec| spec.suspend).unwrap_or_default());
                state.managed_by =
                    suspend_manager(found.metadata.managed_fields.as_deref().unwrap_or_default());
                let under_way = cron_jobs::look(&found.metadata, self.namespace, self.context).await?;
                state.pods = count(under_way.pods.iter());
                state.jobs = under_way.jobs;
                Ok(Some(state))
            }
        }
    }

    async fn scalable(
        &self,
        workload: &WorkloadRef,
        metadata: &ObjectMeta,
        selector: &LabelSelector,
    ) -> Result<WorkloadState, Error> {
        let mut state = self.common(workload, metadata);
        state.pods = self.pods(selector).await?;
        state.managed_by = replicas_manager(metadata.managed_fields.as_deref().unwrap_or_default());
        let autoscaler = self.autoscalers.iter().find(|one| targets(one, workload));
        state.autoscaler = autoscaler.map(kube::ResourceExt::name_any);
        state.autoscaled_for = autoscaler.and_then(scaled_object);
        Ok(state)
    }

    /// What every kind has.
    fn common(&self, workload: &WorkloadRef, metadata: &ObjectMeta) -> WorkloadState {
        WorkloadState {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            replicas: None,
            ready_replicas: 0,
            suspend: None,
            pods: 0,
            jobs: vec![],
            ledger: ledger_of(metadata),
            managed_by: None,
            autoscaler: None,
            autoscaled_for: None,
            part_of: argo_cd::part_of(workload, metadata, &self.context.argo_cd_namespace),
            volumes_would_go: false,
        }
    }

    /// Pods of a selector that have not ended.
    async fn pods(&self, selector: &LabelSelector) -> Result<u32, Error> {
        // One that cannot be read selects nothing that could be counted, and the API server takes none.
        let Ok(selector) = Selector::try_from(selector.clone()) else { return Ok(0) };
        let (which, mut pods) = (ListParams::default().labels_from(&selector), vec![]);
        each(&self.api::<LightPod>(), &which, |pod| pods.push(Pod::from(pod))).await?;
        Ok(count(pods.iter()))
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), self.namespace)
    }
}

fn count<'a>(pods: impl Iterator<Item = &'a Pod>) -> u32 {
    let ended = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    u32::try_from(pods.filter(|pod| !ended(pod)).count()).unwrap_or(u32::MAX)
}

fn targets(autoscaler: &HorizontalPodAutoscaler, workload: &WorkloadRef) -> bool {
    autoscaler.spec.as_ref().is_some_and(|spec| {
        let target = &spec.scale_target_ref;
        target.kind == workload.kind.as_str() && target.name == workload.name
    })
}

/// The `ScaledObject` of KEDA that an autoscaler is made by.
fn scaled_object(autoscaler: &HorizontalPodAutoscaler) -> Option<String> {
    let owner = autoscaler.owner_references().iter().find(|owner| owner.kind == "ScaledObject")?;
    Some(owner.name.clone())
}

/// What something carries that was stopped.
pub fn ledger_of(metadata: &ObjectMeta) -> Option<Ledger> {
    let annotations = metadata.annotations.as_ref()?;
    Ledger::decode(annotations.get(labels::LEDGER)?)
}

/// Patches a workload, or what scales it or would start it. A conflict means that it has changed since it was seen, and ends the pass;
/// what the API server does not allow is for status to say.
pub async fn patch(
    namespace: &str,
    target: &Patched,
    patch: &Value,
    context: &Context,
) -> Result<Option<PatchRefusal>, Error> {
    let (namespace, resource, name) = match target {
        Patched::Workload(workload) => (namespace, resource_of(workload.kind), &workload.name),
        Patched::ScaledObject(name) => (namespace, keda::resource(), name),
        Patched::Application(application) => {
            (application.namespace.as_str(), argo_cd::resource(), &application.name)
        }
    };
    let objects: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    let ours = PatchParams { field_manager: Some(labels::FIELD_MANAGER.into()), ..PatchParams::default() };
    crash::before_write();
    match objects.patch(name, &ours, &Patch::Merge(patch)).await {
        Ok(_) => {
            tracing::info!(%target, "patched");
            Ok(None)
        }
        Err(kube::Error::Api(status)) if writes::is_refusal(&status) => {
            Ok(Some(PatchRefusal { target: target.clone(), message: status.message }))
        }
        Err(error) => Err(error.into()),
    }
}

fn resource_of(kind: WorkloadKind) -> ApiResource {
    match kind {
        WorkloadKind::Deployment => ApiResource::erase::<Deployment>(&()),
        WorkloadKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        WorkloadKind::CronJob => ApiResource::erase::<CronJob>(&()),
    }
}
