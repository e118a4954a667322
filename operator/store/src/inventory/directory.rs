//! Puts what a listing shows together again by backup, one directory in memory at a time. Network.

use std::collections::VecDeque;

use greenlang_backup_api::names::BackupId;
use jiff::Timestamp;

use super::{Entry, Pages, total};
use crate::{BackupKeys, RequestError, Store};

/// Beginning of the name of an object in a backup's directory that pins it.
const PIN: &str = "pinned";

/// Everything in the directory of one backup.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The backup.
    pub id: BackupId,
    /// Its keys.
    pub keys: BackupKeys,
    /// What lies there.
    pub entries: Vec<Entry>,
}

impl Directory {
    /// What whoever asks for a key gets.
    pub fn current(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.current && !entry.marker && entry.key == key)
    }

    /// Whether the bucket still has a key that nobody gets any more, as an older version of it.
    pub fn hides(&self, key: &str) -> bool {
        self.current(key).is_none() && self.entries.iter().any(|entry| !entry.marker && entry.key == key)
    }

    /// Whether an object beside the manifest pins the backup (`pinned`, `pinned.txt`).
    pub fn is_pinned(&self) -> bool {
        let pin = format!("{}{PIN}", self.keys.directory());
        let mut current = self.entries.iter().filter(|entry| entry.current && !entry.marker);
        current.any(|entry| entry.key == pin || entry.key.starts_with(&format!("{pin}.")))
    }

    /// Bytes of all that is stored there, versions included.
    pub fn bytes(&self) -> u64 {
        total(&self.entries)
    }

    /// When the newest of it was stored.
    pub fn modified(&self) -> Option<Timestamp> {
        self.entries.iter().map(|entry| entry.modified).max()
    }
}

/// The directories below a path, one at a time. What lies elsewhere, such as backups of the old procedures, is passed over.
#[derive(Debug)]
pub struct Directories<'a> {
    pages: Pages<'a>,
    store: &'a Store,
    path: String,
    waiting: VecDeque<Entry>,
    ended: bool,
}

impl Store {
    /// The directories of the backups of a path.
    pub fn directories(&self, path: &str, versions: bool) -> Directories<'_> {
        Directories {
            pages: self.pages(&self.layout().path(path), versions),
            store: self,
            path: path.to_owned(),
            waiting: VecDeque::new(),
            ended: false,
        }
    }

    /// One of them, as it is now.
    pub async fn directory(
        &self,
        path: &str,
        id: &BackupId,
        versions: bool,
    ) -> Result<Directory, RequestError> {
        let keys = self.layout().backup(path, id);
        let entries = self.entries(keys.directory(), versions).await?;
        Ok(Directory { id: id.clone(), keys, entries })
    }
}

impl Directories<'_> {
    /// The next one. A server that does not sort its listings may show one in several pieces: whoever deletes looks again.
    pub async fn next(&mut self) -> Result<Option<Directory>, RequestError> {
        let mut directory: Option<Directory> = None;
        while let Some(entry) = self.entry().await? {
            let Some(id) = self.store.layout().id_of(&self.path, &entry.key) else { continue };
            match &mut directory {
                Some(open) if open.id == id => open.entries.push(entry),
                Some(_) => {
                    self.waiting.push_front(entry);
                    break;
                }
                None => {
                    let keys = self.store.layout().backup(&self.path, &id);
                    directory = Some(Directory { id, keys, entries: vec![entry] });
                }
            }
        }
        Ok(directory)
    }

    async fn entry(&mut self) -> Result<Option<Entry>, RequestError> {
        while self.waiting.is_empty() && !self.ended {
            match self.pages.next().await? {
                Some(page) => self.waiting.extend(page),
                None => self.ended = true,
            }
        }
        Ok(self.waiting.pop_front())
    }
}
