//! Doubles of KEDA and Argo CD, which act on the annotations that those document and know nothing else: KEDA scales to what it is paused at, or
//! to what it wants; Argo CD gives what an Application has the count of Git, unless it is to skip that.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels::{ARGO_CD_SKIP_RECONCILE, KEDA_PAUSED_REPLICAS};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::checkout;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinSet;

use crate::replica::SERVED;

/// Namespace of Argo CD.
pub const ARGO_CD: &str = "argocd";
/// Between two looks of a double.
const ROUND: Duration = Duration::from_millis(100);

/// Defines what both serve.
pub async fn define(api: &ApiServer) -> Result<()> {
    let file = checkout().join("operator/controller/tests/process/definitions.yaml");
    api.cluster.kube(&format!("apply --server-side -f {}", file.display())).await?;
    let names = "crd/scaledobjects.keda.sh crd/applications.argoproj.io";
    api.cluster.kube(&format!("wait --for=condition=Established --timeout=60s {names}")).await?;
    api.cluster.kube(&format!("create namespace {ARGO_CD}")).await.map(drop)
}

fn all(client: &Client, group: &str, kind: &str, plural: &str, namespace: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(group, "v1alpha1", kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// All ScaledObjects beside the applications.
pub fn scaled_objects(client: &Client) -> Api<DynamicObject> {
    all(client, "keda.sh", "ScaledObject", "scaledobjects", SERVED)
}

/// All Applications of Argo CD.
pub fn applications(client: &Client) -> Api<DynamicObject> {
    all(client, "argoproj.io", "Application", "applications", ARGO_CD)
}

/// Makes a ScaledObject of a Deployment.
pub async fn scale(api: &ApiServer, name: &str, deployment: &str) -> Result<()> {
    let metadata = json!({"name": name, "namespace": SERVED});
    let spec = json!({"scaleTargetRef": {"name": deployment}, "triggers": [{"type": "none"}]});
    let object =
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata, "spec": spec});
    api.cluster.apply(&object.to_string()).await
}

/// Makes an Application that heals itself of a Deployment, and marks that as its part.
pub async fn deploy(api: &ApiServer, name: &str, deployment: &str) -> Result<()> {
    let resource = json!({"group": "apps", "version": "v1", "kind": "Deployment", "namespace": SERVED, "name": deployment});
    let application = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": name, "namespace": ARGO_CD},
        "spec": {"destination": {"namespace": SERVED}, "syncPolicy": {"automated": {"selfHeal": true}}},
        "status": {"resources": [resource]},
    });
    api.cluster.apply(&application.to_string()).await?;
    let mark = format!("argocd.argoproj.io/tracking-id={name}:apps/Deployment:{SERVED}/{deployment}");
    api.cluster.kube(&format!("annotate deployment -n {SERVED} {deployment} {mark}")).await.map(drop)
}

/// A double that acts until it is dropped.
pub struct Double {
    /// Replicas that it wants.
    replicas: Arc<AtomicI64>,
    _task: JoinSet<()>,
}

impl Double {
    /// KEDA, which wants so many replicas of what it scales.
    pub fn keda(api: &ApiServer, replicas: i64) -> Self {
        let (client, replicas) = (api.cluster.client.clone(), Arc::new(AtomicI64::new(replicas)));
        let mut task = JoinSet::new();
        let wants = replicas.clone();
        task.spawn(async move {
            loop {
                // What fails now is done in the next round: somebody else may have written first.
                let _ = keda(&client, wants.load(Ordering::Relaxed)).await;
                tokio::time::sleep(ROUND).await;
            }
        });
        Self { replicas, _task: task }
    }

    /// Argo CD, with so many replicas in Git.
    pub fn argo_cd(api: &ApiServer, replicas: i64) -> Self {
        let (client, replicas) = (api.cluster.client.clone(), Arc::new(AtomicI64::new(replicas)));
        let mut task = JoinSet::new();
        let git = replicas.clone();
        task.spawn(async move {
            loop {
                let _ = argo_cd(&client, git.load(Ordering::Relaxed)).await;
                tokio::time::sleep(ROUND).await;
            }
        });
        Self { replicas, _task: task }
    }

    /// From now on it wants so many replicas.
    pub fn want(&self, replicas: i64) {
        self.replicas.store(replicas, Ordering::Relaxed);
    }
}

async fn keda(client: &Client, wants: i64) -> Result<()> {
    let objects = scaled_objects(client);
    for object in objects.list(&ListParams::default()).await? {
        let target = object.data["spec"]["scaleTargetRef"]["name"].as_str().context("no target")?;
        let paused = object.annotations().get(KEDA_PAUSED_REPLICAS).map(|count| count.parse::<i64>());
        let paused = paused.transpose()?;
        scale_to(client, target, paused.unwrap_or(wants), "keda").await?;
        let active = if wants > 0 { "True" } else { "False" };
        let conditions = json!([{"type": "Active", "status": active}]);
        let status = json!({"pausedReplicaCount": paused, "conditions": conditions});
        let said = &object.data["status"];
        if said["pausedReplicaCount"].as_i64() != paused || said["conditions"] != conditions {
            let patch = Patch::Merge(json!({"status": status}));
            objects.patch_status(&object.name_any(), &PatchParams::default(), &patch).await?;
        }
    }
    Ok(())
}

async fn argo_cd(client: &Client, replicas: i64) -> Result<()> {
    for application in applications(client).list(&ListParams::default()).await? {
        let skips = application.annotations().get(ARGO_CD_SKIP_RECONCILE).is_some_and(|said| said == "true");
        let heals = application.data["spec"]["syncPolicy"]["automated"]["selfHeal"] == true;
        if skips || !heals {
            continue;
        }
        for resource in application.data["status"]["resources"].as_array().into_iter().flatten() {
            let name = resource["name"].as_str().context("no name")?;
            scale_to(client, name, replicas, "argocd-controller").await?;
        }
    }
    Ok(())
}

async fn scale_to(client: &Client, deployment: &str, replicas: i64, manager: &str) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), SERVED);
    let found = deployments.get(deployment).await?;
    let count = found.spec.as_ref().and_then(|spec| spec.replicas).map(i64::from);
    if count != Some(replicas) {
        let version = found.resource_version();
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}});
        let by = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        deployments.patch(deployment, &by, &Patch::Merge(patch)).await?;
    }
    Ok(())
}
