//! Jobs of restores that a webhook denies.

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequestStatus};
use greenlang_backup_tests::wait;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::World;
use crate::proxy::Fault;
use crate::replica::LIMIT;
use crate::runs;

/// What asks again within seconds asks for nothing, as long as whoever refuses has not changed his mind.
#[tokio::test]
async fn a_job_that_a_webhook_denies_is_a_failed_attempt_and_told() -> Result<()> {
    let mut world = World::start().await?;
    world.policy_at_rest().await?;
    world.server.hold("load", true);
    world.apply("back", |_| {}).await?;
    let loads = |status: &RestoreRequestStatus| {
        let active = status.active.as_ref().filter(|_| status.phase == Some(RestorePhase::Restoring));
        active.is_some_and(|active| active.job_uid.is_some())
    };
    world.until("back", "it loads", loads).await?;
    world.proxy.inject(Fault::Denied, "POST", "/jobs", 1);
    world.server.hold("load", false);
    let denied = |status: &RestoreRequestStatus| {
        let error = status.active.as_ref().and_then(|active| active.last_error.as_ref());
        error.is_some_and(|error| error.starts_with("JobRefused: ") && error.contains("not on Fridays"))
    };
    world.until("back", "it says who keeps it from switching", denied).await?;
    world.phase("back", RestorePhase::Succeeded).await?;
    world.at_rest("back").await?;
    assert!(world.events("back").await?.contains("RestoreRetrying"));

    // What was replaced is dropped an hour later then.
    let kept = world.kept().await?.pop().context("nothing remembers it")?;
    let name = kept.name_any();
    world.proxy.inject(Fault::Denied, "POST", "/jobs", 1);
    world.drop_after(&kept, "2025-11-07T00:00:00Z").await?;
    wait::until("it is told", LIMIT, async || {
        Ok(world.events(&name).await?.contains("DropFailed").then_some(()))
    })
    .await?;
    let drops = ListParams::default().labels(labels::KEPT_DATABASE);
    assert!(runs::jobs(&world.api).list(&drops).await?.items.is_empty());
    world.drop_after(&kept, "2025-11-07T00:30:00Z").await?;
    wait::until("another attempt", LIMIT, async || {
        Ok(runs::jobs(&world.api).list(&drops).await?.items.pop())
    })
    .await?;
    Ok(())
}
