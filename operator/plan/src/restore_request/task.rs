//! Builds the Task and the Job of each step of a request. Pure.

use std::collections::BTreeMap;

use greenlang_backup_api::names::job_name;
use greenlang_backup_api::restore::{
    CheckAction, DropAction, LoadAction, PlanAction, RestoreAction, RestoreTask, SwitchAction,
};
use greenlang_backup_api::task::{Task, TaskError};
use greenlang_backup_api::v1alpha1::{
    ActiveRestoreJob, JobCheck, NamedDatabase, RestoreJobKind, RestoreRequest, RestoreRequestStatus,
    RestoreStrategy,
};
use greenlang_backup_api::{labels, reasons};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::switch;
use super::validate::ValidatedRestore;
use crate::backup_policy::Invalid;
use crate::backup_policy::task::mounts;
use crate::job::{JobRequest, RunnerSettings, build_job};

/// Memory limit of a Job in bytes where the user names no resources: 256 MiB, at any size of the database.
pub(super) const MEMORY: u64 = 256 << 20;
/// Seconds until a plan is stopped: it looks and moves no data.
const PLAN_SECONDS: u32 = 600;
/// Seconds until a load is stopped: a week. One that hangs is given up after `stallSeconds`.
const LOAD_SECONDS: u32 = 604_800;
/// Seconds until a switch is stopped; the next attempt goes on.
const SWITCH_SECONDS: u32 = 600;
/// Seconds until a drop is stopped.
pub(super) const DROP_SECONDS: u32 = 3_600;
/// Seconds that every Job has to start.
const START_SECONDS: u32 = 600;
/// Seconds that a check of a URL takes where the spec does not say.
const HEALTH_SECONDS: u32 = 60;
/// Seconds that checks may take beside what the spec says of URLs: queries, above all.
const CHECK_MARGIN_SECONDS: u32 = 600;
/// Seconds until a check of the user's is stopped where the spec does not say.
const CHECK_JOB_SECONDS: u32 = 600;

impl ValidatedRestore {
    /// Name of the Job of an attempt.
    pub(super) fn job_name(&self, active: &ActiveRestoreJob) -> String {
        let check = active.check.as_deref().unwrap_or_default();
        job_name(&self.identity.uid, &self.identity.name, active.kind.as_str(), check, active.attempt)
    }

    /// The Job of an attempt; none where status lacks what it needs, which no stored status does. A plan writes the request's
    /// record if `claim` says so.
    pub(super) fn job(
        &self,
        status: &RestoreRequestStatus,
        active: &ActiveRestoreJob,
        runner: &RunnerSettings,
        claim: bool,
    ) -> Result<Option<Job>, TaskError> {
        if active.kind == RestoreJobKind::CheckJob {
            let check = self.checks.jobs.iter().find(|check| Some(&check.name) == active.check.as_ref());
            return Ok(check.map(|check| self.check_job(check, active, runner)));
        }
        let Some(action) = self.action(status, active.kind, claim) else { return Ok(None) };
        let task = Task::Restore(self.task(action));
        let request = self.job_request(active, task.encode()?, mounts(&task), self.deadline(active));
        Ok(Some(build_job(request, runner)))
    }

    fn job_request<'a>(
        &'a self,
        active: &ActiveRestoreJob,
        task: String,
        secrets: BTreeMap<String, String>,
        active_deadline_seconds: u32,
    ) -> JobRequest<'a> {
        let ours = [
            (labels::RESTORE, self.identity.name.clone()),
            (labels::TASK, labels::TASK_RESTORE.to_owned()),
            (labels::ACTION, active.kind.as_str().to_owned()),
            (labels::ATTEMPT, active.attempt.to_string()),
        ];
        JobRequest {
            name: self.job_name(active),
            namespace: &self.identity.namespace,
            owner: self.owner(),
            labels: ours.map(|(key, value)| (key.to_owned(), value)).into(),
            task,
            secrets,
            active_deadline_seconds,
            memory: MEMORY,
            template: &self.job_template,
        }
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: RestoreRequest::API_VERSION.into(),
            kind: RestoreRequest::KIND.into(),
            name: self.identity.name.clone(),
            uid: self.identity.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    fn task(&self, action: RestoreAction) -> RestoreTask {
        RestoreTask {
            request: self.identity.clone(),
            spec_sha256: self.spec_sha256.clone(),
            bucket: self.place.bucket.clone(),
            server: self.place.server.clone(),
            database: self.database.clone(),
            stall_seconds: self.stall_seconds,
            action,
        }
    }

    /// Seconds until the Job of an attempt is given up if it has not started: a node that is made for it, and a large image, take
    /// their time.
    pub(super) fn start_limit(&self, active: &ActiveRestoreJob) -> i64 {
        let seconds = match active.kind {
            // It may run for a week, and the applications are down while it waits.
            RestoreJobKind::Load => self.stall_seconds,
            _ => self.deadline(active),
        };
        i64::from(seconds.max(START_SECONDS))
    }

    /// Seconds until the Job of an attempt is stopped.
    fn deadline(&self, active: &ActiveRestoreJob) -> u32 {
        match active.kind {
            RestoreJobKind::Plan => PLAN_SECONDS,
            RestoreJobKind::Load => LOAD_SECONDS,
            RestoreJobKind::Switch => SWITCH_SECONDS,
            RestoreJobKind::DropTemporary | RestoreJobKind::DropPrevious => DROP_SECONDS,
            RestoreJobKind::CheckJob => {
                let mut checks = self.checks.jobs.iter();
                let check = checks.find(|check| Some(&check.name) == active.check.as_ref());
                check.and_then(|check| check.timeout_seconds).unwrap_or(CHECK_JOB_SECONDS)
            }
            RestoreJobKind::Check => {
                let health = self.checks.health.iter();
                let seconds =
                    health.map(|check| check.timeout_seconds.unwrap_or(HEALTH_SECONDS)).sum::<u32>();
                seconds + CHECK_MARGIN_SECONDS
            }
        }
    }

    fn action(
        &self,
        status: &RestoreRequestStatus,
        kind: RestoreJobKind,
        claim: bool,
    ) -> Option<RestoreAction> {
        let action = match kind {
            RestoreJobKind::Plan => RestoreAction::Plan(self.plan_action(claim)),
            RestoreJobKind::Load => RestoreAction::Load(self.load_action(status)?),
            RestoreJobKind::Switch => RestoreAction::Switch(self.switch_action(status)?),
            RestoreJobKind::Check => RestoreAction::Check(CheckAction {
                health: self.checks.health.clone(),
                sql: self.checks.sql.clone(),
            }),
            // By its own derived name, never by one that status says: what an undo brings back has that.
            RestoreJobKind::DropTemporary => RestoreAction::Drop(DropAction {
                name: self.temporary(),
                oid: status
                    .databases
                    .as_ref()
                    .and_then(|databases| databases.temporary_oid)
                    .filter(|_| !self.is_undo()),
                rolls_back: true,
                not_before: None,
            }),
            RestoreJobKind::DropPrevious | RestoreJobKind::CheckJob => return None,
        };
        Some(action)
    }

    fn plan_action(&self, claim: bool) -> PlanAction {
        PlanAction {
            source: self.source.clone(),
            keys: self.keys.clone(),
            strategy: self.strategy,
            temporary: self.temporary(),
            previous: self.previous(),
            jobs: self.jobs,
            globals: self.globals,
            verify: self.verify,
            include: self.include.clone(),
            allow_logical_replication_loss: self.allow_logical_replication_loss,
            claim,
        }
    }

    fn load_action(&self, status: &RestoreRequestStatus) -> Option<LoadAction> {
        let dropped = status.databases.as_ref().and_then(|databases| databases.target_oid);
        let dropped = dropped.filter(|_| self.strategy == RestoreStrategy::Replace);
        Some(LoadAction {
            backup: status.backup.clone()?,
            keys: self.keys.clone(),
            temporary: self.temporary(),
            jobs: self.jobs,
            globals: self.globals,
            verify: self.verify,
            include: self.include.clone(),
            drop_first: dropped.map(|oid| NamedDatabase { name: self.database.clone(), oid }),
        })
    }

    fn switch_action(&self, status: &RestoreRequestStatus) -> Option<SwitchAction> {
        let databases = status.databases.as_ref()?;
        Some(SwitchAction {
            incoming: NamedDatabase { name: databases.temporary.clone(), oid: databases.temporary_oid? },
            outgoing: switch::outgoing(self, status),
            backup: status.backup.clone(),
            undo_of: match &self.source {
                greenlang_backup_api::restore::PlanSource::Undo { of } => Some(of.clone()),
                _ => None,
            },
            allow_logical_replication_loss: self.allow_logical_replication_loss,
        })
    }

    /// The user's program in a Pod like ours: without rights, token or root.
    fn check_job(&self, check: &JobCheck, active: &ActiveRestoreJob, runner: &RunnerSettings) -> Job {
        let deadline = self.deadline(active);
        let mut job = build_job(self.job_request(active, String::new(), BTreeMap::new(), deadline), runner);
        let pod = job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
        if let Some(pod) = pod {
            if let Some(security) = &mut pod.security_context {
                security.run_as_user = None;
                security.run_as_group = None;
            }
            for container in &mut pod.containers {
                container.image = Some(check.image.clone());
                container.image_pull_policy = None;
                container.command = Some(check.command.clone()).filter(|command| !command.is_empty());
                container.env = Some(variables(check));
                if let Some(security) = &mut container.security_context {
                    security.read_only_root_filesystem = None;
                }
            }
        }
        job
    }

    /// Every Task must fit into a Pod's environment; found out here and not when the applications are down.
    pub(super) fn check_task_sizes(&self) -> Result<(), Invalid> {
        let check = CheckAction { health: self.checks.health.clone(), sql: self.checks.sql.clone() };
        let tasks = [
            ("spec.database", RestoreAction::Plan(self.plan_action(true))),
            ("spec.checks", RestoreAction::Check(check)),
        ];
        for (field, action) in tasks {
            Task::Restore(self.task(action)).encode().map_err(|error| Invalid {
                reason: reasons::INVALID_SPEC,
                field: field.to_owned(),
                message: error.to_string(),
            })?;
        }
        Ok(())
    }
}

fn variables(check: &JobCheck) -> Vec<EnvVar> {
    let variables = check.env.iter().map(|variable| EnvVar {
        name: variable.name.clone(),
        value: variable.value.clone(),
        value_from: variable.secret_key_ref.as_ref().map(|key| EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: key.name.clone(),
                key: key.key.clone(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    });
    variables.collect()
}

/// A Job that drops a replaced database. It belongs to the ConfigMap that remembers it.
pub(super) fn drop_previous_job(
    kept: &greenlang_backup_api::restore::KeptDatabase,
    owner: OwnerReference,
    slot: Timestamp,
    runner: &RunnerSettings,
) -> Result<Job, TaskError> {
    let (request, kind) = (&kept.request, RestoreJobKind::DropPrevious);
    let task = Task::Restore(RestoreTask {
        request: request.clone(),
        spec_sha256: String::new(),
        bucket: kept.bucket.clone(),
        server: kept.server.clone(),
        database: kept.database.clone(),
        stall_seconds: kept.stall_seconds,
        action: RestoreAction::Drop(DropAction {
            name: kept.previous.name.clone(),
            oid: Some(kept.previous.oid),
            rolls_back: false,
            not_before: Some(kept.drop_after),
        }),
    });
    let ours = [
        (labels::KEPT_DATABASE, request.name.clone()),
        (labels::RESTORE_UID, request.uid.clone()),
        (labels::TASK, labels::TASK_RESTORE.to_owned()),
        (labels::ACTION, kind.as_str().to_owned()),
    ];
    let job = JobRequest {
        name: job_name(&request.uid, &request.name, kind.as_str(), &slot.to_string(), 1),
        namespace: &request.namespace,
        owner,
        labels: ours.map(|(key, value)| (key.to_owned(), value)).into(),
        secrets: mounts(&task),
        task: task.encode()?,
        active_deadline_seconds: DROP_SECONDS,
        memory: MEMORY,
        template: &kept.job_template,
    };
    Ok(build_job(job, runner))
}
