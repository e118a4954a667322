//! What a prune or a catalogue is asked to do, and what it says at its end. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::details;
use crate::names::BackupId;
use crate::owner::Claim;
use crate::retention::Retention;
use crate::task::Bucket;
use crate::v1alpha1::Verification;

/// Deletion of the backups of one path that are kept long enough, and of what no manifest names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneTask {
    /// Whose backups these are.
    pub claim: Claim,
    /// Name of the backup within the policy, for messages.
    pub backup: String,
    /// Directory of the backups in the bucket, below the prefix.
    pub path: String,
    /// When the first prune after a success was decided. The report in the bucket is named after it, and what that report says
    /// holds for the prunes that are tried again.
    pub id: BackupId,
    /// Where they are.
    pub bucket: Bucket,
    /// How long they are kept.
    pub retention: Retention,
    /// Ids that runs or clean-ups may be at: nothing of them is garbage.
    pub busy: Vec<BackupId>,
    /// Seconds after which what no manifest names is garbage; longer than any attempt may take, and a day at least.
    pub garbage_after_seconds: u32,
    /// Ids that status shows as available; the report says which of them are gone. 100 at most.
    pub shown: Vec<BackupId>,
    /// Say what would be deleted, and delete nothing.
    pub dry_run: bool,
}

/// What a prune did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneReport {
    /// Nothing was deleted, the rest says what would have been.
    pub dry_run: bool,
    /// Backups that stay, those that are locked and held back included.
    pub kept: u32,
    /// Backups that were deleted.
    pub deleted: u32,
    /// Backups that were to go and are locked by the bucket.
    pub locked: u32,
    /// Backups that were to go and stay, because no more than half of a schedule's go at once.
    pub held_back: u32,
    /// Directories whose manifest is not ours or cannot be read; nothing in them was touched.
    pub skipped: u32,
    /// Directories without a manifest that were removed.
    pub garbage: u32,
    /// Open uploads that were aborted.
    pub uploads: u32,
    /// The bucket's server does not say what time it is, so nobody knows how old what no manifest names is, and all of it stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ages_unknown: bool,
    /// Bytes that are no longer stored, versions included.
    pub freed_bytes: u64,
    /// Key of the full report in the bucket.
    pub report: String,
    /// Of the ids that status shows, those that are not in the bucket any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<BackupId>,
}

/// A list of what the bucket holds of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogueTask {
    /// Whose backups are looked for.
    pub claim: Claim,
    /// Where.
    pub bucket: Bucket,
    /// The backups of the spec.
    pub backups: Vec<CataloguePath>,
    /// Most entries that are listed of all of them, the newest; those whose time is still to come last.
    pub limit: u32,
}

/// A backup and its directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CataloguePath {
    /// Name of the backup within the policy.
    pub backup: String,
    /// Directory in the bucket, below the prefix.
    pub path: String,
    /// The schedules of the spec: the newest backup of each is listed however old it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<String>,
}

/// What a catalogue found; the entries are detail lines of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogueReport {
    /// Backups that can be restored.
    pub found: u32,
    /// Directories whose manifest is not ours, cannot be read, was made under another name, or names objects that are missing.
    pub skipped: u32,
    /// Lines of detail in the log.
    pub details: u32,
    /// SHA-256 of those lines, each with its line break, hexadecimal.
    pub details_sha256: String,
}

impl CatalogueReport {
    /// The entries among the lines of a log; none when they are not those that the report is about. Lines of other kinds are
    /// passed over.
    pub fn entries(&self, log: &str) -> Option<Vec<CatalogueEntry>> {
        details::read(log, &self.details_sha256)
    }
}

/// One backup as a catalogue lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogueEntry {
    /// Name of the backup within the policy.
    pub backup: String,
    /// Id within its path.
    pub id: BackupId,
    /// Schedules of the spec that it serves, and of others one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<String>,
    /// Start of the attempt that made it.
    pub start_time: Timestamp,
    /// End of that attempt.
    pub end_time: Timestamp,
    /// Bytes stored.
    pub bytes: u64,
    /// How far it was proved.
    pub verified: Verification,
}
