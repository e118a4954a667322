//! Status of deletions, and of the reading of the bucket's history. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::BackupId;

/// What the operator knows of the deletion of a backup's old backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PruneStatus {
    /// The newest backup after which old ones were deleted, or looked at. The next one makes another prune.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<BackupId>,
    /// Last value of the annotation `prune.backup.greenlang.io/dry-run` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run_token: Option<String>,
    /// What the first prune after a backup decided holds for the ones that are tried again after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PrunePlan>,
    /// Since when a prune that is due waits for the end of runs; after an hour it goes beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_since: Option<Time>,
    /// The prune that is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActivePrune>,
    /// Failed prunes in a row; the pause between them grows with it, from 30 s to one hour.
    #[serde(default)]
    pub failures: u32,
    /// The next try does not start before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_time: Option<Time>,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What the last one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<PruneResult>,
    /// What the last dry run would have done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_dry_run: Option<PruneResult>,
}

/// What was decided after a backup. A prune that is tried again deletes nothing else, or a failure after each half would delete all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrunePlan {
    /// The backup that was made.
    pub after: BackupId,
    /// When the first prune after it was decided; the report in the bucket is named after it.
    pub time: Time,
}

/// A prune that is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivePrune {
    /// When it was decided.
    pub start_time: Time,
    /// Digest of what is to be kept. When that changes, for example by a pin, its Job is stopped and another one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
    /// The backup that it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<BackupId>,
    /// Value of the annotation that asks for a dry run; without one it deletes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run_token: Option<String>,
    /// UID of its Job, once that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
}

/// What a prune did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PruneResult {
    /// When its end was counted.
    pub time: Time,
    /// Backups that were deleted.
    pub deleted: u32,
    /// Backups that stay, those that are locked and held back included.
    pub kept: u32,
    /// Backups that were to go and are locked by the bucket.
    #[serde(default)]
    pub locked: u32,
    /// Backups that were to go and stay, because no more than half of a schedule's go at once.
    #[serde(default)]
    pub held_back: u32,
    /// Directories whose manifest is another policy's or cannot be read; nothing in them was touched.
    #[serde(default)]
    pub skipped: u32,
    /// Directories without a manifest, and open uploads, that were removed.
    #[serde(default)]
    pub garbage: u32,
    /// Bytes that are no longer stored, versions included.
    pub freed_bytes: u64,
    /// Key of the report in the bucket, with the reason of each keep and delete.
    pub report: String,
}

/// The reading of the bucket's history after status was lost. No run is decided before it has ended, or failed five times in a
/// row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CatalogueStatus {
    /// When the history was taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_time: Option<Time>,
    /// Backups that were found.
    #[serde(default)]
    pub found: u32,
    /// Failed tries in a row; the pause between them grows with it, from 10 s to 10 minutes.
    #[serde(default)]
    pub failures: u32,
    /// The next try does not start before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_time: Option<Time>,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The one that is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveCatalogue>,
}

/// A reading that is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveCatalogue {
    /// When it was decided; its Job is named after it.
    pub start_time: Time,
    /// UID of its Job, once that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
}
