//! Builds the Task of a run, a probe or a clean-up, and puts the Jobs of policies together. Pure.

use std::collections::BTreeMap;

use greenlang_backup_api::labels;
use greenlang_backup_api::names::{BackupId, MAX_JOB_NAME, job_name};
use greenlang_backup_api::reasons;
use greenlang_backup_api::sizing::memory_for;
use greenlang_backup_api::task::{
    CleanUpTask, MountedSecret, PostgresDumpTask, PostgresProbe, ProbeTask, RunIdentity, ServedSchedule,
    Task, TaskError,
};
use greenlang_backup_api::v1alpha1::{
    ActiveCleanUp, ActiveProbe, ActiveRun, BackupPolicy, CleanUp, Run, Trigger,
};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::validate::{
    ACTIVE_DEADLINE_SECONDS, BACKOFF_LIMIT, Invalid, Source, ValidatedBackup, ValidatedPolicy,
};
use crate::job::{JobRequest, RunnerSettings, build_job};

/// Least memory limit of a Job in bytes: 512 MiB.
const MIN_MEMORY: u64 = 512 << 20;
/// Size in bytes that the largest database is taken to have at most while no probe has told it: 1 TiB. In one stream that
/// takes 616 MiB, hardly more than the least limit.
const ASSUMED_DATABASE_BYTES: u64 = 1 << 40;
/// For each `pg_dump` beside the runner, in bytes: it keeps the catalog in memory.
const PROGRAM_MEMORY: u64 = 128 << 20;
/// Seconds until a probe is stopped. Its checks have limits of their own, far below.
const PROBE_DEADLINE_SECONDS: u32 = 120;
/// Seconds until a clean-up is stopped: it deletes some hundred objects at most.
const CLEAN_UP_DEADLINE_SECONDS: u32 = 600;
/// Characters of a UID.
const UID_LENGTH: usize = 36;
/// Stands for the backup in the name of a clean-up's Job, as [`PROBE_SUBJECT`] does.
const CLEAN_UP_SUBJECT: &str = "clean-up.";
/// Stands for the backup in the name of a probe's Job. No backup can have this name: it has a dot.
const PROBE_SUBJECT: &str = "probe.";

impl ValidatedPolicy {
    /// Name of the Job for the active attempt of a run.
    pub(super) fn run_job_name(&self, backup: &str, active: &ActiveRun) -> String {
        job_name(&self.identity.uid, &self.identity.name, backup, active.run.id.as_str(), active.attempt)
    }

    /// Name of the Job for a probe.
    pub(super) fn probe_job_name(&self, active: &ActiveProbe) -> String {
        let key = BackupId::from_slot(active.start_time.0);
        job_name(&self.identity.uid, &self.identity.name, PROBE_SUBJECT, key.as_str(), 1)
    }

    /// Name of the Job for a clean-up: every try of each has its own.
    pub(super) fn clean_up_job_name(&self, backup: &str, entry: &CleanUp, active: &ActiveCleanUp) -> String {
        let start = BackupId::from_slot(active.start_time.0);
        let key = format!("{backup}/{}/{:?}/{start}", entry.id, entry.attempts);
        let try_ = entry.failures.saturating_add(1);
        job_name(&self.identity.uid, &self.identity.name, CLEAN_UP_SUBJECT, &key, try_)
    }

    /// The Job for the active attempt of a run.
    pub(super) fn run_job(
        &self,
        backup: &ValidatedBackup,
        active: &ActiveRun,
        largest_database_bytes: Option<u64>,
        runner: &RunnerSettings,
    ) -> Result<Job, TaskError> {
        let path = active.path.as_deref().unwrap_or(&backup.path);
        let task = self.run_task(backup, path, &active.run, active.attempt, &runner.cluster_uid);
        let labels = [
            (labels::TASK, labels::TASK_BACKUP.to_owned()),
            (labels::BACKUP, backup.name.clone()),
            (labels::ID, active.run.id.to_string()),
            (labels::ATTEMPT, active.attempt.to_string()),
        ];
        let limits = Limits {
            seconds: Self::active_deadline_seconds(backup, &active.run),
            memory: self.memory(backup, largest_database_bytes.unwrap_or(ASSUMED_DATABASE_BYTES)),
        };
        self.job_of(self.run_job_name(&backup.name, active), labels, &task, limits, runner)
    }

    /// The Job for a probe.
    pub(super) fn probe_job(&self, active: &ActiveProbe, runner: &RunnerSettings) -> Result<Job, TaskError> {
        let name = self.probe_job_name(active);
        let task = self.probe_task(&name, &runner.cluster_uid);
        let labels = [(labels::TASK, labels::TASK_PROBE.to_owned())];
        self.job_of(name, labels, &task, Limits::least(PROBE_DEADLINE_SECONDS), runner)
    }

    /// The Job for a clean-up.
    pub(super) fn clean_up_job(
        &self,
        backup: &str,
        entry: &CleanUp,
        active: &ActiveCleanUp,
        runner: &RunnerSettings,
    ) -> Result<Job, TaskError> {
        let task = Task::CleanUp(CleanUpTask {
            claim: self.claim(&runner.cluster_uid),
            policy_uid: self.identity.uid.clone(),
            backup: backup.to_owned(),
            path: entry.path.clone(),
            id: entry.id.clone(),
            attempts: entry.attempts.clone(),
            bucket: self.bucket.clone(),
        });
        let name = self.clean_up_job_name(backup, entry, active);
        let labels = [(labels::TASK, labels::TASK_CLEAN_UP.to_owned()), (labels::ID, entry.id.to_string())];
        self.job_of(name, labels, &task, Limits::least(CLEAN_UP_DEADLINE_SECONDS), runner)
    }

    /// The Job for a Task, of whatever kind, with these labels of ours besides the policy's name.
    pub(super) fn job_of<const N: usize>(
        &self,
        name: String,
        labels: [(&str, String); N],
        task: &Task,
        limits: Limits,
        runner: &RunnerSettings,
    ) -> Result<Job, TaskError> {
        let request = JobRequest {
            name,
            namespace: &self.identity.namespace,
            owner: self.owner(),
            labels: self.labels(labels),
            secrets: mounts(task),
            task: task.encode()?,
            active_deadline_seconds: limits.seconds,
            memory: limits.memory,
            template: &self.job_template,
        };
        Ok(build_job(request, runner))
    }

    /// Memory limit of a backup's Job. Databases are dumped one after the other, so the largest decides; it may have grown by a
    /// quarter since it was looked at.
    fn memory(&self, backup: &ValidatedBackup, largest_database_bytes: u64) -> u64 {
        let Source::PostgresDump { streams, .. } = backup.source;
        let expected = largest_database_bytes.saturating_add(largest_database_bytes / 4);
        let programs = u64::from(streams) * PROGRAM_MEMORY;
        let memory = memory_for(expected, streams, self.seal.compression_level);
        memory.saturating_add(programs).max(MIN_MEMORY)
    }

    /// Seconds until an attempt of a run is stopped.
    pub(super) fn active_deadline_seconds(backup: &ValidatedBackup, run: &Run) -> u32 {
        let deadline = served(backup, run).map(|schedule| schedule.active_deadline_seconds).max();
        deadline.unwrap_or(ACTIVE_DEADLINE_SECONDS)
    }

    /// Retries that a run is allowed.
    pub(super) fn backoff_limit(backup: &ValidatedBackup, run: &Run) -> u32 {
        served(backup, run).map(|schedule| schedule.backoff_limit).max().unwrap_or(BACKOFF_LIMIT)
    }

    /// A Task must fit into a Pod's environment; found out here and not when a slot is due. What bounds those that are not measured
    /// stands in `Pass::create`.
    pub(super) fn check_task_sizes(&self) -> Result<(), Invalid> {
        for backup in &self.backups {
            let run = Run {
                id: BackupId::from_slot(Timestamp::UNIX_EPOCH),
                trigger: Trigger::Schedule,
                schedules: backup.schedules.iter().map(|schedule| schedule.name.clone()).collect(),
            };
            let task = self.run_task(backup, &backup.path, &run, u32::MAX, &"c".repeat(UID_LENGTH));
            task.encode().map_err(|error| Invalid {
                reason: reasons::INVALID_SPEC,
                field: format!("spec.backups[{}]", backup.name),
                message: error.to_string(),
            })?;
        }
        let probe = self.probe_task(&"m".repeat(MAX_JOB_NAME), &"c".repeat(UID_LENGTH));
        probe.encode().map_err(|error| Invalid {
            reason: reasons::INVALID_SPEC,
            field: "spec.backups".to_owned(),
            message: format!("the check of all databases together does not fit: {error}"),
        })?;
        Ok(())
    }

    fn run_task(
        &self,
        backup: &ValidatedBackup,
        path: &str,
        run: &Run,
        attempt: u32,
        cluster_uid: &str,
    ) -> Task {
        let schedules: Vec<ServedSchedule> = served(backup, run)
            .map(|schedule| ServedSchedule { name: schedule.name.clone(), keep_days: schedule.keep_days })
            .collect();
        let identity = RunIdentity {
            namespace: self.identity.namespace.clone(),
            policy: self.identity.name.clone(),
            policy_uid: self.identity.uid.clone(),
            backup: backup.name.clone(),
            path: path.to_owned(),
            id: run.id.clone(),
            attempt,
            slot: run.id.slot().unwrap_or(Timestamp::UNIX_EPOCH),
            trigger: run.trigger,
            keep_days: schedules
                .iter()
                .map(|schedule| schedule.keep_days)
                .max()
                .unwrap_or(self.manual_keep_days),
            schedules,
        };
        match &backup.source {
            Source::PostgresDump { server, databases, globals, role_passwords, settings, streams } => {
                Task::PostgresDump(PostgresDumpTask {
                    run: identity,
                    claim: self.claim(cluster_uid),
                    bucket: self.bucket.clone(),
                    seal: self.seal.clone(),
                    server: server.clone(),
                    databases: databases.clone(),
                    globals: *globals,
                    role_passwords: *role_passwords,
                    settings: *settings,
                    streams: *streams,
                    read_back_limit: self.read_back_limit,
                    stall_seconds: self.stall_seconds,
                })
            }
        }
    }

    fn probe_task(&self, marker: &str, cluster_uid: &str) -> Task {
        let mut databases: Vec<String> = self
            .backups
            .iter()
            .flat_map(|backup| match &backup.source {
                Source::PostgresDump { databases, .. } => databases.clone(),
            })
            .collect();
        databases.sort();
        databases.dedup();
        Task::Probe(ProbeTask {
            claim: self.claim(cluster_uid),
            bucket: self.bucket.clone(),
            seal: self.seal.clone(),
            postgres: self.server.clone().map(|server| PostgresProbe { server, databases }),
            marker: marker.to_owned(),
        })
    }

    fn labels<const N: usize>(&self, ours: [(&str, String); N]) -> BTreeMap<String, String> {
        let policy = (labels::POLICY.to_owned(), self.identity.name.clone());
        ours.into_iter().map(|(key, value)| (key.to_owned(), value)).chain([policy]).collect()
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: BackupPolicy::API_VERSION.into(),
            kind: BackupPolicy::KIND.into(),
            name: self.identity.name.clone(),
            uid: self.identity.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }
}

/// Schedules that a run serves and the spec still has.
fn served<'a>(
    backup: &'a ValidatedBackup,
    run: &'a Run,
) -> impl Iterator<Item = &'a super::validate::ValidatedSchedule> + 'a {
    backup.schedules.iter().filter(|schedule| run.schedules.contains(&schedule.name))
}

/// What the Pod of a Job may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    seconds: u32,
    /// In bytes, where the user names no resources.
    memory: u64,
}

impl Limits {
    /// So many seconds, and the least memory.
    pub const fn least(seconds: u32) -> Self {
        Self { seconds, memory: MIN_MEMORY }
    }
}

/// The Secrets that a Task names, by directory.
pub(crate) fn mounts(task: &Task) -> BTreeMap<String, String> {
    let (bucket, server) = match task {
        Task::Probe(probe) => (&probe.bucket, probe.postgres.as_ref().map(|postgres| &postgres.server)),
        Task::PostgresDump(dump) => (&dump.bucket, Some(&dump.server)),
        Task::CleanUp(clean_up) => (&clean_up.bucket, None),
        Task::Prune(prune) => (&prune.bucket, None),
        Task::Catalogue(catalogue) => (&catalogue.bucket, None),
        Task::Restore(restore) => (&restore.bucket, Some(&restore.server)),
    };
    let keys = match task {
        Task::Restore(restore) => restore.keys(),
        _ => vec![],
    };
    let database = server.into_iter().flat_map(|server| [Some(&server.credentials), server.ca.as_ref()]);
    [bucket.credentials.as_ref(), bucket.ca.as_ref()]
        .into_iter()
        .chain(database)
        .flatten()
        .chain(keys)
        .map(mount)
        .collect()
}

fn mount(secret: &MountedSecret) -> (String, String) {
    (secret.directory.clone(), secret.secret.clone())
}
