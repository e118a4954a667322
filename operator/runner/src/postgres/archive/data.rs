//! Reads the blocks of data after the table of contents: each belongs to one entry, each such entry has one. Pure.

use super::copy::{CopyFault, RowReader};
use super::error::ArchiveError;
use super::large_objects::{LargeObjects, ObjectReader};
use super::model::{Archive, Data};
use super::scan::{NumberReader, byte, take};
use super::toc::{Toc, WithData};

const ROWS: u8 = 1;
const LARGE_OBJECTS: u8 = 3;

/// Reads up to the end of the archive.
pub struct DataReader {
    toc: Toc,
    /// How many blocks have begun.
    begun: usize,
    number: NumberReader,
    step: Step,
    /// The entry whose block this is.
    entry: usize,
    content: Content,
    large_objects: LargeObjects,
}

/// What comes next. A block is its kind, its dump id and pieces, each after its length, until one has none; a block of large
/// objects has the OID of each before its pieces, until one is 0.
#[derive(Clone, Copy)]
enum Step {
    Kind,
    DumpId(u8),
    ObjectOid,
    Length,
    Piece(u64),
}

/// What the pieces are.
enum Content {
    Rows(RowReader),
    Objects { open: Option<Box<ObjectReader>>, count: u64, bytes: u64 },
    Opaque(u64),
}

impl DataReader {
    pub fn new(toc: Toc) -> Self {
        Self {
            begun: 0,
            number: NumberReader::new(toc.head.int_size),
            step: Step::Kind,
            entry: 0,
            content: Content::Opaque(0),
            large_objects: LargeObjects::default(),
            toc,
        }
    }

    pub fn into_toc(self) -> Toc {
        self.toc
    }

    pub fn read(&mut self, input: &mut &[u8]) -> Result<(), ArchiveError> {
        while !input.is_empty() {
            self.step = match self.step {
                Step::Piece(left) => self.piece(left, input)?,
                Step::Kind => self.kind(input)?,
                step => match (step, self.number.read(input)?) {
                    (_, None) => return Ok(()),
                    (Step::DumpId(kind), Some(id)) => self.open(kind, id)?,
                    (Step::ObjectOid, Some(oid)) => self.object(oid)?,
                    (_, Some(length)) => self.length(length)?,
                },
            };
        }
        Ok(())
    }

    /// A stream that ends is whole only here, and only if no entry lacks its block.
    pub fn finish(self) -> Result<Archive, ArchiveError> {
        match (self.step, self.due()) {
            (Step::Kind, None) => {}
            (Step::Kind, Some(due)) => {
                let others = self.toc.with_data.len() - self.begun - 1;
                return Err(ArchiveError::Missing { subject: self.subject(due.index), others });
            }
            (Step::DumpId(_), None) => return Err(ArchiveError::BytesAfterEnd),
            _ => return Err(self.cut()),
        }
        let Self { toc, large_objects, .. } = self;
        Ok(Archive {
            version: toc.head.version,
            database: toc.head.database,
            server_version: toc.head.server_version,
            dump_version: toc.head.dump_version,
            encoding: toc.encoding,
            entries: toc.entries,
            large_object_entries: toc.large_object_entries,
            large_objects,
        })
    }

    /// The entry whose block comes next.
    fn due(&self) -> Option<WithData> {
        self.toc.with_data.get(self.begun).copied()
    }

    fn cut(&self) -> ArchiveError {
        ArchiveError::cut(match (self.step, &self.content) {
            (Step::Kind | Step::DumpId(_), _) => "the start of a block of data".to_owned(),
            (_, Content::Objects { open: Some(object), .. }) => format!("large object {}", object.oid()),
            _ => format!("the data of {}", self.subject(self.entry)),
        })
    }

    fn kind(&self, input: &mut &[u8]) -> Result<Step, ArchiveError> {
        match byte(input) {
            None => Ok(Step::Kind),
            Some(kind @ (ROWS | LARGE_OBJECTS)) => Ok(Step::DumpId(kind)),
            Some(kind) => Err(match self.due() {
                Some(due) => ArchiveError::UnknownBlock { kind, expected: self.subject(due.index) },
                None => ArchiveError::BytesAfterEnd,
            }),
        }
    }

    /// A block begins. `pg_dump` writes them in the order of their entries, and `pg_restore` can read a pipe only so.
    fn open(&mut self, kind: u8, id: i64) -> Result<Step, ArchiveError> {
        let WithData { index, copied, .. } = match self.due() {
            Some(due) if i64::from(due.dump_id) == id => due,
            due => return Err(self.unexpected(id, due)),
        };
        self.begun += 1;
        self.entry = index;
        let desc = self.toc.entries.get(self.entry).map_or("", |entry| &entry.desc);
        (self.content, self.step) = match (kind, desc) {
            (ROWS, "BLOBS") | (LARGE_OBJECTS, "TABLE DATA") => {
                return Err(ArchiveError::WrongBlock { subject: self.subject(index) });
            }
            (LARGE_OBJECTS, _) => (Content::Objects { open: None, count: 0, bytes: 0 }, Step::ObjectOid),
            (_, "TABLE DATA") if copied => (Content::Rows(RowReader::default()), Step::Length),
            _ => (Content::Opaque(0), Step::Length),
        };
        Ok(self.step)
    }

    fn unexpected(&self, id: i64, due: Option<WithData>) -> ArchiveError {
        let entries = &self.toc.with_data;
        match (entries.iter().position(|entry| i64::from(entry.dump_id) == id), due) {
            (Some(place), _) if place < self.begun => {
                ArchiveError::RepeatedData { subject: self.subject(entries[place].index) }
            }
            (_, None) => ArchiveError::BytesAfterEnd,
            (None, Some(_)) => ArchiveError::UnknownData(id),
            (Some(place), Some(due)) => ArchiveError::OutOfOrder {
                subject: self.subject(entries[place].index),
                expected: self.subject(due.index),
            },
        }
    }

    /// A large object begins, or none is left.
    fn object(&mut self, oid: i64) -> Result<Step, ArchiveError> {
        // pg_dump writes an OID above 2^31 as the negative number of the same bits.
        let oid = i32::try_from(oid)
            .map_err(|_| ArchiveError::invalid(self.subject(self.entry), format!("{oid} is not an OID")))?
            .cast_unsigned();
        match &mut self.content {
            Content::Objects { open, .. } if oid != 0 => {
                *open = Some(Box::new(ObjectReader::new(oid)));
                Ok(Step::Length)
            }
            _ => self.close(),
        }
    }

    fn length(&mut self, length: i64) -> Result<Step, ArchiveError> {
        let length = u64::try_from(length).map_err(|_| {
            ArchiveError::invalid(
                self.subject(self.entry),
                format!("a piece of its data has a length of {length}"),
            )
        })?;
        if length > 0 {
            return Ok(Step::Piece(length));
        }
        if let Content::Objects { open, count, bytes } = &mut self.content
            && let Some(object) = open.take()
        {
            let object = object.finish();
            *count += 1;
            *bytes += object.length;
            self.large_objects.add(object);
            return Ok(Step::ObjectOid);
        }
        self.close()
    }

    #[inline]
    fn piece(&mut self, left: u64, input: &mut &[u8]) -> Result<Step, ArchiveError> {
        let piece = take(input, left);
        match &mut self.content {
            Content::Rows(rows) => rows.push(piece).map_err(|fault| self.fault(fault))?,
            Content::Objects { open, .. } => {
                if let Some(object) = open {
                    object.push(piece);
                }
            }
            Content::Opaque(bytes) => *bytes += piece.len() as u64,
        }
        let left = left - piece.len() as u64;
        Ok(if left > 0 { Step::Piece(left) } else { Step::Length })
    }

    /// A block ends.
    fn close(&mut self) -> Result<Step, ArchiveError> {
        let data = match std::mem::replace(&mut self.content, Content::Opaque(0)) {
            Content::Rows(rows) => Data::Rows(rows.finish().map_err(|fault| self.fault(fault))?),
            Content::Objects { count, bytes, .. } => Data::LargeObjects { count, bytes },
            Content::Opaque(bytes) => Data::Opaque { bytes },
        };
        if let Some(entry) = self.toc.entries.get_mut(self.entry) {
            entry.data = Some(data);
        }
        Ok(Step::Kind)
    }

    fn fault(&self, fault: CopyFault) -> ArchiveError {
        let subject = self.subject(self.entry);
        match fault {
            CopyFault::NoTerminator => ArchiveError::NoTerminator { subject },
            CopyFault::AfterTerminator => ArchiveError::AfterTerminator { subject },
        }
    }

    fn subject(&self, index: usize) -> String {
        self.toc.entries.get(index).map(super::Entry::subject).unwrap_or_default()
    }
}
