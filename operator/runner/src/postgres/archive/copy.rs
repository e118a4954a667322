//! The digest of a table's rows, which does not depend on their order. Pure.
//!
//! It is taken of COPY text, and it is the same whether the text comes from an archive of `pg_dump` or from `COPY … TO STDOUT` of
//! a restored table, if both sessions have the settings that change COPY text alike (client encoding, `DateStyle`,
//! `IntervalStyle`, `TimeZone`, `bytea_output`, `extra_float_digits`) and name the columns in the same order. What a server sends
//! lacks the line `\.` at its end; whoever reads it to a good end adds it. A row is a line without its newline. Rows are hashed by XXH3-128 (seed 0), and the digest is the sum of the hashes modulo 2^128: a table that
//! was reordered has the same, one with a row lost, doubled or changed has another. It is no defence against somebody who
//! makes up rows to fit.

use memchr::memchr;
use twox_hash::XxHash3_128;

/// The line that ends COPY text in an archive. No row can be it: a backslash in data is doubled.
const TERMINATOR: &[u8] = b"\\.";

/// Rows of COPY text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// Bytes of the lines, each with its newline.
    pub bytes: u64,
    /// Sum modulo 2^128 of the XXH3-128 of each line without its newline.
    pub digest: u128,
}

/// What is wrong with COPY text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFault {
    /// It does not end with a line `\.`.
    NoTerminator,
    /// Something but newlines follows that line.
    AfterTerminator,
}

/// Counts and hashes rows as their text passes in pieces of any size.
#[derive(Default)]
pub struct RowReader {
    rows: Rows,
    /// A line whose end has not come yet. Boxed, since it is large and rarely there.
    open: Option<Box<Line>>,
    terminated: bool,
}

/// A line that came in pieces.
struct Line {
    hasher: XxHash3_128,
    length: u64,
    start: Vec<u8>,
}

impl RowReader {
    /// Takes the next bytes.
    #[inline]
    pub fn push(&mut self, mut text: &[u8]) -> Result<(), CopyFault> {
        if self.terminated {
            return after_end(text);
        }
        while let Some(end) = memchr(b'\n', text) {
            let line = &text[..end];
            text = &text[end + 1..];
            match self.open.take() {
                None if line == TERMINATOR => return self.terminate(text),
                None => self.rows.add(line.len() as u64, XxHash3_128::oneshot(line)),
                Some(mut open) => {
                    open.push(line);
                    if open.start == TERMINATOR && open.length == TERMINATOR.len() as u64 {
                        return self.terminate(text);
                    }
                    self.rows.add(open.length, open.hasher.finish_128());
                }
            }
        }
        if !text.is_empty() {
            self.open.get_or_insert_default().push(text);
        }
        Ok(())
    }

    /// The rows, if their end was seen.
    pub fn finish(self) -> Result<Rows, CopyFault> {
        if self.terminated { Ok(self.rows) } else { Err(CopyFault::NoTerminator) }
    }

    fn terminate(&mut self, rest: &[u8]) -> Result<(), CopyFault> {
        self.terminated = true;
        after_end(rest)
    }
}

impl Rows {
    fn add(&mut self, length: u64, hash: u128) {
        self.count += 1;
        self.bytes += length + 1;
        self.digest = self.digest.wrapping_add(hash);
    }
}

impl Default for Line {
    fn default() -> Self {
        Self { hasher: XxHash3_128::new(), length: 0, start: Vec::with_capacity(TERMINATOR.len()) }
    }
}

impl Line {
    fn push(&mut self, piece: &[u8]) {
        let wanted = (TERMINATOR.len() - self.start.len()).min(piece.len());
        self.start.extend_from_slice(&piece[..wanted]);
        self.length += piece.len() as u64;
        self.hasher.write(piece);
    }
}

/// `pg_dump` puts empty lines behind the end; `pg_restore -f` would pass anything else on as commands.
fn after_end(text: &[u8]) -> Result<(), CopyFault> {
    if text.iter().all(|&byte| byte == b'\n') { Ok(()) } else { Err(CopyFault::AfterTerminator) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(pieces: &[&[u8]]) -> Result<Rows, CopyFault> {
        let mut reader = RowReader::default();
        for piece in pieces {
            reader.push(piece)?;
        }
        reader.finish()
    }

    #[test]
    fn the_digest_is_the_documented_sum() {
        let sum = XxHash3_128::oneshot(b"1\ta").wrapping_add(XxHash3_128::oneshot(b""));
        let expected = Ok(Rows { count: 2, bytes: 5, digest: sum });
        assert_eq!(rows(&[b"1\ta\n\n\\.\n\n\n"]), expected);
        assert_eq!(rows(&[b"\n1\ta\n\\.\n"]), expected, "the order does not matter");
        assert_eq!(rows(&[b"1", b"\ta", b"\n\n\\", b".", b"\n", b"\n"]), expected, "nor do the pieces");
        assert_eq!(rows(&[b"\\.\n"]), Ok(Rows::default()));
    }

    #[test]
    fn a_published_hash() {
        // XXH3-128 of nothing with seed 0, as its specification has it.
        assert_eq!(XxHash3_128::oneshot(b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
    }

    #[test]
    fn rows_without_their_end_are_none() {
        for text in ["", "1\n", "1\n\\.", "1\n\\.\\\n", "x\\.\n", "\\", "\n\n"] {
            assert_eq!(rows(&[text.as_bytes()]), Err(CopyFault::NoTerminator), "{text:?}");
        }
        for text in ["\\.\n1\n", "\\.\n\n \n", "\\.\n\\.\n"] {
            assert_eq!(rows(&[text.as_bytes()]), Err(CopyFault::AfterTerminator), "{text:?}");
        }
    }

    #[test]
    fn lost_doubled_and_changed_rows_show() {
        let base = rows(&[b"1\n2\n3\n\\.\n"]).unwrap();
        for other in ["1\n2\n\\.\n", "1\n2\n3\n3\n\\.\n", "1\n2\n4\n\\.\n", "1\n2\n2\n\\.\n"] {
            assert_ne!(rows(&[other.as_bytes()]).unwrap().digest, base.digest, "{other:?}");
        }
    }
}
