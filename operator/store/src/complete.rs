//! Makes an object of an upload's parts, and finds out whether it was made when the answer leaves that open. Network.
//!
//! An answer is open when it was lost, when it is a server error (also one within a status 200, which S3 sends once it has
//! begun to answer), and when the upload is unknown on a second try. Then the object itself is looked at: it was made if it has
//! the right size and checksum, or on a server without checksums, the right size and the entity tag that its parts make.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use backon::BackoffBuilder as _;
use greenlang_backup_api::v1alpha1::Verification;
use tokio::time::sleep;
use tracing::warn;

use crate::checksum::{Fields, PartSum, whole, whole_crc64nvme, whole_etag};
use crate::confirm::{ExpectedObject, Found};
use crate::s3::{classify, is_definite, one_try};
use crate::seal::Sealed;
use crate::target::{SentPart, UploadTarget};
use crate::{Algorithm, UploadError};

/// An upload all of whose parts were sent.
pub(crate) struct Completion<'a> {
    pub target: &'a UploadTarget,
    pub parts: CompletedMultipartUpload,
    pub expected: ExpectedObject,
}

/// One try.
pub(crate) enum Failure {
    /// The server says that it did not and will not make the object.
    Refused(UploadError),
    /// Nobody knows, or another try may do.
    Open(UploadError),
}

impl<'a> Completion<'a> {
    /// Checks that what was sent is what was sealed, before anything is made of it.
    pub(crate) fn new(
        target: &'a UploadTarget,
        parts: impl Iterator<Item = &'a SentPart> + Clone,
        sealed: &Sealed,
    ) -> Result<Self, UploadError> {
        let sums: Vec<&PartSum> = parts.clone().map(|part| &part.sum).collect();
        let bytes = sums.iter().map(|sum| sum.len).sum();
        if bytes != sealed.stored_bytes || whole_crc64nvme(sums.iter().copied()) != sealed.stored_crc64nvme {
            return Err(UploadError::ChangedInMemory(target.key.clone()));
        }
        Ok(Self::of(target, parts, bytes))
    }

    /// Without that check.
    pub(crate) fn of<'b>(
        target: &'a UploadTarget,
        parts: impl Iterator<Item = &'b SentPart> + Clone,
        bytes: u64,
    ) -> Self {
        let sums: Vec<&PartSum> = parts.clone().map(|part| &part.sum).collect();
        let checksum = target.algorithm.and_then(|algorithm| Some((algorithm, whole(algorithm, &sums)?)));
        let etag = whole_etag(parts.clone().map(|part| part.etag.as_str()));
        let completed = parts.zip(1..).map(|(part, number)| {
            // A checksum that the server was given must be named again.
            let checksum = target.fields(part.sum.sent.as_deref());
            CompletedPart::builder()
                .part_number(number)
                .e_tag(&part.etag)
                .set_checksum_crc64_nvme(checksum.crc64nvme)
                .set_checksum_crc32(checksum.crc32)
                .set_checksum_sha256(checksum.sha256)
                .build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(completed.collect())).build();
        Self { target, parts, expected: ExpectedObject { bytes, checksum, etag } }
    }

    /// Completes the upload, again if need be, and looks at the object.
    pub(crate) async fn run(&self) -> Result<Verification, UploadError> {
        let mut pauses = self.target.store.patience.pauses().build();
        loop {
            let error = match self.once().await {
                Ok(()) => return self.confirmed().await,
                Err(Failure::Refused(error)) => return Err(error),
                Err(Failure::Open(error)) => error,
            };
            match self.target.store.look(&self.target.key, &self.expected).await {
                Ok(found) => {
                    if let Some(verified) = found.is_certain() {
                        warn!(key = self.target.key, %error, "the upload was completed although its answer was no success");
                        return Ok(verified);
                    }
                }
                // Asked again after the next try.
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
            let pause = if error.is_transient() { pauses.next() } else { None };
            let Some(pause) = pause else { return Err(error) };
            warn!(key = self.target.key, %error, ?pause, "upload not completed, trying again");
            sleep(pause).await;
        }
    }

    pub(crate) async fn once(&self) -> Result<(), Failure> {
        let target = self.target;
        // Of a composite checksum the server is told the parts'.
        let checksum = match &self.expected.checksum {
            Some((algorithm, value)) if !value.contains('-') => algorithm.field(value.clone()),
            _ => Fields::default(),
        };
        let result = target
            .store
            .client
            .complete_multipart_upload()
            .bucket(target.store.bucket())
            .key(&target.key)
            .upload_id(&target.id)
            .multipart_upload(self.parts.clone())
            .set_checksum_type(target.algorithm.map(Algorithm::covers))
            .set_checksum_crc64_nvme(checksum.crc64nvme)
            .set_checksum_crc32(checksum.crc32)
            .mpu_object_size(i64::try_from(self.expected.bytes).unwrap_or(i64::MAX))
            .customize()
            .config_override(one_try(target.store.patience.for_completion(self.expected.bytes)))
            .send()
            .await;
        let Err(error) = result else { return Ok(()) };
        let definite = is_definite(&error);
        let error = target.gone(classify(&target.store.place, "complete an upload", &error));
        // An upload that is gone may have become the object in an earlier try.
        let open = !definite || error.is_transient() || matches!(error, UploadError::UploadGone { .. });
        Err(if open { Failure::Open(error) } else { Failure::Refused(error) })
    }

    /// The server says that it made the object; now it must be the right one.
    async fn confirmed(&self) -> Result<Verification, UploadError> {
        let target = self.target;
        let problem = match target.store.look(&target.key, &self.expected).await? {
            Found::Same { verified, .. } => return Ok(verified),
            Found::Nothing => "nothing is there".to_owned(),
            Found::Other(problem) => problem,
        };
        Err(UploadError::StoredDiffers {
            place: target.store.place.clone(),
            key: target.key.clone(),
            problem,
        })
    }
}
