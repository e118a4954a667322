//! A database comes back by a RestoreRequest on a real node, while applications use it, and goes again by a second one; whatever dies
//! meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::v1alpha1::{RestorePhase, RestorePlan, RestoreRequestStatus};
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::story::{LIMIT, Story};
use greenlang_backup_tests::{operator, restore, secrets_search, suite, wait};
use serde_json::json;

const NAMES: &[&str] = &["restored", "cut"];

fn is_true(status: &RestoreRequestStatus, type_: &str) -> bool {
    conditions::is(&status.conditions, type_, State::True)
}

#[tokio::test]
async fn a_database_comes_back_by_a_request_and_goes_again_by_another() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "restored").await?;
    let recorder = Recorder::start(&cluster, &parts.namespace);
    let story = Story::begin(cluster, parts, "restored", "").await?;
    let damaged = story.damage().await?;

    // The plan alone touches nothing.
    let mut dry = story.request("dry");
    dry["spec"]["dryRun"] = json!(true);
    let planned = story.carry_out("dry", &dry).await?;
    assert_eq!(planned.phase, Some(RestorePhase::Planned), "{planned:#?}");
    let plan = planned.plan.context("no plan")?;
    let counts: Vec<_> = plan.workloads.iter().map(|workload| workload.replicas).collect();
    assert!(plan.feasible && counts == [Some(6), Some(4)], "{plan:#?}");
    expect_told(&story, "dry", &plan).await?;
    story.expect_equal(&damaged).await?;

    let status = story.carry_out("back", &story.request("back")).await?;
    assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
    let all =
        ["Planning", "Quiescing", "Restoring", "Verifying", "Switching", "Resuming", "Checking", "Succeeded"];
    let phases: Vec<_> = restore::phases(&status).into_iter().filter(|phase| *phase != "Verifying").collect();
    assert_eq!(phases, all.into_iter().filter(|phase| *phase != "Verifying").collect::<Vec<_>>());
    for type_ in ["Ready", "Planned", "Restored", "Verified", "Switched", "Resumed", "Finished"] {
        assert!(is_true(&status, type_), "{type_}: {:#?}", status.conditions);
    }
    story.expect_equal(&story.before).await?;
    story.expect_running().await?;
    let previous = status.previous.context("nothing was kept")?;
    assert!(story.databases().await?.contains(&previous.name), "{previous:?}");

    // The same name does not restore again.
    story.cluster.kube(&format!("delete restorerequest -n {} back", story.namespace())).await?;
    let again = story.carry_out("back", &story.request("back")).await?;
    let failure = again.failure.context("it should have been refused")?;
    assert_eq!((again.phase, &*failure.reason), (Some(RestorePhase::Failed), "AlreadyCarriedOut"));
    story.expect_equal(&story.before).await?;

    let undone = story.carry_out("forth", &story.undo("forth", "back")).await?;
    assert_eq!(undone.phase, Some(RestorePhase::Succeeded), "{undone:#?}");
    story.expect_equal(&damaged).await?;
    story.expect_running().await?;

    let metrics = operator::metrics(&story.cluster).await?;
    let series = format!(
        "gl_restore_workloads_scaled_down{{namespace=\"{}\",request=\"forth\"}} 0",
        story.namespace()
    );
    assert!(metrics.contains(&series), "{metrics}");
    let mut secrets = story.parts.secrets();
    secrets.retain(|secret| !secret.is_empty());
    let texts = secrets_search::gather(&story.cluster, &story.parts, &recorder).await?;
    let found = secrets_search::find(&texts, &secrets);
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// What `kubectl describe` shows must read like a plan: its steps as lines of their own, in their order, and what is stopped with its count.
async fn expect_told(story: &Story, name: &str, plan: &RestorePlan) -> Result<()> {
    let question = format!("describe restorerequest -n {} {name}", story.namespace());
    let described = story.cluster.kube(&question).await?;
    // In columns, which are as wide as what stands in them.
    let lines: Vec<String> =
        described.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let mut wanted = ["Plan:", "Backup:", "Feasible: true", "Steps:"].map(str::to_owned).to_vec();
    assert!(plan.steps.len() > 3, "{:?}", plan.steps);
    wanted.extend(plan.steps.iter().cloned());
    for workload in &plan.workloads {
        wanted.push(format!("Name: {}", workload.name));
        wanted.push(format!("Replicas: {}", workload.replicas.context("no count")?));
    }
    let mut below = lines.iter();
    for line in &wanted {
        assert!(below.any(|shown| shown == line), "no line '{line}' where it belongs:\n{described}");
    }
    Ok(())
}

/// In each phase once, at a moment that nobody chose.
#[tokio::test]
async fn a_restore_goes_on_to_its_end_although_the_operator_is_killed_in_each_phase() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "cut").await?;
    let story = Story::begin(cluster, parts, "cut", "").await?;
    story.damage().await?;
    story.apply(&story.request("back")).await?;
    let mut killed = BTreeSet::new();
    let what = "the restore ends";
    let status = wait::until_in(&story.cluster, story.namespace(), what, LIMIT * 2, async || {
        let status = story.status("back").await?;
        let phase = status.phase.unwrap_or_default();
        if phase.is_end() {
            return Ok(Some(status));
        }
        if killed.insert(phase) {
            operator::kill(&story.cluster).await?;
        }
        Ok(None)
    })
    .await?;
    assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
    // Those that last longer than a look; the others may pass between two.
    let lasting: BTreeSet<_> = {
        use RestorePhase::{Planning, Quiescing, Restoring, Resuming, Switching};
        [Planning, Quiescing, Restoring, Switching, Resuming].into()
    };
    assert!(killed.is_superset(&lasting), "only killed in {killed:?}");
    story.expect_equal(&story.before).await?;
    story.expect_running().await?;
    let left = story.databases().await?;
    assert_eq!(
        left.len(),
        5,
        "template0, template1, postgres, what is served and what was replaced: {left:?}"
    );
    Ok(())
}
