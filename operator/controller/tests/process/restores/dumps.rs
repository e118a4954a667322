//! Restores and dumps of one database: who waits for whom.

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions::{READY, RECONCILING, find};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::RestorePhase;
use greenlang_backup_tests::policy;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::{REPLICAS, World};
use crate::replica::SERVED;
use crate::runs;

/// A dump of what is being replaced waits for the end.
#[tokio::test]
async fn a_dump_of_what_is_being_replaced_waits() -> Result<()> {
    let mut world = World::start().await?;
    world.policy_at_rest().await?;
    world.server.hold("load", true);
    world.apply("back", |_| {}).await?;
    world.phase("back", RestorePhase::Restoring).await?;
    policy::run_now(&world.api.cluster, SERVED, "main", "database", "now").await?;
    let waits = runs::until(&world.api, "main", "the dump waits", |status| {
        find(&status.conditions, RECONCILING).is_some_and(|found| {
            found.reason == "WaitingForRestore" && found.message.contains("RestoreRequest back")
        })
    });
    waits.await?;
    let dumps = ListParams::default().labels(&format!("{}={}", labels::TASK, labels::TASK_BACKUP));
    assert!(runs::jobs(&world.api).list(&dumps).await?.items.is_empty());

    world.server.hold("load", false);
    world.phase("back", RestorePhase::Succeeded).await?;
    world.at_rest("back").await?;
    runs::carry_out(&world.api, &runs::job(&world.api, "main", labels::TASK_BACKUP, &[]).await?).await?;
    runs::until(&world.api, "main", "one backup", |status| runs::over(status, 1)).await?;
    Ok(())
}

/// One that goes on already would be cut off by the switch.
#[tokio::test]
async fn a_dump_that_goes_on_already_is_waited_for_before_anything_stops() -> Result<()> {
    let mut world = World::start().await?;
    world.policy_at_rest().await?;
    let dump = runs::run(&world.api, "main", "now", &[]).await?;
    world.apply("back", |_| {}).await?;
    let waits = world
        .until("back", "it waits", |status| {
            find(&status.conditions, READY).is_some_and(|ready| ready.reason == "WaitingForBackup")
        })
        .await?;
    let ready = find(&waits.conditions, READY).context("no condition")?;
    assert!(ready.message.contains(&dump.name_any()), "{}", ready.message);
    assert_eq!(waits.phase, Some(RestorePhase::Quiescing));
    assert!(world.replicas().await?.starts_with(&REPLICAS.to_string()));

    runs::carry_out(&world.api, &dump).await?;
    world.phase("back", RestorePhase::Succeeded).await?;
    world.at_rest("back").await?;
    runs::until(&world.api, "main", "one backup", |status| runs::over(status, 1)).await?;
    Ok(())
}
