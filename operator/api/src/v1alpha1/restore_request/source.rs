//! What a RestoreRequest restores. No I/O.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::names::BackupId;

/// A BackupPolicy in the namespace of the request.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// Name of the policy.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
}

/// What is restored: exactly one of its kinds.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.backup), has(self.latest), has(self.undoOf)].exists_one(kind, kind)",
    "spec.source needs exactly one of backup, latest and undoOf"),
    validation = ("!has(self.database) || !has(self.undoOf)", "spec.source.database does not go with undoOf"))]
pub struct RestoreSource {
    /// The backup of this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupById>,
    /// The newest good backup at the time of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<LatestBackup>,
    /// Swap back what an earlier request replaced, within its `keepPreviousHours`. What is replaced now is kept as long again. A request
    /// with `database.target` is undone by one with the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_of: Option<RequestRef>,
    /// Which database of the backup is restored. Default: the one that has the name of the target, or else the only one that
    /// the backup has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub database: Option<String>,
}

/// A backup by its id.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupById {
    /// Name of the backup within the policy. With `policyRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: Option<String>,
    /// Directory of the backup in the bucket, below the prefix, for example `database`. With `storage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub path: Option<String>,
    /// Id of the backup, as `status.available` of the policy shows it: its time in UTC, for example `20251107-020000`. Ids of
    /// the old scripts serve too.
    pub id: BackupId,
}

/// The newest good backup.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatestBackup {
    /// Name of the backup within the policy. With `policyRef`. What was made under another name does not count, though it has the same
    /// path: say `source.backup` with its id for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub backup: Option<String>,
    /// Directory of the backups in the bucket, below the prefix, for example `database`. With `storage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub path: Option<String>,
    /// Only backups that this schedule asked for. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub schedule: Option<String>,
}

/// An earlier RestoreRequest of this namespace; the object itself may be gone, the bucket knows it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRef {
    /// Name of the request.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}
