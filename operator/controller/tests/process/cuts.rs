//! The operator is killed, or hangs while another one does its work, before each write that it makes in the life of a run. No list of
//! writes is needed: the next life is cut one write later, until it ends uncut.

use anyhow::{Result, ensure};

use crate::kubernetes::Ends;
use crate::life::{Cut, Life, Stage};

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
