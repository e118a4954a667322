//! Rounds of restores, each beside `pg_restore` alone. Starts processes.

use anyhow::Result;
use greenlang_backup_api::task::PostgresDumpTask;
use greenlang_backup_api::v1alpha1::VerifyRestored;
use greenlang_backup_bench::usage::Usage;
use greenlang_backup_bench::world::{Restored, World};

use crate::baselines::{self, Dump};
use crate::rounds::in_two_streams;

/// What was measured of restores.
pub struct Restores {
    /// Rounds of a backup in one object, loaded with one connection.
    pub one: Vec<RestoreRound>,
    /// Rounds of a backup in two streams, loaded with two connections; none if the runner made it in one.
    pub two: Vec<RestoreRound>,
    /// A restore whose content is compared as well.
    pub verified: Usage,
}

/// What one round measured.
pub struct RestoreRound {
    /// `pg_restore` from a file in memory, with as many connections.
    pub local: Usage,
    /// The restore.
    pub restored: Restored,
}

impl Restores {
    /// Those of the runner.
    pub fn usages(&self) -> impl Iterator<Item = Usage> {
        let rounds = self.one.iter().chain(&self.two);
        rounds.map(|round| round.restored.usage).chain([self.verified])
    }
}

/// Measures everything this often. Rows are counted only, after what is measured: the bare `pg_restore` compares nothing.
pub fn restores(world: &World, database: &str, dump: &Dump, rounds: u32) -> Result<Restores> {
    let backup =
        |streams| world.backup(PostgresDumpTask { streams, read_back_limit: 0, ..world.task(database) });
    let measured = |jobs| -> Result<Vec<RestoreRound>> {
        let round = |_| {
            let local = baselines::pg_restore(world, dump, jobs)?;
            Ok(RestoreRound { local, restored: world.restore(database, jobs, VerifyRestored::Counts)? })
        };
        (0..rounds).map(round).collect()
    };
    backup(1)?;
    let one = measured(1)?;
    let in_two = in_two_streams(&backup(2)?.manifest);
    let two = if in_two { measured(2)? } else { Vec::new() };
    let verified = world.restore(database, 2, VerifyRestored::Full)?.usage;
    Ok(Restores { one, two, verified })
}
