//! Deletes what is in a bucket so that whatever cuts it off, nothing that looks like a backup lacks an object. Network.
//!
//! First the manifest is copied, then it is deleted, and only when nobody can read it any more the objects are, the copy last.
//! What a deletion that was cut off leaves is a directory with the copy and without the manifest; the next one goes on there.
//! In a bucket that keeps versions everything goes by version, the current one of a manifest last: no older one comes to light.

use std::sync::Arc;

use futures::future::try_join_all;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::owner::OwnerFile;
use greenlang_backup_api::reasons;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::RequestError;
use crate::attempt::OpenUpload;
use crate::error::Place;
use crate::inventory::{Directory, Entry, total};
use crate::s3::{Store, classify};
use crate::seal::hex;

/// Deletions on their way at once.
const AT_ONCE: usize = 8;

/// What came of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// All of it is gone, as another listing showed, but for the copy of its manifest where the bucket locks what is put.
    Gone {
        /// Bytes that are no longer stored, versions included.
        bytes: u64,
    },
    /// The bucket has locked some of it, so all of it stays.
    Locked {
        /// When the last lock ends; the end of time for a legal hold.
        until: Timestamp,
    },
    /// It is not what it was when it was decided, or somebody has pinned it since, or so much lies there by now that it cannot be
    /// looked at; nothing was touched.
    Changed,
}

/// A deletion that deleted nothing, or might have.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// A request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A delete marker hides it now.
    #[error(
        "{place} keeps versions, so deleting {key} freed nothing: let these credentials ask for versioning, list versions and delete them (s3:GetBucketVersioning, s3:ListBucketVersions, s3:DeleteObjectVersion)"
    )]
    Hidden {
        /// Where.
        place: Arc<Place>,
        /// What was to be deleted.
        key: String,
    },
    /// It can still be seen.
    #[error(
        "{place} said that it deleted {key}, and still has it ({left} in all): see whether a lock, a hold or a lifecycle rule of the bucket keeps it"
    )]
    Still {
        /// Where.
        place: Arc<Place>,
        /// One of them.
        key: String,
        /// How many.
        left: usize,
    },
    /// Something writes there, and much.
    #[error(
        "more lies below {directory} in {place} now than can be looked at, so it is not known whether what was deleted there is gone: find out who writes there, and delete by hand what is none of a backup"
    )]
    TooMuch {
        /// Where.
        place: Arc<Place>,
        /// The directory.
        directory: String,
    },
}

impl RemovalError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Request(error) => error.reason(),
            Self::Hidden { .. } | Self::Still { .. } | Self::TooMuch { .. } => reasons::NOT_DELETED,
        }
    }

    /// Whether another try may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retryable(),
            Self::Hidden { .. } | Self::Still { .. } | Self::TooMuch { .. } => false,
        }
    }
}

impl Store {
    /// Deletes a backup whose manifest has this SHA-256, or, without one, goes on with a deletion that was cut off. Things of
    /// people beside it stay.
    pub async fn remove_backup(
        &self,
        path: &str,
        id: &BackupId,
        manifest_sha256: Option<&str>,
        versions: bool,
    ) -> Result<Removal, RemovalError> {
        let directory = self.directory(path, id, versions).await?;
        if directory.too_much {
            return Ok(Removal::Changed);
        }
        let ours = of_backup(&directory);
        if let Some(until) = self.locked(&ours, versions).await? {
            return Ok(Removal::Locked { until });
        }
        let manifest = directory.keys.manifest();
        match (self.get(&manifest).await?, manifest_sha256) {
            (Some(bytes), Some(expected)) if hex(&Sha256::digest(&bytes)) == expected => {
                if directory.is_pinned() {
                    return Ok(Removal::Changed);
                }
                self.put_copy(&directory, &bytes, versions).await?;
                self.hide(&manifest, &ours).await?;
            }
            (None, _) => {}
            (Some(_), _) => return Ok(Removal::Changed),
        }
        let copy = directory.keys.deleted();
        let objects: Vec<Entry> = ours.iter().filter(|entry| entry.key != copy).cloned().collect();
        self.delete_entries(&objects).await?;
        let left = self.left(path, id, versions).await?;
        let (copies, left): (Vec<_>, Vec<_>) =
            of_backup(&left).into_iter().partition(|entry| entry.key == copy);
        self.assert_gone(&left)?;
        // A bucket may lock what is put there, and so the copy as soon as it is made. It says what to remove once its lock has ended.
        if self.locked(&copies, versions).await?.is_none() {
            self.delete_entries(&copies).await?;
        }
        Ok(Removal::Gone { bytes: total(&ours) })
    }

    /// Deletes a directory that has no manifest, if every object in it carries a mark of the owner and was stored before a time;
    /// says nothing when it is not so.
    pub async fn remove_garbage(
        &self,
        path: &str,
        id: &BackupId,
        owner: &OwnerFile,
        before: Timestamp,
        versions: bool,
    ) -> Result<Option<Removal>, RemovalError> {
        let directory = self.directory(path, id, versions).await?;
        if !self.is_garbage(&directory, owner, before).await? {
            return Ok(None);
        }
        if let Some(until) = self.locked(&directory.entries, versions).await? {
            return Ok(Some(Removal::Locked { until }));
        }
        self.delete_entries(&directory.entries).await?;
        let left = self.left(path, id, versions).await?;
        let known = |entry: &Entry| directory.entries.contains(entry);
        self.assert_gone(&left.entries.into_iter().filter(known).collect::<Vec<_>>())?;
        Ok(Some(Removal::Gone { bytes: directory.bytes() }))
    }

    /// A directory in which something was deleted.
    async fn left(&self, path: &str, id: &BackupId, versions: bool) -> Result<Directory, RemovalError> {
        let left = self.directory(path, id, versions).await?;
        if left.too_much {
            let directory = left.keys.directory().to_owned();
            return Err(RemovalError::TooMuch { place: self.place.clone(), directory });
        }
        Ok(left)
    }

    /// Whether nothing but what the owner stored before a time lies in a directory, and no manifest, not even an older version
    /// of one: that is a backup which somebody deleted, and may want back.
    pub async fn is_garbage(
        &self,
        directory: &Directory,
        owner: &OwnerFile,
        before: Timestamp,
    ) -> Result<bool, RequestError> {
        let old = directory.modified().is_some_and(|modified| modified < before);
        let manifest = directory.keys.manifest();
        if !old || directory.current(&manifest).is_some() || directory.hides(&manifest) {
            return Ok(false);
        }
        for entry in directory.entries.iter().filter(|entry| !entry.marker) {
            let held = self.held(entry).await?;
            let marked = held.is_none_or(|held| held.mark.is_some_and(|mark| owner.has_mark(&mark)));
            if !marked {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Aborts uploads of a path that were started before a time, but for those that are spared; counts only if it is a trial.
    pub async fn abort_old_uploads(
        &self,
        path: &str,
        before: Timestamp,
        spared: impl Fn(&BackupId) -> bool,
        trial: bool,
    ) -> Result<u32, RequestError> {
        let mut aborted = 0;
        let is_old = |upload: &OpenUpload| {
            let old = upload.initiated.is_some_and(|initiated| initiated < before);
            let id = self.layout().id_of(path, &upload.key).filter(|id| !spared(id));
            old && id.is_some_and(|id| self.layout().backup(path, &id).is_of_attempt(&upload.key))
        };
        let mut pages = self.upload_pages(&self.layout().path(path));
        while let Some(page) = pages.next().await? {
            for upload in page.iter().filter(|upload| is_old(upload)) {
                aborted += 1;
                if !trial {
                    self.abort_upload(&upload.key, &upload.id).await?;
                }
            }
        }
        Ok(aborted)
    }

    /// Until when the last of some entries is locked; none if no one is.
    pub async fn locked(&self, entries: &[Entry], versions: bool) -> Result<Option<Timestamp>, RequestError> {
        // Only a bucket with versions can lock anything.
        let entries: Vec<&Entry> = entries.iter().filter(|entry| versions && !entry.marker).collect();
        let mut until = None;
        for some in entries.chunks(AT_ONCE) {
            let mut asked = Vec::with_capacity(some.len());
            for entry in some {
                asked.push(self.held(entry));
            }
            let held = try_join_all(asked).await?;
            until = held.into_iter().flatten().filter_map(|held| held.locked_until).max().max(until);
        }
        let now = self.server_time().unwrap_or(Timestamp::MIN);
        Ok(until.filter(|until| *until > now))
    }

    /// Puts the copy of a manifest. That the bucket keeps a version of it although it was not seen to keep any is found out here, before
    /// a deletion hides the manifest and deletes nothing.
    async fn put_copy(
        &self,
        directory: &Directory,
        manifest: &[u8],
        versions: bool,
    ) -> Result<(), RemovalError> {
        let request = self.put_request(&directory.keys.deleted(), manifest).content_type("application/json");
        let put = request.send().await.map_err(|error| classify(&self.place, "put an object", &error))?;
        match put.version_id.filter(|version| !versions && version != "null") {
            None => Ok(()),
            Some(_) => {
                Err(RemovalError::Hidden { place: self.place.clone(), key: directory.keys.manifest() })
            }
        }
    }

    /// Deletes every version of a manifest, the current one last, and looks whether it is gone.
    async fn hide(&self, manifest: &str, entries: &[Entry]) -> Result<(), RemovalError> {
        let mut all: Vec<&Entry> = entries.iter().filter(|entry| entry.key == manifest).collect();
        all.sort_by_key(|entry| entry.current);
        for entry in all {
            self.delete_entry(entry).await?;
        }
        match self.get(manifest).await? {
            None => Ok(()),
            Some(_) => Err(self.still(manifest, 1)),
        }
    }

    /// Older versions first: some servers (versitygw) put the version before in the place of a current one that goes, which must not
    /// bring back one that is being deleted at the same time.
    async fn delete_entries(&self, entries: &[Entry]) -> Result<(), RemovalError> {
        let (current, older): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| entry.current);
        for some in older.chunks(AT_ONCE).chain(current.chunks(AT_ONCE)) {
            let mut deleted = Vec::with_capacity(some.len());
            for entry in some {
                deleted.push(self.delete_entry(entry));
            }
            try_join_all(deleted).await?;
        }
        Ok(())
    }

    /// Deletes one entry for good; one that can only be hidden is an error.
    pub async fn delete_entry(&self, entry: &Entry) -> Result<(), RemovalError> {
        let request = self.client.delete_object().bucket(self.bucket()).key(&entry.key);
        let deleted = request
            .set_version_id(entry.version.clone())
            .send()
            .await
            .map_err(|error| classify(&self.place, "delete an object", &error))?;
        if entry.version.is_none() && deleted.delete_marker == Some(true) {
            let (place, key) = (self.place.clone(), entry.key.clone());
            return Err(RemovalError::Hidden { place, key });
        }
        Ok(())
    }

    fn assert_gone(&self, left: &[Entry]) -> Result<(), RemovalError> {
        match left.first() {
            None => Ok(()),
            Some(entry) => Err(self.still(&entry.key, left.len())),
        }
    }

    fn still(&self, key: &str, left: usize) -> RemovalError {
        RemovalError::Still { place: self.place.clone(), key: key.to_owned(), left }
    }
}

/// What of a directory is a backup's: manifest, its copy, and what attempts wrote.
fn of_backup(directory: &Directory) -> Vec<Entry> {
    let keys = &directory.keys;
    let (manifest, copy) = (keys.manifest(), keys.deleted());
    let is = |entry: &&Entry| entry.key == manifest || entry.key == copy || keys.is_of_attempt(&entry.key);
    directory.entries.iter().filter(is).cloned().collect()
}
