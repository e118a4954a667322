//! Puts what a listing shows together again by backup, one directory in memory at a time. Network.

use std::collections::{BTreeSet, VecDeque};

use greenlang_backup_api::names::BackupId;
use jiff::Timestamp;

use super::{Entry, Pages, total};
use crate::{BackupKeys, RequestError, Store};

/// Beginning of the name of an object in a backup's directory that pins it.
const PIN: &str = "pinned";

/// Most memory for what lies in one directory, 16 MiB: some fifty thousand objects. A manifest, which may have as many bytes, names fewer.
/// Whoever fills a directory beyond that must not decide how much memory we take.
const MOST_HELD: usize = 16 << 20;

/// Everything in the directory of one backup.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The backup.
    pub id: BackupId,
    /// Its keys.
    pub keys: BackupKeys,
    /// What lies there; nothing where it is too much.
    pub entries: Vec<Entry>,
    /// More lies there than is taken in. Nothing of it may be judged, or deleted.
    pub too_much: bool,
    held: usize,
}

impl Directory {
    fn new(id: BackupId, keys: BackupKeys) -> Self {
        Self { id, keys, entries: vec![], too_much: false, held: 0 }
    }

    fn push(&mut self, entry: Entry) {
        self.held = self.held.saturating_add(entry.held());
        self.too_much |= self.held > MOST_HELD;
        if self.too_much {
            (self.entries, self.held) = (vec![], 0);
        } else {
            self.entries.push(entry);
        }
    }

    /// Bytes of memory that it takes, about.
    pub const fn held(&self) -> usize {
        self.held
    }

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
    /// Seconds of the ids whose manifest was shown.
    shown: BTreeSet<i64>,
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
            shown: BTreeSet::new(),
        }
    }

    /// One of them, as it is now.
    pub async fn directory(
        &self,
        path: &str,
        id: &BackupId,
        versions: bool,
    ) -> Result<Directory, RequestError> {
        let mut directory = Directory::new(id.clone(), self.layout().backup(path, id));
        let mut pages = self.pages(directory.keys.directory(), versions);
        while let Some(page) = pages.next().await? {
            for entry in page {
                directory.push(entry);
            }
            if directory.too_much {
                break;
            }
        }
        Ok(directory)
    }
}

impl Directories<'_> {
    /// The next one. A server that does not sort its listings may show one in several pieces: whoever deletes looks again.
    pub async fn next(&mut self) -> Result<Option<Directory>, RequestError> {
        let mut directory: Option<Directory> = None;
        while let Some(entry) = self.entry().await? {
            let Some(id) = self.store.layout().id_of(&self.path, &entry.key) else { continue };
            match &mut directory {
                Some(open) if open.id == id => open.push(entry),
                Some(_) => {
                    self.waiting.push_front(entry);
                    break;
                }
                None => {
                    let keys = self.store.layout().backup(&self.path, &id);
                    directory.insert(Directory::new(id, keys)).push(entry);
                }
            }
        }
        if let Some(directory) = &directory {
            self.note(directory)?;
        }
        Ok(directory)
    }

    /// A manifest that is shown twice would count as two backups, and two of one are not the newest two.
    fn note(&mut self, directory: &Directory) -> Result<(), RequestError> {
        let Ok(slot) = directory.id.slot() else { return Ok(()) };
        let has_manifest = directory.current(&directory.keys.manifest()).is_some();
        if has_manifest && !self.shown.insert(slot.as_second()) {
            let (place, problem) = (self.store.place.clone(), "it shows the same backup twice");
            return Err(RequestError::ListingWrong { place, problem });
        }
        Ok(())
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
