//! BackupPolicy: what people apply. Says what may be written, and decides nothing. No I/O.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{Backup, BackupPolicyStatus, Compression, Encryption, JobTemplate, Postgres, Storage};

/// BackupPolicy says what is backed up, when, how long it is kept, and where it goes. The operator runs one Job for each
/// due backup and writes what came of it to `status`. Deleting a policy deletes no backup.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "backup.greenlang.io",
    version = "v1alpha1",
    kind = "BackupPolicy",
    namespaced,
    status = "BackupPolicyStatus",
    shortname = "bkp",
    category = "greenlang",
    derive = "PartialEq",
    doc = "BackupPolicy says what is backed up, when, how long it is kept, and where it goes.",
    validation = Rule::new("self.metadata.name.size() <= 40 && !self.metadata.name.contains('.')")
        .message("metadata.name must have at most 40 characters and no dot, because Jobs are named after it"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Last Backup", type_ = "date", json_path = ".status.lastBackupTime"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.lastSize"),
    printcolumn(name = "Next Backup", type_ = "string", json_path = ".status.nextBackup"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[cfg_attr(feature = "cel", kube(cel))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.backups.all(b, !has(b.postgresDump)) || has(self.postgres)",
        "spec.postgres is required by a postgresDump backup: name the server there"),
)]
pub struct BackupPolicySpec {
    /// Start no scheduled run while true; an active run goes on, and the run annotation still works. Afterwards the newest slot of
    /// each schedule that passed meanwhile is made up for, as its `catchUp` says. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// IANA time zone that every schedule of this policy is read in, for example `Europe/Berlin`. Default: `Etc/UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// When a new policy makes its first backups: `AtSchedule` waits for the first slot of each schedule, `Immediately`
    /// makes one of each backup right after creation. A policy that was made again and has backups in the bucket is not new.
    /// Default: `AtSchedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_run: Option<FirstRun>,
    /// Where backups go.
    pub storage: Storage,
    /// Who can read them.
    pub encryption: Encryption,
    /// The PostgreSQL server that `postgresDump` backups read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// What is backed up, 1 to 32 entries, each with a name of its own and exactly one kind.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub backups: Vec<Backup>,
    /// How data is compressed before it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// A finished backup of up to this size in the bucket is read again, every byte of it, and compared with what was sent
    /// (level `ReadBack`); larger ones are left at what the server confirmed (level `Stored`). `0` reads none again. Default:
    /// `100Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = "^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$")
    )]
    pub read_back_limit: Option<String>,
    /// Seconds without progress, while sources are prepared, read and stored (not one byte read from them, none taken by the
    /// bucket), after which an attempt is given up and counts as failed. Reading back has time limits of its own. 120 to 86400.
    /// Default: 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 120, max = 86_400))]
    pub stall_seconds: Option<u32>,
    /// Days that a run asked for by annotation or by `firstRun: Immediately` is kept. 1 to 36500. Default: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36_500))]
    pub manual_keep_days: Option<u32>,
    /// Delete no backup while true, whatever its age; a dry run of the deletion still works. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend_retention: bool,
    /// Settings of the Pods that the Jobs of this policy run. Default: what each field says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_template: Option<JobTemplate>,
}

/// When a new policy makes its first backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(description = "")]
pub enum FirstRun {
    /// At the first slot of each schedule.
    #[default]
    AtSchedule,
    /// One run of each backup as soon as the policy is created.
    Immediately,
}

impl BackupPolicy {
    /// Name of the file in `crds/` that holds the generated definition.
    pub const CRD_FILE: &str = "backuppolicies.yaml";
    /// `apiVersion` of the resource.
    pub const API_VERSION: &str = "backup.greenlang.io/v1alpha1";
    /// `kind` of the resource.
    pub const KIND: &str = "BackupPolicy";

    /// Generation of the spec, 0 for an object that no API server has seen.
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }
}
