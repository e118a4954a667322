//! Encodes archives as `pg_dump` would, from a description, and says what a walk must find in them.

use std::ops::Range;

use twox_hash::XxHash3_128;

use crate::postgres::archive::copy::Rows;
use crate::postgres::archive::large_objects::{LISTED, LargeObject, LargeObjects};
use crate::postgres::archive::model::{Archive, Data, Entry, FormatVersion, Section};

/// An archive to be.
#[derive(Clone, Debug)]
pub struct Spec {
    pub minor: u8,
    pub int_size: u8,
    pub offset_size: u8,
    pub database: String,
    pub entries: Vec<SpecEntry>,
    /// Sizes of the pieces of data, over and over.
    pub pieces: Vec<usize>,
}

#[derive(Clone, Debug)]
pub struct SpecEntry {
    pub dump_id: u32,
    pub oid: u32,
    pub desc: &'static str,
    pub namespace: Option<String>,
    pub tag: String,
    pub owner: String,
    pub definition: String,
    pub dependencies: Vec<u32>,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub enum Content {
    None,
    /// Lines of COPY text without newlines.
    Rows(Vec<Vec<u8>>),
    /// Rows as commands.
    Commands(Vec<u8>),
    Objects(Vec<(u32, Vec<u8>)>),
}

/// An archive, with the places of its parts.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub head_end: usize,
    /// Where the entries with data start and end in the table of contents.
    pub data_entries: Vec<Range<usize>>,
    pub toc_end: usize,
    pub blocks: Vec<Range<usize>>,
}

impl Spec {
    pub fn encode(&self) -> Encoded {
        let mut writer = Writer { spec: self, out: Vec::new(), piece: 0 };
        writer.head();
        let head_end = writer.out.len();
        writer.number(self.entries.len().try_into().unwrap());
        let mut data_entries = Vec::new();
        for entry in &self.entries {
            let start = writer.out.len();
            writer.entry(entry);
            if entry.has_data() {
                data_entries.push(start..writer.out.len());
            }
        }
        let toc_end = writer.out.len();
        let mut blocks = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.has_data()) {
            let start = writer.out.len();
            writer.block(entry);
            blocks.push(start..writer.out.len());
        }
        Encoded { bytes: writer.out, head_end, data_entries, toc_end, blocks }
    }

    /// What a walk must find.
    pub fn expected(&self) -> Archive {
        let mut large_objects = LargeObjects::default();
        for (oid, content) in self.entries.iter().flat_map(SpecEntry::objects) {
            let (length, digest) = (content.len() as u64, XxHash3_128::oneshot(content));
            let row: Vec<u8> =
                [&oid.to_le_bytes()[..], &length.to_le_bytes(), &digest.to_le_bytes()].concat();
            large_objects.count += 1;
            large_objects.bytes += length;
            large_objects.digest = large_objects.digest.wrapping_add(XxHash3_128::oneshot(&row));
            if large_objects.listed.len() < LISTED {
                large_objects.listed.push(LargeObject { oid: *oid, length, digest });
            }
        }
        let single = |entry: &&SpecEntry| ["BLOB", "BLOB METADATA"].contains(&entry.desc);
        Archive {
            version: FormatVersion { major: 1, minor: self.minor },
            database: self.database.clone(),
            server_version: "15.1 (Debian)".to_owned(),
            dump_version: "15.2".to_owned(),
            encoding: self.entries.iter().any(|entry| entry.desc == "ENCODING").then(|| "UTF8".to_owned()),
            entries: self.entries.iter().filter(|entry| !single(entry)).map(SpecEntry::expected).collect(),
            large_object_entries: self.entries.iter().filter(single).count() as u64,
            large_objects,
        }
    }
}

impl SpecEntry {
    pub fn has_data(&self) -> bool {
        !matches!(self.content, Content::None)
    }

    fn objects(&self) -> &[(u32, Vec<u8>)] {
        if let Content::Objects(objects) = &self.content { objects } else { &[] }
    }

    fn expected(&self) -> Entry {
        let data = match &self.content {
            Content::None => None,
            Content::Commands(text) => Some(Data::Opaque { bytes: text.len() as u64 }),
            Content::Objects(objects) => Some(Data::LargeObjects {
                count: objects.len() as u64,
                bytes: objects.iter().map(|(_, content)| content.len() as u64).sum(),
            }),
            Content::Rows(rows) => Some(Data::Rows(Rows {
                count: rows.len() as u64,
                bytes: rows.iter().map(|row| row.len() as u64 + 1).sum(),
                digest: rows.iter().fold(0, |sum: u128, row| sum.wrapping_add(XxHash3_128::oneshot(row))),
            })),
        };
        Entry {
            dump_id: self.dump_id,
            catalog: 1259,
            oid: self.oid,
            desc: self.desc.into(),
            section: if self.has_data() { Section::Data } else { Section::PreData },
            namespace: self.namespace.as_deref().unwrap_or_default().into(),
            tag: self.tag.as_str().into(),
            owner: self.owner.as_str().into(),
            data,
        }
    }
}

struct Writer<'a> {
    spec: &'a Spec,
    out: Vec<u8>,
    piece: usize,
}

impl Writer<'_> {
    fn head(&mut self) {
        let Spec { minor, int_size, offset_size, database, .. } = self.spec;
        self.out.extend_from_slice(b"PGDMP");
        self.out.extend_from_slice(&[1, *minor, 0, *int_size, *offset_size, 1]);
        if *minor >= 15 {
            self.out.push(0);
        } else {
            self.number(0);
        }
        for part in [59, 30, 2, 7, 10, 125, 0] {
            self.number(part);
        }
        for text in [database.as_str(), "15.1 (Debian)", "15.2"] {
            self.text(Some(text.as_bytes()));
        }
    }

    fn entry(&mut self, entry: &SpecEntry) {
        let minor = self.spec.minor;
        let copied = matches!(entry.content, Content::Rows(_));
        self.number(entry.dump_id.into());
        self.number(entry.has_data().into());
        self.text(Some(b"1259"));
        self.text(Some(entry.oid.to_string().as_bytes()));
        self.text(Some(entry.tag.as_bytes()));
        self.text(Some(entry.desc.as_bytes()));
        self.number(if entry.has_data() { 3 } else { 2 });
        self.text(Some(entry.definition.as_bytes()));
        self.text(Some(b"DROP"));
        self.text(copied.then_some(b"COPY t FROM stdin;\n"));
        self.text(entry.namespace.as_deref().map(str::as_bytes));
        self.text(None);
        if minor >= 14 {
            self.text(Some(b"heap"));
        }
        if minor >= 16 {
            self.number(114);
        }
        self.text(Some(entry.owner.as_bytes()));
        self.text(Some(b"false"));
        for dependency in &entry.dependencies {
            self.text(Some(dependency.to_string().as_bytes()));
        }
        self.text(None);
        self.out.push(if entry.has_data() { 1 } else { 3 });
        self.out.extend(std::iter::repeat_n(0, self.spec.offset_size.into()));
    }

    fn block(&mut self, entry: &SpecEntry) {
        self.out.push(if matches!(entry.content, Content::Objects(_)) { 3 } else { 1 });
        self.number(entry.dump_id.into());
        match &entry.content {
            Content::None => {}
            Content::Commands(text) => self.pieces(text),
            Content::Rows(rows) => {
                let mut text: Vec<u8> = rows.iter().flat_map(|row| [row, &b"\n"[..]].concat()).collect();
                text.extend_from_slice(b"\\.\n\n\n");
                self.pieces(&text);
            }
            Content::Objects(objects) => {
                for (oid, content) in objects {
                    self.number(oid.cast_signed().into());
                    self.pieces(content);
                }
                self.number(0);
            }
        }
    }

    fn pieces(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let size = self.spec.pieces[self.piece % self.spec.pieces.len()];
            self.piece += 1;
            let (piece, rest) = data.split_at(size.min(data.len()));
            self.number(piece.len().try_into().unwrap());
            self.out.extend_from_slice(piece);
            data = rest;
        }
        self.number(0);
    }

    fn text(&mut self, text: Option<&[u8]>) {
        self.number(text.map_or(-1, |text| text.len().try_into().unwrap()));
        self.out.extend_from_slice(text.unwrap_or_default());
    }

    fn number(&mut self, number: i64) {
        self.out.push((number < 0).into());
        self.out.extend_from_slice(&number.unsigned_abs().to_le_bytes()[..self.spec.int_size.into()]);
    }
}
