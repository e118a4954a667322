//! Everything that can be wrong with an archive. Pure.

use super::model::FormatVersion;

/// An archive that is damaged, cut off, or not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// Another start.
    #[error("it does not start like an archive of pg_dump")]
    NotAnArchive,
    /// Older or newer than what is walked.
    #[error("archive format {0} is not one that can be walked ({oldest} to {newest})", oldest = FormatVersion::OLDEST, newest = FormatVersion::NEWEST)]
    UnsupportedFormat(FormatVersion),
    /// Directory or tar.
    #[error("the archive is not of the custom format (its format byte is {0})")]
    NotCustom(u8),
    /// Numbers or offsets of a strange size.
    #[error("the archive was written by a machine with numbers of {0} bytes, which none has")]
    NumberSize(u8),
    /// Compressed by `pg_dump`.
    #[error(
        "the archive is compressed by pg_dump, and its rows cannot be seen: it must be made with --compress=0"
    )]
    Compressed,
    /// A value that cannot be.
    #[error("{place}: {problem}")]
    Invalid {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// More names than memory is meant for.
    #[error("the table of contents needs more than {} MiB of memory", .0 >> 20)]
    TocTooLarge(usize),
    /// Two entries with one number.
    #[error("two entries of the table of contents have data under one number: {subject} is the second")]
    RepeatedEntry {
        /// The second of them.
        subject: String,
    },
    /// No kind of block.
    #[error("a block of unknown kind {kind} where the data of {expected} should be")]
    UnknownBlock {
        /// Its first byte.
        kind: u8,
        /// Whose should be there.
        expected: String,
    },
    /// A block too early, or one left out.
    #[error("the data of {subject} where that of {expected} should be")]
    OutOfOrder {
        /// Whose is there.
        subject: String,
        /// Whose should be there.
        expected: String,
    },
    /// A block for nothing.
    #[error("a block of data for dump id {0}, which no entry with data has")]
    UnknownData(i64),
    /// A second block.
    #[error("a second block of data for {subject}")]
    RepeatedData {
        /// Whose.
        subject: String,
    },
    /// Rows where large objects should be, or the other way round.
    #[error("the block of {subject} is of the wrong kind")]
    WrongBlock {
        /// Whose.
        subject: String,
    },
    /// The stream ends within something.
    #[error("the archive is cut off in {place}")]
    Cut {
        /// In what.
        place: String,
    },
    /// The stream ends between blocks.
    #[error("the archive is cut off: it lacks the data of {subject}{}", and_more(*others))]
    Missing {
        /// The first that has none.
        subject: String,
        /// How many more have none.
        others: usize,
    },
    /// The stream goes on.
    #[error("bytes follow the archive's end")]
    BytesAfterEnd,
    /// COPY text that does not end.
    #[error("the rows of {subject} do not end with \\.")]
    NoTerminator {
        /// Whose.
        subject: String,
    },
    /// COPY text that goes on after its end.
    #[error("the rows of {subject} go on after their end \\.")]
    AfterTerminator {
        /// Whose.
        subject: String,
    },
    /// A format that is left to `pg_restore`, which finds something wrong.
    #[error("pg_restore cannot read the archive, whose format {format} is newer than this program ({words})")]
    PgRestore {
        /// Version of the format.
        format: FormatVersion,
        /// What it said, or why it could not be started.
        words: String,
    },
}

impl ArchiveError {
    pub(super) fn invalid(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { place: place.into(), problem: problem.into() }
    }

    pub(super) fn cut(place: impl Into<String>) -> Self {
        Self::Cut { place: place.into() }
    }
}

fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and of {count} more") }
}
