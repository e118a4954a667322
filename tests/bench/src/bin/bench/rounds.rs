//! One round: every measurement once, one after the other, so that what disturbs the machine disturbs all of them. Starts
//! processes.

use anyhow::Result;
use greenlang_backup_api::task::PostgresDumpTask;
use greenlang_backup_bench::usage::Usage;
use greenlang_backup_bench::world::World;

use crate::baselines::{self, Dump};

/// Bytes per second of the source that is slower than the runner.
pub const THROTTLE: u64 = 150_000_000;

/// What one round measured.
pub struct Round {
    /// `pg_dump` alone.
    pub bare: Usage,
    /// A backup that is not read back.
    pub backup: Usage,
    /// The old procedure.
    pub passes: Usage,
    /// zstd and age alone.
    pub zstd_age: Usage,
    /// A backup in two streams.
    pub two_streams: Usage,
    /// A backup that is read back.
    pub read_back: Usage,
    /// The throttled source alone.
    pub source: Usage,
    /// A backup of the throttled source.
    pub throttled: Usage,
}

impl Round {
    /// Those of the runner.
    pub fn backups(&self) -> [Usage; 4] {
        [self.backup, self.two_streams, self.read_back, self.throttled]
    }
}

/// Measures everything once.
pub fn round(world: &World, database: &str, synthetic: &str, template: &[u8], dump: &Dump) -> Result<Round> {
    let streamed = |streams| -> Result<Usage> {
        let task = world.task(database)?;
        Ok(world.backup(PostgresDumpTask { streams, read_back_limit: 0, ..task })?.usage)
    };
    let clients = world.stand_in(template, dump.bytes, Some(THROTTLE))?;
    Ok(Round {
        bare: baselines::bare(world, database)?,
        backup: streamed(1)?,
        zstd_age: baselines::zstd_age(world, dump)?,
        two_streams: streamed(2)?,
        read_back: world.backup(world.task(database)?)?.usage,
        passes: baselines::passes(world, database)?,
        source: baselines::source(&clients)?,
        throttled: {
            let task = PostgresDumpTask { read_back_limit: 0, ..world.task(synthetic)? };
            world.backup_with_clients(task, &clients)?.usage
        },
    })
}

/// Most memory of the runner for archives of these lengths, as fast as they can be sealed, read back and all.
pub fn memory(world: &World, synthetic: &str, template: &[u8], lengths: [u64; 2]) -> Result<[Usage; 2]> {
    let measure = |bytes| -> Result<Usage> {
        let clients = world.stand_in(template, bytes, None)?;
        Ok(world.backup_with_clients(world.task(synthetic)?, &clients)?.usage)
    };
    Ok([measure(lengths[0])?, measure(lengths[1])?])
}
