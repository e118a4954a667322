//! Status of a RestoreRequest: what the operator remembers of it. Every list is bounded. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::RunProgress;
use super::{RestorePlan, WorkloadKind};
use crate::names::BackupId;
use crate::task::{Bucket, PostgresServer};

/// What the operator knows of a request. Until the operator has seen it, `observedGeneration` is -1, so that tools which wait for
/// readiness (kstatus, Argo CD) do not take a new object for a finished one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct RestoreRequestStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the request is, in one word. A summary: scripts read conditions, `Finished` above all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RestorePhase>,
    /// `Planned`: the plan was made and can work. `Quiesced`: the applications are stopped. `Restored`: the data is on the server.
    /// `Verified`: it was compared with the backup. `Switched`: it has taken the place of what was there. `Resumed`: the
    /// applications are back. `Finished`: True at every end, its reason says which. `Ready`, `Reconciling`, `Stalled`: as kstatus
    /// reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When each phase began and ended, in order, 20 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub phases: Vec<PhaseTimes>,
    /// What goes on, in words, for `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The database that is restored to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetDatabase>,
    /// Bucket and server as they were when the request began, so that it goes on although its policy changes or is deleted. It
    /// names Secrets and holds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<RestorePlace>,
    /// The backup that was chosen; absent for an undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<ChosenBackup>,
    /// What was found out before anything was touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RestorePlan>,
    /// The Job that goes on, from its decision to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveRestoreJob>,
    /// The applications that were stopped, with what brings them back, 50 at most. Written before the first of them is touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub quiesced: Vec<QuiescedWorkload>,
    /// The Applications of Argo CD that were told to leave everything as it is, with what their annotation said before, 50 at most.
    /// Written before the first of them is touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace", "name"]))]
    pub skipped_applications: Vec<SkippedApplication>,
    /// When the last Pod of the applications was gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesced_time: Option<Time>,
    /// The databases of this request, by name and OID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<RequestDatabases>,
    /// What was restored and how it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<RestoredData>,
    /// Point of no return. Before it a failure undoes everything; after it the request only goes forward. Written before the
    /// databases are renamed (before the old one is dropped, with strategy Replace).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch_started_time: Option<Time>,
    /// When the databases were renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched_time: Option<Time>,
    /// What was replaced and is kept for an undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousDatabase>,
    /// Why the request does not succeed, from the first failure on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<RestoreFailure>,
}

/// Where a request is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(description = "")]
pub enum RestorePhase {
    /// It waits: to be looked at, or for another request of the same database.
    #[default]
    Pending,
    /// A Job finds out whether it can work.
    Planning,
    /// The end of a dry run.
    Planned,
    /// The applications are being stopped.
    Quiescing,
    /// The data is being loaded beside what is there.
    Restoring,
    /// What was loaded is being compared with the backup.
    Verifying,
    /// The databases are being renamed.
    Switching,
    /// The applications are coming back.
    Resuming,
    /// The checks of the spec run.
    Checking,
    /// Something failed, or it was cancelled: what was done is being undone.
    Undoing,
    /// The end: all was done.
    Succeeded,
    /// The end: it could not be done; conditions say how far it came.
    Failed,
    /// The end: `spec.cancel`, with everything undone.
    Cancelled,
    /// The end: `spec.startBefore` passed before it began; nothing was touched.
    Expired,
}

impl RestorePhase {
    /// Whether nothing follows.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Planned | Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired)
    }

    /// As it stands in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Planning => "Planning",
            Self::Planned => "Planned",
            Self::Quiescing => "Quiescing",
            Self::Restoring => "Restoring",
            Self::Verifying => "Verifying",
            Self::Switching => "Switching",
            Self::Resuming => "Resuming",
            Self::Checking => "Checking",
            Self::Undoing => "Undoing",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Expired => "Expired",
        }
    }
}

/// When a phase began and ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseTimes {
    /// The phase.
    pub phase: RestorePhase,
    /// Its begin.
    pub start_time: Time,
    /// Its end; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
}

/// A database on a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetDatabase {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Name of the database.
    pub database: String,
}

/// Where a request reads from and writes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlace {
    /// The bucket of backup and record.
    pub bucket: Bucket,
    /// Directory of the backups in the bucket, below the prefix; absent for an undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The server that is restored to.
    pub server: PostgresServer,
}

/// The backup that a plan has chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChosenBackup {
    /// Directory in the bucket, below the prefix.
    pub path: String,
    /// Id within its path.
    pub id: BackupId,
    /// Database of the backup that is restored.
    pub database: String,
    /// SHA-256 of the manifest as it was read, hexadecimal; absent for backups of the old scripts, which have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
}

/// What a Job of a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum RestoreJobKind {
    /// Finds out whether it can work.
    Plan,
    /// Loads and verifies.
    Load,
    /// Renames.
    Switch,
    /// Asks URLs and runs queries.
    Check,
    /// Runs a program of the user's (`spec.checks.jobs`).
    CheckJob,
    /// Drops what a failed request has made.
    DropTemporary,
    /// Drops what was replaced, once it is kept long enough.
    DropPrevious,
}

impl RestoreJobKind {
    /// As labels and names of Jobs have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Load => "load",
            Self::Switch => "switch",
            Self::Check => "check",
            Self::CheckJob => "check-job",
            Self::DropTemporary => "drop-temporary",
            Self::DropPrevious => "drop-previous",
        }
    }
}

/// A Job that goes on, pauses between its attempts included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveRestoreJob {
    /// What it does.
    pub kind: RestoreJobKind,
    /// Which of `spec.checks.jobs` it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// When it was decided.
    pub start_time: Time,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// UID of the attempt's Job, once that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
    /// The attempt does not start before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// Why the attempt before failed, or why the Pod of this one has not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// It is being stopped: its Job is deleted, and no Pod of it may be left before anything else happens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
    /// How far it is, at most some seconds old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<RunProgress>,
}

/// An application that was stopped: what it was before, so that it can be again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuiescedWorkload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// Its UID; one that was made anew under the same name is another.
    pub uid: String,
    /// Replicas that it had; of a Deployment or StatefulSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Whether it was suspended; of a CronJob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// HorizontalPodAutoscaler that targets it. At 0 replicas it pauses by itself, and goes on once they are back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<String>,
    /// ScaledObject of KEDA that is paused in its place: KEDA scales the workload to 0 and back, the operator does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_object: Option<PausedScaledObject>,
    /// What became of it.
    pub state: QuiesceState,
    /// What is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A ScaledObject of KEDA that was paused, and what its annotation said before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PausedScaledObject {
    /// Its name.
    pub name: String,
    /// What its annotation `autoscaling.keda.sh/paused-replicas` said; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_replicas: Option<String>,
}

/// An Application of Argo CD that was told to leave everything as it is, and what its annotation said before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkippedApplication {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; one that was made anew under the same name is another.
    pub uid: String,
    /// What its annotation `argocd.argoproj.io/skip-reconcile` said; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_reconcile: Option<String>,
    /// What became of it.
    pub state: QuiesceState,
    /// What is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What became of an application that was to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum QuiesceState {
    /// It is recorded, and is stopped or being stopped.
    Recorded,
    /// It was given back what it had.
    Resumed,
    /// It was deleted meanwhile, or made anew with another UID: there is nothing to give back.
    Gone,
    /// Another request has stopped it, and brings it back: it is left as it is.
    Taken,
}

/// A database by name and OID. The OID says which one it is, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedDatabase {
    /// Its name.
    pub name: String,
    /// Its OID (`pg_database.oid`).
    pub oid: u32,
}

/// The databases of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestDatabases {
    /// Name of the database that the backup is loaded into; for an undo, of the one that comes back.
    pub temporary: String,
    /// Its OID, once it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporary_oid: Option<u32>,
    /// OID of the database that had the name of the target when the plan was made; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_oid: Option<u32>,
    /// Name that the replaced database gets.
    pub previous: String,
}

/// A replaced database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviousDatabase {
    /// Its name.
    pub name: String,
    /// Its OID.
    pub oid: u32,
    /// When it is dropped, by the clocks of operator and server; not before the request has ended, nor while an undo of it goes on.
    pub drop_after: Time,
    /// When it was found to be gone: dropped, or back in its place after an undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_time: Option<Time>,
    /// Why it stays beyond its time: the ConfigMap that remembers it was deleted, or cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoredData {
    /// Number of tables.
    pub tables: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of the database on the server.
    pub bytes: u64,
    /// How it was compared with the backup, in words; absent where nothing could be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
    /// The largest tables, 10 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub largest: Vec<TableSize>,
    /// What `pg_restore` and the server warned of.
    #[serde(default)]
    pub warnings: u32,
    /// Of a part of a database: how much of it was left out, because it needs what was not restored (`status.plan.leftOut`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A table and its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TableSize {
    /// Schema and name.
    pub table: String,
    /// Bytes with indexes and large values (`pg_total_relation_size`).
    pub bytes: u64,
}

/// Why a request does not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreFailure {
    /// Phase in which it happened.
    pub phase: RestorePhase,
    /// Phase that the request ends in once everything is undone.
    pub end: RestorePhase,
    /// Stable reason.
    pub reason: String,
    /// Full sentence: what happened, and the way out.
    pub message: String,
    /// When it happened.
    pub time: Time,
}
