//! A multipart upload that becomes an object only when its caller says so. Network.
//!
//! Each part is sent with its own checksum as a header, computed from the buffer that is sent, and sent again from that buffer
//! when it failed. What comes of the completion is in `complete`.

use std::collections::BTreeMap;

use aws_sdk_s3::primitives::ByteStream;
use backon::Retryable as _;
use bytes::Bytes;
use greenlang_backup_api::sizing::{MAX_PARTS, buffers_for};
use greenlang_backup_api::v1alpha1::Verification;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, warn};

use crate::StoreError;
use crate::checksum::{Algorithm, Checksums, Fields, PartSum};
use crate::complete::Completion;
use crate::parts::Part;
use crate::s3::{Store, classify, one_try};
use crate::seal::Sealed;
use crate::watchdog::Activity;

/// An open upload. It must be ended by [`Upload::finish`] or [`Upload::abort`]; one that was dropped stays open until the
/// clean-up of its attempt.
#[derive(Debug)]
pub struct Upload {
    target: Target,
    part_size: u64,
    activity: Activity,
    parts: BTreeMap<i32, SentPart>,
}

/// Where parts go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
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

impl Upload {
    /// Opens an upload for a key. Parts have the given size in bytes, which bounds how many are on their way at once.
    pub async fn start(
        store: &Store,
        key: &str,
        part_size: u64,
        checksums: Checksums,
        activity: &Activity,
    ) -> Result<Self, StoreError> {
        let target = Target::open(store, key, checksums.algorithm).await?;
        activity.moved(1);
        debug!(key, part_size, "upload started");
        Ok(Self { target, part_size, activity: activity.clone(), parts: BTreeMap::new() })
    }

    /// Sends parts until there are no more. May be dropped at any time; the upload can then only be aborted.
    pub async fn send(&mut self, mut parts: mpsc::Receiver<Part>) -> Result<(), StoreError> {
        // One buffer is being filled.
        let at_once = buffers_for(self.part_size) - 1;
        let mut in_flight = JoinSet::new();
        let mut number = 0;
        loop {
            if in_flight.len() == at_once {
                self.collect(in_flight.join_next().await)?;
            }
            let next = tokio::select! {
                // A part that failed for good ends the upload now and not when its source has the next part ready.
                Some(sent) = in_flight.join_next() => { self.collect(Some(sent))?; continue }
                next = parts.recv() => next,
            };
            let Some(part) = next else { break };
            number += 1;
            if number > MAX_PARTS {
                let key = self.target.key.clone();
                return Err(StoreError::TooManyParts { key, part_size: self.part_size });
            }
            in_flight.spawn(self.target.clone().send(i32::try_from(number).unwrap_or(i32::MAX), part));
        }
        while let Some(sent) = in_flight.join_next().await {
            self.collect(Some(sent))?;
        }
        Ok(())
    }

    fn collect(&mut self, sent: Option<PartEnd>) -> Result<(), StoreError> {
        match sent {
            Some(Ok(result)) => {
                let (number, part) = result?;
                self.activity.moved(part.sum.len);
                self.parts.insert(number, part);
                Ok(())
            }
            Some(Err(error)) => Err(StoreError::ConnectionFailed {
                place: self.target.store.place.clone(),
                cause: error.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// Makes the object of all parts sent, and says how far the server confirmed it: [`Verification::Stored`], or
    /// [`Verification::Streamed`] when it confirmed no checksum, so that only reading it again proves anything. Only after the
    /// source is known to be complete. On failure neither upload nor object is left, as far as the server can be reached.
    pub async fn finish(self, sealed: &Sealed) -> Result<Verification, StoreError> {
        let done = match Completion::new(&self.target, self.parts.values(), sealed) {
            Ok(completion) => completion.run().await,
            Err(error) => Err(error),
        };
        self.activity.moved(1);
        match done {
            Ok(verified) => {
                debug!(key = self.target.key, ?verified, "upload finished");
                Ok(verified)
            }
            Err(error) => {
                self.target.give_up().await;
                // A completion whose outcome nobody knows may have made the object.
                if let Err(error) = self.target.store.delete(&self.target.key).await {
                    warn!(key = self.target.key, %error, "object not removed");
                }
                Err(error)
            }
        }
    }

    /// Gives the upload up. A failure is logged; the clean-up of the attempt tries again.
    pub async fn abort(self) {
        self.target.give_up().await;
    }
}

/// What the task of a part ends with.
type PartEnd = Result<Result<(i32, SentPart), StoreError>, JoinError>;

impl Target {
    pub(crate) async fn open(
        store: &Store,
        key: &str,
        algorithm: Option<Algorithm>,
    ) -> Result<Self, StoreError> {
        const ACTION: &str = "start an upload";
        let output = store
            .client
            .create_multipart_upload()
            .bucket(store.bucket())
            .key(key)
            .content_type("application/octet-stream")
            .set_checksum_algorithm(algorithm.map(Algorithm::sdk))
            .set_checksum_type(algorithm.map(Algorithm::covers))
            .set_storage_class(store.stored_as.class.clone())
            .set_server_side_encryption(store.stored_as.encryption.clone())
            .set_ssekms_key_id(store.stored_as.kms_key.clone())
            .set_bucket_key_enabled(store.stored_as.bucket_key())
            .send()
            .await
            .map_err(|error| classify(&store.place, ACTION, &error))?;
        let id = output.upload_id.ok_or_else(|| StoreError::Refused {
            place: store.place.clone(),
            action: ACTION,
            status: 200,
            code: "the answer has no upload id".to_owned(),
            hint: "",
        })?;
        Ok(Self { store: store.clone(), key: key.to_owned(), id, algorithm })
    }

    /// Sends a part until the server has it. Its buffer is kept until then.
    async fn send(self, number: i32, part: Part) -> Result<(i32, SentPart), StoreError> {
        let Part { bytes, room } = part;
        let sum = PartSum::of(self.algorithm, &bytes);
        let bytes = Bytes::from(bytes);
        let sent = (|| self.send_once(number, sum.clone(), ByteStream::from(bytes.clone())))
            .retry(self.store.patience.pauses())
            .when(StoreError::is_transient)
            .notify(|error, pause| warn!(key = self.key, number, %error, ?pause, "part not sent, trying again"))
            .await;
        // Room for another part only now that this one's buffer is free.
        drop((bytes, room));
        Ok((number, sent?))
    }

    pub(crate) async fn send_once(
        &self,
        number: i32,
        sum: PartSum,
        body: ByteStream,
    ) -> Result<SentPart, StoreError> {
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
    pub(crate) fn gone(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Refused { place, code, .. } if code == "NoSuchUpload" => {
                StoreError::UploadGone { place, key: self.key.clone() }
            }
            other => other,
        }
    }

    /// A checksum in the field of this upload's algorithm.
    pub(crate) fn fields(&self, value: Option<&str>) -> Fields {
        match (self.algorithm, value) {
            (Some(algorithm), Some(value)) => algorithm.field(value.to_owned()),
            _ => Fields::default(),
        }
    }

    pub(crate) async fn give_up(&self) {
        match self.store.abort_upload(&self.key, &self.id).await {
            Ok(()) => debug!(key = self.key, "upload aborted"),
            Err(error) => warn!(key = self.key, %error, "upload not aborted"),
        }
    }
}
