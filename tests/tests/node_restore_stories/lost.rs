//! What is lost on the way: the status of a request, and the process that loads.

use anyhow::Result;
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::RestoreRequestStatus;
use greenlang_backup_tests::gate::Gate;
use greenlang_backup_tests::story::Story;
use greenlang_backup_tests::{command, process, restore};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::process::Command;

use super::{begin, expect_restored};

#[tokio::test]
#[ignore = "slow: make test-all runs it"]
async fn a_restore_whose_status_or_process_is_lost_goes_on_to_the_same_end() -> Result<()> {
    let story = begin("lost").await?;
    lose_the_status_while_loading(&story).await?;
    lose_the_status_after_the_switch(&story).await?;
    kill_what_loads(&story).await?;
    story.close().await
}

/// Nobody knows any more how far the load is, so it begins anew; the counts of the applications are on themselves.
async fn lose_the_status_while_loading(story: &Story) -> Result<()> {
    story.damage().await?;
    Gate::Load.close(story).await?;
    story.apply(&story.request("loading")).await?;
    let first = Gate::until_loading(story).await?;
    lose_the_status(story, "loading").await?;
    Gate::until_loading_again(story, &first).await?;
    let counts: Vec<_> =
        story.status("loading").await?.quiesced.iter().map(|workload| workload.replicas).collect();
    assert_eq!(counts, [Some(6), Some(4)]);
    story.expect_stopped().await?;
    Gate::Load.open(story).await?;
    expect_restored(story, &story.ended("loading").await?).await
}

/// The bucket knows that it was switched, so nothing is loaded again.
async fn lose_the_status_after_the_switch(story: &Story) -> Result<()> {
    story.damage().await?;
    let mut request = story.request("switched");
    request["spec"]["checks"] = Gate::checks();
    Gate::Check.close(story).await?;
    story.apply(&request).await?;
    let is_switched = "the databases are renamed";
    let first = story.until("switched", is_switched, |status| status.switched_time.is_some()).await?;
    lose_the_status(story, "switched").await?;
    story.until("switched", is_switched, |status| status.switched_time.is_some()).await?;
    Gate::Check.open(story).await?;
    let status = story.ended("switched").await?;
    let phases = restore::phases(&status);
    assert_eq!(phases, ["Planning", "Switching", "Resuming", "Checking", "Succeeded"]);
    assert!(first.previous.is_some());
    assert_eq!(kept(&status), kept(&first));
    expect_restored(story, &status).await
}

/// What was replaced, and how long it is kept.
fn kept(status: &RestoreRequestStatus) -> Option<(&str, u32, Timestamp)> {
    status.previous.as_ref().map(|previous| (&*previous.name, previous.oid, previous.drop_after.0))
}

/// As by a restore of the cluster, which brings objects back without status.
async fn lose_the_status(story: &Story, name: &str) -> Result<()> {
    let nothing = Patch::Merge(json!({"status": null}));
    let requests = restore::api(&story.cluster, story.namespace());
    requests.patch_status(name, &PatchParams::default(), &nothing).await?;
    Ok(())
}

/// Its session stays on the server, in the middle of the data: the next attempt ends it, and drops what it made.
async fn kill_what_loads(story: &Story) -> Result<()> {
    // A container's first process cannot be killed from within it.
    if !story.cluster.is_local {
        return Ok(());
    }
    story.damage().await?;
    Gate::Load.close(story).await?;
    story.apply(&story.request("killed")).await?;
    Gate::until_loading(story).await?;
    let question = format!(
        "get pods -n {} -l {}=killed,{}=load -o jsonpath={{.items[0].metadata.name}}",
        story.namespace(),
        labels::RESTORE,
        labels::ACTION
    );
    let pod = story.cluster.kube(&question).await?;
    let runner = process::find(&format!("HOSTNAME={pod}"), "greenlang-backup-runner")?;
    command::run(Command::new("kill").args(["-s", "KILL", &runner]), "").await?;
    story
        .until("killed", "a second attempt", |status| {
            status.active.as_ref().is_some_and(|active| active.attempt == 2)
        })
        .await?;
    Gate::Load.open(story).await?;
    expect_restored(story, &story.ended("killed").await?).await?;
    let events = story.events("RestoreRetrying").await?;
    assert!(events.contains("load, attempt 1: ReportLost: "), "{events}");
    Ok(())
}
