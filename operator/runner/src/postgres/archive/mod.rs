//! Walks an archive of `pg_dump` (custom format 1.13 to 1.16, not compressed) as it passes: every entry, every row counted and
//! hashed, every large object, and whether the archive is whole. Pure; memory does not grow with the data.

mod copy;
mod data;
mod error;
mod head;
mod inspect;
mod large_objects;
mod model;
mod restore;
mod scan;
mod toc;

#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;

pub use copy::Rows;
pub use error::ArchiveError;
pub use inspect::{Inspected, Inspector};
pub use model::{Archive, Entry, Section};
pub use toc::Toc;

use data::DataReader;
use head::HeadReader;
use toc::TocReader;

/// Most bytes that the table of contents may take in memory: 512 MiB, some three million tables. What has no limit in a
/// database (definitions, dependencies, the entries of single large objects) is not kept.
const TOC_LIMIT: usize = 512 << 20;
/// As above where what needs what is kept, too: some 450,000 entries, and whoever asks for it takes half as much again.
const DEPENDENCIES_LIMIT: usize = 96 << 20;

/// Reads one archive, in pieces of any size.
pub struct Walker {
    stage: Stage,
    toc_limit: usize,
    keeps_dependencies: bool,
}

enum Stage {
    Head(HeadReader),
    Toc(Box<TocReader>),
    Data(Box<DataReader>),
    Failed(ArchiveError),
}

impl Walker {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::with_toc_limit(TOC_LIMIT)
    }

    fn with_toc_limit(toc_limit: usize) -> Self {
        Self { stage: Stage::Head(HeadReader::new()), toc_limit, keeps_dependencies: false }
    }

    /// For whoever wants to know what needs what.
    pub fn with_dependencies() -> Self {
        Self { keeps_dependencies: true, ..Self::with_toc_limit(DEPENDENCIES_LIMIT) }
    }

    /// Takes the next bytes. After an error, every further call returns the same.
    pub fn push(&mut self, mut input: &[u8]) -> Result<(), ArchiveError> {
        let result = self.advance(&mut input);
        if let Err(error) = &result {
            self.stage = Stage::Failed(error.clone());
        }
        result
    }

    /// Whether the table of contents has passed.
    pub const fn is_at_data(&self) -> bool {
        matches!(self.stage, Stage::Data(_))
    }

    /// The table of contents, once it has passed.
    pub fn into_toc(self) -> Option<Toc> {
        if let Stage::Data(reader) = self.stage { Some(reader.into_toc()) } else { None }
    }

    /// Each stage takes what is its own and leaves the rest to the next.
    fn advance(&mut self, input: &mut &[u8]) -> Result<(), ArchiveError> {
        loop {
            self.stage = match &mut self.stage {
                Stage::Head(reader) => match reader.read(input)? {
                    Some(head) => {
                        let (limit, keeps) = (self.toc_limit, self.keeps_dependencies);
                        Stage::Toc(Box::new(TocReader::new(head, limit, keeps)))
                    }
                    None => return Ok(()),
                },
                Stage::Toc(reader) => match reader.read(input)? {
                    Some(toc) => Stage::Data(Box::new(DataReader::new(toc))),
                    None => return Ok(()),
                },
                Stage::Data(reader) => return reader.read(input),
                Stage::Failed(error) => return Err(error.clone()),
            };
        }
    }

    /// Judges the end of the stream: only a whole archive has one.
    pub fn finish(self) -> Result<Archive, ArchiveError> {
        match self.stage {
            Stage::Head(reader) => Err(reader.cut()),
            Stage::Toc(reader) => Err(reader.cut()),
            Stage::Data(reader) => reader.finish(),
            Stage::Failed(error) => Err(error),
        }
    }
}
