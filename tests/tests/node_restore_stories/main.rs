//! What goes wrong while a database is restored on a real node, and what people change their minds about: each time the data must be one of
//! the two that it may be, and the applications must be back. Slow, for each restore takes half a minute.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

mod full_disk;
mod given_up;
mod lost;
mod old_backup;
mod switch;
mod workloads;

use anyhow::{Context as _, Result};
use greenlang_backup_api::v1alpha1::{RestoreFailure, RestorePhase, RestoreRequestStatus};
use greenlang_backup_tests::story::Story;
use greenlang_backup_tests::{gate, suite};

/// One for each test. They are names of databases, too.
const NAMES: &[&str] = &["switched", "lost", "workloads", "deleted", "cancelled", "scripts", "crowded"];

/// A database whose restores stop at gates.
async fn begin(name: &str) -> Result<Story> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, name).await?;
    Story::begin(cluster, parts, name, gate::CONTENT).await
}

/// It succeeded, with what was backed up, and the applications are ready.
async fn expect_restored(story: &Story, status: &RestoreRequestStatus) -> Result<()> {
    assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
    story.expect_equal(&story.before).await?;
    story.expect_running().await?;
    story.expect_nothing_half_made().await
}

/// Why it failed.
fn failure(status: &RestoreRequestStatus) -> Result<&RestoreFailure> {
    assert_eq!(status.phase, Some(RestorePhase::Failed), "{status:#?}");
    status.failure.as_ref().context("it failed without a reason")
}
