//! Reads what lies in the directory of each backup of a path, and says what it is. What cannot be read stays unread. Network.

use futures::future::try_join_all;
use greenlang_backup_api::manifest::Manifest;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::owner::OwnerFile;
use greenlang_backup_api::text::cut;
use greenlang_backup_api::v1alpha1::Verification;
use greenlang_backup_plan::retention::Candidate;
use greenlang_backup_store::{CatalogueError, Directory, Store, StoredManifest};
use jiff::Timestamp;

/// Manifests on their way at once, and so many directories in memory.
const AT_ONCE: usize = 16;
/// Most bytes of directories and manifests in memory, 4 MiB, unless one alone has more: a manifest of a thousand databases has one of these.
const MOST_HELD: u64 = 4 << 20;

/// Most bytes of what is said of a directory.
const MAX_WHY: usize = 300;

/// Reason of a directory whose manifest is not the owner's, or not to be understood.
pub const NOT_OURS: &str = "NotOurs";
/// Reason of one in which more lies than is read.
pub const TOO_MUCH: &str = "TooMuch";

/// What a directory holds.
#[derive(Debug)]
pub enum Found {
    /// A backup of the owner.
    Backup(Box<Surveyed>),
    /// A manifest that is not the owner's, or not to be understood, or more than is read. Nothing there is touched.
    Skipped {
        /// Its id, as its directory says.
        id: BackupId,
        /// [`NOT_OURS`] or [`TOO_MUCH`].
        reason: &'static str,
        /// Why, in a sentence that is not long whatever the bucket holds.
        why: String,
    },
    /// No manifest.
    Loose {
        /// Its id, as its directory says.
        id: BackupId,
        /// Whether a backup was being deleted there.
        deleted: bool,
        /// When the newest of it was stored.
        modified: Option<Timestamp>,
    },
}

/// A backup, in short.
#[derive(Debug)]
pub struct Surveyed {
    /// What retention is to know, but for the name that it was made under.
    pub candidate: Candidate,
    /// Name of the backup that made it, as the manifest says.
    pub backup: String,
    /// Days that it was to be kept when it was made.
    pub keep_days: u32,
    /// SHA-256 of the manifest that was read.
    pub manifest_sha256: String,
    /// Bytes stored, as the manifest says.
    pub bytes: u64,
    /// How far it was proved, as the manifest says.
    pub verified: Verification,
    /// When its attempt began, as the manifest says.
    pub start_time: Timestamp,
}

/// Surveys a path; memory does not grow with what lies there, but for what `take` keeps.
pub async fn survey(
    store: &Store,
    path: &str,
    owner: &OwnerFile,
    versions: bool,
    mut take: impl FnMut(Found),
) -> Result<(), CatalogueError> {
    let mut directories = store.directories(path, versions);
    let mut next = directories.next().await?;
    while let Some(first) = next.take() {
        let mut held = weight(&first);
        let mut some = vec![first];
        while let Some(directory) = directories.next().await? {
            held = held.saturating_add(weight(&directory));
            if some.len() == AT_ONCE || held > MOST_HELD {
                next = Some(directory);
                break;
            }
            some.push(directory);
        }
        let mut reads = Vec::with_capacity(some.len());
        for directory in &some {
            reads.push(read(store, path, owner, directory));
        }
        try_join_all(reads).await?.into_iter().for_each(&mut take);
    }
    Ok(())
}

/// Bytes of a directory with its manifest in memory, about.
fn weight(directory: &Directory) -> u64 {
    let manifest = directory.current(&directory.keys.manifest()).map_or(0, |entry| entry.bytes);
    manifest.saturating_add(u64::try_from(directory.held()).unwrap_or(u64::MAX))
}

async fn read(
    store: &Store,
    path: &str,
    owner: &OwnerFile,
    directory: &Directory,
) -> Result<Found, CatalogueError> {
    let id = directory.id.clone();
    if directory.too_much {
        let why = format!(
            "more lies in {} than a backup has: it is neither read nor deleted; find out who writes there, and delete by hand what is none of the backup",
            directory.keys.directory()
        );
        return Ok(Found::Skipped { id, reason: TOO_MUCH, why });
    }
    let skipped = |why: String| Ok(Found::Skipped { id: id.clone(), reason: NOT_OURS, why: short(&why) });
    let key = directory.keys.manifest();
    let Some(entry) = directory.current(&key) else { return Ok(without_manifest(directory, &key)) };
    let written = directory.entries.iter().filter(|entry| !entry.marker && entry.key == key).count();
    if written > 1 {
        // Whoever may write and not delete must not have us delete what he has overwritten.
        return skipped(format!(
            "its manifest was written {written} times, which no run does: delete the versions that are not the true one, and it is deleted in its time"
        ));
    }
    let stored = match store.read_manifest(&key).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return skipped("its manifest vanished while it was read".to_owned()),
        Err(CatalogueError::Manifest { problem, .. }) => return skipped(problem.to_string()),
        Err(error) => return Err(error),
    };
    if let Some(why) = not_ours(&stored.manifest, path, &id, owner) {
        return skipped(why);
    }
    let Ok(slot) = id.slot() else { return skipped("its name is no id".to_owned()) };
    Ok(Found::Backup(Box::new(surveyed(directory, slot, entry.modified, stored))))
}

fn without_manifest(directory: &Directory, manifest: &str) -> Found {
    let id = directory.id.clone();
    let deleted = directory.current(&directory.keys.deleted()).is_some();
    if directory.hides(manifest) {
        // Not by us: our deletion leaves no version of it, and the copy may be anybody's.
        let why = "somebody deleted its manifest, of which the bucket keeps older versions: remove the delete markers there to have the backup back, or all versions to be rid of it";
        return Found::Skipped { id, reason: NOT_OURS, why: why.to_owned() };
    }
    Found::Loose { id, deleted, modified: directory.modified() }
}

fn surveyed(
    directory: &Directory,
    slot: Timestamp,
    stored_time: Timestamp,
    StoredManifest { manifest, sha256 }: StoredManifest,
) -> Surveyed {
    let is_there = |key: &str, bytes: u64| directory.current(key).is_some_and(|found| found.bytes == bytes);
    let whole = manifest.objects.iter().all(|object| is_there(&object.key, object.stored_bytes));
    let days = manifest.schedules.iter().map(|keeper| keeper.keep_days);
    let keep_days = days.fold(manifest.keep_days, u32::max);
    Surveyed {
        candidate: Candidate {
            id: directory.id.clone(),
            slot,
            end_time: manifest.end_time,
            stored_time,
            schedules: manifest.schedules,
            whole,
            pinned: directory.is_pinned(),
            former: None,
        },
        backup: manifest.backup,
        keep_days,
        manifest_sha256: sha256,
        bytes: manifest.size_bytes,
        verified: manifest.verified,
        start_time: manifest.start_time,
    }
}

/// Why a manifest is none of this path's and owner's.
pub fn not_ours(manifest: &Manifest, path: &str, id: &BackupId, owner: &OwnerFile) -> Option<String> {
    let Manifest { timestamp, path: named, policy, .. } = manifest;
    if timestamp != id || named != path {
        return Some(format!("its manifest is that of {named}/{timestamp}"));
    }
    (!owner.has(&policy.namespace, &policy.name))
        .then(|| format!("it belongs to policy {}/{}", policy.namespace, policy.name))
}

/// What is said of a manifest, cut: anybody may have put it there, and it may say much.
pub fn short(why: &str) -> String {
    cut(why, MAX_WHY).to_owned()
}
