//! Around the switch: applications that stop for it only, and a check that fails after it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::v1alpha1::RestorePhase;
use greenlang_backup_tests::gate::Gate;
use greenlang_backup_tests::restore::{self, APPLICATIONS};
use greenlang_backup_tests::story::Story;
use serde_json::json;

use super::{begin, expect_restored, failure};

#[tokio::test]
#[ignore = "slow: make test-all runs it"]
async fn applications_can_stay_until_the_switch_and_a_check_that_fails_names_the_way_back() -> Result<()> {
    let story = begin("switched").await?;
    stop_for_the_switch_only(&story).await?;
    fail_a_check(&story).await?;
    story.close().await
}

async fn stop_for_the_switch_only(story: &Story) -> Result<()> {
    story.damage().await?;
    let before = pods(story).await?;
    assert_eq!(before.len(), 10);
    let mut request = story.request("late");
    request["spec"]["quiesce"]["when"] = json!("BeforeSwitch");
    Gate::Load.close(story).await?;
    story.apply(&request).await?;
    Gate::until_loading(story).await?;

    let loading = story.status("late").await?;
    assert_eq!(loading.phase, Some(RestorePhase::Restoring));
    assert!(loading.quiesced.is_empty(), "{:#?}", loading.quiesced);
    story.expect_running().await?;
    assert_eq!(pods(story).await?, before, "none was stopped to plan or to load");

    Gate::Load.open(story).await?;
    let status = story.ended("late").await?;
    let phases: Vec<_> = restore::phases(&status).into_iter().filter(|phase| *phase != "Verifying").collect();
    let wanted = ["Planning", "Restoring", "Quiescing", "Switching", "Resuming", "Checking", "Succeeded"];
    assert_eq!(phases, wanted);
    expect_restored(story, &status).await?;
    assert!(pods(story).await?.is_disjoint(&before), "all were stopped for the switch");
    Ok(())
}

async fn fail_a_check(story: &Story) -> Result<()> {
    let damaged = story.damage().await?;
    let mut request = story.request("checked");
    request["spec"]["checks"] = json!({"sql": [{"query": "SELECT count(*) FROM note", "expect": "3"}]});
    let status = story.carry_out("checked", &request).await?;
    let failure = failure(&status)?;
    assert_eq!((failure.phase, &*failure.reason), (RestorePhase::Checking, "CheckFailed"));
    for words in ["the answer is \"2\" instead of \"3\"", "spec.source.undoOf.name: checked"] {
        assert!(failure.message.contains(words), "{words:?} is not in {:?}", failure.message);
    }
    for type_ in ["Switched", "Resumed"] {
        assert!(conditions::is(&status.conditions, type_, State::True), "{type_}: {:#?}", status.conditions);
    }
    story.expect_equal(&story.before).await?;
    story.expect_running().await?;
    let previous = status.previous.context("nothing was kept")?;
    assert!(story.databases().await?.contains(&previous.name), "{previous:?}");

    // What the message says.
    let undone = story.carry_out("back", &story.undo("back", "checked")).await?;
    assert_eq!(undone.phase, Some(RestorePhase::Succeeded), "{undone:#?}");
    story.expect_equal(&damaged).await?;
    story.expect_running().await
}

/// UIDs of the applications' Pods.
async fn pods(story: &Story) -> Result<BTreeSet<String>> {
    let mut uids = BTreeSet::new();
    for (name, _) in APPLICATIONS {
        let question =
            format!("get pods -n {} -l app={name} -o jsonpath={{.items[*].metadata.uid}}", story.namespace());
        let answer = story.cluster.kube(&question).await?;
        uids.extend(answer.split_whitespace().map(str::to_owned));
    }
    Ok(uids)
}
