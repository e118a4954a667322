//! One bucket of an S3-compatible server, and the calls that all others are made of. Network.

mod classify;
mod client;
mod patience;
mod server_clock;
mod stored_as;

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use greenlang_backup_api::owner::Owner;
use greenlang_backup_api::task::Bucket;
use greenlang_backup_api::v1alpha1::Checksum;
use jiff::Timestamp;
use tokio::time::timeout;

pub(crate) use classify::{classify, is_definite};
pub(crate) use client::{ATTEMPT_TIMEOUT, one_try};
pub(crate) use patience::Patience;
pub(crate) use stored_as::StoredAs;

use crate::error::Place;
use crate::inventory::MARK;
use crate::{Layout, RequestError, SecretError};
use server_clock::ServerClock;

/// Most bytes of what is read at once, 16 MiB: the manifest of a thousand databases has one of these. More is none of ours, and
/// whoever put it there must not decide how much memory we take.
pub(crate) const MAX_SMALL: usize = 16 << 20;

/// A bucket, below one prefix.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) client: Client,
    pub(crate) place: Arc<Place>,
    pub(crate) stored_as: StoredAs,
    /// What the policy says of checksums.
    pub(crate) checksum: Checksum,
    pub(crate) patience: Patience,
    clock: ServerClock,
    /// Mark of the policy that stores; none for those that only read.
    mark: Option<String>,
    layout: Layout,
    name: String,
}

impl Store {
    /// Reads the mounted Secrets and makes a client; nothing is sent yet. `attempts` bounds the tries of each request.
    pub async fn open(bucket: &Bucket, attempts: u32) -> Result<Self, SecretError> {
        let clock = ServerClock::default();
        Ok(Self {
            client: client::build(bucket, attempts, clock.clone()).await?,
            place: Arc::new(client::place(bucket)),
            stored_as: StoredAs::of(bucket),
            checksum: bucket.checksum,
            patience: Patience::UPLOAD,
            clock,
            mark: None,
            layout: Layout::new(&bucket.prefix),
            name: bucket.name.clone(),
        })
    }

    /// The same bucket; every object that is uploaded carries the mark of its owner, by which it is known when no manifest names it.
    #[must_use]
    pub fn marked(mut self, owner: &Owner) -> Self {
        self.mark = Some(owner.mark());
        self
    }

    /// What every object carries that is stored here.
    pub(crate) fn marks(&self) -> Option<HashMap<String, String>> {
        self.mark.clone().map(|mark| HashMap::from([(MARK.to_owned(), mark)]))
    }

    /// The time of the server, as of its last answer; none before the first.
    pub fn server_time(&self) -> Option<Timestamp> {
        self.clock.time()
    }

    /// Where things lie.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Name of the bucket.
    pub fn bucket(&self) -> &str {
        &self.name
    }

    /// A put of a small object, stored as the policy says; to be sent by the caller.
    pub(crate) fn put_request(&self, key: &str, bytes: &[u8]) -> PutObjectFluentBuilder {
        self.client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .set_storage_class(self.stored_as.class.clone())
            .set_server_side_encryption(self.stored_as.encryption.clone())
            .set_ssekms_key_id(self.stored_as.kms_key.clone())
            .set_bucket_key_enabled(self.stored_as.bucket_key())
            .set_metadata(self.marks())
            .body(ByteStream::from(bytes.to_vec()))
    }

    /// Writes a small object, whatever was there.
    pub async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), RequestError> {
        let request = self.put_request(key, bytes).content_type("application/json");
        request.send().await.map_err(|error| classify(&self.place, "put an object", &error))?;
        Ok(())
    }

    /// Puts a small object unless there is one, and says whether it did.
    pub(crate) async fn put_if_absent(&self, key: &str, bytes: &[u8]) -> Result<bool, RequestError> {
        let Err(error) = self.put_request(key, bytes).if_none_match("*").send().await else {
            return Ok(true);
        };
        match error.raw_response().map(|response| response.status().as_u16()) {
            Some(412) => Ok(false),
            Some(501) => Err(RequestError::ConditionalWriteUnsupported {
                place: self.place.clone(),
                problem: "it does not know If-None-Match: *",
            }),
            _ => Err(classify(&self.place, "put an object", &error)),
        }
    }

    /// Puts a small object in the place of the one with this `ETag`, or, without, where there is none. Returns its `ETag`, or none
    /// where another one is there.
    pub(crate) async fn put_if(
        &self,
        key: &str,
        bytes: &[u8],
        etag: Option<&str>,
    ) -> Result<Option<String>, RequestError> {
        let request = self.put_request(key, bytes).content_type("application/json");
        let request = match etag {
            Some(etag) => request.if_match(etag),
            None => request.if_none_match("*"),
        };
        let error = match request.send().await {
            Ok(output) => return Ok(Some(output.e_tag.unwrap_or_default())),
            Err(error) => error,
        };
        match error.raw_response().map(|response| response.status().as_u16()) {
            // 404: it was deleted since it was read. 409: another write of it is going on.
            Some(404 | 409 | 412) => Ok(None),
            Some(501) => Err(RequestError::ConditionalWriteUnsupported {
                place: self.place.clone(),
                problem: "it does not know If-Match",
            }),
            _ => Err(classify(&self.place, "put an object", &error)),
        }
    }

    /// Reads a small object, of [`MAX_SMALL`] bytes at most; none when it is not there.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RequestError> {
        Ok(self.get_with_etag(key).await?.map(|(bytes, _)| bytes))
    }

    /// The same with its `ETag`.
    pub(crate) async fn get_with_etag(
        &self,
        key: &str,
    ) -> Result<Option<(Vec<u8>, Option<String>)>, RequestError> {
        const ACTION: &str = "get an object";
        let request = self.client.get_object().bucket(&self.name).key(key);
        let output = match request.send().await {
            Ok(output) => output,
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => {
                return Ok(None);
            }
            Err(error) => return Err(classify(&self.place, ACTION, &error)),
        };
        // The deadline of the request is over with the head of its answer.
        let announced = output.content_length().and_then(|length| u64::try_from(length).ok());
        let limit = self.patience.for_part(announced.unwrap_or_default().min(MAX_SMALL as u64));
        let etag = output.e_tag;
        let body = timeout(limit, self.small_body(key, output.body)).await;
        let body = body.unwrap_or_else(|_| Err(self.cut(format!("{key} was not there after {limit:?}"))))?;
        Ok(Some((body, etag)))
    }

    async fn small_body(&self, key: &str, mut body: ByteStream) -> Result<Vec<u8>, RequestError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| self.cut(error.to_string()))?;
            if bytes.len() + chunk.len() > MAX_SMALL {
                return Err(RequestError::TooLong { place: self.place.clone(), key: key.to_owned() });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn cut(&self, cause: String) -> RequestError {
        RequestError::ConnectionFailed { place: self.place.clone(), cause }
    }

    /// Deletes an object; one that is not there is no error.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), RequestError> {
        self.client
            .delete_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await
            .map_err(|error| classify(&self.place, "delete an object", &error))?;
        Ok(())
    }

    /// Keys of all objects below a prefix.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<String>, RequestError> {
        let mut pages = self.pages(prefix, false);
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await? {
            keys.extend(page.into_iter().map(|entry| entry.key));
        }
        Ok(keys)
    }
}
