//! Applications that are deleted or made anew while they are stopped: they are left as they are, and the others come back.

use anyhow::{Context as _, Result};
use greenlang_backup_api::v1alpha1::{QuiesceState, QuiescedWorkload, RestorePhase, RestoreRequestStatus};
use greenlang_backup_tests::gate::Gate;
use greenlang_backup_tests::restore;
use greenlang_backup_tests::story::Story;
use serde_json::json;

use super::{begin, failure};

const API: &str = "greenlang-api";
const WORKER: &str = "greenlang-worker";
/// One more, which others do not have.
const REPORT: &str = "greenlang-report";

#[tokio::test]
#[ignore = "slow: make test-all runs it"]
async fn an_application_that_goes_meanwhile_is_left_as_it_is_and_the_others_come_back() -> Result<()> {
    let story = begin("workloads").await?;
    go_and_come_stopped(&story).await?;
    come_running(&story).await?;
    story.close().await
}

/// One is deleted, one is made anew and has no replicas: nothing keeps the restore from going on.
async fn go_and_come_stopped(story: &Story) -> Result<()> {
    start(story, REPORT, 1).await?;
    story.damage().await?;
    let mut request = story.request("gone");
    let workloads = request["spec"]["quiesce"]["workloads"].as_array_mut().context("no list")?;
    workloads.push(json!({"kind": "Deployment", "name": REPORT}));
    Gate::Load.close(story).await?;
    story.apply(&request).await?;
    Gate::until_loading(story).await?;

    delete(story, WORKER).await?;
    delete(story, REPORT).await?;
    start(story, REPORT, 0).await?;
    story
        .until("gone", "both are seen to be gone", |status| {
            state_of(status, WORKER) == Some(QuiesceState::Gone)
                && state_of(status, REPORT) == Some(QuiesceState::Gone)
        })
        .await?;
    Gate::Load.open(story).await?;
    let status = story.ended("gone").await?;
    assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
    story.expect_equal(&story.before).await?;

    let message = entry(&status, WORKER).and_then(|entry| entry.message.clone());
    let said = "Deployment greenlang-worker was deleted while it was stopped: it is left as it is";
    assert_eq!(message.as_deref(), Some(said));
    let events = story.events("WorkloadNotFound").await?;
    assert!(events.contains(said) && events.contains(REPORT), "{events}");
    assert_eq!(state_of(&status, API), Some(QuiesceState::Resumed));
    assert_eq!(replicas(story, API).await?, (6, 6));
    assert_eq!(replicas(story, REPORT).await?, (0, 0));
    let names = format!("get deployments -n {} -o name", story.namespace());
    assert!(!story.cluster.kube(&names).await?.contains(WORKER));
    delete(story, REPORT).await
}

/// One is made anew and runs: what it writes would be lost, so nothing is switched.
async fn come_running(story: &Story) -> Result<()> {
    start(story, WORKER, 4).await?;
    restore::applications_ready(&story.cluster, story.namespace()).await?;
    let damaged = story.damage().await?;
    Gate::Load.close(story).await?;
    story.apply(&story.request("contested")).await?;
    Gate::until_loading(story).await?;
    delete(story, WORKER).await?;
    start(story, WORKER, 4).await?;

    let status = story.ended("contested").await?;
    let failure = failure(&status)?;
    assert_eq!((failure.phase, &*failure.reason), (RestorePhase::Restoring, "ScaleContested"));
    let said = "Deployment greenlang-worker was started by greenlang-backup-tests";
    assert!(failure.message.contains(said), "{failure:?}");
    assert_eq!(state_of(&status, WORKER), Some(QuiesceState::Gone));
    assert_eq!(state_of(&status, API), Some(QuiesceState::Resumed));
    Gate::Load.open(story).await?;
    story.until_running().await?;
    story.expect_equal(&damaged).await?;
    story.expect_nothing_half_made().await
}

async fn start(story: &Story, name: &str, replicas: i32) -> Result<()> {
    restore::start_application(&story.cluster, story.namespace(), &story.name, name, replicas).await
}

async fn delete(story: &Story, name: &str) -> Result<()> {
    story.cluster.kube(&format!("delete deployment -n {} {name}", story.namespace())).await.map(drop)
}

async fn replicas(story: &Story, name: &str) -> Result<(i32, i32)> {
    restore::replicas_of(&story.cluster, story.namespace(), name).await
}

fn entry<'a>(status: &'a RestoreRequestStatus, name: &str) -> Option<&'a QuiescedWorkload> {
    status.quiesced.iter().find(|entry| entry.name == name)
}

fn state_of(status: &RestoreRequestStatus, name: &str) -> Option<QuiesceState> {
    entry(status, name).map(|entry| entry.state)
}
