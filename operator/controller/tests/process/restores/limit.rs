//! Restores beside the limit of runs: they wait for no place, and take none.

use anyhow::Result;
use greenlang_backup_api::conditions::{RECONCILING, find};
use greenlang_backup_api::v1alpha1::RestorePhase;
use greenlang_backup_api::{labels, reasons};
use greenlang_backup_tests::policy;
use serde_json::json;

use super::{World, works};
use crate::replica::SERVED;
use crate::{apply_changed, runs};

/// Policies of databases that nobody restores, so that nothing but the limit holds up their runs.
const OTHERS: [&str; 2] = ["one", "two"];

#[tokio::test]
async fn a_restore_waits_for_no_place_and_takes_none() -> Result<()> {
    let mut world = World::start_with(&[("MAX_CONCURRENT_RUNS", "1")]).await?;
    for name in OTHERS {
        let change = |wanted: &mut serde_json::Value| wanted["spec"]["postgres"]["database"] = json!(name);
        apply_changed(&world.api, name, change).await?;
    }
    for name in ["main", "one", "two"] {
        for task in [labels::TASK_CATALOGUE, labels::TASK_PROBE] {
            runs::carry_out(&world.api, &runs::job(&world.api, name, task, &[]).await?).await?;
        }
    }
    let first = runs::run(&world.api, "one", "now", &[]).await?;
    policy::run_now(&world.api.cluster, SERVED, "two", "database", "now").await?;
    let waits = runs::until(&world.api, "two", "it waits for a place", |status| {
        find(&status.conditions, RECONCILING).is_some_and(|now| now.reason == reasons::WAITING_FOR_CAPACITY)
    });
    waits.await?;
    world.server.hold("load", true);
    world.apply("back", |_| {}).await?;
    world.until("back", "it loads beside the run", works(RestorePhase::Restoring)).await?;

    // The place of the first run goes to the second, though a restore goes on.
    runs::carry_out(&world.api, &first).await?;
    let second = runs::job(&world.api, "two", labels::TASK_BACKUP, &[]).await?;
    let status = world.status("back").await?;
    assert!(works(RestorePhase::Restoring)(&status), "{status:#?}");
    runs::carry_out(&world.api, &second).await?;
    runs::until(&world.api, "two", "its run is over", |status| runs::over(status, 1)).await?;
    world.server.hold("load", false);
    world.phase("back", RestorePhase::Succeeded).await?;
    world.at_rest("back").await
}
