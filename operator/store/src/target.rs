//! Where the parts of one upload go, and how each gets there: with its own checksum as a header, computed from the buffer that
//! is sent, and again from that buffer when it failed. Network.

use aws_sdk_s3::primitives::ByteStream;
use backon::Retryable as _;
use bytes::Bytes;
use tracing::{debug, warn};

use crate::checksum::{Algorithm, Fields, PartSum};
use crate::parts::Part;
use crate::s3::{Store, classify, one_try};
use crate::{RequestError, UploadError};

/// What lies at a key until its upload is completed. It names the key to a clean-up on servers that list the open uploads of
/// whole keys only (MinIO). Shorter than anything that is sealed, so it is never taken for that.
const PLACEHOLDER: &[u8] = b"An upload of the GreenLang backup operator was begun here and not completed.\n";

/// Where parts go.
#[derive(Clone, Debug)]
pub(crate) struct UploadTarget {
    pub store: Store,
    pub key: String,
    pub id: String,
    pub algorithm: Option<Algorithm>,
}

/// A part that the server has.
#[derive(Debug)]
pub(crate) struct SentPart {
    pub sum: PartSum,
    pub etag: String,
}

impl UploadTarget {
    /// Opens an upload that a clean-up can find whatever happens next.
    pub(crate) async fn open(
        store: &Store,
        key: &str,
        algorithm: Option<Algorithm>,
    ) -> Result<Self, UploadError> {
        const ACTION: &str = "start an upload";
        // Never over an object: another Pod on the same attempt may have completed it.
        store.put_if_absent(key, PLACEHOLDER).await?;
        let output = store
            .client
            .create_multipart_upload()
            .bucket(store.bucket())
            .key(key)
            .content_type("application/octet-stream")
            .set_metadata(store.marks())
            .set_checksum_algorithm(algorithm.map(Algorithm::sdk))
            .set_checksum_type(algorithm.map(Algorithm::covers))
            .set_storage_class(store.stored_as.class.clone())
            .set_server_side_encryption(store.stored_as.encryption.clone())
            .set_ssekms_key_id(store.stored_as.kms_key.clone())
            .set_bucket_key_enabled(store.stored_as.bucket_key())
            .send()
            .await
            .map_err(|error| classify(&store.place, ACTION, &error))?;
        let id = output.upload_id.ok_or_else(|| RequestError::Refused {
            place: store.place.clone(),
            action: ACTION,
            status: 200,
            code: "the answer has no upload id".to_owned(),
            hint: "",
        })?;
        Ok(Self { store: store.clone(), key: key.to_owned(), id, algorithm })
    }

    /// Sends a part until the server has it. Its buffer is kept until then.
    pub(crate) async fn send(self, number: i32, part: Part) -> Result<(i32, SentPart), UploadError> {
        let sum = PartSum::of(self.algorithm, part.as_ref());
        // Not copied: each try takes a reference, and the buffer is free when the last one is dropped.
        let bytes = Bytes::from_owner(part);
        let sent = (|| self.send_once(number, sum.clone(), ByteStream::from(bytes.clone())))
            .retry(self.store.patience.pauses())
            .when(|error| error.is_transient() || is_refused(error))
            .notify(
                |error, pause| warn!(key = self.key, number, %error, ?pause, "part not sent, trying again"),
            )
            .await;
        Ok((number, sent?))
    }

    pub(crate) async fn send_once(
        &self,
        number: i32,
        sum: PartSum,
        body: ByteStream,
    ) -> Result<SentPart, UploadError> {
        let checksum = self.fields(sum.sent.as_deref());
        let output = self
            .store
            .client
            .upload_part()
            .bucket(self.store.bucket())
            .key(&self.key)
            .upload_id(&self.id)
            .part_number(number)
            .set_checksum_crc64_nvme(checksum.crc64nvme)
            .set_checksum_crc32(checksum.crc32)
            .set_checksum_sha256(checksum.sha256)
            .body(body)
            .customize()
            .config_override(one_try(self.store.patience.for_part(sum.len)))
            .send()
            .await
            .map_err(|error| self.gone(classify(&self.store.place, "upload a part", &error)))?;
        Ok(SentPart { sum, etag: output.e_tag.unwrap_or_default() })
    }

    /// An upload that the server does not know any more has an error of its own.
    pub(crate) fn gone(&self, error: RequestError) -> UploadError {
        match error {
            RequestError::Refused { place, code, .. } if code == "NoSuchUpload" => {
                UploadError::UploadGone { place, key: self.key.clone() }
            }
            other => other.into(),
        }
    }

    /// A checksum in the field of this upload's algorithm.
    pub(crate) fn fields(&self, value: Option<&str>) -> Fields {
        match (self.algorithm, value) {
            (Some(algorithm), Some(value)) => algorithm.field(value.to_owned()),
            _ => Fields::default(),
        }
    }

    /// Aborts the upload. The object at its key, a placeholder or one that was made after all, is left to the clean-up of the
    /// attempt, which knows whether a manifest names it.
    pub(crate) async fn give_up(&self) {
        match self.store.abort_upload(&self.key, &self.id).await {
            Ok(()) => debug!(key = self.key, "upload aborted"),
            Err(error) => warn!(key = self.key, %error, "upload not aborted"),
        }
    }
}

/// Whether the server found a part damaged; what is in our buffer may be whole.
const fn is_refused(error: &UploadError) -> bool {
    matches!(error, UploadError::Request(RequestError::ChecksumRefused { .. }))
}
