//! `status.plan` of a RestoreRequest: what a Job found out before anything was touched. Every list is bounded. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RestoreStrategy, WorkloadKind};

/// Most entries of each list of a plan; what is left out is counted in the last entry.
pub const MAX_PLAN_ENTRIES: usize = 20;

/// What will be done, and what it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan {
    /// Whether it can work.
    pub feasible: bool,
    /// What keeps it from working, each with the way out, most important first; empty where it can work. 20 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub refusals: Vec<Refusal>,
    /// What will be done, in order, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub steps: Vec<String>,
    /// The backup; absent for an undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<PlannedBackup>,
    /// The server and the database that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PlannedTarget>,
    /// Applications that stop, with their replicas now. 50 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub workloads: Vec<PlannedWorkload>,
    /// Roles of the backup that the server lacks and that will be made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub roles_to_make: Vec<String>,
    /// Roles that may log in and will have no password, because the backup has none: set them afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub roles_without_password: Vec<String>,
    /// Settings of the server that differ from those at the time of the backup. None is changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub different_settings: Vec<String>,
    /// Of a part of a database: what belongs to it and is left out all the same, because it needs what is not restored; and why. Named
    /// as `pg_restore --list` does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub left_out: Vec<String>,
    /// What people should know although it can work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub warnings: Vec<String>,
    /// Seconds that loading and comparing are expected to take: as many for each byte of the archive as in the latest request of this
    /// namespace that restored the same database to the same server with the same `verify`. Absent where there is none, and where it
    /// cannot work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<u64>,
}

/// One thing that keeps a plan from working.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Stable reason.
    pub reason: String,
    /// Full sentence: what was found, and the statement or change that mends it.
    pub message: String,
}

/// The backup of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedBackup {
    /// Why it is this one, in words.
    pub choice: String,
    /// Time that it stands for.
    pub time: Time,
    /// Version of the server that it was made of.
    pub server_version: String,
    /// Bytes in the bucket.
    pub stored_bytes: u64,
    /// Bytes of the archives that are read, before compression.
    pub source_bytes: u64,
    /// Bytes that its restored database is expected to take; absent where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_bytes: Option<u64>,
    /// Tables that are restored; absent for backups of the old scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<u64>,
    /// Rows that are restored; absent for backups of the old scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Whether the old shell scripts made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub legacy: bool,
}

/// Server and database of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedTarget {
    /// Version of the server.
    pub server_version: String,
    /// What becomes of the database that is there.
    pub strategy: RestoreStrategy,
    /// Bytes that the database has now; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present_bytes: Option<u64>,
    /// Sessions in it now.
    #[serde(default)]
    pub sessions: u32,
    /// Name of the database that is loaded into (or that comes back, for an undo).
    pub temporary_database: String,
    /// Name that the replaced database will have; absent where nothing is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_database: Option<String>,
}

/// An application of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedWorkload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// Replicas that it has now, and comes back to; of a Deployment or StatefulSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Who writes its replicas (of a CronJob: whether it is suspended), by field manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// HorizontalPodAutoscaler that targets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<String>,
    /// ScaledObject of KEDA that is paused in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_object: Option<String>,
    /// Application of Argo CD that would start it again, as namespace and name; with `spec.quiesce.argoCD: SkipReconcile` it is told
    /// not to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
}
