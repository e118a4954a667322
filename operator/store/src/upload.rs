//! A multipart upload that becomes an object only when its caller says so. Network.

use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::StoreError;
use crate::parts::{IN_FLIGHT, MAX_PARTS, Part};
use crate::s3::{Store, classify};

/// Slowest connection, in bytes per second, on which a part still counts as moving.
const MIN_BYTES_PER_SECOND: u64 = 256 << 10;
/// What a part is given beyond the time that its bytes need.
const PART_GRACE: Duration = Duration::from_secs(30);
/// The server puts the parts together; for big objects that takes its time.
const COMPLETE_TIMEOUT: Duration = Duration::from_mins(2);

/// An open upload. It must be ended by [`Upload::finish`] or [`Upload::abort`]; one that was dropped stays open until the
/// clean-up of its attempt.
#[derive(Debug)]
pub struct Upload {
    store: Store,
    key: String,
    id: String,
    parts: Vec<CompletedPart>,
}

impl Upload {
    /// Opens an upload for a key.
    pub async fn start(store: &Store, key: &str) -> Result<Self, StoreError> {
        const ACTION: &str = "start an upload";
        let output = store
            .client
            .create_multipart_upload()
            .bucket(store.bucket())
            .key(key)
            .content_type("application/octet-stream")
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
        debug!(key, "upload started");
        Ok(Self { store: store.clone(), key: key.to_owned(), id, parts: Vec::new() })
    }

    /// Sends parts until there are no more. May be dropped at any time; the upload can then only be aborted.
    pub async fn send(&mut self, mut parts: mpsc::Receiver<Part>) -> Result<(), StoreError> {
        let mut in_flight = JoinSet::new();
        let mut number: i32 = 0;
        loop {
            if in_flight.len() == IN_FLIGHT {
                self.collect(in_flight.join_next().await)?;
            }
            let Some(part) = parts.recv().await else { break };
            number += 1;
            if number > MAX_PARTS {
                return Err(StoreError::TooManyParts { key: self.key.clone(), part_size: part.bytes.len() });
            }
            in_flight.spawn(send_part(self.store.clone(), self.key.clone(), self.id.clone(), number, part));
        }
        while let Some(sent) = in_flight.join_next().await {
            self.collect(Some(sent))?;
        }
        Ok(())
    }

    fn collect(
        &mut self,
        sent: Option<Result<Result<CompletedPart, StoreError>, tokio::task::JoinError>>,
    ) -> Result<(), StoreError> {
        match sent {
            Some(Ok(part)) => {
                self.parts.push(part?);
                Ok(())
            }
            Some(Err(error)) => Err(StoreError::ConnectionFailed {
                place: self.store.place.clone(),
                cause: error.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// Makes the object of all parts sent. Only after its source is known to be complete.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        self.parts.sort_by_key(|part| part.part_number);
        let parts =
            CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut self.parts))).build();
        let result = self
            .store
            .client
            .complete_multipart_upload()
            .bucket(self.store.bucket())
            .key(&self.key)
            .upload_id(&self.id)
            .multipart_upload(parts)
            .customize()
            .config_override(attempt_timeout(COMPLETE_TIMEOUT))
            .send()
            .await;
        match result {
            Ok(_) => {
                debug!(key = self.key, "upload finished");
                Ok(())
            }
            Err(error) => {
                let error = classify(&self.store.place, "finish an upload", &error);
                self.abort().await;
                Err(error)
            }
        }
    }

    /// Gives the upload up. A failure is logged; the clean-up of the attempt tries again.
    pub async fn abort(self) {
        let result = self
            .store
            .client
            .abort_multipart_upload()
            .bucket(self.store.bucket())
            .key(&self.key)
            .upload_id(&self.id)
            .send()
            .await;
        match result {
            Ok(_) => debug!(key = self.key, "upload aborted"),
            Err(error) => {
                let error = classify(&self.store.place, "abort an upload", &error);
                warn!(key = self.key, %error, "upload not aborted");
            }
        }
    }
}

async fn send_part(
    store: Store,
    key: String,
    id: String,
    number: i32,
    part: Part,
) -> Result<CompletedPart, StoreError> {
    let seconds = part.bytes.len() as u64 / MIN_BYTES_PER_SECOND;
    let timeout = PART_GRACE + Duration::from_secs(seconds);
    let output = store
        .client
        .upload_part()
        .bucket(store.bucket())
        .key(key)
        .upload_id(id)
        .part_number(number)
        .body(ByteStream::from(part.bytes))
        .customize()
        .config_override(attempt_timeout(timeout))
        .send()
        .await
        .map_err(|error| classify(&store.place, "upload a part", &error))?;
    // The server's checksums must be named again when the upload is finished, or it refuses those that it was given.
    Ok(CompletedPart::builder()
        .part_number(number)
        .set_e_tag(output.e_tag)
        .set_checksum_crc32(output.checksum_crc32)
        .build())
}

fn attempt_timeout(timeout: Duration) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::config::Builder::new().timeout_config(
        TimeoutConfig::builder()
            .connect_timeout(crate::s3::CONNECT_TIMEOUT)
            .operation_attempt_timeout(timeout)
            .build(),
    )
}
