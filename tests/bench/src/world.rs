//! A runner with all that its Job gives it: Secrets, keys, a task, a bucket. Nothing of it lies on a disk, so that what the
//! runner writes to one is the runner's own doing. Starts processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use anyhow::{Context as _, Result};
use greenlang_backup_api::manifest::Manifest;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::restore::{
    LoadAction, OpeningKeys, RequestIdentity, RestoreAction, RestoreTask, temporary_name,
};
use greenlang_backup_api::task::{MountedSecret, PostgresDumpTask, TASK_ENV, Task};
use greenlang_backup_api::v1alpha1::{ChosenBackup, RestoreGlobals, VerifyRestored};
use greenlang_backup_test_servers::tasks::{self, BACKUP_ID};
use greenlang_backup_test_servers::{CLIENTS, Postgres, S3, StandIn, run};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::image;
use crate::usage::Usage;

const BUCKET: &str = "bench";
/// File of private keys.
const IDENTITY_KEY: &str = "identity.txt";
/// Where nothing is written to a disk.
const MEMORY: &str = "/dev/shm";

/// Servers, bucket, keys and Secrets.
pub struct World<'a> {
    /// The server that is backed up.
    pub postgres: &'a Postgres,
    /// The server that holds the bucket.
    pub s3: &'a S3,
    /// Whom backups are encrypted for.
    pub recipients: Vec<String>,
    /// What opens them.
    identity: MountedSecret,
    /// A place in memory.
    pub directory: TempDir,
}

/// A database that was restored.
pub struct Restored {
    /// What the runner used.
    pub usage: Usage,
    /// From the start until all rows were in and all indexes built; what follows verifies and analyzes.
    pub loading: Duration,
}

/// A backup that was made.
pub struct Backup {
    /// What the runner used.
    pub usage: Usage,
    /// What it made.
    pub manifest: Manifest,
}

impl<'a> World<'a> {
    /// Makes the bucket.
    pub fn new(postgres: &'a Postgres, s3: &'a S3) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("greenlang-bench-").tempdir_in(MEMORY)?;
        let (first, second) = (Identity::generate(), Identity::generate());
        let text = first.to_string();
        fs::write(directory.path().join(IDENTITY_KEY), format!("{}\n", text.expose_secret()))?;
        let identity =
            tasks::mount(directory.path(), "backup-identity", &[(IDENTITY_KEY, text.expose_secret())]);
        let recipients = vec![first.to_public().to_string(), second.to_public().to_string()];
        run(s3.aws().args(["s3", "mb", &format!("s3://{BUCKET}")]));
        Ok(Self { postgres, s3, recipients, identity, directory })
    }

    /// A backup of one database with all that a policy switches on by default.
    pub fn task(&self, database: &str) -> PostgresDumpTask {
        let secrets = self.directory.path();
        let bucket = tasks::bucket(BUCKET, &self.s3.endpoint, secrets);
        tasks::dump_task(bucket, self.recipients.clone(), self.postgres, &[database], secrets)
    }

    /// A backup that nobody measures: when a file is first read after it was written, the program among them, the file system
    /// notes that on the disk.
    pub fn warm_up(&self, database: &str) -> Result<()> {
        self.backup(self.task(database)).map(|_| ())
    }

    /// Runs the runner, which must make a backup, into the emptied bucket.
    pub fn backup(&self, task: PostgresDumpTask) -> Result<Backup> {
        self.backup_with_clients(task, &PathBuf::from(CLIENTS))
    }

    /// The same with client programs from a directory.
    pub fn backup_with_clients(&self, task: PostgresDumpTask, clients: &Path) -> Result<Backup> {
        self.empty_bucket();
        settle();
        let (usage, _) = carry_out(&Task::PostgresDump(task), clients, self.directory.path())?;
        Ok(Backup { usage, manifest: self.manifest()? })
    }

    /// Runs the runner, which must restore a database of the backup in the bucket beside it, and drops that again.
    pub fn restore(&self, database: &str, jobs: u8, verify: VerifyRestored) -> Result<Restored> {
        let request = RequestIdentity {
            namespace: "greenlang".to_owned(),
            name: "bench".to_owned(),
            uid: "bench".to_owned(),
        };
        let temporary = temporary_name(database, &request.uid);
        let backup = ChosenBackup {
            path: "database".to_owned(),
            id: BACKUP_ID.parse()?,
            database: database.to_owned(),
            manifest_sha256: None,
        };
        let task = self.task(database);
        let task = RestoreTask {
            request,
            spec_sha256: String::new(),
            bucket: task.bucket,
            server: task.server,
            database: database.to_owned(),
            stall_seconds: task.stall_seconds,
            action: RestoreAction::Load(LoadAction {
                backup,
                keys: OpeningKeys { identity: Some(self.identity.clone()), legacy_passphrase: None },
                temporary: temporary.clone(),
                jobs,
                globals: RestoreGlobals::Restore,
                verify,
                include: None,
                drop_first: None,
            }),
        };
        self.postgres.sql("postgres", "CHECKPOINT");
        settle();
        let start = Timestamp::now();
        let (usage, _) = carry_out(&Task::Restore(task), Path::new(CLIENTS), self.directory.path())?;
        let log = fs::read_to_string(self.directory.path().join("stderr"))?;
        let loaded = said_at(&log, "loaded").context("the runner did not say when it had loaded")?;
        self.postgres.sql("postgres", &format!("DROP DATABASE \"{temporary}\""));
        Ok(Restored { usage, loading: loaded.duration_since(start).try_into()? })
    }

    /// A stand-in for `pg_dump` that writes an archive of a length; all other programs are real.
    pub fn stand_in(&self, template: &[u8], bytes: u64, bytes_per_second: Option<u64>) -> Result<PathBuf> {
        let path = self.directory.path().join("template");
        fs::write(&path, template)?;
        let program = beside_us("archive-source")?;
        let stand_in = StandIn { program: &program, template: &path, bytes, bytes_per_second };
        Ok(stand_in.clients(self.directory.path()))
    }

    /// The table of contents of an object that holds an archive, by public programs.
    pub fn table_of_contents(&self, key: &str) -> String {
        let script = format!(
            "set -o pipefail; aws --endpoint-url \"$AWS_ENDPOINT_URL\" s3 cp --quiet \"s3://{BUCKET}/$0\" - | age -d -i identity.txt | zstd -dc >archive
            {CLIENTS}/pg_restore --list archive; rm archive"
        );
        run(self.s3.command("bash").args(["-ec", &script, key]).current_dir(self.directory.path()))
    }

    fn empty_bucket(&self) {
        run(self.s3.aws().args(["s3", "rm", "--quiet", "--recursive", &format!("s3://{BUCKET}")]));
    }

    fn manifest(&self) -> Result<Manifest> {
        let key = format!("s3://{BUCKET}/database/{BACKUP_ID}/manifest.json");
        let json = run(self.s3.aws().args(["s3", "cp", "--quiet", &key, "-"]));
        Ok(Manifest::from_slice(json.as_bytes())?)
    }
}

/// Runs the runner with a task, which must be done; what it says stays in a directory.
pub fn carry_out(task: &Task, clients: &Path, place: &Path) -> Result<(Usage, RunReport)> {
    let (report, errors) = (place.join("report"), place.join("stderr"));
    let mut command = Command::new(beside_us("greenlang-backup-runner")?);
    command
        .envs(image::environment())
        .env(TASK_ENV, task.encode()?)
        .env("GREENLANG_TERMINATION_LOG", &report)
        .env("GREENLANG_PG_BIN_DIR", clients)
        // Files, since a pipe that nobody reads stops who writes.
        .stdout(File::create(place.join("stdout"))?)
        .stderr(File::create(&errors)?);
    let (status, usage) = Usage::of(&mut command)?;
    let report = RunReport::decode(&fs::read_to_string(&report).unwrap_or_default());
    match report {
        Some(report) if status.success() && report.outcome == Outcome::Done => Ok((usage, report)),
        report => anyhow::bail!(
            "the runner ended with {status}: {report:?}\n{}",
            fs::read_to_string(&errors).unwrap_or_default()
        ),
    }
}

/// When a line with these words was written to a log of JSON lines.
fn said_at(log: &str, words: &str) -> Option<Timestamp> {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let line = lines.find(|line| line["fields"]["message"] == words)?;
    line["timestamp"].as_str()?.parse().ok()
}

/// Waits until what was written before is on the disk, so that no measurement pays for the one before it.
pub fn settle() {
    run(&mut Command::new("sync"));
}

/// A program that was built together with this one.
pub fn beside_us(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(path.exists(), "{} is missing: build it in the same profile", path.display());
    Ok(path)
}
