//! Makes bytes safe to store: source → SHA-256 and count → zstd with checksum → age → parts with SHA-256 and count. Reads the
//! source and blocks, so it runs on a thread of its own. No disk.

use std::io::{self, Read};

use age::stream::StreamWriter;
use greenlang_backup_api::manifest::{Content, Object};
use greenlang_backup_api::reasons;
use greenlang_backup_api::task::Seal;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use zstd::stream::write::Encoder;

use crate::checksum::crc64_text;
use crate::parts::{Part, PartWriter};
use crate::recipients::{RecipientError, Recipients};

/// What a manifest calls the compression of every object.
pub const COMPRESSION: &str = "zstd";
/// Bytes taken from the source at once; a pipe rarely has more.
const READ_SIZE: usize = 128 << 10;
/// Parts that wait between the seal and the upload; their buffers count among those of the upload.
const WAITING_PARTS: usize = 1;

/// Seals streams for the recipients of a task.
pub struct Sealer {
    recipients: Recipients,
    level: i32,
}

/// What went in and what came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Bytes read from the source.
    pub source_bytes: u64,
    /// Their SHA-256, hexadecimal.
    pub source_sha256: String,
    /// Bytes to be stored.
    pub stored_bytes: u64,
    /// Their SHA-256, hexadecimal.
    pub stored_sha256: String,
    /// Their CRC-64/NVME, in base64 as S3 writes it.
    pub stored_crc64nvme: String,
}

/// A stream that could not be sealed to its end.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The source failed.
    #[error("reading the source failed: {0}")]
    Source(#[source] io::Error),
    /// Nobody takes the parts any more; whoever uploads them knows why.
    #[error("the upload ended before the source did")]
    UploadEnded,
    /// zstd or age failed.
    #[error("compressing or encrypting failed: {0}")]
    Machine(#[source] io::Error),
    /// age cannot encrypt for these recipients together.
    #[error("the age recipients cannot be used together: {0}")]
    Recipients(#[from] age::EncryptError),
}

impl SealError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Recipients(_) => reasons::INVALID_RECIPIENT,
            Self::UploadEnded => reasons::STORAGE_ERROR,
            Self::Source(_) | Self::Machine(_) => reasons::INTERNAL_ERROR,
        }
    }

    /// Whether another attempt may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        !matches!(self, Self::Recipients(_))
    }
}

impl Sealer {
    /// Reads the recipients of a task.
    pub fn new(seal: &Seal) -> Result<Self, RecipientError> {
        Ok(Self { recipients: Recipients::parse(seal)?, level: seal.compression_level.into() })
    }

    /// What the manifest calls the recipients by.
    pub fn fingerprints(&self) -> Vec<String> {
        self.recipients.fingerprints().to_vec()
    }

    /// What the manifest says of an object that it sealed.
    pub fn describe(&self, key: String, content: Content, sealed: Sealed) -> Object {
        let Sealed { source_bytes, source_sha256, stored_bytes, stored_sha256, stored_crc64nvme } = sealed;
        Object {
            key,
            content,
            source_bytes,
            source_sha256,
            stored_bytes,
            stored_sha256,
            stored_crc64nvme: Some(stored_crc64nvme),
            compression: COMPRESSION.to_owned(),
            recipients: self.fingerprints(),
        }
    }

    /// The channel between [`Sealer::seal`] and [`crate::Upload::send`].
    pub fn channel() -> (mpsc::Sender<Part>, mpsc::Receiver<Part>) {
        mpsc::channel(WAITING_PARTS)
    }

    /// Seals the source up to its end. That all parts were handed on does not mean that the source was complete: whoever
    /// feeds it knows.
    pub fn seal(
        &self,
        mut source: impl Read,
        part_size: u64,
        parts: mpsc::Sender<Part>,
    ) -> Result<Sealed, SealError> {
        let upload = parts.clone();
        let failed = |error| {
            if upload.is_closed() { SealError::UploadEnded } else { SealError::Machine(error) }
        };
        let mut sink = self.sink(part_size, parts).map_err(|error| match error {
            SealError::Machine(error) => failed(error),
            other => other,
        })?;
        let (source_bytes, source_hash) = copy(&mut source, &mut sink, failed)?;
        let written =
            sink.finish().and_then(StreamWriter::finish).and_then(PartWriter::finish).map_err(failed)?;
        Ok(Sealed {
            source_bytes,
            source_sha256: hex(&source_hash.finalize()),
            stored_bytes: written.bytes,
            stored_sha256: hex(&written.sha256.finalize()),
            stored_crc64nvme: crc64_text(written.crc64nvme),
        })
    }

    fn sink(
        &self,
        part_size: u64,
        parts: mpsc::Sender<Part>,
    ) -> Result<Encoder<'static, StreamWriter<PartWriter>>, SealError> {
        let age = self
            .recipients
            .encryptor()?
            .wrap_output(PartWriter::new(part_size, parts))
            .map_err(SealError::Machine)?;
        let mut zstd = Encoder::new(age, self.level).map_err(SealError::Machine)?;
        zstd.include_checksum(true).map_err(SealError::Machine)?;
        Ok(zstd)
    }
}

fn copy(
    source: &mut impl Read,
    sink: &mut impl io::Write,
    failed: impl Fn(io::Error) -> SealError,
) -> Result<(u64, Sha256), SealError> {
    let mut buffer = vec![0; READ_SIZE];
    let mut hash = Sha256::new();
    let mut bytes = 0;
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hash)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(SealError::Source(error)),
        };
        let data = &buffer[..read];
        hash.update(data);
        bytes += read as u64;
        sink.write_all(data).map_err(&failed)?;
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
