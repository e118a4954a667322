//! Archives of any length in `pg_dump`'s custom format: a real one of one table, whose rows are repeated. Starts `pg_dump`
//! for the real one, and writes the scripts that make a stand-in for it.
//!
//! The data of a table are a byte 1, the number of its entry, and chunks, each after its length; `pg_dump` writes a row as a
//! chunk, then the lines that end COPY, then a chunk of no bytes. A number is a sign byte and four bytes, lowest first.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::pace::Pace;
use crate::postgres::Postgres;
use crate::tasks::client_scripts;

/// What ends the rows of COPY.
const TERMINATOR: &[u8] = b"\\.\n\n\n";
const BLOCK: u8 = 1;
const NUMBER: usize = 5;
/// The rows are repeated to this many bytes in memory.
const REPEATED: usize = 4 << 20;
/// Bytes of one write.
const PIECE: usize = 128 << 10;

/// An archive whose rows can be repeated.
pub struct Template {
    /// All up to the first row.
    head: Vec<u8>,
    /// Rows with their lengths.
    rows: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
    /// The end of COPY and of the block.
    tail: Vec<u8>,
}

/// A program that writes an archive of a length, in the place of `pg_dump`.
pub struct StandIn<'a> {
    /// The program `archive-source`.
    pub program: &'a Path,
    /// The archive that it takes as template.
    pub template: &'a Path,
    /// Length of the archive in bytes.
    pub bytes: u64,
    /// Bytes that it writes per second; none means as fast as it can.
    pub bytes_per_second: Option<u64>,
}

impl Template {
    /// Finds the rows of an uncompressed archive of one table that was written to a pipe. None if it is another.
    pub fn parse(archive: &[u8]) -> Option<Self> {
        let (start, ends) = (0..archive.len()).find_map(|start| Some((start, chunks(archive, start)?)))?;
        let first = start + 1 + NUMBER;
        let last = *ends.last()?;
        let count = (REPEATED / (last - first)).max(1);
        let rows = archive[first..last].repeat(count);
        let ends = (0..count)
            .flat_map(|round| ends.iter().map(move |end| end - first + round * (last - first)))
            .collect();
        Some(Self { head: archive[..first].to_vec(), rows, ends, tail: archive[last..].to_vec() })
    }

    /// An archive of a database with one table, to be parsed.
    pub fn dump(postgres: &Postgres, database: &str) -> Vec<u8> {
        let mut command = postgres.command("pg_dump", database);
        let output = command.args(["-Fc", "-Z0"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Writes an archive of this many bytes, or a row less. Returns how many rows it has.
    pub fn write(&self, out: &mut impl Write, bytes: u64, pace: Option<Pace>) -> io::Result<u64> {
        let mut sink = Paced { out, pace };
        sink.write(&self.head)?;
        let mut left = bytes.saturating_sub((self.head.len() + self.tail.len()) as u64);
        let mut rows = 0;
        while left >= self.rows.len() as u64 {
            sink.write(&self.rows)?;
            left -= self.rows.len() as u64;
            rows += self.ends.len() as u64;
        }
        let fitting = self.ends.partition_point(|&end| end as u64 <= left);
        if let Some(last) = fitting.checked_sub(1) {
            sink.write(&self.rows[..self.ends[last]])?;
        }
        sink.write(&self.tail)?;
        out.flush()?;
        Ok(rows + fitting as u64)
    }
}

impl StandIn<'_> {
    /// Makes a directory of client programs, for `GREENLANG_PG_BIN_DIR`: `pg_dump` is the stand-in, all others are real.
    pub fn clients(&self, directory: &Path) -> PathBuf {
        let pace =
            self.bytes_per_second.map_or_else(String::new, |pace| format!(" --bytes-per-second {pace}"));
        let source = format!(
            "exec {} --template {} --bytes {}{pace}",
            self.program.display(),
            self.template.display(),
            self.bytes
        );
        client_scripts(directory, &[("pg_dump", &source)])
    }
}

/// The ends of all rows, if a block starts here that is the last of the archive. Nothing else in an archive looks like that:
/// its chunks would have to be lines, lead to the end of COPY, and that to the very end.
fn chunks(archive: &[u8], start: usize) -> Option<Vec<usize>> {
    if archive[start] != BLOCK {
        return None;
    }
    number(archive, start + 1)?;
    let (mut at, mut ends) = (start + 1 + NUMBER, Vec::new());
    loop {
        let length = number(archive, at)?;
        let chunk = archive.get(at + NUMBER..at + NUMBER + length)?;
        at += NUMBER + length;
        if chunk == TERMINATOR {
            let closed = number(archive, at)? == 0 && archive.len() == at + NUMBER;
            return (closed && !ends.is_empty()).then_some(ends);
        }
        if !chunk.ends_with(b"\n") {
            return None;
        }
        ends.push(at);
    }
}

fn number(archive: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; NUMBER] = archive.get(at..at + NUMBER)?.try_into().ok()?;
    let [0, low @ ..] = bytes else { return None };
    usize::try_from(u32::from_le_bytes(low)).ok()
}

struct Paced<'a, W> {
    out: &'a mut W,
    pace: Option<Pace>,
}

impl<W: Write> Paced<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE) {
            self.out.write_all(piece)?;
            if let Some(pace) = &mut self.pace {
                std::thread::sleep(pace.written(piece.len(), Instant::now()));
            }
        }
        Ok(())
    }
}
