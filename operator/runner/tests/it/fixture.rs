//! One test's world: a bucket, mounted Secrets, keys, a task, and the runner.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use greenlang_backup_api::manifest::Manifest;
use greenlang_backup_api::progress::Progress;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::task::{MountedSecret, PostgresDumpTask, PostgresProbe, ProbeTask, Task};
use greenlang_backup_test_s3::{BUCKET, FaultServer};
use tempfile::TempDir;

use crate::bucket::TestBucket;
use crate::servers::{ADMIN_PASSWORD, POSTGRES, S3_SECRET, poll, tasks};

pub const ID: &str = tasks::BACKUP_ID;

pub struct Fixture {
    pub bucket: TestBucket,
    pub task: PostgresDumpTask,
    pub directory: TempDir,
    pub identity_file: PathBuf,
    identity: Identity,
}

/// A runner that has ended.
pub struct Ended {
    pub report: RunReport,
    pub stdout: String,
    pub stderr: String,
}

/// A runner that runs.
pub struct Started {
    child: Child,
    directory: PathBuf,
    private_key: String,
}

impl Fixture {
    /// A world in which a backup of these databases succeeds.
    pub fn new(name: &str, databases: &[&str]) -> Self {
        Self::on(TestBucket::create(name), databases)
    }

    /// The same with a server that fails as it is told to.
    pub fn on_faulty(server: &FaultServer, databases: &[&str]) -> Self {
        Self::on(TestBucket::at(&server.endpoint(), BUCKET), databases)
    }

    /// The same in a bucket that is there.
    pub fn on(bucket: TestBucket, databases: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::generate();
        let identity_file = directory.path().join("identity.txt");
        fs::write(&identity_file, format!("{}\n", identity.to_string().expose_secret())).unwrap();
        let recipients = vec![Identity::generate().to_public().to_string(), identity.to_public().to_string()];
        let secrets = directory.path();
        let mut place = tasks::bucket(&bucket.name, &bucket.endpoint, secrets);
        "clusters/test".clone_into(&mut place.prefix);
        let task = tasks::dump_task(place, recipients, &POSTGRES, databases, secrets);
        Self { bucket, task, directory, identity_file, identity }
    }

    /// A mounted Secret with these keys.
    pub fn secret(&self, name: &str, keys: &[(&str, &str)]) -> MountedSecret {
        tasks::mount(self.directory.path(), name, keys)
    }

    /// Client programs of which some are replaced by shell scripts; the real ones are in `$REAL`.
    pub fn fake_clients(&self, scripts: &[(&str, &str)]) -> PathBuf {
        tasks::client_scripts(self.directory.path(), scripts)
    }

    pub fn start(&self, env: &[(&str, &Path)]) -> Started {
        self.start_task(&Task::PostgresDump(self.task.clone()), env)
    }

    pub fn run(&self) -> Ended {
        self.start(&[]).end()
    }

    pub fn run_with_clients(&self, clients: &Path) -> Ended {
        self.start(&[("GREENLANG_PG_BIN_DIR", clients)]).end()
    }

    /// A probe of the same world.
    pub fn probe(&self) -> Ended {
        let task = ProbeTask {
            claim: self.task.claim.clone(),
            bucket: self.task.bucket.clone(),
            seal: self.task.seal.clone(),
            postgres: Some(PostgresProbe {
                server: self.task.server.clone(),
                databases: self.task.databases.clone(),
            }),
            marker: "marker-1".to_owned(),
        };
        self.start_task(&Task::Probe(task), &[]).end()
    }

    /// The manifest, which holds no secret either.
    pub fn manifest(&self) -> Manifest {
        let json = self.bucket.get(&format!("clusters/test/database/{ID}/manifest.json"));
        assert_no_secret(std::str::from_utf8(&json).unwrap(), self.identity.to_string().expose_secret());
        Manifest::from_slice(&json).unwrap()
    }

    /// An object, opened by Debian's programs.
    pub fn opened(&self, key: &str) -> String {
        let stored = self.directory.path().join("stored");
        fs::write(&stored, self.bucket.get(key)).unwrap();
        let command = "age -d -i \"$0\" \"$1\" | zstd -dc";
        crate::servers::run(Command::new("sh").args(["-c", command]).arg(&self.identity_file).arg(&stored))
    }

    pub fn start_task(&self, task: &Task, env: &[(&str, &Path)]) -> Started {
        let log = self.directory.path().join("report");
        let _ = fs::remove_file(&log);
        let child = Command::new(env!("CARGO_BIN_EXE_greenlang-backup-runner"))
            .env("GREENLANG_TASK", task.encode().unwrap())
            .env("GREENLANG_TERMINATION_LOG", &log)
            .env("RUST_LOG", "debug,hyper_util=info,rustls=info")
            .envs(env.iter().copied())
            // Files, since a pipe that nobody reads stops who writes.
            .stdout(File::create(self.directory.path().join("stdout")).unwrap())
            .stderr(File::create(self.directory.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Started {
            child,
            directory: self.directory.path().to_owned(),
            private_key: self.identity.to_string().expose_secret().to_owned(),
        }
    }
}

impl Started {
    pub fn signal(&self, signal: &str) {
        kill(signal, self.child.id());
    }

    /// The `pg_dump` that this runner started, stopped in the middle of its output.
    pub fn stop_pg_dump_after(&mut self, bytes: u64) -> u32 {
        let pid = poll(Duration::from_mins(2), || {
            let mut children = children_of(self.child.id()).into_iter();
            children.find(|&pid| written_by_pg_dump(pid).is_some_and(|written| written > bytes))
        });
        let Some(pid) = pid else {
            let _ = self.child.kill();
            panic!("no pg_dump got that far: {}", self.said("stderr"));
        };
        kill("STOP", pid);
        pid
    }

    /// Most memory that the runner has had at once, in KiB, until now; none once it has ended.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        peak.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Waits for the end of a runner that had no time to say anything.
    pub fn end_without_report(mut self) {
        self.child.wait().unwrap();
        assert_eq!(self.said("report"), "");
    }

    fn said(&self, file: &str) -> String {
        fs::read_to_string(self.directory.join(file)).unwrap_or_default()
    }

    /// Waits for the end; whatever a run says may hold no secret.
    pub fn end(mut self) -> Ended {
        let status = self.child.wait().unwrap();
        let (stdout, stderr, log) = (self.said("stdout"), self.said("stderr"), self.said("report"));
        for text in [&stdout, &stderr, &log] {
            assert_no_secret(text, &self.private_key);
        }
        let report = RunReport::decode(&log).unwrap_or_else(|| panic!("no report: {stderr}"));
        assert_eq!(status.code(), Some(report.outcome.exit_code().into()), "{report:?}");
        Ended { report, stdout, stderr }
    }
}

impl Ended {
    /// Outcome and reason, with all that was said if they are others.
    #[track_caller]
    pub fn expect(&self, outcome: Outcome, reason: &str) {
        assert_eq!(
            (self.report.outcome, self.report.reason.as_str()),
            (outcome, reason),
            "{:?}\n{}",
            self.report,
            self.stderr
        );
    }

    #[track_caller]
    pub fn expect_message(&self, parts: &[&str]) {
        let message = &self.report.message;
        assert!(parts.iter().all(|part| message.contains(part)), "{message}\nlacks one of {parts:?}");
    }

    pub fn progress(&self) -> Vec<Progress> {
        self.stdout.lines().filter_map(Progress::newest).collect()
    }
}

fn assert_no_secret(text: &str, private_key: &str) {
    let found = [ADMIN_PASSWORD, S3_SECRET, private_key].into_iter().any(|secret| text.contains(secret));
    assert!(!found, "a secret is in: {text}");
}

pub fn kill(signal: &str, pid: u32) {
    crate::servers::run(Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]));
}

/// Any thread of a process may have started its children.
fn children_of(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children =
        threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    children
        .flat_map(|pids| pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

fn written_by_pg_dump(pid: u32) -> Option<u64> {
    if fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim() != "pg_dump" {
        return None;
    }
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("wchar: "))?.parse().ok()
}
