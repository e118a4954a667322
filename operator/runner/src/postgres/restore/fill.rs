//! Loads an empty database from its objects. One object with one connection goes through one `pg_restore`. Otherwise the table of
//! contents is kept in memory: definitions are made from it, then the data of all objects is loaded at once, then indexes and
//! constraints are made at once. Network, child processes; no disk.

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::Ordering;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use greenlang_backup_api::manifest::Object;
use greenlang_backup_store::{Download, Unsealed};
use rustix::fs::{MemfdFlags, memfd_create};

use super::RestoreError;
use super::feed::{Feeder, PG_RESTORE};
use super::programs::Programs;
use super::source::Source;
use crate::error::RunError;
use crate::postgres::archive::Walker;
use crate::progress::ProgressLog;

/// Bytes that are read at once until the table of contents is there.
const PIECE: usize = 64 << 10;
/// Longest table of contents that is kept in memory; some 200,000 tables.
const MAX_HEAD: usize = 128 << 20;

/// A database that is being filled.
pub struct Filling<'a> {
    pub source: &'a Source,
    pub programs: &'a Programs<'a>,
    pub feeder: &'a Feeder,
    pub progress: &'a ProgressLog,
    /// Connections that load at once.
    pub jobs: u8,
}

/// The first archive, as far as it was read.
struct Opened {
    /// Its first bytes, the whole table of contents among them.
    head: Vec<u8>,
    /// What follows them.
    rest: Unsealed<Download>,
    /// Whether the table of contents is complete in `head`.
    complete: bool,
}

impl Filling<'_> {
    /// Loads everything; what is in the database when this fails may be anything.
    pub async fn fill(&self) -> Result<(), RunError> {
        let (archive, data) = (self.source.archive()?.clone(), self.source.data());
        let rest = self.source.read(&archive).await?;
        if self.jobs <= 1 && data.is_empty() {
            self.progress.step("Loading data and indexes");
            return self.feeder.feed(self.programs.pg_restore(&[]), Vec::new(), rest).await;
        }
        let opened = tokio::task::spawn_blocking(|| head(rest)).await?;
        let Opened { head, rest, complete } = match opened {
            Opened { complete: false, head, rest } if data.is_empty() => {
                self.progress.step("Loading data and indexes, with one connection");
                return self.feeder.feed(self.programs.pg_restore(&[]), head, rest).await;
            }
            opened => opened,
        };
        if !complete {
            let problem = "its table of contents is too long to load its data at once".to_owned();
            return Err(RestoreError::NotUnderstood { key: archive.key, problem }.into());
        }
        let contents = Memory::new(&head)?;
        self.progress.step("Loading definitions");
        self.load_from(&contents, &["pre-data"], 1).await?;
        self.progress.step("Loading data");
        self.data(head, rest, &data).await?;
        self.progress.step("Building indexes and constraints");
        self.load_from(&contents, &["post-data"], self.jobs).await
    }

    async fn load_from(&self, contents: &Memory, sections: &[&str], jobs: u8) -> Result<(), RunError> {
        let mut command = self.programs.pg_restore(sections);
        if jobs > 1 {
            command.arg(format!("--jobs={jobs}"));
        }
        command.arg(contents.path());
        self.feeder.run(PG_RESTORE, command).await
    }

    /// All objects, as many at once as there are connections. The first failure stops the others.
    async fn data(&self, head: Vec<u8>, rest: Unsealed<Download>, data: &[&Object]) -> Result<(), RunError> {
        let cancel = self.feeder.cancel.child_token();
        let feeder = Feeder { cancel: cancel.clone(), ..self.feeder.clone() };
        let mut loads: Vec<BoxFuture<'_, Result<(), RunError>>> =
            vec![feeder.feed(self.programs.pg_restore(&["data"]), head, rest).boxed()];
        loads.extend(data.iter().map(|&object| self.one(&feeder, object).boxed()));
        let mut ends = futures::stream::iter(loads).buffer_unordered(self.jobs.max(1).into());
        let mut failures = Vec::new();
        while let Some(end) = ends.next().await {
            if let Err(error) = end {
                cancel.cancel();
                failures.push(error);
            }
        }
        // Those that were stopped only followed.
        match failures.into_iter().min_by_key(|error| matches!(error, RunError::Interrupted)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    async fn one(&self, feeder: &Feeder, object: &Object) -> Result<(), RunError> {
        let opened = feeder.cancel.run_until_cancelled(self.source.read(object)).await;
        let plain = opened.ok_or(RunError::Interrupted)??;
        feeder.feed(self.programs.pg_restore(&["data"]), Vec::new(), plain).await
    }

    /// Bytes that were loaded so far.
    pub fn loaded(&self) -> u64 {
        self.feeder.counter.load(Ordering::Relaxed)
    }
}

/// Reads until the table of contents has passed. What is wrong with the bytes is found by whoever reads on.
fn head(mut rest: Unsealed<Download>) -> Opened {
    let (mut head, mut walker) = (Vec::new(), Walker::new());
    let mut piece = vec![0; PIECE];
    while head.len() < MAX_HEAD {
        let Ok(read @ 1..) = rest.read(&mut piece) else { break };
        head.extend_from_slice(&piece[..read]);
        if walker.push(&piece[..read]).is_err() {
            break;
        }
        if walker.is_at_data() {
            return Opened { head, rest, complete: true };
        }
    }
    Opened { head, rest, complete: false }
}

/// Bytes in memory that programs can open as a file.
struct Memory(File);

impl Memory {
    fn new(bytes: &[u8]) -> Result<Self, RunError> {
        let failed = |error| RunError::Machine { what: "keeping a table of contents in memory", error };
        // Handed down to the programs, so it is not closed when they start.
        let memory = memfd_create("contents", MemfdFlags::empty()).map_err(|error| failed(error.into()))?;
        let mut file = File::from(memory);
        file.write_all(bytes).map_err(failed)?;
        Ok(Self(file))
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}
