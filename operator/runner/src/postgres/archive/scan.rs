//! The two things that archives are made of, numbers and texts, read from a stream that may break off within them. Pure.

use super::error::ArchiveError;

/// Splits off what is there of the next bytes.
pub fn take<'a>(input: &mut &'a [u8], most: u64) -> &'a [u8] {
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    let (taken, rest) = input.split_at(length);
    *input = rest;
    taken
}

/// The next byte.
pub fn byte(input: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = input.split_first()?;
    *input = rest;
    Some(first)
}

/// Reads numbers: a byte for the sign, 0 or 1, then the value, lowest byte first.
#[derive(Clone)]
pub struct NumberReader {
    size: u8,
    /// Bytes seen of the number that is being read, its sign among them.
    seen: u8,
    negative: bool,
    value: u64,
}

impl NumberReader {
    /// For numbers of 1 to 8 bytes.
    pub fn new(size: u8) -> Self {
        Self { size, seen: 0, negative: false, value: 0 }
    }

    /// A number, once all of it is there.
    #[inline]
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<i64>, ArchiveError> {
        // One number stands before nearly every row.
        if self.size == 4
            && self.seen == 0
            && let Some((&[0, a, b, c, d], rest)) = input.split_first_chunk()
        {
            *input = rest;
            return Ok(Some(u32::from_le_bytes([a, b, c, d]).into()));
        }
        self.read_bytewise(input)
    }

    fn read_bytewise(&mut self, input: &mut &[u8]) -> Result<Option<i64>, ArchiveError> {
        while self.seen <= self.size {
            let Some(byte) = byte(input) else { return Ok(None) };
            match self.seen {
                0 if byte > 1 => {
                    return Err(ArchiveError::invalid("a number", format!("its sign is {byte}")));
                }
                0 => self.negative = byte == 1,
                seen => self.value |= u64::from(byte) << (8 * (seen - 1)),
            }
            self.seen += 1;
        }
        let Self { negative, value, .. } = std::mem::replace(self, Self::new(self.size));
        let value = i64::try_from(value)
            .map_err(|_| ArchiveError::invalid("a number", format!("{value} is too large")))?;
        if negative && value == 0 {
            return Err(ArchiveError::invalid("a number", "zero has a sign"));
        }
        Ok(Some(if negative { -value } else { value }))
    }
}

/// Reads texts: their length, -1 for none, and their bytes.
pub struct TextReader {
    number: NumberReader,
    /// Length of the text that is being read.
    length: Option<u64>,
    left: u64,
    kept: Vec<u8>,
}

/// A text, of which only the first bytes may have been kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The first bytes.
    pub kept: Vec<u8>,
    /// Bytes in the archive.
    pub length: u64,
}

impl Text {
    /// In UTF-8, whatever it was.
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

/// Of a text that may be none: whether it is.
pub type OptionalText = Option<Text>;

impl TextReader {
    /// For archives with numbers of this size.
    pub fn new(int_size: u8) -> Self {
        Self { number: NumberReader::new(int_size), length: None, left: 0, kept: Vec::new() }
    }

    /// A text, once all of it has passed; its first `keep` bytes are kept. Memory follows what came, not what was announced.
    pub fn read(&mut self, input: &mut &[u8], keep: usize) -> Result<Option<OptionalText>, ArchiveError> {
        let length = match self.length {
            Some(length) => length,
            None => match self.number.read(input)? {
                None => return Ok(None),
                Some(-1) => return Ok(Some(None)),
                Some(number) => {
                    let length = u64::try_from(number).map_err(|_| {
                        ArchiveError::invalid("a text", format!("it has a length of {number}"))
                    })?;
                    (self.length, self.left) = (Some(length), length);
                    length
                }
            },
        };
        let bytes = take(input, self.left);
        self.left -= bytes.len() as u64;
        let wanted = (keep - self.kept.len().min(keep)).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..wanted]);
        if self.left > 0 {
            return Ok(None);
        }
        self.length = None;
        Ok(Some(Some(Text { kept: std::mem::take(&mut self.kept), length })))
    }
}
