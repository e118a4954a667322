//! What the old shell scripts stored (`backup.tar.gz.enc`): an archive of `pg_dump` in a tar, compressed by gzip, encrypted by
//! `openssl enc -aes-256-cbc -pass file:`. Opened as it passes; blocks, no disk. Network.
//!
//! That cipher does not notice changes, but the checksum of gzip does, and the SHA-256 that the scripts wrote into the tar.

mod cipher;
mod tar;

use std::io::{self, BufRead as _, BufReader, Read};

use aws_sdk_s3::operation::head_object::HeadObjectError;
use flate2::bufread::GzDecoder;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::task::MountedSecret;
use secrecy::SecretString;

use crate::s3::{Store, classify};
use crate::{Download, ReadError, ReadSettings, RequestError, SecretError, read_secret};
use cipher::Decrypting;
use tar::Tar;

/// Key of the passphrase in a Secret.
const PASSPHRASE_KEY: &str = "passphrase";
/// File name of what the scripts stored, in the directory of a backup.
const FILE_NAME: &str = "backup.tar.gz.enc";

/// What the old scripts encrypted with.
pub struct LegacyPassphrase {
    passphrase: SecretString,
    secret: String,
}

impl LegacyPassphrase {
    /// Reads `passphrase` of a Secret.
    pub fn read(mounted: &MountedSecret) -> Result<Self, SecretError> {
        Ok(Self { passphrase: read_secret(mounted, PASSPHRASE_KEY)?, secret: mounted.secret.clone() })
    }

    /// Begins to open a stored file.
    pub fn open<R: Read>(&self, key: &str, stored: R) -> Result<LegacyDump<R>, ReadError> {
        let plain = Decrypting::new(key, stored, self)?;
        let tar = Tar::find_dump(GzDecoder::new(BufReader::new(plain)));
        let tar = tar.map_err(|error| cause(key, error))?;
        Ok(LegacyDump { tar, key: key.to_owned() })
    }
}

/// A backup of the old scripts in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyObject {
    /// Its key.
    pub key: String,
    /// Bytes stored.
    pub bytes: u64,
}

impl Store {
    /// Looks for what the old scripts stored under an id.
    pub async fn find_legacy(&self, path: &str, id: &BackupId) -> Result<Option<LegacyObject>, RequestError> {
        let key = format!("{}{FILE_NAME}", self.layout().backup(path, id).directory());
        match self.client.head_object().bucket(self.bucket()).key(&key).send().await {
            Ok(head) => {
                let bytes =
                    head.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or_default();
                Ok(Some(LegacyObject { key, bytes }))
            }
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
            Err(error) => Err(classify(&self.place, "look at an object", &error)),
        }
    }

    /// Begins to read it.
    pub async fn download_legacy(&self, object: &LegacyObject) -> Result<Download, ReadError> {
        self.download(&object.key, object.bytes, ReadSettings::default()).await
    }
}

/// The bytes of the archive of `pg_dump` that is in a backup. Nothing may be committed before [`LegacyDump::finish`].
pub struct LegacyDump<R: Read> {
    tar: Tar<GzDecoder<BufReader<Decrypting<R>>>>,
    key: String,
}

impl<R: Read> LegacyDump<R> {
    /// Reads what was not read yet, and says whether all was good: the archive's SHA-256 where the scripts wrote it down, the
    /// checksum of gzip, the end of the encryption, and nothing after it.
    pub fn finish(self) -> Result<(), ReadError> {
        let Self { tar, key } = self;
        let judged = tar.finish().and_then(|mut gzip| {
            // Reads on to where the encryption ends.
            let rest = gzip.get_mut().fill_buf()?;
            if rest.is_empty() {
                Ok(())
            } else {
                Err(io::Error::other("bytes follow the end of its gzip data"))
            }
        });
        judged.map_err(|error| cause(&key, error))
    }
}

impl<R: Read> Read for LegacyDump<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tar.read(buffer)
    }
}

/// Our own error that an I/O error carries; any other says that the bytes are not what they should be.
fn cause(key: &str, error: io::Error) -> ReadError {
    error.downcast::<ReadError>().unwrap_or_else(|error| ReadError::ObjectDamaged {
        key: key.to_owned(),
        problem: format!("it cannot be opened: {error}"),
    })
}

#[cfg(test)]
mod tests;
