//! The applications that a request stops: how they are, and their patches. I/O, no decisions.

use std::collections::BTreeSet;

use greenlang_backup_api::labels;
use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{RestoreRequest, WorkloadKind, WorkloadRef};
use greenlang_backup_plan::restore_request::{ObservedWorkload, WorkloadRefusal, WorkloadState};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::Selector;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::managers::replicas_manager;
use crate::context::Context;
use crate::errors::Error;
use crate::pages::{LightPod, each};
use crate::{crash, writes};

/// Looks at every workload that spec or ledger names.
pub async fn look(request: &RestoreRequest, context: &Context) -> Result<Vec<ObservedWorkload>, Error> {
    let named = request.spec.quiesce.iter().flat_map(|quiesce| quiesce.workloads.iter().cloned());
    let recorded = request.status.iter().flat_map(|status| &status.quiesced);
    let recorded = recorded.map(|entry| WorkloadRef { kind: entry.kind, name: entry.name.clone() });
    let wanted: BTreeSet<WorkloadRef> = named.chain(recorded).collect();
    if wanted.is_empty() {
        return Ok(vec![]);
    }
    let namespace = request.namespace().unwrap_or_default();
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(context.client.clone(), &namespace);
    let eye = Eye {
        namespace: &namespace,
        context,
        autoscalers: autoscalers.list(&ListParams::default()).await?.items,
    };
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
                let mut state = common(&found.metadata);
                state.suspend = Some(found.spec.and_then(|spec| spec.suspend).unwrap_or_default());
                state.pods = self.pods_of_cron_job(&found.metadata).await?;
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
        let mut state = common(metadata);
        state.pods = self.pods(selector).await?;
        state.managed_by = replicas_manager(metadata.managed_fields.as_deref().unwrap_or_default());
        let autoscaler = self.autoscalers.iter().find(|one| targets(one, workload));
        state.autoscaler = autoscaler.map(kube::ResourceExt::name_any);
        state.scaled_object = autoscaler.and_then(scaled_object);
        Ok(state)
    }

    /// Pods of a selector that have not ended.
    async fn pods(&self, selector: &LabelSelector) -> Result<u32, Error> {
        // One that cannot be read selects nothing that could be counted, and the API server takes none.
        let Ok(selector) = Selector::try_from(selector.clone()) else { return Ok(0) };
        let pods = self.list(&ListParams::default().labels_from(&selector)).await?;
        Ok(count(pods.iter()))
    }

    /// Pods of the Jobs that a CronJob has made.
    async fn pods_of_cron_job(&self, cron_job: &ObjectMeta) -> Result<u32, Error> {
        let is_of = |owner: &ObjectMeta, uid: &str| {
            owner.owner_references.iter().flatten().any(|reference| reference.uid == uid)
        };
        let uid = cron_job.uid.clone().unwrap_or_default();
        let jobs = self.api::<Job>().list_metadata(&ListParams::default()).await?;
        let jobs: Vec<String> = jobs
            .items
            .iter()
            .filter(|job| is_of(&job.metadata, &uid))
            .filter_map(kube::ResourceExt::uid)
            .collect();
        if jobs.is_empty() {
            return Ok(0);
        }
        let pods = self.list(&ListParams::default().labels("batch.kubernetes.io/job-name")).await?;
        Ok(count(pods.iter().filter(|pod| jobs.iter().any(|job| is_of(&pod.metadata, job)))))
    }

    async fn list(&self, which: &ListParams) -> Result<Vec<Pod>, Error> {
        let mut pods = vec![];
        each(&self.api::<LightPod>(), which, |pod| pods.push(pod.into())).await?;
        Ok(pods)
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

/// What every kind has.
fn common(metadata: &ObjectMeta) -> WorkloadState {
    let annotation = metadata.annotations.as_ref().and_then(|annotations| annotations.get(labels::LEDGER));
    WorkloadState {
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        replicas: None,
        ready_replicas: 0,
        suspend: None,
        pods: 0,
        ledger: annotation.and_then(|value| Ledger::decode(value)),
        managed_by: None,
        autoscaler: None,
        scaled_object: None,
        volumes_would_go: false,
    }
}

/// Patches a workload. A conflict means that it has changed since it was seen, and ends the pass; what the API server does not allow
/// is for status to say.
pub async fn patch(
    namespace: &str,
    workload: &WorkloadRef,
    patch: &Value,
    context: &Context,
) -> Result<Option<WorkloadRefusal>, Error> {
    let kind = match workload.kind {
        WorkloadKind::Deployment => ApiResource::erase::<Deployment>(&()),
        WorkloadKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        WorkloadKind::CronJob => ApiResource::erase::<CronJob>(&()),
    };
    let objects: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &kind);
    let ours = PatchParams { field_manager: Some(labels::FIELD_MANAGER.into()), ..PatchParams::default() };
    crash::before_write();
    match objects.patch(&workload.name, &ours, &Patch::Merge(patch)).await {
        Ok(_) => {
            tracing::info!(%workload, "patched");
            Ok(None)
        }
        Err(kube::Error::Api(status)) if writes::is_refusal(&status) => {
            Ok(Some(WorkloadRefusal { workload: workload.clone(), message: status.message }))
        }
        Err(error) => Err(error.into()),
    }
}
