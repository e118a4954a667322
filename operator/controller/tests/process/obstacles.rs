//! What is in the way of a Job: a namesake of somebody else, values that the API server cannot read, a Pod that nobody makes, one that no
//! node has room for, one that does not go. What no waiting mends fails the attempt with a clear reason, and the next one goes on. Minutes
//! are not waited for: the operator's clock is six of them ahead.

use anyhow::{Context as _, Result};
use greenlang_backup_api::names::job_name;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::v1alpha1::BackupStatus;
use greenlang_backup_api::{conditions, labels, reasons};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::kubelet::{self, Watched};
use greenlang_backup_tests::operator::install_chart;
use greenlang_backup_tests::policy;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, ObjectReference, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use crate::apply_changed;
use crate::replica::{Replica, SERVED, install};
use crate::runs::{carry_out, job, jobs, manual, over, probed, run, start, until};

/// An operator whose clock is ahead, and a policy at rest.
async fn start_ahead(name: &str) -> Result<(ApiServer, Replica)> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let operator = Replica::start_off(&api, "+6m").await?;
    probed(&api, name).await?;
    Ok((api, operator))
}

/// Waits until the first attempt has failed for a reason, which its run says with these words; gives the backup's status.
async fn first_failed(api: &ApiServer, name: &str, words: &[&str]) -> Result<BackupStatus> {
    let status = until(api, name, &format!("its first attempt failed: {words:?}"), |status| {
        let active = status.backup("database").and_then(|backup| backup.active.as_ref());
        active.is_some_and(|run| {
            let error = run.last_error.as_deref().unwrap_or_default();
            run.attempt == 2 && words.iter().all(|word| error.contains(word))
        })
    })
    .await?;
    status.backup("database").cloned().context("no status")
}

/// An event, as Kubernetes makes it where it cannot go on.
async fn warn(api: &ApiServer, about: ObjectReference, reason: &str, message: &str) -> Result<()> {
    let events: Api<Event> = Api::namespaced(api.cluster.client.clone(), SERVED);
    let name = about.name.as_deref().context("a name")?;
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": format!("{name}.1"), "namespace": SERVED},
        "involvedObject": about,
        "type": "Warning", "reason": reason, "message": message,
        "lastTimestamp": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }))?;
    events.create(&PostParams::default(), &event).await?;
    Ok(())
}

#[tokio::test]
async fn a_job_of_somebody_else_in_the_way_is_named_and_stays() -> Result<()> {
    let (api, _operator) = start().await?;
    probed(&api, "taken").await?;
    let recorder = Recorder::start(&api.cluster, SERVED);
    let made = run(&api, "taken", "a", &[]).await?;
    let owner = made.owner_references().first().context("an owner")?.uid.clone();
    let second = job_name(&owner, "taken", "database", &made.labels()[labels::ID], 2);
    let theirs: Job = serde_json::from_value(json!({
        "metadata": {"name": second, "namespace": SERVED},
        "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "none"}]}}},
    }))?;
    let theirs = jobs(&api).create(&PostParams::default(), &theirs).await?;
    let failure = RunReport::new(Outcome::Retryable, reasons::DUMP_FAILED, "for now");
    kubelet::carry_out(&api.cluster.client, &made, &failure).await?;

    until(&api, "taken", "the second attempt met it", |status| {
        let active = status.backup("database").and_then(|backup| backup.active.as_ref());
        active.is_some_and(|run| {
            run.attempt == 3
                && run.last_error.as_ref().is_some_and(|error| {
                    error.starts_with(reasons::NAME_COLLISION) && error.contains(&second)
                })
        })
    })
    .await?;
    let third = job(&api, "taken", labels::TASK_BACKUP, &[&made]).await?;
    assert_eq!(third.labels()[labels::ATTEMPT], "3");
    carry_out(&api, &third).await?;
    let status = until(&api, "taken", "the run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (3, 1, 0));
    assert_eq!(jobs(&api).get(&second).await?.metadata.uid, theirs.metadata.uid, "it is not ours to delete");
    assert_eq!(recorder.jobs("taken", labels::TASK_BACKUP).len(), 2);
    Ok(())
}

/// The definition takes any resources, so the API server finds out when it is to make a Job. It answers 400, as to what will be no better
/// the next time.
#[tokio::test]
async fn a_job_that_the_api_server_cannot_read_is_said_and_can_be_mended() -> Result<()> {
    let (api, _operator) = start().await?;
    let memory = |text: &str| json!({"jobTemplate": {"resources": {"limits": {"memory": text}}}});
    apply_changed(&api, "unreadable", |policy| {
        policy["spec"]["jobTemplate"] = memory("512Mo")["jobTemplate"].clone();
    })
    .await?;
    let is_refused = |text: &str| text.contains(reasons::JOB_REFUSED) && text.contains("quantities must");
    until(&api, "unreadable", "its Jobs are refused", |status| {
        let ready = conditions::find(&status.conditions, conditions::READY);
        let history = status.catalogue.as_ref().and_then(|catalogue| catalogue.last_error.as_deref());
        ready.is_some_and(|ready| is_refused(&format!("{}: {}", ready.reason, ready.message)))
            && history.is_some_and(is_refused)
    })
    .await?;
    assert!(jobs(&api).list(&ListParams::default()).await?.items.is_empty());
    policy::change(&api.cluster, SERVED, "unreadable", json!({"spec": memory("512Mi")})).await?;
    for task in [labels::TASK_PROBE, labels::TASK_CATALOGUE] {
        carry_out(&api, &job(&api, "unreadable", task, &[]).await?).await?;
    }
    until(&api, "unreadable", "it is ready", |status| {
        conditions::is(&status.conditions, conditions::READY, conditions::State::True)
    })
    .await
    .map(drop)
}

#[tokio::test]
async fn a_pod_that_the_api_server_refuses_is_given_up_with_what_the_event_says() -> Result<()> {
    let (api, _operator) = start_ahead("refused").await?;
    let made = run(&api, "refused", "a", &[]).await?;
    // As the Job controller says it.
    let why = "Error creating: pods \"x\" is forbidden: no PriorityClass with name high was found";
    warn(&api, made.object_ref(&()), "FailedCreate", why).await?;
    first_failed(&api, "refused", &[reasons::POD_NOT_STARTED, "no PriorityClass with name high"]).await?;
    let second = job(&api, "refused", labels::TASK_BACKUP, &[&made]).await?;
    assert!(
        jobs(&api).get_opt(&made.name_any()).await?.is_none(),
        "it would start after all once it is mended"
    );
    carry_out(&api, &second).await?;
    let status = until(&api, "refused", "the run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (2, 1, 0));
    Ok(())
}

/// A node may have room at any time: it is waited for beyond the minutes after which hopeless ones are given up.
#[tokio::test]
async fn a_pod_that_no_node_has_room_for_is_waited_for_with_what_the_event_says() -> Result<()> {
    let (api, _operator) = start_ahead("crowded").await?;
    let client = &api.cluster.client;
    let made = run(&api, "crowded", "a", &[]).await?;
    let pod = kubelet::start(client, &made, Watched::Yes).await?;
    let why = "0/1 nodes are available: 1 Insufficient memory.";
    warn(&api, pod.object_ref(&()), "FailedScheduling", why).await?;
    until(&api, "crowded", "its run says why it waits", |status| {
        let active = status.backup("database").and_then(|backup| backup.active.as_ref());
        active.is_some_and(|run| {
            let error = run.last_error.as_deref().unwrap_or_default();
            run.attempt == 1 && error.contains(&format!("has not started: FailedScheduling: {why}"))
        })
    })
    .await?;
    // A node has room.
    let report = kubelet::good_report(&made)?;
    kubelet::end(client, &pod, &report).await?;
    kubelet::count(client, &made, &report).await?;
    let status = until(&api, "crowded", "the run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (1, 1, 0), "by its first attempt");
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_told_to_go_and_does_not_is_lost_with_its_node() -> Result<()> {
    let (api, _operator) = start_ahead("lost").await?;
    let client = &api.cluster.client;
    let made = run(&api, "lost", "a", &[]).await?;
    let pod = kubelet::start(client, &made, Watched::Yes).await?;
    // Of a Pod that a node has, only its kubelet may say that it is gone.
    let pods: Api<Pod> = Api::namespaced(client.clone(), SERVED);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name_any()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "silent"}});
    let _: serde_json::Value =
        pods.create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding).await?;
    kubelet::run(client, &pod).await?;
    until(&api, "lost", "its Job is known", |status| {
        status.backup("database").and_then(|backup| backup.active.as_ref()?.job_uid.as_ref()).is_some()
    })
    .await?;
    api.cluster.kube(&format!("delete pod -n {SERVED} {} --wait=false", pod.name_any())).await?;

    let backup = first_failed(&api, "lost", &[reasons::NODE_LOST, "node silent"]).await?;
    let left = &backup.clean_ups[0];
    assert_eq!(left.attempts, [1]);
    let until_then = left.next_time.as_ref().context("a time")?.0.duration_since(jiff::Timestamp::now());
    assert!(until_then.as_hours() >= 23, "it may still write until its time limit: {left:?}");
    let second = job(&api, "lost", labels::TASK_BACKUP, &[&made]).await?;
    assert_eq!(second.labels()[labels::ATTEMPT], "2");
    carry_out(&api, &second).await?;
    let status = until(&api, "lost", "the run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (2, 1, 0));
    Ok(())
}
