//! Cuts a stream into the parts of a multipart upload and hands them on; hashes what is stored. Blocks when the upload is
//! slower, so memory stays bounded. No I/O of its own.
//!
//! Memory of one upload, whatever its length: `part size × (1 being filled + 1 waiting + IN_FLIGHT on their way)`, to which
//! the compressor adds some 10 MiB at levels up to 3.

use std::io::{self, Write};

use crc_fast::{CrcAlgorithm, Digest as Crc};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// Part size for streams that fit: 10,000 of these hold 156 GiB.
pub const DEFAULT_PART_SIZE: usize = 16 << 20;
/// Smallest part that S3 takes, but for the last.
pub const MIN_PART_SIZE: usize = 5 << 20;
/// Most parts that S3 takes in one upload.
pub const MAX_PARTS: i32 = 10_000;
/// Parts on their way at once.
pub const IN_FLIGHT: usize = 2;
/// Parts that a stream of the expected size is cut into at most; the rest of [`MAX_PARTS`] is for wrong expectations.
const PLANNED_PARTS: u64 = 8_000;
/// Parts are whole MiB, so that the plan can be read in a listing.
const GRANULE: u64 = 1 << 20;

/// One part of an object, ready to be sent.
pub struct Part {
    /// What is stored.
    pub(crate) bytes: Vec<u8>,
}

/// Size of the parts of an object of which so many bytes are expected.
pub fn part_size_for(expected_bytes: u64) -> usize {
    let needed = expected_bytes.div_ceil(PLANNED_PARTS).next_multiple_of(GRANULE);
    usize::try_from(needed).unwrap_or(DEFAULT_PART_SIZE).max(DEFAULT_PART_SIZE)
}

/// The last link of the chain: everything written to it ends up in parts.
pub(crate) struct PartWriter {
    buffer: Vec<u8>,
    part_size: usize,
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
    pub(crate) fn new(part_size: usize, parts: mpsc::Sender<Part>) -> Self {
        Self {
            buffer: Vec::new(),
            part_size: part_size.max(MIN_PART_SIZE),
            parts,
            hash: Sha256::new(),
            crc: Crc::new(CrcAlgorithm::Crc64Nvme),
            bytes: 0,
        }
    }

    /// Hands on what is left; says how many bytes there were, and their checksums.
    pub(crate) fn finish(mut self) -> io::Result<Written> {
        if !self.buffer.is_empty() {
            self.hand_on()?;
        }
        Ok(Written { bytes: self.bytes, sha256: self.hash, crc64nvme: self.crc.finalize() })
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        self.parts.blocking_send(Part { bytes }).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for PartWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(self.part_size);
        }
        let taken = data.len().min(self.part_size - self.buffer.len());
        let data = &data[..taken];
        self.buffer.extend_from_slice(data);
        self.hash.update(data);
        self.crc.update(data);
        self.bytes += taken as u64;
        if self.buffer.len() == self.part_size {
            self.hand_on()?;
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn part_sizes_fit_what_s3_takes(expected in 0u64..(5 << 40)) {
            let size = part_size_for(expected);
            prop_assert!(size >= DEFAULT_PART_SIZE && size as u64 <= 5 << 30);
            prop_assert!(expected.div_ceil(size as u64) <= PLANNED_PARTS);
            prop_assert_eq!(size as u64 % GRANULE, 0);
        }
    }

    #[test]
    fn small_streams_get_the_default() {
        assert_eq!(part_size_for(0), DEFAULT_PART_SIZE);
        assert_eq!(part_size_for(100 << 30), DEFAULT_PART_SIZE);
    }
}
