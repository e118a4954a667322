//! Reads the start of an archive: what wrote it, and of which database. Pure.

use super::error::ArchiveError;
use super::model::{FormatVersion, Head};
use super::scan::{NumberReader, TextReader, byte, take};

/// What every archive starts with.
pub const MAGIC: &[u8] = b"PGDMP";
/// Magic, version and revision, sizes of numbers and offsets, format.
const FIXED: usize = 11;
const CUSTOM: u8 = 1;
/// Second, minute, hour, day, month, year, daylight saving time.
const TIME_FIELDS: u8 = 7;
/// Most bytes of a name or a version; PostgreSQL's are far shorter.
const TEXT_LIMIT: usize = 4 << 10;

/// Reads up to where the table of contents begins.
pub struct HeadReader {
    fixed: Vec<u8>,
    rest: Option<Rest>,
}

/// What follows the bytes of fixed size.
struct Rest {
    version: FormatVersion,
    int_size: u8,
    offset_size: u8,
    number: NumberReader,
    text: TextReader,
    step: Step,
    texts: Vec<String>,
}

#[derive(Clone, Copy)]
enum Step {
    Compression,
    Time(u8),
    Texts,
}

impl HeadReader {
    pub fn new() -> Self {
        Self { fixed: Vec::with_capacity(FIXED), rest: None }
    }

    /// The head, once all of it is there.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Head>, ArchiveError> {
        if let Some(rest) = &mut self.rest {
            return rest.read(input);
        }
        self.fixed.extend_from_slice(take(input, (FIXED - self.fixed.len()) as u64));
        let magic = self.fixed.len().min(MAGIC.len());
        if self.fixed[..magic] != MAGIC[..magic] {
            return Err(ArchiveError::NotAnArchive);
        }
        match self.fixed[magic..] {
            [major, minor, _revision, int_size, offset_size, format] => {
                let version = FormatVersion { major, minor };
                self.rest.insert(Rest::new(version, int_size, offset_size, format)?).read(input)
            }
            _ => Ok(None),
        }
    }

    pub fn cut(&self) -> ArchiveError {
        if self.fixed.is_empty() { ArchiveError::NotAnArchive } else { ArchiveError::cut("its first bytes") }
    }
}

impl Rest {
    fn new(version: FormatVersion, int_size: u8, offset_size: u8, format: u8) -> Result<Self, ArchiveError> {
        if !(FormatVersion::OLDEST..=FormatVersion::NEWEST).contains(&version) {
            return Err(ArchiveError::UnsupportedFormat(version));
        }
        if format != CUSTOM {
            return Err(ArchiveError::NotCustom(format));
        }
        if let Some(&size) = [int_size, offset_size].iter().find(|size| !(1..=8).contains(*size)) {
            return Err(ArchiveError::NumberSize(size));
        }
        Ok(Self {
            version,
            int_size,
            offset_size,
            number: NumberReader::new(int_size),
            text: TextReader::new(int_size),
            step: Step::Compression,
            texts: Vec::new(),
        })
    }

    fn read(&mut self, input: &mut &[u8]) -> Result<Option<Head>, ArchiveError> {
        loop {
            match self.step {
                Step::Compression => {
                    let Some(compression) = self.compression(input)? else { return Ok(None) };
                    if compression != 0 {
                        return Err(ArchiveError::Compressed);
                    }
                    self.step = Step::Time(TIME_FIELDS);
                }
                Step::Time(0) => self.step = Step::Texts,
                Step::Time(left) => match self.number.read(input)? {
                    Some(_) => self.step = Step::Time(left - 1),
                    None => return Ok(None),
                },
                Step::Texts => {
                    let Some(text) = self.text.read(input, TEXT_LIMIT)? else { return Ok(None) };
                    self.texts.push(text.unwrap_or_default().lossy());
                    if let [database, server_version, dump_version] = &mut self.texts[..] {
                        return Ok(Some(Head {
                            version: self.version,
                            int_size: self.int_size,
                            offset_size: self.offset_size,
                            database: std::mem::take(database),
                            server_version: std::mem::take(server_version),
                            dump_version: std::mem::take(dump_version),
                        }));
                    }
                }
            }
        }
    }

    /// A level up to 1.14, an algorithm from 1.15 on; 0 is none in both.
    fn compression(&mut self, input: &mut &[u8]) -> Result<Option<i64>, ArchiveError> {
        if self.version.minor >= 15 { Ok(byte(input).map(i64::from)) } else { self.number.read(input) }
    }
}
