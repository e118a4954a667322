//! Requests that are deleted or cancelled: undone before the switch, finished after it.

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::labels::KEPT_DATABASE;
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequest, RestoreRequestStatus};
use greenlang_backup_tests::compare::Fingerprint;
use greenlang_backup_tests::gate::Gate;
use greenlang_backup_tests::story::{LIMIT, Story};
use greenlang_backup_tests::{restore, wait};
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use tokio::time::timeout;

use super::{begin, expect_restored};

#[tokio::test]
#[ignore = "slow: make test-all runs it"]
async fn a_request_that_is_deleted_is_undone_before_the_switch_and_finished_after_it() -> Result<()> {
    let story = begin("deleted").await?;
    let damaged = story.damage().await?;
    delete_while_stopping(&story, &damaged).await?;
    delete_while_loading(&story, &damaged).await?;
    delete_after_the_switch(&story).await?;
    story.close().await
}

async fn delete_while_stopping(story: &Story, damaged: &Fingerprint) -> Result<()> {
    let mut request = story.request("stopping");
    request["spec"]["quiesce"]["drainSeconds"] = json!(3600);
    story.apply(&request).await?;
    let drains = story.until("stopping", "the last Pod is gone", |status| status.quiesced_time.is_some());
    assert_eq!(drains.await?.phase, Some(RestorePhase::Quiescing));
    story.expect_stopped().await?;
    delete(story, "stopping").await?;
    expect_undone(story, damaged).await
}

async fn delete_while_loading(story: &Story, damaged: &Fingerprint) -> Result<()> {
    Gate::Load.close(story).await?;
    story.apply(&story.request("loading")).await?;
    Gate::until_loading(story).await?;
    story.expect_stopped().await?;
    delete(story, "loading").await?;
    Gate::Load.open(story).await?;
    expect_undone(story, damaged).await
}

async fn delete_after_the_switch(story: &Story) -> Result<()> {
    Gate::Check.close(story).await?;
    until_switched(story, "switched").await?;
    delete(story, "switched").await?;
    Gate::Check.open(story).await?;
    story.until_running().await?;
    story.expect_equal(&story.before).await?;
    story.expect_nothing_half_made().await?;

    // What was replaced outlives the request, and that is said.
    let kept = format!("get configmaps -n {} -l {KEPT_DATABASE} -o name", story.namespace());
    assert_eq!(story.cluster.kube(&kept).await?.lines().count(), 1);
    let databases = story.databases().await?;
    let previous: Vec<_> = databases.iter().filter(|name| name.contains("_before_")).collect();
    assert_eq!(previous.len(), 1, "{databases:?}");
    wait::until_in(&story.cluster, story.namespace(), "an event names it", LIMIT, async || {
        Ok(story.events("PreviousKept").await?.contains(previous[0]).then_some(()))
    })
    .await
}

#[tokio::test]
#[ignore = "slow: make test-all runs it"]
async fn a_request_that_is_cancelled_in_any_phase_is_undone_before_the_switch_and_goes_on_after_it()
-> Result<()> {
    let story = begin("cancelled").await?;
    let damaged = story.damage().await?;
    cancel_while_planning(&story, &damaged).await?;
    cancel_while_stopping(&story, &damaged).await?;
    cancel_while_loading(&story, &damaged).await?;
    Box::pin(cancel_while_resuming(&story)).await?;
    story.damage().await?;
    cancel_while_checking(&story).await?;
    let damaged = story.damage().await?;
    cancel_while_switching(&story, &damaged).await?;
    story.close().await
}

async fn cancel_while_planning(story: &Story, damaged: &Fingerprint) -> Result<()> {
    story.apply(&story.request("planning")).await?;
    cancel_in(story, "planning", RestorePhase::Planning).await?;
    expect_cancelled(&story.ended("planning").await?);
    expect_undone(story, damaged).await
}

async fn cancel_while_stopping(story: &Story, damaged: &Fingerprint) -> Result<()> {
    let mut request = story.request("stopping");
    request["spec"]["quiesce"]["drainSeconds"] = json!(3600);
    story.apply(&request).await?;
    cancel_in(story, "stopping", RestorePhase::Quiescing).await?;
    expect_cancelled(&story.ended("stopping").await?);
    expect_undone(story, damaged).await
}

async fn cancel_while_loading(story: &Story, damaged: &Fingerprint) -> Result<()> {
    Gate::Load.close(story).await?;
    story.apply(&story.request("loading")).await?;
    Gate::until_loading(story).await?;
    story.expect_stopped().await?;
    cancel(story, "loading").await?;
    expect_cancelled(&story.ended("loading").await?);
    Gate::Load.open(story).await?;
    expect_undone(story, damaged).await
}

/// It may come before or after the point of no return, but no third thing may come of it.
async fn cancel_while_switching(story: &Story, damaged: &Fingerprint) -> Result<()> {
    story.apply(&story.request("switching")).await?;
    cancel_in(story, "switching", RestorePhase::Switching).await?;
    let status = story.ended("switching").await?;
    if status.switch_started_time.is_some() {
        return expect_restored(story, &status).await;
    }
    expect_cancelled(&status);
    expect_undone(story, damaged).await
}

async fn cancel_while_resuming(story: &Story) -> Result<()> {
    story.apply(&story.request("resuming")).await?;
    cancel_in(story, "resuming", RestorePhase::Resuming).await?;
    expect_restored(story, &story.ended("resuming").await?).await
}

async fn cancel_while_checking(story: &Story) -> Result<()> {
    Gate::Check.close(story).await?;
    until_switched(story, "switched").await?;
    cancel(story, "switched").await?;
    wait::until_in(&story.cluster, story.namespace(), "it is refused", LIMIT, async || {
        let events = story.events("TooLateToCancel").await?;
        Ok(events.contains("spec.source.undoOf.name: switched").then_some(()))
    })
    .await?;
    Gate::Check.open(story).await?;
    expect_restored(story, &story.ended("switched").await?).await
}

/// Applies a request that does not end before the gate of its check is opened.
async fn until_switched(story: &Story, name: &str) -> Result<()> {
    let mut request = story.request(name);
    request["spec"]["checks"] = Gate::checks();
    story.apply(&request).await?;
    story.until(name, "the databases are renamed", |status| status.switched_time.is_some()).await.map(drop)
}

/// Cancels a request as soon as it is in a phase, which a watch tells of sooner than it is over.
async fn cancel_in(story: &Story, name: &str, phase: RestorePhase) -> Result<()> {
    let requests = restore::api(&story.cluster, story.namespace());
    let is_there = |request: Option<&RestoreRequest>| {
        request.and_then(|request| request.status.as_ref()?.phase) == Some(phase)
    };
    let seen = timeout(LIMIT, await_condition(requests, name, is_there)).await;
    seen.with_context(|| format!("{name} is never seen in {phase:?}"))??;
    cancel(story, name).await
}

fn expect_cancelled(status: &RestoreRequestStatus) {
    assert_eq!(status.phase, Some(RestorePhase::Cancelled), "{status:#?}");
    assert!(conditions::is(&status.conditions, "Switched", State::False), "{:#?}", status.conditions);
}

async fn cancel(story: &Story, name: &str) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
    let requests = restore::api(&story.cluster, story.namespace());
    requests.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Deletes a request and waits until its finalizer has let it go.
async fn delete(story: &Story, name: &str) -> Result<()> {
    let namespace = story.namespace();
    story.cluster.kube(&format!("delete restorerequest -n {namespace} {name} --wait=false")).await?;
    let requests = restore::api(&story.cluster, namespace);
    wait::until_in(&story.cluster, namespace, &format!("{name} is gone"), LIMIT, async || {
        Ok(requests.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

/// All is as if the request had never been.
async fn expect_undone(story: &Story, damaged: &Fingerprint) -> Result<()> {
    story.until_running().await?;
    story.expect_equal(damaged).await?;
    story.expect_nothing_half_made().await
}
