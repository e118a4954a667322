//! Reads the table of contents at the head of an archive. Blocks while it reads.

use std::io::Read;

use crate::error::RunError;
use crate::postgres::archive::{ArchiveError, Toc, Walker};

use super::RestoreError;
use super::feed::Plain;

/// Bytes that are read at once until the table of contents is there.
const PIECE: usize = 64 << 10;
/// Longest table of contents that is read; some 200,000 tables.
const MAX_HEAD: usize = 128 << 20;

/// Why an archive is not taken apart.
const NOT_TAKEN_APART: &str = "the archive's table of contents is too long for this program, or of a newer format, so that neither a part of it nor data in several objects can be loaded: leave out database.include, or restore by hand";

/// An archive, as far as it was read.
pub struct Opened<R> {
    /// Its first bytes, the whole table of contents among them; empty where they were not wanted.
    pub head: Vec<u8>,
    /// What follows them.
    pub rest: R,
    /// The table of contents.
    pub toc: Result<Toc, Unread>,
}

/// Why there is no table of contents.
pub enum Unread {
    /// Its bytes came to an end, or could not be read.
    Ended,
    /// It takes too many.
    TooLong,
    /// It is not one.
    Archive(ArchiveError),
}

/// Reads until the table of contents has passed, keeping the bytes or not. What is wrong with the bytes is found by whoever reads on.
pub fn open<R: Read>(mut rest: R, mut walker: Walker, keeps: bool) -> Opened<R> {
    let (mut head, mut length) = (Vec::new(), 0);
    let mut piece = vec![0; PIECE];
    let unread = loop {
        if length >= MAX_HEAD {
            break Unread::TooLong;
        }
        let Ok(read @ 1..) = rest.read(&mut piece) else { break Unread::Ended };
        length += read;
        if keeps {
            head.extend_from_slice(&piece[..read]);
        }
        if let Err(error) = walker.push(&piece[..read]) {
            break Unread::Archive(error);
        }
        if walker.is_at_data() {
            let toc = walker.into_toc().ok_or(Unread::Ended);
            return Opened { head, rest, toc };
        }
    };
    Opened { head, rest, toc: Err(unread) }
}

impl<R: Plain> Opened<R> {
    /// The table of contents with the bytes and what follows them, for whoever cannot do without it.
    pub fn understood(self, key: &str) -> Result<(Toc, Vec<u8>, R), RunError> {
        let Self { head, rest, toc } = self;
        let problem = match toc {
            Ok(toc) => return Ok((toc, head, rest)),
            Err(
                Unread::TooLong
                | Unread::Archive(ArchiveError::TocTooLarge(_) | ArchiveError::UnsupportedFormat(_)),
            ) => return Err(RestoreError::NotSupported(NOT_TAKEN_APART).into()),
            Err(Unread::Archive(error)) => error.to_string(),
            Err(Unread::Ended) => {
                // Says why, unless they were all there was.
                rest.finish().map_err(RestoreError::Read)?;
                "it ends within its table of contents".to_owned()
            }
        };
        Err(RestoreError::NotUnderstood { key: key.to_owned(), problem }.into())
    }
}
