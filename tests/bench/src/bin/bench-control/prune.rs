//! What it takes to delete old backups, and to look at manifests that nobody can read: the real runner on a real S3 server. Starts
//! processes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::prune::PruneReport;
use greenlang_backup_api::task::Task;
use greenlang_backup_bench::usage::Usage;
use greenlang_backup_bench::world::{carry_out, settle};
use greenlang_backup_test_servers::shelf::{KEEP_DAYS, OBJECT_BYTES, manifest, prune_task};
use greenlang_backup_test_servers::{CLIENTS, S3, run, tasks};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

const BUCKET: &str = "prune";
/// Where nothing is written to a disk.
const MEMORY: &str = "/dev/shm";
/// Backups of the prune that nobody measures.
const WARM_UP: u32 = 8;

/// A prune of so many directories.
pub struct Prune {
    /// Directories in the bucket.
    pub directories: u32,
    /// What the runner used.
    pub usage: Usage,
}

/// What was measured.
pub struct Prunes {
    /// Of good backups, half of which are deleted; each twice as many as the one before.
    pub backups: [Prune; 3],
    /// Of manifests that cannot be read; ten times as many as in the one before.
    pub unreadable: [Prune; 2],
}

/// Measures prunes of that many at most.
pub fn measure(backups: u32, manifests: u32) -> Result<Prunes> {
    let bench = Bench::new()?;
    bench.expired(WARM_UP)?;
    println!("prunes of up to {backups} backups");
    let backups = [bench.expired(backups / 4)?, bench.expired(backups / 2)?, bench.expired(backups)?];
    println!("prunes of up to {manifests} manifests that cannot be read");
    Ok(Prunes { backups, unreadable: [bench.unreadable(manifests / 10)?, bench.unreadable(manifests)?] })
}

struct Bench {
    s3: S3,
    directory: TempDir,
}

impl Bench {
    fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("greenlang-prune-").tempdir_in(MEMORY)?;
        let s3 = S3::start_versitygw();
        run(s3.aws().args(["s3", "mb", &format!("s3://{BUCKET}")]));
        Ok(Self { s3, directory })
    }

    /// Half of the backups are a month older than they are kept.
    fn expired(&self, count: u32) -> Result<Prune> {
        let prefix = format!("expired-{count}");
        let age = SignedDuration::from_hours(24 * 2 * i64::from(KEEP_DAYS));
        self.fill(&prefix, count, |number, id| {
            let id = if number % 2 == 0 { id } else { BackupId::from_slot(id.slot()? - age) };
            Ok((id.clone(), serde_json::to_vec(&manifest(&directory(&prefix, &id), id.as_str()))?))
        })?;
        let (usage, report) = self.prune(&prefix)?;
        let PruneReport { deleted, kept, skipped, .. } = report;
        ensure!((deleted, kept, skipped) == (count / 2, count / 2, 0), "{report:?} of {count} backups");
        Ok(Prune { directories: count, usage })
    }

    /// Manifests of a later release, cut off, of another id, of another policy, and what is none at all.
    fn unreadable(&self, count: u32) -> Result<Prune> {
        let prefix = format!("unreadable-{count}");
        self.fill(&prefix, count, |number, id| {
            let mut made = manifest(&directory(&prefix, &id), id.as_str());
            match number % 5 {
                0 => made.schema_version = 99,
                1 => made.timestamp = BackupId::from_slot(Timestamp::UNIX_EPOCH),
                2 => "another".clone_into(&mut made.policy.name),
                _ => {}
            }
            let mut bytes = serde_json::to_vec(&made)?;
            match number % 5 {
                3 => bytes.truncate(bytes.len() / 2),
                4 => bytes = b"of the old scripts".to_vec(),
                _ => {}
            }
            Ok((id, bytes))
        })?;
        let (usage, report) = self.prune(&prefix)?;
        let PruneReport { deleted, kept, skipped, garbage, .. } = report;
        ensure!((deleted, kept, skipped, garbage) == (0, 0, count, 0), "{report:?} of {count} manifests");
        Ok(Prune { directories: count, usage })
    }

    /// Puts backups of one object each below a prefix, a minute apart.
    fn fill(
        &self,
        prefix: &str,
        count: u32,
        backup: impl Fn(u32, BackupId) -> Result<(BackupId, Vec<u8>)>,
    ) -> Result<()> {
        let place = self.directory.path().join(prefix);
        let object = vec![b'x'; usize::try_from(OBJECT_BYTES)?];
        let newest = Timestamp::now() - SignedDuration::from_hours(1);
        for number in 0..count {
            let id = BackupId::from_slot(newest - SignedDuration::from_mins(number.into()));
            let (id, manifest) = backup(number, id)?;
            let folder = place.join("database").join(id.as_str());
            fs::create_dir_all(folder.join("1"))?;
            fs::write(folder.join("manifest.json"), &manifest)?;
            fs::write(folder.join("1/shop.dump.zst.age"), &object)?;
        }
        let mut copy = self.s3.aws();
        run(copy
            .args(["s3", "cp", "--quiet", "--recursive"])
            .arg(&place)
            .arg(format!("s3://{BUCKET}/{prefix}")));
        Ok(fs::remove_dir_all(place)?)
    }

    fn prune(&self, prefix: &str) -> Result<(Usage, PruneReport)> {
        settle();
        let mut bucket = tasks::bucket(BUCKET, &self.s3.endpoint, self.directory.path());
        prefix.clone_into(&mut bucket.prefix);
        let task = Task::Prune(prune_task(bucket, BackupId::from_slot(Timestamp::now())));
        let (usage, report) = carry_out(&task, Path::new(CLIENTS), self.directory.path())?;
        Ok((usage, report.prune.context("a report without a prune")?))
    }
}

fn directory(prefix: &str, id: &BackupId) -> String {
    format!("{prefix}/database/{id}/")
}
