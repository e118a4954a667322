//! Two replicas of the chart's Deployment: one leads, and a run that goes on when it hangs, dies or is stopped ends in exactly one
//! backup, counted once. And what the probes of the Deployment make of an operator that cannot work yet.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE};
use greenlang_backup_tests::parts::Parts;
use greenlang_backup_tests::{bucket, command, held, operator, policy, process, suite, wait};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher;
use serde_json::json;
use tokio::process::Command;

const NAMES: &[&str] = &["replicas"];
/// A Lease that runs out, or a backup, on a busy machine.
const LIMIT: Duration = Duration::from_mins(3);
/// Pod of an operator that reaches no API server.
const BLIND: &str = "blind-operator";

#[tokio::test]
async fn a_run_outlives_its_leader_and_counts_once() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "replicas").await?;
    operator::install_with(&cluster, json!({"replicas": 2})).await?;
    let outcome = outlives(&cluster, &parts).await;
    let gone =
        cluster.kube(&format!("delete pod -n {NAMESPACE} {BLIND} --ignore-not-found --wait=false")).await;
    // The others expect one.
    operator::install(&cluster).await?;
    outcome.and(gone.map(drop))
}

async fn outlives(cluster: &Cluster, parts: &Parts) -> Result<()> {
    let namespace = &*parts.namespace;
    start_blind(cluster).await?;
    let wanted = held::policy(cluster, parts, "replicas").await?;
    let recorder = Recorder::start(cluster, namespace);
    let applied = policy::apply(cluster, &wanted).await?;

    // The leader hangs in the middle of a run; that is what a lost node looks like too.
    policy::run_now(cluster, namespace, "replicas", "database", "one").await?;
    let dump = held::hold(cluster, parts).await?;
    let first = leader(cluster).await?;
    let hung = hang(cluster, &first).await?;
    let second = next_leader(cluster, &first).await?;
    dump.let_go(cluster, parts).await?;
    counted(cluster, parts, &applied, &recorder, 1).await?;
    // When it wakes up it must see that its time is over, and count nothing again.
    hung.wake(cluster).await?;
    counted(cluster, parts, &applied, &recorder, 1).await?;
    blind_is_not_ready(cluster).await?;

    // The new one is stopped in order, in the middle of a run.
    policy::run_now(cluster, namespace, "replicas", "database", "two").await?;
    let dump = held::hold(cluster, parts).await?;
    assert_eq!(leader(cluster).await?, second);
    assert_eq!(stop(cluster, &second).await?, 0, "exit code of {second}");
    next_leader(cluster, &second).await?;
    dump.let_go(cluster, parts).await?;
    counted(cluster, parts, &applied, &recorder, 2).await
}

/// The Pod that holds the Lease.
async fn leader(cluster: &Cluster) -> Result<String> {
    let leases = Api::<Lease>::namespaced(cluster.client.clone(), NAMESPACE);
    leases.get(RELEASE).await?.spec.and_then(|lease| lease.holder_identity).context("nobody leads")
}

/// Waits until another one leads.
async fn next_leader(cluster: &Cluster, before: &str) -> Result<String> {
    wait::until_in(cluster, NAMESPACE, &format!("another one than {before} leads"), LIMIT, async || {
        Ok(Some(leader(cluster).await?).filter(|name| name != before))
    })
    .await
}

/// Every run so far made one backup with one Job, and was counted once.
async fn counted(
    cluster: &Cluster,
    parts: &Parts,
    applied: &BackupPolicy,
    recorder: &Recorder,
    runs: u64,
) -> Result<()> {
    let over = |status: &BackupPolicyStatus| {
        status
            .backup("database")
            .is_some_and(|backup| backup.active.is_none() && backup.manual.attempts >= runs)
    };
    let status = policy::until(cluster, applied, "the run is over", LIMIT, over).await?;
    let history = &status.backup("database").context("no status")?.manual;
    assert_eq!((history.attempts, history.succeeded, history.failed), (runs, runs, 0), "{history:?}");
    assert_eq!(status.available.len() as u64, runs);
    assert_eq!(bucket::manifests(cluster, parts, "replicas/").await?.len() as u64, runs);
    assert_eq!(recorder.jobs("replicas", labels::TASK_BACKUP).len() as u64, runs);
    Ok(())
}

/// A leader that does not move any more.
struct Hung {
    pod: String,
    /// On the local node: its process on this machine.
    pid: Option<String>,
}

/// Stops a leader in its tracks. Only on the local node its process is in reach; elsewhere its Pod is killed.
async fn hang(cluster: &Cluster, pod: &str) -> Result<Hung> {
    let pid = if cluster.is_local {
        let pid = process::find(&format!("POD_NAME={pod}"), "greenlang-backup-operator")?;
        command::run(Command::new("kill").args(["-s", "STOP", &pid]), "").await?;
        Some(pid)
    } else {
        cluster.kube(&format!("delete pod -n {NAMESPACE} {pod} --force --grace-period=0")).await?;
        None
    };
    Ok(Hung { pod: pod.to_owned(), pid })
}

impl Hung {
    /// Lets it go on, and waits until it has ended and was started again, as one that waits.
    async fn wake(&self, cluster: &Cluster) -> Result<()> {
        let Some(pid) = &self.pid else { return Ok(()) };
        // It may be gone already: a liveness probe that gets no answer ends it after a while.
        let _ = command::output(Command::new("kill").args(["-s", "CONT", pid]), "").await?;
        let pods = Api::<Pod>::namespaced(cluster.client.clone(), NAMESPACE);
        wait::until_in(cluster, NAMESPACE, &format!("{} was started again", self.pod), LIMIT, async || {
            let pod = pods.get(&self.pod).await?;
            let status = pod.status.and_then(|status| status.container_statuses?.pop());
            Ok(status.filter(|status| status.restart_count > 0 && status.ready).map(drop))
        })
        .await
    }
}

/// Deletes a Pod as a drain or an upgrade does, and gives the exit code of its container.
async fn stop(cluster: &Cluster, pod: &str) -> Result<i32> {
    let mut seen =
        pin!(watcher::watch_object(Api::<Pod>::namespaced(cluster.client.clone(), NAMESPACE), pod));
    seen.try_next().await?.flatten().with_context(|| format!("there is no Pod {pod}"))?;
    cluster.kube(&format!("delete pod -n {NAMESPACE} {pod} --wait=false")).await?;
    let code = async {
        while let Some(found) = seen.try_next().await? {
            let found = found.with_context(|| format!("{pod} went without an exit code"))?;
            let status = found.status.and_then(|status| status.container_statuses?.pop());
            if let Some(end) = status.and_then(|status| status.state?.terminated) {
                return Ok(end.exit_code);
            }
        }
        anyhow::bail!("the watch ended")
    };
    tokio::time::timeout(LIMIT, code).await.with_context(|| format!("{pod} does not end"))?
}

/// An operator as the Deployment makes it, but for its way to the API server.
async fn start_blind(cluster: &Cluster) -> Result<()> {
    let deployment = Api::<Deployment>::namespaced(cluster.client.clone(), NAMESPACE).get(RELEASE).await?;
    let template = deployment.spec.context("a Deployment")?.template;
    let mut spec = serde_json::to_value(template.spec)?;
    spec["hostAliases"] = json!([{"ip": "127.0.0.1", "hostnames": ["kubernetes.default.svc"]}]);
    let environment = spec["containers"][0]["env"].as_array_mut().context("an environment")?;
    environment.push(json!({"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"}));
    let metadata = json!({"name": BLIND, "namespace": NAMESPACE});
    cluster
        .apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).to_string())
        .await
}

/// It runs and was not started again, but the Deployment's probes do not make it ready.
async fn blind_is_not_ready(cluster: &Cluster) -> Result<()> {
    let status = Api::<Pod>::namespaced(cluster.client.clone(), NAMESPACE).get(BLIND).await?.status;
    let container = status.and_then(|status| status.container_statuses?.pop()).context("no status")?;
    assert!(container.state.as_ref().is_some_and(|state| state.running.is_some()), "{container:?}");
    assert_eq!((container.ready, container.restart_count), (false, 0), "{container:?}");
    let ask = async |path: &str| {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{BLIND}:8080/proxy{path}");
        command::output(cluster.kubectl().args(["get", "--raw", &path]), "").await
    };
    let (live, ready) = (ask("/livez").await?, ask("/readyz").await?);
    assert!(live.ok && live.stdout.contains("ok"), "{live:?}");
    assert!(!ready.ok && ready.stderr.contains("ServiceUnavailable"), "{ready:?}");
    Ok(())
}
