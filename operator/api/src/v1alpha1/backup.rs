//! One entry of `spec.backups`: a union of kinds, of which each entry has exactly one. No I/O.
//!
//! A new kind is a new optional field here, a variant of [`BackupKind`], its name in the `exists_one` rule, and an arm
//! wherever the compiler then asks for one.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{PostgresDump, Schedule};

/// One thing to back up: a name, exactly one kind, and its schedules.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.postgresDump)].exists_one(kind, kind)",
    "a backup needs exactly one kind: postgresDump"))]
pub struct Backup {
    /// Name of the backup, unique within the policy: at most 40 lower-case letters, digits and hyphens.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Directory in the bucket, below the prefix: one segment of lower-case letters, digits and hyphens, unique within the
    /// policy, at most 63 of them. Default: by kind (`database` for postgresDump).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub path: Option<String>,
    /// Databases as archives of `pg_dump`, with roles and tablespaces (procedure BACKUP-001).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres_dump: Option<PostgresDump>,
    /// When it is made, up to 16 schedules. Without any it is made only on request, by the annotation
    /// `run.backup.greenlang.io/<backup>: <token>` on the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub schedules: Vec<Schedule>,
}

/// The kind of a backup, with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupKind<'a> {
    /// `postgresDump`.
    PostgresDump(&'a PostgresDump),
}

impl Backup {
    /// The kind; none when the entry has none, which the API server refuses.
    pub fn kind(&self) -> Option<BackupKind<'_>> {
        self.postgres_dump.as_ref().map(BackupKind::PostgresDump)
    }
}

impl BackupKind<'_> {
    /// Default directory in the bucket (the procedures' Appendix B).
    pub const fn default_path(self) -> &'static str {
        match self {
            Self::PostgresDump(_) => "database",
        }
    }
}
