//! Cuts a stream into the parts of a multipart upload and hands them on; hashes what is stored. Blocks when the upload is
//! slower, so memory stays bounded. No I/O of its own.
//!
//! A part keeps its buffer until the server has confirmed it, because it may have to be sent again; then the buffer is filled
//! anew. There are never more buffers than [`buffers_for`] says, and none is allocated twice.

use std::io::{self, Write};
use std::sync::mpsc as blocking;

use crc_fast::{CrcAlgorithm, Digest as Crc};
use greenlang_backup_api::sizing::{MIN_PART_SIZE, buffers_for};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// One part of an object, ready to be sent. Its buffer goes back to the writer when it is dropped.
pub struct Part {
    bytes: Vec<u8>,
    free: blocking::Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // When the writer is gone, nobody needs the buffer.
        let _ = self.free.send(std::mem::take(&mut self.bytes));
    }
}

/// The last link of the chain: everything written to it ends up in parts.
pub(crate) struct PartWriter {
    /// The part being filled.
    part: Option<Part>,
    part_size: usize,
    buffers: blocking::Receiver<Vec<u8>>,
    free: blocking::Sender<Vec<u8>>,
    parts: mpsc::Sender<Part>,
    hash: Sha256,
    crc: Crc,
    bytes: u64,
}

/// Everything that was written to a [`PartWriter`].
pub(crate) struct Written {
    pub bytes: u64,
    pub sha256: Sha256,
    /// CRC-64/NVME.
    pub crc64nvme: u64,
}

impl PartWriter {
    pub(crate) fn new(part_size: u64, parts: mpsc::Sender<Part>) -> Self {
        let part_size = part_size.max(MIN_PART_SIZE);
        let (free, buffers) = blocking::channel();
        for _ in 0..buffers_for(part_size) {
            // The other end is in this very function. Memory is taken when a buffer is first used.
            let _ = free.send(Vec::new());
        }
        Self {
            part: None,
            part_size: usize::try_from(part_size).unwrap_or(usize::MAX),
            buffers,
            free,
            parts,
            hash: Sha256::new(),
            crc: Crc::new(CrcAlgorithm::Crc64Nvme),
            bytes: 0,
        }
    }

    /// Hands on what is left; says how many bytes there were, and their checksums.
    pub(crate) fn finish(mut self) -> io::Result<Written> {
        if let Some(part) = self.part.take() {
            self.hand_on(part)?;
        }
        Ok(Written { bytes: self.bytes, sha256: self.hash, crc64nvme: self.crc.finalize() })
    }

    /// The part being filled, or a new one as soon as there is a buffer for it.
    fn part(&mut self) -> io::Result<Part> {
        if let Some(part) = self.part.take() {
            return Ok(part);
        }
        let mut bytes = self.buffers.recv().map_err(io::Error::other)?;
        bytes.clear();
        bytes.reserve_exact(self.part_size);
        Ok(Part { bytes, free: self.free.clone() })
    }

    fn hand_on(&self, part: Part) -> io::Result<()> {
        self.parts.blocking_send(part).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for PartWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut part = self.part()?;
        let taken = data.len().min(self.part_size - part.bytes.len());
        let data = &data[..taken];
        part.bytes.extend_from_slice(data);
        self.hash.update(data);
        self.crc.update(data);
        self.bytes += taken as u64;
        if part.bytes.len() == self.part_size {
            self.hand_on(part)?;
        } else {
            self.part = Some(part);
        }
        Ok(taken)
    }

    /// Parts are handed on when full, never before: S3 refuses small ones.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that fills parts on a thread of its own, and where they arrive.
    fn filled(parts: u64) -> mpsc::Receiver<Part> {
        let (sender, receiver) = mpsc::channel(10);
        std::thread::spawn(move || {
            let mut writer = PartWriter::new(MIN_PART_SIZE, sender);
            let data = vec![7; usize::try_from(parts * MIN_PART_SIZE).unwrap()];
            let _ = writer.write_all(&data).and_then(|()| writer.finish());
        });
        receiver
    }

    #[test]
    fn there_are_never_more_buffers_than_planned() {
        let mut parts = filled(10);
        let held: Vec<Part> =
            (0..buffers_for(MIN_PART_SIZE)).map(|_| parts.blocking_recv().unwrap()).collect();
        assert!(parts.try_recv().is_err(), "a buffer too many");
        drop(held);
        let rest = std::iter::from_fn(|| parts.blocking_recv()).count();
        assert_eq!(rest, 10 - buffers_for(MIN_PART_SIZE));
    }
}
