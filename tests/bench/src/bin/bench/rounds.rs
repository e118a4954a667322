//! One round: every measurement once, one after the other, so that what disturbs the machine disturbs all of them. Starts
//! processes.

use anyhow::Result;
use greenlang_backup_api::manifest::{Content, Manifest};
use greenlang_backup_api::task::PostgresDumpTask;
use greenlang_backup_api::v1alpha1::Verification;
use greenlang_backup_bench::usage::Usage;
use greenlang_backup_bench::world::{Backup, World};

use crate::baselines::{self, Dump};

/// Bytes per second of the source that is slower than the runner.
pub const THROTTLE: u64 = 150_000_000;

/// Runs of the short archive whose memory is measured.
const SHORT_RUNS: u32 = 3;

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
    /// A backup in two streams; none if the runner made it in one.
    pub two_streams: Option<Usage>,
    /// A backup that is read back; none if the runner did not.
    pub read_back: Option<Usage>,
    /// The throttled source alone.
    pub source: Usage,
    /// A backup of the throttled source.
    pub throttled: Usage,
}

impl Round {
    /// Those of the runner.
    pub fn backups(&self) -> impl Iterator<Item = Usage> {
        [Some(self.backup), self.two_streams, self.read_back, Some(self.throttled)].into_iter().flatten()
    }
}

/// Measures everything once.
pub fn round(world: &World, database: &str, synthetic: &str, template: &[u8], dump: &Dump) -> Result<Round> {
    let streamed = |streams| -> Result<Backup> {
        let task = world.task(database);
        world.backup(PostgresDumpTask { streams, read_back_limit: 0, ..task })
    };
    let clients = world.stand_in(template, dump.bytes, Some(THROTTLE))?;
    Ok(Round {
        bare: baselines::bare(world, database)?,
        backup: streamed(1)?.usage,
        zstd_age: baselines::zstd_age(world, dump)?,
        two_streams: used_if(&streamed(2)?, in_two_streams),
        read_back: used_if(&world.backup(world.task(database))?, was_read_back),
        passes: baselines::passes(world, database)?,
        source: baselines::source(&clients)?,
        throttled: {
            let task = PostgresDumpTask { read_back_limit: 0, ..world.task(synthetic) };
            world.backup_with_clients(task, &clients)?.usage
        },
    })
}

/// Most memory of the runner for archives of these lengths, as fast as they can be sealed, read back and all. How many of its
/// buffers were in use at once is chance, so the short one, which is over soon, is tried some times.
pub fn memory(world: &World, synthetic: &str, template: &[u8], lengths: [u64; 2]) -> Result<[Usage; 2]> {
    let measure = |bytes| -> Result<Usage> {
        let clients = world.stand_in(template, bytes, None)?;
        Ok(world.backup_with_clients(world.task(synthetic), &clients)?.usage)
    };
    let mut short = measure(lengths[0])?;
    for _ in 1..SHORT_RUNS {
        let usage = measure(lengths[0])?;
        short = Usage {
            peak_memory: short.peak_memory.max(usage.peak_memory),
            written: short.written.max(usage.written),
            ..short
        };
    }
    Ok([short, measure(lengths[1])?])
}

/// What was used, if it was for what is to be measured: a runner that leaves work out is fast.
fn used_if(backup: &Backup, did: fn(&Manifest) -> bool) -> Option<Usage> {
    did(&backup.manifest).then_some(backup.usage)
}

/// Whether there are several objects of a database.
pub fn in_two_streams(manifest: &Manifest) -> bool {
    manifest.objects.iter().any(|object| matches!(object.content, Content::PostgresData { .. }))
}

fn was_read_back(manifest: &Manifest) -> bool {
    manifest.verified == Verification::ReadBack
}
