//! What a walk finds out about an archive. Pure data.

use std::fmt;
use std::sync::Arc;

use super::copy::Rows;
use super::large_objects::LargeObjects;

/// Version of the archive format. `pg_dump` 14 and 15 write 1.14, 16 writes 1.15, 17 and 18 write 1.16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FormatVersion {
    /// Major part.
    pub major: u8,
    /// Minor part.
    pub minor: u8,
}

impl FormatVersion {
    /// The oldest that is walked.
    pub const OLDEST: Self = Self { major: 1, minor: 13 };
    /// The newest that is walked.
    pub const NEWEST: Self = Self { major: 1, minor: 16 };
}

impl fmt::Display for FormatVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What stands before the table of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Version of the format.
    pub version: FormatVersion,
    /// Bytes of a number, without its sign.
    pub int_size: u8,
    /// Bytes of an offset, without its state.
    pub offset_size: u8,
    /// Name of the database.
    pub database: String,
    /// As the server says it, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: String,
    /// As `pg_dump` says it.
    pub dump_version: String,
}

/// An archive that is whole: every entry with data had its block, once, and nothing came after the last.
///
/// Names that are not UTF-8 (in a dump of a database in another encoding) have replacement characters; OIDs are exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Version of the format.
    pub version: FormatVersion,
    /// Name of the database.
    pub database: String,
    /// As the server says it, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: String,
    /// As `pg_dump` says it.
    pub dump_version: String,
    /// Client encoding of the dump, such as `UTF8`.
    pub encoding: Option<String>,
    /// The table of contents in its order, without the entries of single large objects.
    pub entries: Vec<Entry>,
    /// Entries of single large objects (definition, rights, comment), of which there may be millions: only counted.
    pub large_object_entries: u64,
    /// All large objects of all blocks.
    pub large_objects: LargeObjects,
}

/// An entry of the table of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the entry within the archive.
    pub dump_id: u32,
    /// OID of the system catalogue that the object is in; 0 where `pg_dump` leaves it out, as for data.
    pub catalog: u32,
    /// OID of the object in that catalogue; for `TABLE DATA` that of the table.
    pub oid: u32,
    /// Kind, such as `TABLE DATA`.
    pub desc: Arc<str>,
    /// When it is restored.
    pub section: Section,
    /// Schema, or empty.
    pub namespace: Arc<str>,
    /// Name.
    pub tag: Box<str>,
    /// Owner, or empty.
    pub owner: Arc<str>,
    /// What its block held; none where the entry has no data.
    pub data: Option<Data>,
}

impl Entry {
    /// What it is, for messages; control characters are escaped.
    pub fn subject(&self) -> String {
        let (schema, tag) = (self.namespace.escape_debug(), self.tag.escape_debug());
        match &*self.desc {
            "TABLE DATA" => format!("table {schema}.{tag}"),
            "BLOBS" => format!("large objects {tag}"),
            desc => format!("{} {tag}", desc.escape_debug()),
        }
    }
}

/// When an entry is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Whenever what it belongs to is.
    None,
    /// Before all data.
    PreData,
    /// With the data.
    Data,
    /// After all data.
    PostData,
}

/// What the block of an entry held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// COPY text.
    Rows(Rows),
    /// Large objects.
    LargeObjects {
        /// How many.
        count: u64,
        /// Bytes of all of them.
        bytes: u64,
    },
    /// Something else, such as rows as INSERT commands, of which only the bytes are counted.
    Opaque {
        /// Bytes.
        bytes: u64,
    },
}

impl Data {
    /// The rows, if they were counted.
    pub fn rows(&self) -> Option<&Rows> {
        if let Self::Rows(rows) = self { Some(rows) } else { None }
    }
}
