//! A dump far longer than memory. Starts processes.

use anyhow::{Result, ensure};
use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::sizing::DEFAULT_PART_SIZE;
use greenlang_backup_api::v1alpha1::Verification;
use greenlang_backup_bench::data;
use greenlang_backup_bench::world::World;
use greenlang_backup_test_servers::{ADMIN_PASSWORD, Postgres, S3};

const DATABASE: &str = "synthetic";
const GIB: u64 = 1 << 30;
/// Memory that a runner may have at zstd level 1, which the Job's limit is made from.
const MEMORY: u64 = 128 << 20;
/// How many buffers are in use at once is chance, so one more is no growth.
const BUFFER: u64 = DEFAULT_PART_SIZE;

/// Dumped, sealed, stored and read back.
pub fn twenty_gib() -> Result<()> {
    let (postgres, s3) = (Postgres::start(ADMIN_PASSWORD), S3::start_versitygw());
    let world = World::new(&postgres, &s3)?;
    let template = data::one_table(&postgres, DATABASE);
    world.warm_up(DATABASE)?;
    let backup = |bytes| {
        let clients = world.stand_in(&template, bytes, None)?;
        world.backup_with_clients(world.task(DATABASE), &clients)
    };
    let short = backup(GIB)?.usage.peak_memory;
    let backup = backup(20 * GIB)?;
    let archives = backup.manifest.objects.iter();
    let bytes: u64 = archives
        .filter(|object| matches!(object.content, Content::PostgresArchive { .. }))
        .map(|object| object.source_bytes)
        .sum();
    // The source ends at a row.
    ensure!((20 * GIB - 4096..=20 * GIB).contains(&bytes), "the manifest tells of {bytes} bytes");
    let verified = backup.manifest.verified;
    ensure!(verified == Verification::ReadBack, "it was not read back: the manifest says {verified:?}");
    let peak = backup.usage.peak_memory;
    ensure!((1..=MEMORY).contains(&peak), "the runner had {} MiB of memory", peak >> 20);
    ensure!(peak <= short + BUFFER, "{} MiB at 1 GiB grew to {} MiB", short >> 20, peak >> 20);
    ensure!(backup.usage.written == 0, "the runner wrote {} bytes to a disk", backup.usage.written);
    Ok(())
}
