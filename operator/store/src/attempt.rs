//! Removes what a failed attempt left: its open uploads and its objects. Works without knowing what the attempt was to write:
//! a placeholder is put at each key before an upload is opened for it, so a list of objects has them all. Network.

use std::sync::Arc;

use aws_sdk_s3::operation::abort_multipart_upload::AbortMultipartUploadError;
use greenlang_backup_api::reasons;
use jiff::Timestamp;
use tracing::debug;

use crate::RequestError;
use crate::error::Place;
use crate::inventory::Walk;
use crate::s3::{Store, classify};

/// A part that was on its way while its upload was aborted can bring the upload back (S3 documents it), so the result is
/// looked at, and the work repeated.
const ROUNDS: usize = 5;

/// A clean-up that did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum CleanUpError {
    /// A request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Something is left after all.
    #[error(
        "{left} objects or open uploads are left below {prefix} in {place}: delete them, or leave it to a lifecycle rule"
    )]
    Leftovers {
        /// Where.
        place: Arc<Place>,
        /// Prefix of the attempt.
        prefix: String,
        /// How many.
        left: usize,
    },
}

impl CleanUpError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Request(error) => error.reason(),
            Self::Leftovers { .. } => reasons::STORAGE_ERROR,
        }
    }

    /// Whether another one may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retryable(),
            Self::Leftovers { .. } => true,
        }
    }
}

/// An upload that was started and neither completed nor aborted.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpenUpload {
    pub key: String,
    pub id: String,
    /// When it was started; none where the server does not say.
    pub initiated: Option<Timestamp>,
}

impl Store {
    /// Aborts the open uploads and deletes the objects below the prefix of an attempt, whoever made them. Only for an attempt
    /// that no manifest can name.
    pub async fn remove_attempt(&self, prefix: &str) -> Result<(), CleanUpError> {
        let mut left = 0;
        for _ in 0..ROUNDS {
            let keys = self.list(prefix).await?;
            left = self.abort_uploads(prefix, &keys).await?;
            if left == 0 {
                // Objects go last: on some servers only their keys lead to the open uploads, also for the next clean-up.
                left = self.delete_all(&keys).await?;
            }
            if left == 0 {
                return Ok(());
            }
            debug!(prefix, removed = left, "attempt cleaned up");
        }
        Err(CleanUpError::Leftovers { place: self.place.clone(), prefix: prefix.to_owned(), left })
    }

    async fn delete_all(&self, keys: &[String]) -> Result<usize, RequestError> {
        for key in keys {
            self.delete(key).await?;
        }
        Ok(keys.len())
    }

    /// Those below a prefix, and those of the keys there that have an object: MinIO lists the open uploads of a whole key only,
    /// and none for a directory.
    async fn abort_uploads(&self, prefix: &str, keys: &[String]) -> Result<usize, RequestError> {
        let mut uploads = self.open_uploads(prefix).await?;
        for key in keys {
            uploads.extend(self.open_uploads(key).await?.into_iter().filter(|upload| upload.key == *key));
        }
        uploads.sort();
        uploads.dedup();
        for upload in &uploads {
            self.abort_upload(&upload.key, &upload.id).await?;
        }
        Ok(uploads.len())
    }

    /// All open uploads of keys that begin with a prefix.
    pub(crate) async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, RequestError> {
        let mut pages = self.upload_pages(prefix);
        let mut uploads = Vec::new();
        while let Some(page) = pages.next().await? {
            uploads.extend(page);
        }
        Ok(uploads)
    }

    /// The same, page by page.
    pub(crate) fn upload_pages(&self, prefix: &str) -> UploadPages<'_> {
        UploadPages { store: self, prefix: prefix.to_owned(), walk: Walk::new() }
    }

    pub(crate) async fn abort_upload(&self, key: &str, id: &str) -> Result<(), RequestError> {
        let result =
            self.client.abort_multipart_upload().bucket(self.bucket()).key(key).upload_id(id).send().await;
        match result {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(AbortMultipartUploadError::is_no_such_upload) =>
            {
                Ok(())
            }
            Err(error) => Err(classify(&self.place, "abort an upload", &error)),
        }
    }
}

/// The open uploads of keys that begin with a prefix, one page in memory at a time.
pub(crate) struct UploadPages<'a> {
    store: &'a Store,
    prefix: String,
    walk: Walk,
}

impl UploadPages<'_> {
    /// The next page; none after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<OpenUpload>>, RequestError> {
        let Some((key, upload)) = self.walk.cursor() else { return Ok(None) };
        let page = self
            .store
            .client
            .list_multipart_uploads()
            .bucket(self.store.bucket())
            .prefix(&self.prefix)
            .set_key_marker(key)
            .set_upload_id_marker(upload)
            .send()
            .await
            .map_err(|error| classify(&self.store.place, "list open uploads", &error))?;
        let found = page.uploads().iter().filter_map(|upload| {
            let initiated = upload.initiated().and_then(|time| Timestamp::from_second(time.secs()).ok());
            let (key, id) = (upload.key()?.to_owned(), upload.upload_id()?.to_owned());
            Some(OpenUpload { key, id, initiated })
        });
        // Not every server filters by prefix; another attempt's upload is not ours to abort.
        let found = found.filter(|upload| upload.key.starts_with(&self.prefix)).collect();
        let next = (page.next_key_marker, page.next_upload_id_marker);
        self.walk.advance(&self.store.place, page.is_truncated == Some(true), next)?;
        Ok(Some(found))
    }
}
