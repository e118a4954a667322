//! Decides how an archive is proved as it passes: walked, or, if its format is newer than this program, read by `pg_restore`,
//! which then runs as a child process beside it.

use std::fmt;
use std::path::PathBuf;

use super::Walker;
use super::error::ArchiveError;
use super::head::MAGIC;
use super::model::{Archive, FormatVersion};
use super::restore::PgRestore;

/// Magic and version.
const DECISIVE: usize = MAGIC.len() + 2;

/// Sees one archive as it passes.
pub enum Inspector {
    /// Its first bytes, while they do not tell the version yet.
    Start {
        /// What came so far.
        start: Vec<u8>,
        /// Program of the server's major version.
        pg_restore: PathBuf,
    },
    /// A known format.
    Walk(Box<Walker>),
    /// A newer one.
    Restore(PgRestore),
}

/// An archive that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// It was walked: everything in it is known.
    Walked(Box<Archive>),
    /// `pg_restore` read it to its end: nothing in it was counted.
    Restored {
        /// Version of its format.
        format: FormatVersion,
    },
}

impl fmt::Display for Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let archive = match self {
            Self::Restored { format } => return write!(f, "format {format}, read by pg_restore"),
            Self::Walked(archive) => archive,
        };
        let tables = || archive.entries.iter().filter_map(|entry| entry.data.as_ref()?.rows());
        let (count, rows) = (tables().count(), tables().map(|rows| rows.count).sum::<u64>());
        let (version, objects) = (archive.version, archive.large_objects.count);
        write!(f, "format {version}, {count} tables with {rows} rows, {objects} large objects")
    }
}

impl Inspector {
    /// Before the first byte.
    pub fn new(pg_restore: PathBuf) -> Self {
        Self::Start { start: Vec::with_capacity(DECISIVE), pg_restore }
    }

    /// Takes the next bytes. The first error is the last.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        match self {
            Self::Walk(walker) => walker.push(bytes),
            Self::Restore(child) => child.push(bytes),
            Self::Start { start, pg_restore } => {
                let (decisive, rest) = bytes.split_at(bytes.len().min(DECISIVE - start.len()));
                start.extend_from_slice(decisive);
                if start.len() < DECISIVE {
                    return Ok(());
                }
                let start = std::mem::take(start);
                *self = match newer(&start) {
                    Some(format) => Self::Restore(PgRestore::start(pg_restore, format)?),
                    None => Self::Walk(Box::new(Walker::new())),
                };
                self.push(&start)?;
                self.push(rest)
            }
        }
    }

    /// Judges the end of the stream. Waits for `pg_restore`, where that reads it.
    pub fn finish(self) -> Result<Inspected, ArchiveError> {
        match self {
            Self::Start { start, .. } => {
                let mut walker = Walker::new();
                walker.push(&start)?;
                walker.finish().map(|archive| Inspected::Walked(Box::new(archive)))
            }
            Self::Walk(walker) => walker.finish().map(|archive| Inspected::Walked(Box::new(archive))),
            Self::Restore(child) => child.finish().map(|format| Inspected::Restored { format }),
        }
    }
}

/// The version of a format that only a newer program than this knows.
fn newer(start: &[u8]) -> Option<FormatVersion> {
    let &[major, minor] = start.strip_prefix(MAGIC)?.first_chunk()?;
    let version = FormatVersion { major, minor };
    (version > FormatVersion::NEWEST).then_some(version)
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
