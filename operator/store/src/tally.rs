//! Decides whether bytes are those that a manifest names, by their count and SHA-256. Pure.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};

use crate::ReadError;
use crate::seal::hex;

/// What the manifest says of some bytes.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedBytes {
    /// Key of the object, for messages.
    pub key: String,
    /// `stored` or `source`, as the manifest calls them.
    pub what: &'static str,
    /// How many.
    pub bytes: u64,
    /// Their SHA-256, hexadecimal.
    pub sha256: String,
}

/// Bytes counted and hashed against what the manifest says.
pub(crate) struct Tally {
    expected: ExpectedBytes,
    bytes: u64,
    hash: Sha256,
}

impl Tally {
    pub(crate) fn new(expected: ExpectedBytes) -> Self {
        Self { expected, bytes: 0, hash: Sha256::new() }
    }

    /// Takes the next bytes; refuses the first one too many.
    pub(crate) fn add(&mut self, data: &[u8]) -> Result<(), ReadError> {
        self.bytes += data.len() as u64;
        if self.bytes > self.expected.bytes {
            let ExpectedBytes { what, bytes, .. } = &self.expected;
            return Err(self.damaged(format!("it has more than the {bytes} {what} bytes of the manifest")));
        }
        self.hash.update(data);
        Ok(())
    }

    /// Says whether that was all, and the right bytes.
    pub(crate) fn end(&self) -> Result<(), ReadError> {
        let ExpectedBytes { what, bytes, sha256, .. } = &self.expected;
        if self.bytes != *bytes {
            let found = self.bytes;
            return Err(self.damaged(format!("it has {found} {what} bytes, the manifest says {bytes}")));
        }
        let found = hex(&self.hash.clone().finalize());
        if !found.eq_ignore_ascii_case(sha256) {
            let problem = format!("the SHA-256 of its {what} bytes is {found}, the manifest says {sha256}");
            return Err(self.damaged(problem));
        }
        Ok(())
    }

    fn damaged(&self, problem: String) -> ReadError {
        ReadError::ObjectDamaged { key: self.expected.key.clone(), problem }
    }
}

/// A reader whose end is only an end when its bytes were the expected ones. Its errors wrap a [`ReadError`].
pub(crate) struct Tallied<R> {
    inner: R,
    tally: Tally,
    ended: Arc<AtomicBool>,
}

impl<R: Read> Tallied<R> {
    pub(crate) fn new(inner: R, expected: ExpectedBytes) -> Self {
        Self { inner, tally: Tally::new(expected), ended: Arc::default() }
    }

    /// Becomes true when the end was reached and was good.
    pub(crate) fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ended)
    }
}

impl<R: Read> Read for Tallied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Nothing read into no space is not the end.
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = read_some(&mut self.inner, buffer)?;
        if read == 0 {
            self.tally.end().map_err(io::Error::other)?;
            self.ended.store(true, Ordering::Release);
        } else {
            self.tally.add(&buffer[..read]).map_err(io::Error::other)?;
        }
        Ok(read)
    }
}

fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
