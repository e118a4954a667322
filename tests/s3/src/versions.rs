//! A bucket that keeps versions: what is current, what is deleted, and what is locked. No I/O.

use std::time::{Duration, SystemTime};

#[allow(clippy::wildcard_imports, reason = "an input and an output for each operation")]
use s3s::dto::*;
use s3s::{S3Result, s3_error};

use crate::rules::now;
use crate::store::{Object, State, Switches};

/// Most entries of one page of a listing. Small, so that tests see more than one.
const PAGE: usize = 50;

/// An object as it once was, or is; without one it is a delete marker.
#[derive(Clone)]
pub(crate) struct Version {
    pub id: String,
    pub key: String,
    pub object: Option<Object>,
    pub modified: Timestamp,
    pub locked_until: Option<SystemTime>,
}

impl State {
    /// Stores an object; what was there before stays as a version, where versions are kept.
    pub fn put(&mut self, key: String, object: Object, switches: &Switches) -> Option<String> {
        let version = switches.versions.then(|| self.push(&key, Some(object.clone())));
        if let (Some(period), Some(last)) = (switches.locks_puts, self.versions.last_mut()) {
            last.locked_until = Some(SystemTime::now() + period);
        }
        self.objects.insert(key, object);
        version
    }

    fn push(&mut self, key: &str, object: Option<Object>) -> String {
        self.next_version += 1;
        let id = format!("version-{:06}", self.next_version);
        let locked_until = None;
        let version = Version { id: id.clone(), key: key.to_owned(), object, modified: now(), locked_until };
        self.versions.push(version);
        id
    }

    /// Deletes as AWS does: without a version a marker hides the object; with one that version goes, unless it is locked.
    pub fn delete(
        &mut self,
        key: &str,
        version: Option<&str>,
        versions: bool,
    ) -> S3Result<DeleteObjectOutput> {
        let Some(id) = version else {
            self.objects.remove(key);
            let marker = versions.then(|| self.push(key, None));
            let delete_marker = marker.is_some().then_some(true);
            return Ok(DeleteObjectOutput { delete_marker, version_id: marker, ..Default::default() });
        };
        let found = self.versions.iter().position(|known| known.key == key && known.id == id);
        let Some(at) = found else { return Ok(DeleteObjectOutput::default()) };
        if self.versions[at].locked_until.is_some_and(|until| until > SystemTime::now()) {
            return Err(s3_error!(AccessDenied, "the version is locked"));
        }
        let gone = self.versions.remove(at);
        match self.newest(key).and_then(|newest| newest.object.clone()) {
            Some(object) => self.objects.insert(key.to_owned(), object),
            None => self.objects.remove(key),
        };
        let delete_marker = gone.object.is_none().then_some(true);
        Ok(DeleteObjectOutput { delete_marker, version_id: Some(gone.id), ..Default::default() })
    }

    fn newest(&self, key: &str) -> Option<&Version> {
        self.versions.iter().filter(|version| version.key == key).max_by(|one, next| one.id.cmp(&next.id))
    }

    /// A version, or what is current.
    pub fn get(&self, key: &str, version: Option<&str>) -> Option<(&Object, Option<&Version>)> {
        let Some(id) = version else { return Some((self.objects.get(key)?, self.newest(key))) };
        let version = self.versions.iter().find(|known| known.key == key && known.id == id)?;
        Some((version.object.as_ref()?, Some(version)))
    }

    /// A page of versions: by key, the newest first.
    pub fn list_versions(&self, input: &ListObjectVersionsInput) -> ListObjectVersionsOutput {
        let prefix = input.prefix.clone().unwrap_or_default();
        let mut all: Vec<&Version> =
            self.versions.iter().filter(|version| version.key.starts_with(&prefix)).collect();
        all.sort_by(|one, next| one.key.cmp(&next.key).then_with(|| next.id.cmp(&one.id)));
        let from = input.key_marker.as_ref().map_or(0, |key| {
            let after = |version: &&Version| {
                version.key < *key
                    || version.key == *key
                        && input.version_id_marker.as_ref().is_none_or(|id| version.id >= *id)
            };
            all.iter().take_while(|version| after(version)).count()
        });
        let page: Vec<&Version> = all[from..].iter().take(PAGE).copied().collect();
        let truncated = from + page.len() < all.len();
        let last = page.last().filter(|_| truncated);
        let is_latest =
            |version: &Version| Some(self.newest(&version.key).is_some_and(|new| new.id == version.id));
        let versions = page.iter().filter_map(|version| {
            let object = version.object.as_ref()?;
            Some(ObjectVersion {
                key: Some(version.key.clone()),
                version_id: Some(version.id.clone()),
                is_latest: is_latest(version),
                size: i64::try_from(object.bytes.len()).ok(),
                last_modified: Some(version.modified.clone()),
                ..Default::default()
            })
        });
        let markers =
            page.iter().filter(|version| version.object.is_none()).map(|version| DeleteMarkerEntry {
                key: Some(version.key.clone()),
                version_id: Some(version.id.clone()),
                is_latest: is_latest(version),
                last_modified: Some(version.modified.clone()),
                ..Default::default()
            });
        ListObjectVersionsOutput {
            versions: Some(versions.collect()),
            delete_markers: Some(markers.collect()),
            is_truncated: Some(truncated),
            next_key_marker: last.map(|version| version.key.clone()),
            next_version_id_marker: last.map(|version| version.id.clone()),
            ..Default::default()
        }
    }

    /// Objects and versions of the keys that contain a text count as stored so long ago.
    pub fn age(&mut self, contains: &str, period: Duration) {
        let then = Timestamp::from(SystemTime::now() - period);
        for (_, object) in self.objects.iter_mut().filter(|(key, _)| key.contains(contains)) {
            object.modified = then.clone();
        }
        for version in self.versions.iter_mut().filter(|version| version.key.contains(contains)) {
            version.modified = then.clone();
        }
    }

    /// Locks every version of the keys that contain a text.
    pub fn lock(&mut self, contains: &str, period: Duration) {
        let until = SystemTime::now() + period;
        let keys = self.versions.iter_mut().filter(|version| version.key.contains(contains));
        keys.for_each(|version| version.locked_until = Some(until));
    }
}
