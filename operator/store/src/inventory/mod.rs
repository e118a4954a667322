//! What really lies below a prefix, page by page: objects, and in a bucket with versions every version and delete marker. Network.

mod directory;
mod head;
mod walk;

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::BucketVersioningStatus;
use jiff::Timestamp;

pub use directory::{Directories, Directory};
pub use head::Held;
pub(crate) use head::MARK;
pub(crate) use walk::{Cursor, Walk};

use crate::RequestError;
use crate::s3::{Store, classify};

/// An object, a version of one, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key in the bucket.
    pub key: String,
    /// Version, in a bucket that keeps versions.
    pub version: Option<String>,
    /// Bytes stored.
    pub bytes: u64,
    /// When it was stored, by the server's clock.
    pub modified: Timestamp,
    /// Whether whoever asks for the key gets this one.
    pub current: bool,
    /// Whether it says that the key was deleted, and is nothing itself.
    pub marker: bool,
}

impl Entry {
    /// Bytes of memory that it takes, about.
    fn held(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.version.as_ref().map_or(0, String::len)
    }
}

/// A page, and what it says of the one after it.
struct Page {
    entries: Vec<Entry>,
    truncated: bool,
    next: Cursor,
}

/// The entries below a prefix, one page in memory at a time.
#[derive(Debug)]
pub struct Pages<'a> {
    store: &'a Store,
    prefix: String,
    versions: bool,
    walk: Walk,
}

impl Store {
    /// Whether the bucket keeps, or once kept, versions. A server that does not know the question keeps none.
    pub async fn keeps_versions(&self) -> Result<bool, RequestError> {
        let result = self.client.get_bucket_versioning().bucket(self.bucket()).send().await;
        match result {
            Ok(output) => Ok(matches!(
                output.status(),
                Some(BucketVersioningStatus::Enabled | BucketVersioningStatus::Suspended)
            )),
            // 403: the credentials may not ask. What is hidden shows when something is deleted.
            Err(error) if matches!(status(&error), Some(403 | 404 | 405 | 501)) => Ok(false),
            Err(error) => Err(classify(&self.place, "ask whether the bucket keeps versions", &error)),
        }
    }

    /// All entries below a prefix, in the order of the server.
    pub fn pages(&self, prefix: &str, versions: bool) -> Pages<'_> {
        Pages { store: self, prefix: prefix.to_owned(), versions, walk: Walk::new() }
    }
}

fn status<E>(error: &aws_sdk_s3::error::SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

impl Pages<'_> {
    /// The next page; none after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, RequestError> {
        let Some(cursor) = self.walk.cursor() else { return Ok(None) };
        let page = if self.versions { self.versions(cursor).await? } else { self.objects(cursor).await? };
        self.walk.advance(&self.store.place, page.truncated, page.next)?;
        Ok(Some(page.entries))
    }

    async fn objects(&self, (token, _): Cursor) -> Result<Page, RequestError> {
        let request = self.store.client.list_objects_v2().bucket(self.store.bucket()).prefix(&self.prefix);
        let page = request
            .set_continuation_token(token)
            .send()
            .await
            .map_err(|error| classify(&self.store.place, "list objects", &error))?;
        let entries = page.contents.unwrap_or_default().into_iter().filter_map(|object| {
            Some(Entry {
                bytes: size(object.size),
                modified: time(object.last_modified.as_ref()),
                key: object.key?,
                version: None,
                current: true,
                marker: false,
            })
        });
        let entries = self.below(entries);
        let truncated = page.is_truncated == Some(true);
        Ok(Page { entries, truncated, next: (page.next_continuation_token, None) })
    }

    async fn versions(&self, (key, version): Cursor) -> Result<Page, RequestError> {
        let request =
            self.store.client.list_object_versions().bucket(self.store.bucket()).prefix(&self.prefix);
        let page = request
            .set_key_marker(key)
            .set_version_id_marker(version)
            .send()
            .await
            .map_err(|error| classify(&self.store.place, "list versions of objects", &error))?;
        let versions = page.versions.unwrap_or_default().into_iter().filter_map(|version| {
            Some(Entry {
                bytes: size(version.size),
                modified: time(version.last_modified.as_ref()),
                current: version.is_latest == Some(true),
                key: version.key?,
                version: version.version_id,
                marker: false,
            })
        });
        let markers = page.delete_markers.unwrap_or_default().into_iter().filter_map(|marker| {
            Some(Entry {
                bytes: 0,
                modified: time(marker.last_modified.as_ref()),
                current: marker.is_latest == Some(true),
                key: marker.key?,
                version: marker.version_id,
                marker: true,
            })
        });
        let mut entries = self.below(versions.chain(markers));
        entries.sort_by(|one, next| one.key.cmp(&next.key));
        let next = (page.next_key_marker, page.next_version_id_marker);
        Ok(Page { entries, truncated: page.is_truncated == Some(true), next })
    }

    /// Not every server filters by prefix.
    fn below(&self, entries: impl Iterator<Item = Entry>) -> Vec<Entry> {
        entries.filter(|entry| entry.key.starts_with(&self.prefix)).collect()
    }
}

/// Bytes of all of them; what a server says is not believed beyond what any number of ours can hold.
pub(crate) fn total(entries: &[Entry]) -> u64 {
    entries.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.bytes)).min(i64::MAX.unsigned_abs())
}

fn size(bytes: Option<i64>) -> u64 {
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default()
}

/// What has no time was stored now, for all that is known: the latest is the safe one.
fn time(time: Option<&DateTime>) -> Timestamp {
    time.and_then(|time| Timestamp::from_second(time.secs()).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
