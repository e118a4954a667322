//! Removes what a failed attempt left: its open uploads and its objects. Network.

use aws_sdk_s3::operation::abort_multipart_upload::AbortMultipartUploadError;
use tracing::debug;

use crate::StoreError;
use crate::s3::{Store, classify};

/// A part that was on its way while its upload was aborted can bring the upload back (S3 documents it), so the result is
/// looked at, and the work repeated.
const ROUNDS: usize = 3;

/// An upload that was started and neither completed nor aborted.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpenUpload {
    pub key: String,
    pub id: String,
}

impl Store {
    /// Aborts the open uploads and deletes the objects below the prefix of an attempt. Only for an attempt that no manifest
    /// can name.
    pub async fn remove_attempt(&self, prefix: &str) -> Result<(), StoreError> {
        let mut left = 0;
        for _ in 0..ROUNDS {
            // Objects go even when uploads cannot be listed: some servers do not know that request.
            let uploads = self.abort_uploads(prefix).await;
            let objects = self.delete_objects(prefix).await?;
            left = uploads? + objects;
            debug!(prefix, removed = left, "attempt cleaned up");
            if left == 0 {
                return Ok(());
            }
        }
        Err(StoreError::Leftovers { place: self.place.clone(), prefix: prefix.to_owned(), left })
    }

    async fn delete_objects(&self, prefix: &str) -> Result<usize, StoreError> {
        let keys = self.list(prefix).await?;
        for key in &keys {
            self.delete(key).await?;
        }
        Ok(keys.len())
    }

    async fn abort_uploads(&self, prefix: &str) -> Result<usize, StoreError> {
        let mut uploads = self.open_uploads(prefix).await?;
        // MinIO lists the open uploads of one key only, and none for a directory.
        for key in self.started_below(prefix) {
            uploads.extend(self.open_uploads(&key).await?.into_iter().filter(|upload| upload.key == key));
        }
        uploads.sort();
        uploads.dedup();
        for upload in &uploads {
            self.abort_upload(&upload.key, &upload.id).await?;
        }
        Ok(uploads.len())
    }

    /// All open uploads of keys that begin with a prefix.
    pub(crate) async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, StoreError> {
        let mut uploads = Vec::new();
        let mut from: (Option<String>, Option<String>) = (None, None);
        loop {
            let page = self
                .client
                .list_multipart_uploads()
                .bucket(self.bucket())
                .prefix(prefix)
                .set_key_marker(from.0.clone())
                .set_upload_id_marker(from.1.clone())
                .send()
                .await
                .map_err(|error| classify(&self.place, "list open uploads", &error))?;
            let found = page.uploads().iter().filter_map(|upload| {
                Some(OpenUpload { key: upload.key()?.to_owned(), id: upload.upload_id()?.to_owned() })
            });
            // Not every server filters by prefix; another attempt's upload is not ours to abort.
            uploads.extend(found.filter(|upload| upload.key.starts_with(prefix)));
            let next = (page.next_key_marker, page.next_upload_id_marker);
            // A server that gives the same page again and again would be asked for ever.
            if page.is_truncated != Some(true) || next == from {
                return Ok(uploads);
            }
            from = next;
        }
    }

    pub(crate) async fn abort_upload(&self, key: &str, id: &str) -> Result<(), StoreError> {
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
