//! Opens what a seal made: stored bytes → SHA-256 and count → age → zstd → SHA-256 and count → whoever reads. Blocks, so it
//! runs on a thread of its own. No disk.
//!
//! Memory, whatever the length: 64 KiB of header, a chunk of age and a window of [`MAX_WINDOW_LOG`]; some 9 MiB in all. A
//! stream that needs more, or that grows beyond what its manifest says, is refused.

use std::error::Error;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use age::stream::StreamReader;
use greenlang_backup_api::manifest::Object;
use zstd::stream::read::Decoder;

use crate::identities::MAX_HEADER;
use crate::tally::{ExpectedBytes, Tallied};
use crate::{Identities, ReadError};

/// 8 MiB, what zstd's level 19 takes, the highest that a policy can name; `zstd --ultra` and `--long` take more.
const MAX_WINDOW_LOG: u32 = 23;

/// Plain bytes of an object. They are handed on before its end is known, so whoever reads them may commit nothing before
/// [`Unsealed::finish`] said that they were good: load them into a database that can still be dropped.
pub struct Unsealed<R: Read> {
    plain: Plain<R>,
    stored_ended: Arc<AtomicBool>,
    key: String,
    verdict: Verdict,
}

/// The header, which is checked before anything is opened, and what follows it.
type Stored<R> = Chain<Cursor<Vec<u8>>, BufReader<Tallied<StoredBytes<R>>>>;
type Plain<R> = Tallied<Frame<StreamReader<Stored<R>>>>;

enum Verdict {
    Open,
    Good,
    Bad(ReadError),
}

impl Identities {
    /// Begins to open an object of a manifest whose stored bytes are given. Errors of `stored` that wrap a [`ReadError`]
    /// keep it.
    pub fn unseal<R: Read>(&self, object: &Object, stored: R) -> Result<Unsealed<R>, ReadError> {
        let failed = |error| cause(&object.key, error);
        let mut stored =
            Tallied::new(StoredBytes { key: object.key.clone(), stored }, expected_stored(object));
        let stored_ended = stored.ended();
        let mut start = Vec::new();
        stored.by_ref().take(MAX_HEADER).read_to_end(&mut start).map_err(failed)?;
        self.open_header(object, &start)?;
        let age = self.decrypt(object, Cursor::new(start).chain(BufReader::new(stored)))?;
        let plain = Tallied::new(Frame::new(age).map_err(failed)?, expected_source(object));
        Ok(Unsealed { plain, stored_ended, key: object.key.clone(), verdict: Verdict::Open })
    }
}

impl<R: Read> Unsealed<R> {
    /// Reads what was not read yet, and says whether everything was good: count and SHA-256 of stored and of plain bytes as
    /// the manifest has them, one age stream and one zstd frame, both complete, and nothing after them. After a failed read
    /// it says what was wrong.
    pub fn finish(mut self) -> Result<(), ReadError> {
        let drained = io::copy(&mut self, &mut io::sink());
        match (self.verdict, drained) {
            (Verdict::Good, Ok(_)) => Ok(()),
            (Verdict::Bad(error), _) => Err(error),
            (_, Err(error)) => Err(cause(&self.key, error)),
            (Verdict::Open, Ok(_)) => Err(damaged(&self.key, "its end was not reached")),
        }
    }

    /// At the end of the plain bytes, whose tally was good. age reads its source to the end before it says that its stream
    /// ended; this does not rely on it.
    fn judge(&self) -> Result<(), ReadError> {
        if self.stored_ended.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err(damaged(&self.key, "stored bytes follow the end of its age stream"))
        }
    }
}

impl<R: Read> Read for Unsealed<R> {
    /// An end is given only when everything was good; after an error there are errors only.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if matches!(self.verdict, Verdict::Open) {
            match self.plain.read(buffer) {
                Ok(0) => self.verdict = self.judge().map_or_else(Verdict::Bad, |()| Verdict::Good),
                Ok(read) => return Ok(read),
                Err(error) => self.verdict = Verdict::Bad(cause(&self.key, error)),
            }
        }
        match &self.verdict {
            Verdict::Bad(error) => Err(io::Error::other(error.to_string())),
            Verdict::Open | Verdict::Good => Ok(0),
        }
    }
}

/// One zstd frame that nothing follows.
struct Frame<R: Read> {
    zstd: Decoder<'static, BufReader<R>>,
}

impl<R: Read> Frame<R> {
    fn new(compressed: R) -> io::Result<Self> {
        let mut zstd = Decoder::new(compressed)?.single_frame();
        zstd.window_log_max(MAX_WINDOW_LOG)?;
        Ok(Self { zstd })
    }
}

impl<R: Read> Read for Frame<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.zstd.read(buffer)?;
        // zstd has seen the end of its frame here, checksum included; age says whether it is that of its stream.
        if read == 0 && !buffer.is_empty() && self.zstd.get_mut().read(&mut [0])? != 0 {
            return Err(io::Error::other("bytes follow the end of its zstd frame"));
        }
        Ok(read)
    }
}

/// Where the stored bytes come from. That they cannot be read does not mean that they are damaged.
struct StoredBytes<R> {
    key: String,
    stored: R,
}

impl<R: Read> Read for StoredBytes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stored.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted || holds_read_error(&error) {
                error
            } else {
                io::Error::other(ReadError::ReadFailed { key: self.key.clone(), cause: error.to_string() })
            }
        })
    }
}

fn holds_read_error(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<ReadError>)
}

/// Our own error that an I/O error carries; any other comes from age or zstd, which were given what they cannot open.
fn cause(key: &str, error: io::Error) -> ReadError {
    error
        .downcast::<ReadError>()
        .unwrap_or_else(|error| damaged(key, &format!("it cannot be opened: {error}")))
}

fn damaged(key: &str, problem: &str) -> ReadError {
    ReadError::ObjectDamaged { key: key.to_owned(), problem: problem.to_owned() }
}

fn expected_stored(object: &Object) -> ExpectedBytes {
    ExpectedBytes {
        key: object.key.clone(),
        what: "stored",
        bytes: object.stored_bytes,
        sha256: object.stored_sha256.clone(),
    }
}

fn expected_source(object: &Object) -> ExpectedBytes {
    ExpectedBytes {
        key: object.key.clone(),
        what: "source",
        bytes: object.source_bytes,
        sha256: object.source_sha256.clone(),
    }
}

#[cfg(test)]
#[path = "unseal_tests/mod.rs"]
mod tests;
