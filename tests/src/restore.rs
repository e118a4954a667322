//! RestoreRequests in the namespace of the parts: the Secrets that they name, applications that use the database, and what tests and demo
//! do with requests.

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequest, RestoreRequestStatus};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::parts::{self, Parts};
use crate::wait;

/// Field manager of requests.
const MANAGER: &str = "greenlang-backup-tests";
/// The applications and their replicas.
pub const APPLICATIONS: [(&str, i32); 2] = [("greenlang-api", 6), ("greenlang-worker", 4)];

/// Requests of a namespace.
pub fn api(cluster: &Cluster, namespace: &str) -> Api<RestoreRequest> {
    Api::namespaced(cluster.client.clone(), namespace)
}

/// Makes the Secrets that requests name: a user that may make databases, and an age private key.
pub async fn secrets(cluster: &Cluster, parts: &Parts) -> Result<()> {
    let login = [("username", "postgres"), ("password", parts.postgres.superuser_password.as_str())];
    parts::secret(cluster, &parts.namespace, "db-admin", login).await?;
    let key = parts.keys.first().context("no key pair")?;
    let identity = [("identity.txt", key.identity.as_str())];
    parts::secret(cluster, &parts.namespace, "backup-identity", identity).await
}

/// Starts the applications, each Pod with a session in the database, and waits until all are ready.
pub async fn start_applications(cluster: &Cluster, namespace: &str, database: &str) -> Result<()> {
    for (name, replicas) in APPLICATIONS {
        start_application(cluster, namespace, database, name, replicas).await?;
    }
    applications_ready(cluster, namespace).await
}

/// Starts one, or any other like them.
pub async fn start_application(
    cluster: &Cluster,
    namespace: &str,
    database: &str,
    name: &str,
    replicas: i32,
) -> Result<()> {
    let manifest = include_str!("../data/parts/application.yaml")
        .replace("NAMESPACE", namespace)
        .replace("PREFIX", &cluster.parts_prefix)
        .replace("CONTENT", database)
        .replace("APPLICATION", name)
        .replace("REPLICAS", &replicas.to_string());
    cluster.apply(&manifest).await
}

/// Waits until the applications are ready, at whatever count is asked for.
pub async fn applications_ready(cluster: &Cluster, namespace: &str) -> Result<()> {
    for (name, _) in APPLICATIONS {
        wait::rollout(cluster, namespace, &format!("deployment/{name}"), parts::START).await?;
    }
    Ok(())
}

/// Replicas that are asked for and ready, of each application.
pub async fn replicas(cluster: &Cluster, namespace: &str) -> Result<Vec<(i32, i32)>> {
    let mut counts = Vec::new();
    for (name, _) in APPLICATIONS {
        counts.push(replicas_of(cluster, namespace, name).await?);
    }
    Ok(counts)
}

/// Replicas that are asked for and ready, of one application.
pub async fn replicas_of(cluster: &Cluster, namespace: &str, name: &str) -> Result<(i32, i32)> {
    let question = format!(
        "get deployment -n {namespace} {name} -o jsonpath={{.spec.replicas}}/{{.status.readyReplicas}}"
    );
    let answer = cluster.kube(&question).await?;
    let (wanted, ready) = answer.split_once('/').context("two counts")?;
    Ok((wanted.parse()?, ready.parse().unwrap_or_default()))
}

/// A request for the newest backup of a policy, with the applications.
pub fn request(parts: &Parts, name: &str, policy: &str, database: &str) -> Value {
    let workloads: Vec<_> =
        APPLICATIONS.iter().map(|(name, _)| json!({"kind": "Deployment", "name": name})).collect();
    json!({
        "apiVersion": "backup.greenlang.io/v1alpha1", "kind": "RestoreRequest",
        "metadata": {"name": name, "namespace": parts.namespace},
        "spec": {
            "policyRef": {"name": policy},
            "source": {"latest": {"backup": "database"}},
            "database": {"credentialsSecretRef": {"name": "db-admin"}},
            "identitySecretRef": {"name": "backup-identity"},
            "quiesce": {"workloads": workloads, "drainSeconds": 1},
            "confirm": database,
        },
    })
}

/// The request that undoes another one.
pub fn undo(parts: &Parts, name: &str, policy: &str, database: &str, of: &str) -> Value {
    let mut undo = request(parts, name, policy, database);
    undo["spec"]["source"] = json!({"undoOf": {"name": of}});
    if let Some(spec) = undo["spec"].as_object_mut() {
        spec.remove("identitySecretRef");
    }
    undo
}

/// Applies a request.
pub async fn apply(cluster: &Cluster, request: &Value) -> Result<RestoreRequest> {
    let text = |field: &str| {
        request["metadata"][field].as_str().with_context(|| format!("a request without {field}"))
    };
    let params = PatchParams::apply(MANAGER).force();
    Ok(api(cluster, text("namespace")?).patch(text("name")?, &params, &Patch::Apply(request)).await?)
}

/// What status says.
pub async fn status(cluster: &Cluster, namespace: &str, name: &str) -> Result<RestoreRequestStatus> {
    Ok(api(cluster, namespace).get(name).await?.status.unwrap_or_default())
}

/// Waits until the request has ended, whichever way.
pub async fn ended(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    limit: Duration,
) -> Result<RestoreRequestStatus> {
    wait::until_in(cluster, namespace, &format!("{name} has ended"), limit, async || {
        let status = status(cluster, namespace, name).await?;
        Ok(status.phase.is_some_and(RestorePhase::is_end).then_some(status))
    })
    .await
}

/// The phases that a request went through, in order.
pub fn phases(status: &RestoreRequestStatus) -> Vec<&'static str> {
    status.phases.iter().map(|times| times.phase.as_str()).collect()
}

/// What each phase took, in words.
pub fn durations(status: &RestoreRequestStatus) -> String {
    let took = status.phases.iter().filter_map(|times| {
        let end = times.end_time.as_ref().filter(|_| !times.phase.is_end())?;
        let seconds = end.0.duration_since(times.start_time.0).as_secs();
        Some(format!("{} {seconds} s", times.phase.as_str()))
    });
    took.collect::<Vec<_>>().join(", ")
}
