//! The operator is killed, or hangs while another one does its work, before each write that it makes in the life of a run, and before
//! the first Job of a restore. No list of writes is needed: the next life is cut one write later, until it ends uncut.

use anyhow::{Context as _, Result, bail, ensure};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::RestorePhase;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE};
use greenlang_backup_tests::wait;
use kube::api::ListParams;
use serde_json::json;

use crate::kubernetes::Ends;
use crate::life::{Cut, HANGS, Life, Stage};
use crate::replica::LIMIT;
use crate::restores::World;
use crate::runs::{jobs, probed};

const SUCCESS: Life = Life {
    name: "success",
    rule: "Forbid",
    ends: Ends::Well,
    second: false,
    places: "20",
    counts: (1, 1, 0),
    clean_ups: 0,
    fresh: false,
};
const RETRY: Life = Life { name: "retry", ends: Ends::Retried, counts: (2, 1, 0), ..SUCCESS };
const FAILURE: Life =
    Life { name: "failure", ends: Ends::Untidily, counts: (1, 0, 1), clean_ups: 1, ..SUCCESS };
const REPLACED: Life = Life { name: "replaced", rule: "Replace", second: true, counts: (2, 1, 1), ..SUCCESS };
const WAITS: Life = Life { name: "waits", second: true, counts: (2, 2, 0), ..SUCCESS };
/// The second run stands beside the first one, and waits until that gives its place back.
const QUEUED: Life =
    Life { name: "queued", rule: "Allow", second: true, places: "1", counts: (2, 2, 0), ..SUCCESS };
const FIRST: Life = Life { name: "first", fresh: true, ..SUCCESS };

/// Repeats a life, each time cut one write later. `least` is how many writes it is known to have: run decided, its Job, its UID, its end
/// counted, the Job deleted, and so on.
async fn cut_everywhere(life: Life, cut: Cut, least: u64) -> Result<Stage> {
    let mut stage = Stage::new(life).await?;
    let mut writes = 0;
    while stage.live(cut, writes).await? {
        writes += 1;
    }
    ensure!(writes >= least, "only {writes} writes were cut");
    Ok(stage)
}

#[tokio::test]
async fn a_success_with_its_prune_survives_a_kill_before_each_write() -> Result<()> {
    cut_everywhere(SUCCESS, Cut::Abort, 9).await.map(drop)
}

#[tokio::test]
async fn a_retry_survives_a_kill_before_each_write() -> Result<()> {
    cut_everywhere(RETRY, Cut::Abort, 12).await.map(drop)
}

#[tokio::test]
async fn a_failure_with_its_clean_up_survives_a_kill_before_each_write() -> Result<()> {
    cut_everywhere(FAILURE, Cut::Abort, 8).await.map(drop)
}

#[tokio::test]
async fn a_replaced_run_survives_a_kill_before_each_write() -> Result<()> {
    cut_everywhere(REPLACED, Cut::Abort, 12).await.map(drop)
}

#[tokio::test]
async fn a_run_that_waits_survives_a_kill_before_each_write() -> Result<()> {
    cut_everywhere(WAITS, Cut::Abort, 13).await.map(drop)
}

#[tokio::test]
async fn a_run_that_waits_for_a_place_survives_a_kill_before_each_write() -> Result<()> {
    cut_everywhere(QUEUED, Cut::Abort, 13).await.map(drop)
}

#[tokio::test]
async fn a_new_policy_survives_a_kill_before_each_write() -> Result<()> {
    cut_everywhere(FIRST, Cut::Abort, 16).await.map(drop)
}

/// As after a pause that was longer than the Lease, which is not even asked here: what protects is that a decision on anything old
/// writes nothing.
#[tokio::test]
async fn one_that_hangs_before_a_write_does_no_harm_when_it_wakes_up() -> Result<()> {
    let mut stage = cut_everywhere(SUCCESS, Cut::Stop, 9).await?;
    // And two at once, neither of which ever hangs.
    for token in ["one", "two", "three"] {
        stage.live_with_two(token).await?;
    }
    cut_everywhere(REPLACED, Cut::Stop, 12).await.map(drop)
}

/// How many Jobs the operator has asked for.
fn jobs_asked_for(api: &ApiServer) -> Result<usize> {
    let asked = api.requests(NAMESPACE, RELEASE)?;
    Ok(asked.iter().filter(|request| request.starts_with("create jobs ")).count())
}

/// A process hangs before it makes a Job, and wakes up when that is wanted no more. How many writes come before is found out by lives that
/// hang earlier, and go on as if nothing had been.
#[tokio::test]
async fn whoever_hung_before_the_job_of_a_request_looks_again_whether_it_is_wanted() -> Result<()> {
    let mut world = World::start().await?;
    // So that all that is written from now on is written for requests.
    probed(&world.api, "main").await?;
    let file = world.folder.path().join("cut");
    for writes in 0..10 {
        std::fs::write(&file, format!("stop {writes}"))?;
        let name = format!("back-{writes}");
        world.apply(&name, |_| {}).await?;
        wait::until("it hangs", LIMIT, async || Ok(world.operator.is_stopped()?.then_some(()))).await?;
        let (before, active) = (jobs_asked_for(&world.api)?, world.status(&name).await?.active);
        let ours = ListParams::default().labels(&format!("{}={name}", labels::RESTORE));
        let is_to_be_made = active.is_some() && jobs(&world.api).list(&ours).await?.items.is_empty();
        if is_to_be_made {
            world.change(&name, json!({"spec": {"cancel": true}})).await?;
            tokio::time::sleep(HANGS).await;
        }
        std::fs::write(file.with_extension("over"), "")?;
        world.operator.signal("CONT").await?;
        let status = world.end(&name).await?;
        if is_to_be_made {
            let asked = jobs_asked_for(&world.api)?;
            assert_eq!((status.phase, asked), (Some(RestorePhase::Cancelled), before), "{name}");
            return world.at_rest(&name).await;
        }
        ensure!(status.phase == Some(RestorePhase::Succeeded), "{name}: {status:#?}");
        world.at_rest(&name).await.context(name)?;
        std::fs::remove_file(file.with_extension("over"))?;
    }
    bail!("it never hung before a Job")
}
