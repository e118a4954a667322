//! Reads the table of contents of an archive. Keeps names and numbers, within a limit; definitions pass by. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::error::ArchiveError;
use super::model::{Entry, Head, Section};
use super::scan::{NumberReader, OptionalText, Text, TextReader, take};

/// Most bytes of a name; that of a function with a hundred arguments has some 15,000.
const NAME_LIMIT: usize = 1 << 20;
/// Digits of a dump id, and more.
const DEPENDENCY_KEPT: usize = 20;
/// Enough of `SET client_encoding = 'UTF8';`.
const DEFINITION_KEPT: usize = 64;
/// Memory of an entry but for its name.
const ENTRY_SIZE: usize = size_of::<Entry>() + size_of::<WithData>() + size_of::<Box<[u32]>>();
/// Memory of its number among those of its tablespace, a vector that grows by doubling.
const PLACE_SIZE: usize = 2 * size_of::<u32>();
/// State of an offset where the entry has no data.
const OFFSET_NO_DATA: u8 = 3;

/// The fields of an entry, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    DumpId,
    HasData,
    Catalog,
    Oid,
    Tag,
    Desc,
    Section,
    Definition,
    DropCommand,
    CopyCommand,
    Namespace,
    Tablespace,
    AccessMethod,
    RelationKind,
    Owner,
    WithOids,
    Dependencies,
    Offset,
}

const FIELDS: [Field; 18] = [
    Field::DumpId,
    Field::HasData,
    Field::Catalog,
    Field::Oid,
    Field::Tag,
    Field::Desc,
    Field::Section,
    Field::Definition,
    Field::DropCommand,
    Field::CopyCommand,
    Field::Namespace,
    Field::Tablespace,
    Field::AccessMethod,
    Field::RelationKind,
    Field::Owner,
    Field::WithOids,
    Field::Dependencies,
    Field::Offset,
];

impl Field {
    /// The minor version of the format that brought it.
    fn since(self) -> u8 {
        match self {
            Self::AccessMethod => 14,
            Self::RelationKind => 16,
            _ => 0,
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::DumpId | Self::HasData | Self::Section | Self::RelationKind)
    }

    /// Bytes of a text that are kept.
    fn keep(self) -> usize {
        match self {
            Self::Catalog
            | Self::Oid
            | Self::Tag
            | Self::Desc
            | Self::Namespace
            | Self::Tablespace
            | Self::Owner => NAME_LIMIT,
            Self::Definition => DEFINITION_KEPT,
            _ => 0,
        }
    }
}

/// What is known once the table of contents has passed.
pub struct Toc {
    pub head: Head,
    pub encoding: Option<String>,
    pub entries: Vec<Entry>,
    /// For each entry the numbers of those that it needs, in order; empty unless they were asked for.
    pub dependencies: Vec<Box<[u32]>>,
    pub large_object_entries: u64,
    /// Tablespaces that entries name, each with the numbers of those; what lies in that of the database names none.
    pub tablespaces: BTreeMap<String, Vec<u32>>,
    /// Entries with data, in the order in which `pg_dump` writes their blocks.
    pub with_data: Vec<WithData>,
}

/// An entry whose data is to follow.
#[derive(Clone, Copy)]
pub struct WithData {
    /// Its number.
    pub dump_id: u32,
    /// Its place among the entries.
    pub index: usize,
    /// Whether its data is COPY text.
    pub copied: bool,
}

/// Reads up to where the data begins.
pub struct TocReader {
    toc: Option<Toc>,
    total: Option<u64>,
    left: u64,
    fields: Vec<Field>,
    at: usize,
    draft: Draft,
    number: NumberReader,
    text: TextReader,
    offset_left: u8,
    names: HashSet<Arc<str>>,
    keeps_dependencies: bool,
    limit: usize,
    used: usize,
}

/// The entry that is being read.
#[derive(Default)]
struct Draft {
    dump_id: i64,
    has_data: bool,
    catalog: u32,
    oid: u32,
    tag: String,
    desc: String,
    section: i64,
    definition: Vec<u8>,
    copied: bool,
    namespace: String,
    tablespace: String,
    owner: String,
    dependencies: Vec<u32>,
}

impl TocReader {
    pub fn new(head: Head, limit: usize, keeps_dependencies: bool) -> Self {
        let minor = head.version.minor;
        Self {
            total: None,
            left: 0,
            fields: FIELDS.into_iter().filter(|field| field.since() <= minor).collect(),
            at: 0,
            draft: Draft::default(),
            number: NumberReader::new(head.int_size),
            text: TextReader::new(head.int_size),
            offset_left: head.offset_size + 1,
            names: HashSet::new(),
            keeps_dependencies,
            limit,
            used: 0,
            toc: Some(Toc {
                head,
                encoding: None,
                entries: Vec::new(),
                dependencies: Vec::new(),
                large_object_entries: 0,
                tablespaces: BTreeMap::new(),
                with_data: Vec::new(),
            }),
        }
    }

    /// The table of contents, once all of it has passed.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Toc>, ArchiveError> {
        if self.total.is_none() {
            let Some(count) = self.number.read(input)? else { return Ok(None) };
            let total = u64::try_from(count).map_err(|_| self.invalid(format!("it has {count} entries")))?;
            (self.total, self.left) = (Some(total), total);
        }
        while self.left > 0 {
            while let Some(&field) = self.fields.get(self.at) {
                if !self.field(field, input)? {
                    return Ok(None);
                }
                self.at += 1;
            }
            self.at = 0;
            self.add_entry()?;
            self.left -= 1;
        }
        let toc = self.toc.take();
        if let Some(subject) = toc.as_ref().and_then(repeated) {
            return Err(ArchiveError::RepeatedEntry { subject });
        }
        Ok(toc)
    }

    pub fn cut(&self) -> ArchiveError {
        ArchiveError::cut(match self.total {
            Some(total) => format!("entry {} of {total} of its table of contents", total - self.left + 1),
            None => "its table of contents".to_owned(),
        })
    }

    /// Whether all of the field has passed.
    fn field(&mut self, field: Field, input: &mut &[u8]) -> Result<bool, ArchiveError> {
        if field.is_number() {
            let Some(number) = self.number.read(input)? else { return Ok(false) };
            match field {
                Field::DumpId => self.draft.dump_id = number,
                Field::HasData => self.draft.has_data = number != 0,
                Field::Section => self.draft.section = number,
                _ => {}
            }
            return Ok(true);
        }
        match field {
            Field::Offset => self.offset(input),
            Field::Dependencies => self.dependencies(input),
            _ => match self.text.read(input, field.keep())? {
                Some(text) => self.keep(field, text).map(|()| true),
                None => Ok(false),
            },
        }
    }

    /// A list of texts that none ends. The same one may stand there many times.
    fn dependencies(&mut self, input: &mut &[u8]) -> Result<bool, ArchiveError> {
        let keep = if self.keeps_dependencies { DEPENDENCY_KEPT } else { 0 };
        while let Some(text) = self.text.read(input, keep)? {
            let Some(text) = text else { return Ok(true) };
            if !self.keeps_dependencies {
                continue;
            }
            let id = self.oid(&text)?;
            self.draft.dependencies.push(id);
            self.expect_room(self.draft.dependencies.len() * size_of::<u32>())?;
        }
        Ok(false)
    }

    fn keep(&mut self, field: Field, text: OptionalText) -> Result<(), ArchiveError> {
        let text = text.unwrap_or_default();
        if field.keep() == NAME_LIMIT && text.length > NAME_LIMIT as u64 {
            return Err(self.invalid(format!("a name has {} bytes", text.length)));
        }
        match field {
            Field::Catalog => self.draft.catalog = self.oid(&text)?,
            Field::Oid => self.draft.oid = self.oid(&text)?,
            Field::Tag => self.draft.tag = text.lossy(),
            Field::Desc => self.draft.desc = text.lossy(),
            Field::Definition => self.draft.definition = text.kept,
            Field::CopyCommand => self.draft.copied = text.length > 0,
            Field::Namespace => self.draft.namespace = text.lossy(),
            Field::Tablespace => self.draft.tablespace = text.lossy(),
            Field::Owner => self.draft.owner = text.lossy(),
            _ => {}
        }
        Ok(())
    }

    /// Where the data begins is not known in a stream; only whether there is any is looked at.
    fn offset(&mut self, input: &mut &[u8]) -> Result<bool, ArchiveError> {
        let size = self.offset_size();
        let bytes = take(input, self.offset_left.into());
        if let Some(&state) = bytes.first()
            && self.offset_left == size
            && (state == OFFSET_NO_DATA) == self.draft.has_data
        {
            return Err(self.invalid("an entry both has data and has none"));
        }
        // No more than a byte was asked for.
        self.offset_left -= u8::try_from(bytes.len()).unwrap_or(self.offset_left);
        if self.offset_left > 0 {
            return Ok(false);
        }
        self.offset_left = size;
        Ok(true)
    }

    fn offset_size(&self) -> u8 {
        self.toc.as_ref().map_or(0, |toc| toc.head.offset_size + 1)
    }

    fn oid(&self, text: &Text) -> Result<u32, ArchiveError> {
        let number = std::str::from_utf8(&text.kept).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| self.invalid(format!("\"{}\" is not an OID", text.lossy().escape_debug())))
    }

    /// Whether so many bytes more are within the limit.
    fn expect_room(&self, bytes: usize) -> Result<(), ArchiveError> {
        if self.used + bytes > self.limit { Err(ArchiveError::TocTooLarge(self.limit)) } else { Ok(()) }
    }

    fn add_entry(&mut self) -> Result<(), ArchiveError> {
        let draft = std::mem::take(&mut self.draft);
        let dump_id = u32::try_from(draft.dump_id)
            .map_err(|_| self.invalid(format!("{} is not a dump id", draft.dump_id)))?;
        let section = match draft.section {
            1 => Section::None,
            2 => Section::PreData,
            3 => Section::Data,
            4 => Section::PostData,
            other => return Err(self.invalid(format!("{other} is not a section"))),
        };
        let entry = Entry {
            dump_id,
            catalog: draft.catalog,
            oid: draft.oid,
            desc: self.name(&draft.desc),
            section,
            namespace: self.name(&draft.namespace),
            owner: self.name(&draft.owner),
            tag: draft.tag.into(),
            data: None,
        };
        let single = !draft.has_data && is_of_large_object(&entry);
        let mut dependencies = draft.dependencies;
        dependencies.sort_unstable();
        dependencies.dedup();
        let placed = if draft.tablespace.is_empty() { 0 } else { PLACE_SIZE + draft.tablespace.len() };
        self.used +=
            if single { 0 } else { ENTRY_SIZE + entry.tag.len() + size_of_val(&*dependencies) + placed };
        self.expect_room(0)?;
        let Some(toc) = &mut self.toc else { return Ok(()) };
        if single {
            toc.large_object_entries += 1;
            return Ok(());
        }
        if self.keeps_dependencies {
            toc.dependencies.push(dependencies.into());
        }
        if &*entry.desc == "ENCODING" {
            toc.encoding = quoted(&draft.definition);
        }
        if draft.has_data {
            toc.with_data.push(WithData { dump_id, index: toc.entries.len(), copied: draft.copied });
        }
        if placed > 0 {
            toc.tablespaces.entry(draft.tablespace).or_default().push(dump_id);
        }
        toc.entries.push(entry);
        Ok(())
    }

    /// Schemas, owners and kinds are few; each is kept once.
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.used += size_of::<Arc<str>>() + new.len();
        self.names.insert(Arc::clone(&new));
        new
    }

    fn invalid(&self, problem: impl Into<String>) -> ArchiveError {
        let number = self.total.unwrap_or_default() - self.left + 1;
        ArchiveError::invalid(format!("entry {number} of the table of contents"), problem)
    }
}

/// An entry with data whose number another one has, too.
fn repeated(toc: &Toc) -> Option<String> {
    let mut sorted: Vec<_> = toc.with_data.iter().map(|entry| (entry.dump_id, entry.index)).collect();
    sorted.sort_unstable();
    let pair = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0)?;
    toc.entries.get(pair[1].1).map(Entry::subject)
}

/// `pg_dump` up to 16 writes one entry a large object, later ones one a thousand; rights and comments always have their own.
fn is_of_large_object(entry: &Entry) -> bool {
    match &*entry.desc {
        "BLOB" | "BLOB METADATA" => true,
        "ACL" | "COMMENT" | "SECURITY LABEL" => {
            entry.tag.starts_with("LARGE OBJECT ") || entry.tag.starts_with("LARGE OBJECTS ")
        }
        _ => false,
    }
}

/// What stands between the first quotes.
fn quoted(definition: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(definition);
    text.split('\'').nth(1).map(str::to_owned)
}
