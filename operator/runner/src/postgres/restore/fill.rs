//! Loads an empty database from its objects. One object with one connection goes through one `pg_restore`. Otherwise the table of
//! contents is kept in memory: definitions are made from it, then the data of all objects is loaded at once, then indexes and
//! constraints are made at once. Of a part only the entries of its list are taken, and only the objects with its rows are read.
//! Network, child processes; no disk.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::Ordering;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use greenlang_backup_api::manifest::Object;
use greenlang_backup_store::{Download, Unsealed};
use rustix::fs::{MemfdFlags, memfd_create};

use super::feed::{Feeder, PG_RESTORE};
use super::head;
use super::part::{self, Part};
use super::passes;
use super::programs::Programs;
use super::source::Source;
use crate::error::RunError;
use crate::postgres::archive::Walker;
use crate::progress::ProgressLog;

/// A database that is being filled.
pub struct Filling<'a> {
    pub source: &'a Source,
    /// Only this part.
    pub part: Option<&'a Part>,
    pub programs: &'a Programs<'a>,
    pub feeder: &'a Feeder,
    pub progress: &'a ProgressLog,
    /// Connections that load at once.
    pub jobs: u8,
}

impl Filling<'_> {
    /// Loads everything; what is in the database when this fails may be anything.
    pub async fn fill(&self) -> Result<(), RunError> {
        let (archive, data) = (self.source.archive()?.clone(), self.source.data(self.part));
        let rest = self.source.read(&archive).await?;
        // One that takes a part would leave the rest in the pipe for as long as it builds indexes, which looks like a stall.
        let in_one = data.is_empty() && self.part.is_none();
        if self.jobs <= 1 && in_one {
            self.progress.step("Loading data and indexes");
            return self.feeder.feed(self.programs.pg_restore(&[], None), Vec::new(), rest).await;
        }
        let opened = tokio::task::spawn_blocking(|| head::open(rest, Walker::new(), true)).await?;
        if opened.toc.is_err() && in_one {
            self.progress.step("Loading data and indexes, with one connection");
            return self.feeder.feed(self.programs.pg_restore(&[], None), opened.head, opened.rest).await;
        }
        let wanted = self.part.map(|part| part.entries.clone());
        let understood = move || {
            let understood = opened.understood(&archive.key);
            understood.map(|(toc, head, rest)| (passes::passes(&toc, wanted.as_deref()), head, rest))
        };
        let (passes, head, rest) = tokio::task::spawn_blocking(understood).await??;
        let contents = Memory::new(&head)?;
        let memory = self.part.map(|part| Memory::list(&part.entries)).transpose()?;
        let list = memory.as_ref().map(Memory::path);
        let list = list.as_deref();
        self.progress.step("Loading definitions");
        self.load_from(&contents, &["pre-data"], list, 1).await?;
        self.progress.step("Loading data");
        self.data(First { head, rest, list }, &data).await?;
        self.progress.step("Building indexes and constraints");
        let Some(passes) = passes.filter(|_| self.jobs > 1) else {
            return self.load_from(&contents, &["post-data"], list, self.jobs).await;
        };
        for pass in passes {
            let pass = Memory::list(&pass)?;
            self.load_from(&contents, &["post-data"], Some(&pass.path()), self.jobs).await?;
        }
        Ok(())
    }

    async fn load_from(
        &self,
        contents: &Memory,
        sections: &[&str],
        list: Option<&str>,
        jobs: u8,
    ) -> Result<(), RunError> {
        let mut command = self.programs.pg_restore(sections, list);
        if jobs > 1 {
            command.arg(format!("--jobs={jobs}"));
        }
        command.arg(contents.path());
        self.feeder.run(PG_RESTORE, command).await
    }

    /// All objects, as many at once as there are connections. The first failure stops the others.
    async fn data(&self, first: First<'_>, data: &[&Object]) -> Result<(), RunError> {
        let First { head, rest, list } = first;
        let cancel = self.feeder.cancel.child_token();
        let feeder = Feeder { cancel: cancel.clone(), ..self.feeder.clone() };
        let mut loads: Vec<BoxFuture<'_, Result<(), RunError>>> =
            vec![feeder.feed(self.programs.pg_restore(&["data"], list), head, rest).boxed()];
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
        let Some(part) = self.part else {
            return feeder.feed(self.programs.pg_restore(&["data"], None), Vec::new(), plain).await;
        };
        // Dumps of data count their entries on their own.
        let key = object.key.clone();
        let opened = move || head::open(plain, Walker::new(), true).understood(&key);
        let (toc, head, rest) = tokio::task::spawn_blocking(opened).await??;
        let list = Memory::list(&part.rows_in(&toc))?;
        feeder.feed(self.programs.pg_restore(&["data"], Some(&list.path())), head, rest).await
    }

    /// Bytes that were loaded so far.
    pub fn loaded(&self) -> u64 {
        self.feeder.counter.load(Ordering::Relaxed)
    }
}

/// The first archive, as far as it was read, and what of it is loaded.
struct First<'a> {
    head: Vec<u8>,
    rest: Unsealed<Download>,
    list: Option<&'a str>,
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

    /// A list of entries as `pg_restore` reads it.
    fn list(entries: &[u32]) -> Result<Self, RunError> {
        Self::new(part::list(entries).as_bytes())
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}
