//! What a restore stops beside Deployments, and when: `StatefulSets`, `CronJobs` with the Jobs that they have under way, late, and for how long.

use anyhow::{Context as _, Result, ensure};
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequestStatus};
use greenlang_backup_tests::kubelet::{self, Watched};
use greenlang_backup_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::{DATABASE, REPLICAS, World, works};
use crate::replica::{LIMIT, SERVED};
use crate::runs::jobs;

/// Seconds of a drain that no slow machine takes by itself for a step.
const DRAIN: i64 = 20;

/// What the other applications have, and whether they carry anything of ours.
const AS_BEFORE: (&str, &str) = ("2", "false");

/// Of Pods that are made: no controller is there that would make the account `default`.
fn pod_spec(name: &str) -> Value {
    let container = json!({"name": name, "image": "localhost/none:1"});
    json!({"restartPolicy": "Never", "serviceAccountName": "backup-runner", "containers": [container]})
}

/// A StatefulSet `queue` with one of its Pods, and a CronJob `nightly` with a Job whose first Pod has failed, so that it has none now.
async fn other_applications(world: &World) -> Result<Job> {
    let cluster = &world.api.cluster;
    let (named, labels) = (|name: &str| json!({"name": name, "namespace": SERVED}), json!({"app": "queue"}));
    let pod =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "queue", "image": "none"}]}});
    let spec =
        json!({"replicas": 2, "selector": {"matchLabels": labels}, "serviceName": "queue", "template": pod});
    let set =
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": named("queue"), "spec": spec});
    cluster.apply(&set.to_string()).await?;
    let metadata = json!({"name": "queue-0", "namespace": SERVED, "labels": labels});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec("queue")});
    cluster.apply(&pod.to_string()).await?;

    let work = json!({"template": {"spec": pod_spec("runner")}});
    let spec = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": work}});
    let cron_job =
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": named("nightly"), "spec": spec});
    cluster.apply(&cron_job.to_string()).await?;
    let uid = cluster.kube(&format!("get cronjob -n {SERVED} nightly -o jsonpath={{.metadata.uid}}")).await?;
    let owner = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": uid, "controller": true}]);
    let metadata = json!({"name": "nightly-1", "namespace": SERVED, "ownerReferences": owner});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": work});
    cluster.apply(&job.to_string()).await?;
    Ok(jobs(&world.api).get("nightly-1").await?)
}

/// The Pod of the StatefulSet is gone.
async fn remove_pod(world: &World) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(world.api.cluster.client.clone(), SERVED);
    pods.delete("queue-0", &DeleteParams::default().grace_period(0)).await?;
    Ok(())
}

/// All three kinds.
fn stops_all(wanted: &mut Value) {
    let named = |kind: &str, name: &str| json!({"kind": kind, "name": name});
    wanted["spec"]["quiesce"]["workloads"] =
        json!([named("Deployment", "api"), named("StatefulSet", "queue"), named("CronJob", "nightly")]);
}

/// Replicas of the StatefulSet, and whether the CronJob is suspended. Neither may carry a ledger where nothing is stopped.
async fn others(world: &World) -> Result<(String, String)> {
    let get = async |what: &str| world.api.cluster.kube(&format!("get -n {SERVED} {what}")).await;
    let replicas = get("statefulset queue -o jsonpath={.spec.replicas}").await?;
    Ok((replicas, get("cronjob nightly -o jsonpath={.spec.suspend}").await?))
}

async fn until_back(world: &mut World, name: &str) -> Result<()> {
    world.at_rest(name).await?;
    let (replicas, suspended) = others(world).await?;
    assert_eq!((&*replicas, &*suspended), AS_BEFORE, "{name}");
    let question =
        format!("get -n {SERVED} statefulset,cronjob -o jsonpath={{.items[*].metadata.annotations}}");
    let carried = world.api.cluster.kube(&question).await?;
    ensure!(!carried.contains("backup.greenlang.io"), "{name}: {carried}");
    Ok(())
}

fn waits_for(what: &'static str) -> impl Fn(&RestoreRequestStatus) -> bool {
    move |status| status.progress.as_ref().is_some_and(|progress| progress.contains(what))
}

#[tokio::test]
async fn a_stateful_set_and_a_cron_job_stop_with_all_that_they_have_under_way_and_come_back() -> Result<()> {
    let mut world = World::start().await?;
    let job = other_applications(&world).await?;
    let drains = |wanted: &mut Value| {
        stops_all(wanted);
        wanted["spec"]["quiesce"]["drainSeconds"] = json!(DRAIN);
    };
    world.apply("back", drains).await?;
    world.until("back", "it waits for the Pod", waits_for("queue (1 Pods)")).await?;
    assert_eq!(others(&world).await?, ("0".to_owned(), "true".to_owned()));
    remove_pod(&world).await?;
    // All that is left is a Job without a Pod, which starts its next one only now.
    let waits = world
        .until("back", "it waits for the Job", |status| {
            waits_for("nightly (Job nightly-1)")(status) && !waits_for("queue")(status)
        })
        .await?;
    assert_eq!((waits.phase, waits.quiesced_time), (Some(RestorePhase::Quiescing), None));
    let client = &world.api.cluster.client;
    let report = kubelet::good_report(&job)?;
    let pod = kubelet::start(client, &job, Watched::No).await?;
    kubelet::end(client, &pod, &report).await?;
    kubelet::count(client, &job, &report).await?;

    let status = world.phase("back", RestorePhase::Succeeded).await?;
    until_back(&mut world, "back").await?;
    let quiesced = status.quiesced_time.context("it was never quiet")?;
    let loads = status.phases.iter().find(|times| times.phase == RestorePhase::Restoring);
    let drained = loads.context("it never loaded")?.start_time.0.duration_since(quiesced.0).as_secs();
    assert!(drained >= DRAIN, "{drained} s after the last Pod");
    Ok(())
}

#[tokio::test]
async fn whoever_resumes_a_cron_job_is_named_and_a_job_by_hand_accuses_nobody() -> Result<()> {
    let mut world = World::start().await?;
    let job = other_applications(&world).await?;
    kubelet::carry_out(&world.api.cluster.client, &job, &kubelet::good_report(&job)?).await?;
    remove_pod(&world).await?;
    let before = world.server.databases();
    let resume = "patch cronjob nightly --type=merge -p {\"spec\":{\"suspend\":false}}";
    let start = "create job by-hand --from=cronjob/nightly";
    for (name, what, said) in [
        ("resumed", resume, "CronJob nightly was started by kubectl-patch"),
        ("by-hand", start, "something of CronJob nightly was started by itself"),
    ] {
        world.server.hold("load", true);
        world.apply(name, stops_all).await?;
        world.until(name, "it loads", works(RestorePhase::Restoring)).await?;
        world.api.cluster.kube(&format!("-n {SERVED} {what}")).await?;
        world.server.hold("load", false);
        let status = world.phase(name, RestorePhase::Failed).await?;
        let failure = status.failure.context("no reason")?;
        assert_eq!(failure.reason, "ScaleContested", "{}", failure.message);
        assert!(failure.message.contains(said), "{}", failure.message);
        until_back(&mut world, name).await?;
        assert_eq!(world.server.databases(), before, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn applications_that_stop_late_serve_until_all_is_loaded() -> Result<()> {
    let mut world = World::start().await?;
    let late = |wanted: &mut Value| wanted["spec"]["quiesce"]["when"] = json!("BeforeSwitch");
    for action in ["load", "switch"] {
        world.server.hold(action, true);
    }
    world.apply("back", late).await?;
    world.until("back", "it loads", works(RestorePhase::Restoring)).await?;
    assert!(world.replicas().await?.starts_with(&REPLICAS.to_string()), "they serve meanwhile");
    world.server.hold("load", false);
    world.until("back", "it switches", works(RestorePhase::Switching)).await?;
    assert!(world.replicas().await?.starts_with('0'));
    world.server.hold("switch", false);
    let status = world.phase("back", RestorePhase::Succeeded).await?;
    let phases: Vec<_> = status.phases.iter().map(|times| times.phase.as_str()).collect();
    assert_eq!(phases[..4], ["Planning", "Restoring", "Quiescing", "Switching"]);
    world.at_rest("back").await?;

    // What is loaded already goes again where somebody starts them before the switch.
    let before = (world.server.databases(), world.server.named(DATABASE));
    let drains = |wanted: &mut Value| {
        late(wanted);
        wanted["spec"]["quiesce"]["drainSeconds"] = json!(3_600);
    };
    world.apply("contested", drains).await?;
    world.until("contested", "they are stopped", |status| status.quiesced_time.is_some()).await?;
    assert_eq!(world.server.databases().len(), before.0.len() + 1, "it is loaded");
    world.api.cluster.kube(&format!("scale deployment -n {SERVED} api --replicas=5")).await?;
    let status = world.phase("contested", RestorePhase::Failed).await?;
    assert_eq!(status.failure.context("no reason")?.reason, "ScaleContested");
    wait::until("the application has what it had", LIMIT, async || {
        Ok(world.replicas().await?.starts_with(&REPLICAS.to_string()).then_some(()))
    })
    .await?;
    world.at_rest("contested").await?;
    assert_eq!((world.server.databases(), world.server.named(DATABASE)), before);
    Ok(())
}
