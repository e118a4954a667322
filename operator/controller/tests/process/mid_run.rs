//! A policy that changes, goes, or loses its namespace while its run goes on.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use greenlang_backup_api::labels;
use greenlang_backup_api::task::{TASK_ENV, Task};
use greenlang_backup_api::v1alpha1::BackupPolicyStatus;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::kubelet::{self, Watched};
use greenlang_backup_tests::{policy, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::replica::{LIMIT, SERVED};
use crate::runs::{carry_out, job, jobs, manual, over, probed, run, start, until};

/// What a namespace with Jobs may take to go.
const GONE: Duration = Duration::from_mins(1);

fn known(status: &BackupPolicyStatus) -> bool {
    status.backup("database").and_then(|backup| backup.active.as_ref()?.job_uid.as_ref()).is_some()
}

/// What the runner of a Job is told to do.
fn task_of(job: &Job) -> Result<Task> {
    let spec = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).context("a Pod")?;
    let variables =
        spec.containers.first().and_then(|container| container.env.as_ref()).context("variables")?;
    let task = variables.iter().find(|variable| variable.name == TASK_ENV).context("a task")?;
    Ok(Task::decode(task.value.as_deref().unwrap_or_default())?)
}

/// A run whose Job is known, with its Pod.
async fn going_on(api: &ApiServer, name: &str) -> Result<(Job, Pod)> {
    let made = run(api, name, "a", &[]).await?;
    let pod = kubelet::start(&api.cluster.client, &made, Watched::Yes).await?;
    kubelet::run(&api.cluster.client, &pod).await?;
    until(api, name, "its Job is known", known).await?;
    Ok((made, pod))
}

/// The operator has seen the change.
async fn seen(api: &ApiServer, name: &str, generation: i64) -> Result<()> {
    until(api, name, "the change is seen", |status| status.observed_generation == Some(generation))
        .await
        .map(drop)
}

#[tokio::test]
async fn a_run_ends_well_though_its_policy_is_edited_suspended_or_invalid_for_a_while() -> Result<()> {
    let (api, _operator) = start().await?;
    let recorder = Recorder::start(&api.cluster, SERVED);
    let without_schedules = json!({"name": "database", "postgresDump": {}});
    for (name, change) in [
        (
            "edited",
            json!({"postgres": {"host": "another"}, "jobTemplate": {"labels": {"a": "b"}}, "manualKeepDays": 3}),
        ),
        ("suspended", json!({"suspend": true, "suspendRetention": true})),
        ("scheduleless", json!({"backups": [without_schedules]})),
        ("invalid", json!({"timeZone": "Mars/Olympus"})),
    ] {
        probed(&api, name).await?;
        let (made, pod) = going_on(&api, name).await?;
        let changed = policy::change(&api.cluster, SERVED, name, json!({"spec": change})).await?;
        seen(&api, name, changed.generation()).await?;
        let report = kubelet::good_report(&made)?;
        kubelet::end(&api.cluster.client, &pod, &report).await?;
        kubelet::count(&api.cluster.client, &made, &report).await?;
        if name == "invalid" {
            let mended = json!({"spec": {"timeZone": "Etc/UTC"}});
            policy::change(&api.cluster, SERVED, name, mended).await?;
        }
        let status = until(&api, name, "the run is over", |status| over(status, 1)).await?;
        assert_eq!(manual(&status)?, (1, 1, 0), "{name}");
        let attempts = recorder.jobs(name, labels::TASK_BACKUP);
        assert_eq!(attempts.len(), 1, "{name}: the change makes no second Job");
        // The next run is by the policy as it is now.
        if name == "edited" {
            carry_out(&api, &job(&api, name, labels::TASK_PROBE, &[]).await?).await?;
            let next = run(&api, name, "b", &[&made]).await?;
            let Task::PostgresDump(task) = task_of(&next)? else { bail!("no dump") };
            assert_eq!(task.server.host, "another");
        }
        policy::delete(&api.cluster, SERVED, name).await?;
        jobs(&api).delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
        wait::until("no Job is left", LIMIT, async || {
            Ok(jobs(&api).list(&ListParams::default()).await?.items.is_empty().then_some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_renamed_backup_is_stopped_cleanly_and_its_heir_goes_on() -> Result<()> {
    let (api, _operator) = start().await?;
    probed(&api, "renamed").await?;
    let recorder = Recorder::start(&api.cluster, SERVED);
    let (made, pod) = going_on(&api, "renamed").await?;
    let mut backups =
        serde_json::to_value(policy::api(&api.cluster, SERVED).get("renamed").await?.spec.backups)?;
    backups[0]["name"] = json!("heir");
    policy::change(&api.cluster, SERVED, "renamed", json!({"spec": {"backups": backups}})).await?;
    wait::until("its Job is deleted", LIMIT, async || {
        Ok(jobs(&api).get_opt(&made.name_any()).await?.is_none().then_some(()))
    })
    .await?;
    // Its Pod is still there, so it is not over yet.
    let status = policy::status(&api.cluster, SERVED, "renamed").await?;
    ensure!(status.backup("database").is_some_and(|old| old.active.is_some()), "{status:#?}");
    let pods: Api<Pod> = Api::namespaced(api.cluster.client.clone(), SERVED);
    pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
    let status = until(&api, "renamed", "the old one is over", |status| {
        status.backup("database").is_some_and(|old| old.active.is_none())
    })
    .await?;
    let left = &status.backup("database").context("what is to be cleaned up")?.clean_ups;
    assert_eq!((left.len(), left[0].path.as_str(), left[0].attempts.as_slice()), (1, "database", &[1][..]));
    let events = format!(
        "get events -n {SERVED} --field-selector reason=BackupFailed -o jsonpath={{.items[*].message}}"
    );
    let told = wait::until("it is told", LIMIT, async || {
        Ok(Some(api.cluster.kube(&events).await?).filter(|told| told.contains("BackupRemoved")))
    });
    told.await?;

    let patch = json!({"metadata": {"annotations": {format!("{}heir", labels::RUN_PREFIX): "b"}}});
    policy::change(&api.cluster, SERVED, "renamed", patch).await?;
    carry_out(&api, &job(&api, "renamed", labels::TASK_PROBE, &[]).await?).await?;
    let next = job(&api, "renamed", labels::TASK_BACKUP, &[&made]).await?;
    carry_out(&api, &next).await?;
    // The heir writes to the same path, whose old backups are pruned as before.
    let prune = job(&api, "renamed", labels::TASK_PRUNE, &[]).await?;
    let Task::Prune(task) = task_of(&prune)? else { bail!("no prune") };
    assert_eq!((task.backup.as_str(), task.path.as_str()), ("heir", "database"));
    assert_eq!(recorder.jobs("renamed", labels::TASK_BACKUP).len(), 2);
    Ok(())
}

/// The controllers of Kubernetes do it; nothing that is ours may hold them up, and the operator must not fight them.
#[tokio::test]
async fn a_namespace_goes_with_its_active_jobs_within_a_minute() -> Result<()> {
    let (api, mut operator) = start().await?;
    probed(&api, "doomed").await?;
    let recorder = Recorder::start(&api.cluster, SERVED);
    let (made, _) = going_on(&api, "doomed").await?;
    policy::change(&api.cluster, SERVED, "doomed", json!({"spec": {"manualKeepDays": 7}})).await?;
    job(&api, "doomed", labels::TASK_PROBE, &[]).await?;
    let _controllers =
        api.start_controllers(&["namespace-controller", "garbage-collector-controller", "job-controller"])?;
    let namespaces: Api<Namespace> = Api::all(api.cluster.client.clone());
    let began = Instant::now();
    namespaces.delete(SERVED, &DeleteParams::default()).await?;
    wait::until("the namespace is gone", GONE, async || {
        Ok(namespaces.get_opt(SERVED).await?.is_none().then_some(()))
    })
    .await
    .with_context(|| "what holds it up stands in its conditions")?;
    ensure!(began.elapsed() < GONE, "{:?}", began.elapsed());
    assert_eq!(recorder.jobs("doomed", labels::TASK_BACKUP).len(), 1, "{}", made.name_any());
    ensure!(operator.runs()?, "it goes on for other namespaces");
    operator.answers("/readyz", 200, "ok").await
}
