//! AWS's rules for checksums and parts. No I/O.

use std::time::SystemTime;

use bytes::Bytes;
use s3s::dto::{
    CompleteMultipartUploadInput, CompletedPart, ETag, Metadata, ServerSideEncryption, StorageClass,
    Timestamp,
};
use s3s::{S3Error, S3Result, s3_error};

use crate::BUCKET;
use crate::objects::Objects;
use crate::store::{Object, Settings, Upload, UploadedPart};
use crate::sums;

tokio::task_local! {
    /// Set while a request is done whose bytes are to change on their way to the disk.
    pub(crate) static CHANGED: ();
}

/// Smallest part but the last.
const MIN_PART: usize = 5 << 20;

/// The checksums that a request carries.
pub(crate) struct Given(pub [(&'static str, Option<String>); 3]);

macro_rules! given {
    ($input:expr) => {
        $crate::rules::Given([
            ("CRC64NVME", $input.checksum_crc64nvme.clone()),
            ("CRC32", $input.checksum_crc32.clone()),
            ("SHA256", $input.checksum_sha256.clone()),
        ])
    };
}

pub(crate) use given;

impl Given {
    fn get(&self, algorithm: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == algorithm).and_then(|(_, value)| value.as_deref())
    }
}

impl Objects {
    /// Each checksum given must be that of the bytes.
    pub(crate) fn verify(&self, given: &Given, bytes: &[u8]) -> S3Result {
        for (algorithm, value) in &given.0 {
            if value.is_some() && self.0.verifies(algorithm) && *value != sums::of(algorithm, bytes) {
                return Err(s3_error!(BadDigest, "the {algorithm} does not match"));
            }
        }
        Ok(())
    }

    pub(crate) fn settings(
        &self,
        class: Option<StorageClass>,
        encryption: Option<ServerSideEncryption>,
        metadata: Option<Metadata>,
    ) -> Settings {
        Settings {
            storage_class: class
                .filter(|class| self.0.switches.keeps_storage_class && class.as_str() != "STANDARD")
                .map(|class| class.as_str().to_owned()),
            encryption: encryption.map(|encryption| encryption.as_str().to_owned()),
            metadata,
        }
    }

    pub(crate) fn complete(&self, input: &CompleteMultipartUploadInput) -> S3Result<Object> {
        let mut state = self.0.state();
        let upload = state.uploads.get(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let named =
            input.multipart_upload.as_ref().and_then(|parts| parts.parts.as_deref()).unwrap_or_default();
        let parts = parts(upload, named)?;
        let bytes = parts.iter().map(|part| &*part.bytes).collect::<Vec<_>>().concat();
        if input.mpu_object_size.is_some_and(|size| usize::try_from(size) != Ok(bytes.len())) {
            return Err(s3_error!(InvalidRequest, "the size does not match"));
        }
        let etag = sums::etag_of_parts(parts.iter().map(|part| &*part.bytes));
        let mut checksum = match &upload.algorithm {
            Some(algorithm) if upload.covers_all => sums::of(algorithm, &bytes),
            Some(_) => sums::composite(parts.iter().map(|part| part.checksum.as_deref().unwrap_or_default())),
            None => None,
        };
        if let Some(algorithm) = &upload.algorithm {
            let given = given!(input);
            let given = given.get(algorithm);
            if upload.covers_all
                && self.0.switches.verifies_whole
                && given.is_some()
                && given != checksum.as_deref()
            {
                return Err(s3_error!(BadDigest, "the checksum of the object does not match"));
            }
        }
        let mut bytes = Bytes::from(bytes);
        if let Some(changed) = changed(&bytes) {
            bytes = changed;
            checksum = upload.algorithm.as_deref().and_then(|algorithm| sums::of(algorithm, &bytes));
        }
        let object = Object {
            etag,
            checksum: upload.algorithm.clone().zip(checksum),
            covers_all: upload.covers_all,
            settings: upload.settings.clone(),
            modified: now(),
            bytes,
        };
        state.uploads.remove(&input.upload_id);
        Ok(object)
    }
}

/// The parts that a completion names, as AWS checks them.
fn parts<'a>(upload: &'a Upload, named: &[CompletedPart]) -> S3Result<Vec<&'a UploadedPart>> {
    if named.is_empty() {
        return Err(s3_error!(MalformedXML, "no parts"));
    }
    if !named.is_sorted_by(|one, next| one.part_number < next.part_number) {
        return Err(s3_error!(InvalidPartOrder));
    }
    let mut parts = Vec::new();
    for (index, name) in named.iter().enumerate() {
        let part = upload.parts.get(&name.part_number.unwrap_or_default()).ok_or_else(invalid_part)?;
        if name.e_tag.as_ref().map(ETag::value) != Some(&part.etag) {
            return Err(invalid_part());
        }
        if index + 1 < named.len() && part.bytes.len() < MIN_PART {
            return Err(s3_error!(EntityTooSmall));
        }
        if let Some(algorithm) = &upload.algorithm {
            let given = given!(name);
            let given = given.get(algorithm);
            // One that is part of the checksum of the object must be named; any must be right.
            if (given.is_some() || !upload.covers_all) && given != part.checksum.as_deref() {
                return Err(invalid_part());
            }
        }
        parts.push(part);
    }
    Ok(parts)
}

/// There is one bucket.
pub(crate) fn known(bucket: &str) -> S3Result {
    if bucket == BUCKET { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
}

/// The bytes with the one in their middle changed, if the test wants it so.
pub(crate) fn changed(bytes: &Bytes) -> Option<Bytes> {
    CHANGED.try_with(|()| ()).ok()?;
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle)? ^= 1;
    Some(bytes.into())
}

fn invalid_part() -> S3Error {
    s3_error!(InvalidPart)
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
