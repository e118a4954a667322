//! What the API server does not let a restore make: Jobs that a webhook denies, and what is to remember a replaced database.

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::restore::RequestIdentity;
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequestStatus};
use greenlang_backup_plan::restore_request::kept_name;
use greenlang_backup_tests::wait;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use super::World;
use crate::proxy::Fault;
use crate::replica::{LIMIT, SERVED};
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

/// Whoever may make ConfigMaps can have the name that ours must have.
#[tokio::test]
async fn a_config_map_in_the_way_that_nobody_may_change_brings_the_applications_back() -> Result<()> {
    let mut world = World::start().await?;
    world.policy_at_rest().await?;
    world.server.hold("load", true);
    world.apply("back", |_| {}).await?;
    let loads = |status: &RestoreRequestStatus| status.phase == Some(RestorePhase::Restoring);
    world.until("back", "it loads", loads).await?;
    let request = world.requests().get("back").await?;
    let uid = request.uid().context("a UID")?;
    let name = kept_name(&RequestIdentity { namespace: SERVED.into(), name: "back".into(), uid });
    let in_the_way = json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "data": {"x": "y"},
        "metadata": {"name": name, "namespace": SERVED}});
    world.api.cluster.apply(&in_the_way.to_string()).await?;
    world.server.hold("load", false);
    let status = world.phase("back", RestorePhase::Failed).await?;
    let failure = status.failure.context("a failure")?;
    assert_eq!(failure.reason, "ConfigMapRefused");
    assert!(failure.message.contains(&name) && failure.message.contains("immutable"), "{}", failure.message);
    assert!(status.switch_started_time.is_none());
    world.at_rest("back").await
}
