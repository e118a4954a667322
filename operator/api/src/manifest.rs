//! `manifest.json`: the record whose presence makes a backup exist. Written last, never overwritten. Pure.
//!
//! Field names are in snake case, because the old procedures' manifests (BACKUP-001, step 3) were and their fields stay.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::BackupId;
use crate::task::ServedSchedule;
use crate::v1alpha1::{Trigger, Verification};

/// Version of the manifest that this build writes; a reader refuses a newer one.
pub const SCHEMA_VERSION: u32 = 1;
/// File name of a manifest in the directory of its backup.
pub const FILE_NAME: &str = "manifest.json";

/// Everything that must be known to recover a backup, without this software if need be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// The id again, under the name that the old procedures gave it.
    pub timestamp: BackupId,
    /// First database, as the old procedures named it; absent for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Bytes stored, all objects together.
    pub size_bytes: u64,
    /// `full`.
    pub backup_type: String,
    /// `zstd`.
    pub compression: String,
    /// SHA-256 of the first object as stored, hexadecimal.
    pub checksum: String,
    /// Kind of backup, for example `postgresDump`.
    pub kind: String,
    /// Who made it.
    pub policy: PolicyIdentity,
    /// Name of the backup within the policy.
    pub backup: String,
    /// Directory in the bucket, below the prefix.
    pub path: String,
    /// Number of the attempt that made it.
    pub attempt: u32,
    /// What asked for it.
    pub trigger: Trigger,
    /// Schedules it serves, with how long each keeps it.
    pub schedules: Vec<Keeper>,
    /// Days to keep it.
    pub keep_days: u32,
    /// Time that it stands for.
    pub slot: Timestamp,
    /// Start of the attempt.
    pub start_time: Timestamp,
    /// End of the attempt, just before this manifest was written.
    pub end_time: Timestamp,
    /// How far it was proved.
    pub verified: Verification,
    /// Programs that made it, for example `pg_dump` and its version.
    pub tools: Vec<Tool>,
    /// Version of the source, for example of the PostgreSQL server.
    pub server_version: String,
    /// What people should know although the backup is good.
    pub warnings: Vec<String>,
    /// The objects, in the order in which recovery needs them.
    pub objects: Vec<Object>,
    /// How to recover by hand, with public tools only.
    pub recovery: Recovery,
}

/// A schedule that a backup serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// Name of the schedule.
    pub name: String,
    /// Days that it keeps its backups.
    pub keep_days: u32,
}

impl From<&ServedSchedule> for Keeper {
    fn from(schedule: &ServedSchedule) -> Self {
        Self { name: schedule.name.clone(), keep_days: schedule.keep_days }
    }
}

/// A BackupPolicy by all its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyIdentity {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// A program with its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Name of the program.
    pub name: String,
    /// What it prints as its version.
    pub version: String,
}

/// One stored object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Key in the bucket, prefix included.
    pub key: String,
    /// What it holds.
    pub content: Content,
    /// Bytes that went in.
    pub source_bytes: u64,
    /// SHA-256 of what went in, hexadecimal.
    pub source_sha256: String,
    /// Bytes stored.
    pub stored_bytes: u64,
    /// SHA-256 of what is stored, hexadecimal.
    pub stored_sha256: String,
    /// CRC-64/NVME of what is stored in base64, as S3 shows it (`aws s3api head-object --checksum-mode ENABLED`). Absent in
    /// manifests of the first builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_crc64nvme: Option<String>,
    /// `zstd`.
    pub compression: String,
    /// First 16 hexadecimal digits of the SHA-256 of each age recipient string that can open it.
    pub recipients: Vec<String>,
}

/// What an object holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Roles, memberships and tablespaces as SQL (`pg_dumpall --globals-only`).
    PostgresGlobals,
    /// The same as structured data (`api::globals`).
    PostgresGlobalsData,
    /// Settings and access rules of the server (`api::settings`).
    PostgresSettings,
    /// What every database of the backup holds: tables, rows, digests (`api::contents`).
    PostgresContents,
    /// A database as an archive in `pg_dump`'s custom format; whole, but for the data that its `PostgresData` objects hold.
    PostgresArchive {
        /// Name of the database.
        database: String,
    },
    /// Data of some tables of a database, as an archive in the same format and of the same snapshot.
    PostgresData {
        /// Name of the database.
        database: String,
        /// Number of the dump that wrote it, from 2.
        stream: u8,
    },
}

/// How to recover by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// What is needed and which variables to set.
    pub needs: Vec<String>,
    /// Shell commands, in order.
    pub commands: Vec<String>,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, cut, or a field is missing.
    #[error("the manifest cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// From a newer release.
    #[error(
        "the manifest has schema version {0}, this release reads up to {SCHEMA_VERSION}: use a newer release"
    )]
    Newer(u32),
    /// With values that no backup of ours can have; `status` could not take them.
    #[error("the manifest cannot be one of ours: {0}")]
    Implausible(&'static str),
}

/// Most bytes of a backup, stored or read: the largest number that the Kubernetes API takes.
const MAX_BYTES: u64 = i64::MAX.unsigned_abs();
/// Most schedules that one backup serves; a policy has 16 at most.
const MAX_SCHEDULES: usize = 64;
/// Most bytes of the name of a schedule or backup; a policy takes 63.
const MAX_NAME: usize = 253;

impl Manifest {
    /// Reads a manifest; the version is checked before the rest, so a newer one says so. Whoever can write to the bucket can
    /// put one there, so values that would harm whoever relies on them are refused.
    pub fn from_slice(json: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let Version { schema_version } = serde_json::from_slice(json)?;
        if schema_version > SCHEMA_VERSION {
            return Err(ManifestError::Newer(schema_version));
        }
        let manifest: Self = serde_json::from_slice(json)?;
        manifest.implausible().map_or(Ok(manifest), |what| Err(ManifestError::Implausible(what)))
    }

    fn implausible(&self) -> Option<&'static str> {
        let sum = |bytes: fn(&Object) -> u64| {
            self.objects.iter().try_fold(0_u64, |sum, object| sum.checked_add(bytes(object)))
        };
        let sums =
            [sum(|object| object.stored_bytes), sum(|object| object.source_bytes), Some(self.size_bytes)];
        let times = [self.slot, self.start_time, self.end_time];
        if sums.iter().any(|sum| sum.is_none_or(|sum| sum > MAX_BYTES)) {
            Some("it names more bytes than there can be")
        } else if self.objects.is_empty() {
            // All that it names would be there: it would count as good, in the place of one that is.
            Some("it names no object")
        } else if times.iter().any(|time| *time < Timestamp::UNIX_EPOCH) {
            Some("it is from before 1970")
        } else if self.schedules.len() > MAX_SCHEDULES
            || self.schedules.iter().any(|schedule| schedule.name.len() > MAX_NAME)
        {
            Some("it names more schedules than a policy has, or longer ones")
        } else if self.backup.len() > MAX_NAME {
            Some("it names a backup longer than a policy does")
        } else {
            None
        }
    }

    /// Bytes read from the source, all objects together.
    pub fn source_bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.source_bytes).sum()
    }
}
