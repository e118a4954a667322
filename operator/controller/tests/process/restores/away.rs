//! An API server that is away while a restore goes on: it is found where it was, whatever the phase, and nothing is done twice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use greenlang_backup_api::v1alpha1::RestorePhase;

use super::{ALL, World, once, works};

/// Longer than the Lease runs (15 s).
const AWAY: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_api_server_that_was_away_finds_the_restore_where_it_was() -> Result<()> {
    let mut world = World::start().await?;
    let phases = [
        ("plan", RestorePhase::Planning),
        ("load", RestorePhase::Restoring),
        ("switch", RestorePhase::Switching),
    ];
    for (at, (action, phase)) in phases.into_iter().enumerate() {
        let name = format!("away-{action}");
        world.server.hold(action, true);
        world.apply(&name, |_| {}).await?;
        world.until(&name, "its Job works", works(phase)).await?;
        // One that hangs keeps its connections, and says nothing; one that is killed has lost all watches.
        if phase == RestorePhase::Switching {
            world.api.freeze().await?;
            tokio::time::sleep(AWAY).await;
            world.api.thaw().await?;
        } else {
            world.api.stop().await?;
            tokio::time::sleep(AWAY).await;
            world.api.start_again().await?;
        }
        let found = world.status(&name).await?;
        assert!(works(phase)(&found), "{name}: {found:#?}");
        world.server.hold(action, false);
        world.phase(&name, RestorePhase::Succeeded).await?;
        world.at_rest(&name).await.context(name.clone())?;
        assert_eq!(world.server.done(&name), once(&ALL), "{name}");
        assert_eq!(world.kept().await?.len(), at + 1, "{name}");
    }
    ensure!(world.operator.runs()?, "without a restart");
    Ok(())
}
