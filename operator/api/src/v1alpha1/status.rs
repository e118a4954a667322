//! Status of a BackupPolicy: what the operator remembers. Every list is bounded. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CatalogueStatus, PruneStatus, Verification};
use crate::names::BackupId;
use crate::progress::Progress;

/// Most entries of [`BackupPolicyStatus::available`].
pub const MAX_AVAILABLE: usize = 100;
/// Most entries of [`BackupStatus::clean_ups`].
pub const MAX_CLEAN_UPS: usize = 20;
/// Most entries of [`BackupStatus::clean_ups`] of all backups together.
pub const MAX_CLEAN_UPS_IN_ALL: usize = 64;
/// Most entries of [`BackupPolicyStatus::backups`] that the spec no longer has.
pub const MAX_REMOVED: usize = 32;
/// Most schedules of all backups of a policy together.
pub const MAX_SCHEDULES: usize = 128;
/// Longest text in status about something that failed, in bytes of JSON. Events have it as a whole.
pub const MAX_FAILURE: usize = 256;

/// Most entries of [`BackupStatus::alongside`].
pub const MAX_ALONGSIDE: usize = 3;
/// Most entries of [`BackupStatus::waiting`].
pub const MAX_WAITING: usize = 8;

/// What the operator knows of a policy. Until the operator has seen it, `observedGeneration` is -1, so that tools which wait for
/// readiness (kstatus, Argo CD) do not take a new object for a finished one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct BackupPolicyStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: spec valid, and bucket, database and keys usable. `Reconciling`, `Stalled`: as kstatus reads them.
    /// `StorageReachable`, `DatabaseReachable`, `EncryptionReady`: findings of the last probe. `BackupsCurrent`: the newest ended run of every schedule succeeded.
    /// `RetentionActive`: old backups are deleted when their days are over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The last check of bucket, database and keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeStatus>,
    /// Whether the history in the bucket was read; absent where it was never lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<CatalogueStatus>,
    /// One entry for each backup of the spec, and after them 32 at most of backups that were taken out of it and still wait for
    /// the end of a run or a clean-up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub backups: Vec<BackupStatus>,
    /// The newest restorable backups, newest first, 100 at most. The bucket has them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub available: Vec<AvailableBackup>,
    /// Progress of the active run in words, for `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// End of the newest successful run of any backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup_time: Option<Time>,
    /// Size of that backup in the bucket, in words, for `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_size: Option<String>,
    /// When the next scheduled run is due: the first slot of any schedule, with its jitter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_backup: Option<Time>,
}

/// The last check of bucket, database and keys, and the one that is going on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeStatus {
    /// Generation of the spec that the last finished probe checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Value of the annotation `backup.greenlang.io/adopt` that the last finished probe knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<String>,
    /// End of the last finished probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Time>,
    /// When the next one starts, unless the spec changes before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_probe_time: Option<Time>,
    /// Failed probes in a row; the pause between probes grows with it.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// Bytes that a dump of the largest database is expected to have; the memory limit of backup Jobs follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_database_bytes: Option<u64>,
    /// The probe that is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveProbe>,
}

/// A probe that is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveProbe {
    /// When it was decided; its Job is named after it.
    pub start_time: Time,
    /// Generation of the spec that it checks.
    pub generation: i64,
    /// Value of the annotation `backup.greenlang.io/adopt` that it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<String>,
    /// UID of its Job, once that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
}

/// What the operator knows of one backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// Name of the backup.
    pub name: String,
    /// The run that is going on, from its decision to its end, pauses between attempts and its wait for runs of other policies included. The oldest of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveRun>,
    /// Further runs that go on beside it, because a schedule says `concurrencyPolicy: Allow`, oldest first, 3 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub alongside: Vec<ActiveRun>,
    /// Runs asked for by annotation that wait until they may start, oldest first, 8 at most. A token beyond that stays in the
    /// annotation until there is room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub waiting: Vec<Run>,
    /// One entry for each schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub schedules: Vec<ScheduleStatus>,
    /// Runs that no schedule asked for: by annotation, or by `firstRun: Immediately`.
    #[serde(default)]
    pub manual: RunHistory,
    /// Last value of the annotation `run.backup.greenlang.io/<backup>` that a run was noted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual_token: Option<String>,
    /// Id of the newest run of any kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_id: Option<BackupId>,
    /// What ended attempts may have left in the bucket and is still to be removed, oldest first, 20 at most, and 64 of all
    /// backups together. A Pod that was killed leaves objects and open uploads, and so does one that could not reach the bucket to
    /// remove them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub clean_ups: Vec<CleanUp>,
    /// Entries that had no room among `cleanUps`: the deletion of old backups removes what they were about.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clean_ups_dropped: u64,
    /// Deletion of old backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<PruneStatus>,
}

/// What attempts of one run may have left in the bucket. The entry goes once a Job has removed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CleanUp {
    /// Id of the backup that the attempts were to make.
    pub id: BackupId,
    /// Directory in the bucket that they wrote to, below the prefix.
    pub path: String,
    /// Numbers of the attempts, ascending.
    pub attempts: Vec<u32>,
    /// Clean-ups that failed so far; the pause between them grows with it, from 30 s to one hour.
    #[serde(default)]
    pub failures: u32,
    /// The next clean-up does not start before this time: after a failure, while a Pod that nobody saw end may still write, or in
    /// the minute after the end of one, whose last request may still be on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_time: Option<Time>,
    /// Why the last clean-up failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The clean-up that is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveCleanUp>,
}

/// A clean-up that is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveCleanUp {
    /// When it was decided; its Job is named after it.
    pub start_time: Time,
    /// UID of its Job, once that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
}

/// What asked for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Trigger {
    /// One or more schedules.
    Schedule,
    /// The annotation `run.backup.greenlang.io/<backup>`.
    Manual,
    /// `firstRun: Immediately`.
    FirstRun,
}

/// One run: what it stands for, the same for all its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Id that the backup will have.
    pub id: BackupId,
    /// What asked for it.
    pub trigger: Trigger,
    /// Schedules it serves; empty for runs that no schedule asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<String>,
}

/// A run that is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveRun {
    /// What it stands for.
    #[serde(flatten)]
    pub run: Run,
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
    /// How far it is, at most some seconds old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<RunProgress>,
    /// Directory in the bucket that this attempt writes to, below the prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why it is being stopped. It ends once no Pod of its Job is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping: Option<Stopping>,
}

/// Why a run is stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum Stopping {
    /// A newer run takes its place (`concurrencyPolicy: Replace`).
    Replaced,
    /// The spec no longer has its backup.
    BackupRemoved,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunProgress {
    /// Step, bytes and rate as the runner wrote them.
    #[serde(flatten)]
    pub progress: Progress,
    /// Percent of the bytes expected, at most 99 until the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Seconds left at the present rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// When it was read.
    pub time: Time,
}

/// What the operator knows of one schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// Name of the schedule.
    pub name: String,
    /// Expression and time zone that were accepted, for example `0 2 * * * Etc/UTC`.
    pub accepted: String,
    /// Slots before this time are not made up for: when the policy was created, or the expression changed.
    pub accepted_time: Time,
    /// Newest slot for which a run was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// When the next run is due: the next slot with its jitter. Absent while suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,
    /// Newest slot that passed without a run and is not made up for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_missed_time: Option<Time>,
    /// Slots that passed without a run and are not made up for; of one gap, 1,000 are counted at most.
    #[serde(default)]
    pub missed: u64,
    /// Slots before this time do not count as missed: the schedule was suspended until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_time: Option<Time>,
    /// What came of its runs.
    #[serde(flatten)]
    pub history: RunHistory,
}

impl ScheduleStatus {
    /// Of a schedule that nothing is known of yet.
    pub fn new(name: &str, accepted: &str, accepted_time: Time) -> Self {
        Self {
            name: name.to_owned(),
            accepted: accepted.to_owned(),
            accepted_time,
            last_schedule_time: None,
            next_schedule_time: None,
            last_missed_time: None,
            missed: 0,
            resumed_time: None,
            history: RunHistory::default(),
        }
    }
}

/// What came of runs, since the policy was created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunHistory {
    /// Attempts that ended, retries included.
    #[serde(default)]
    pub attempts: u64,
    /// Runs that made a backup.
    #[serde(default)]
    pub succeeded: u64,
    /// Runs that failed for good, all retries used up.
    #[serde(default)]
    pub failed: u64,
    /// The newest run that made a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<SucceededRun>,
    /// The newest run that failed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailedRun>,
}

/// A run that made a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SucceededRun {
    /// Id of the backup.
    pub id: BackupId,
    /// When it ended.
    pub time: Time,
    /// Seconds that the successful attempt took.
    pub duration_seconds: u64,
    /// Bytes stored.
    pub bytes: u64,
    /// How far it was proved.
    pub verified: Verification,
}

/// A run that failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedRun {
    /// Id that the backup would have had.
    pub id: BackupId,
    /// When it ended.
    pub time: Time,
    /// Stable reason.
    pub reason: String,
    /// What happened, and what to do, as far as 256 bytes hold it. The event has more.
    pub message: String,
}

/// A restorable backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvailableBackup {
    /// Name of the backup within the policy.
    pub backup: String,
    /// Id within its path.
    pub id: BackupId,
    /// When it was finished.
    pub time: Time,
    /// Bytes stored.
    pub bytes: u64,
    /// How far it was proved.
    pub verified: Verification,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl BackupPolicyStatus {
    /// Status of the backup of a name.
    pub fn backup(&self, name: &str) -> Option<&BackupStatus> {
        self.backups.iter().find(|backup| backup.name == name)
    }
}

impl BackupStatus {
    /// All runs that go on, oldest first.
    pub fn runs(&self) -> impl Iterator<Item = &ActiveRun> {
        self.active.iter().chain(&self.alongside)
    }

    /// What has been counted: by schedule, and of the runs that no schedule asked for.
    pub fn histories(&self) -> impl Iterator<Item = &RunHistory> {
        self.schedules.iter().map(|entry| &entry.history).chain([&self.manual])
    }

    /// Takes all runs that go on out of the status.
    pub fn take_runs(&mut self) -> Vec<ActiveRun> {
        self.active.take().into_iter().chain(std::mem::take(&mut self.alongside)).collect()
    }

    /// Adds a run as the newest.
    pub fn push_run(&mut self, run: ActiveRun) {
        match &self.active {
            None => self.active = Some(run),
            Some(_) => self.alongside.push(run),
        }
    }
}
