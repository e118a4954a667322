//! A dump of the database that goes on already when the database is about to be replaced: the switch would end its sessions, and the backup
//! would be lost. So the request waits for its end before it stops the first application; for a while, for a restore is urgent. Pure.

use std::collections::BTreeSet;
use std::fmt;

use greenlang_backup_api::reasons::restore::WAITING_FOR_BACKUP;
use greenlang_backup_api::task::{PostgresDumpTask, TASK_ENV, Task};
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequestStatus, RestoreStrategy};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use super::ledger;
use super::pass::Pass;
use super::validate::lock_name;
use crate::job_state::has_ended;
use crate::pause::seconds_later;

/// Seconds that it is waited for.
const LIMIT_SECONDS: i64 = 900;
/// Seconds between two looks at it.
const LOOK_SECONDS: i64 = 10;

/// Most bytes of a name in the Task of a dump; those of Kubernetes have no more.
const MAX_NAME: usize = 253;

/// A dump that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OngoingDump {
    job: String,
    policy: String,
    backup: String,
    id: String,
    /// What restores of its databases are serialised by ([`lock_name`]).
    locks: BTreeSet<String>,
}

impl OngoingDump {
    /// What a Job dumps; none once it has ended, and where it dumps nothing.
    pub fn of(job: &Job) -> Option<Self> {
        if has_ended(job) {
            return None;
        }
        let pod = job.spec.as_ref()?.template.spec.as_ref()?;
        let mut variables = pod.containers.iter().flat_map(|container| container.env.iter().flatten());
        let encoded = variables.find(|variable| variable.name == TASK_ENV)?.value.as_ref()?;
        let Ok(Task::PostgresDump(PostgresDumpTask { run, server, databases, .. })) = Task::decode(encoded)
        else {
            return None;
        };
        // Whoever may make Jobs may write anything to one, of any length, and it is told in status.
        if run.policy.len().max(run.backup.len()) > MAX_NAME {
            return None;
        }
        Some(Self {
            job: job.metadata.name.clone()?,
            policy: run.policy,
            backup: run.backup,
            id: run.id.to_string(),
            locks: databases.iter().map(|database| lock_name(&server, database)).collect(),
        })
    }
}

impl fmt::Display for OngoingDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backup {} {} of BackupPolicy {}", self.backup, self.id, self.policy)
    }
}

/// Whether a request, by its status, is about to stop the first application, and so may wait for dumps.
pub fn may_wait_for_dumps(status: &RestoreRequestStatus) -> bool {
    status.phase == Some(RestorePhase::Quiescing)
        && status.quiesced.is_empty()
        && status.quiesced_time.is_none()
}

fn in_the_way<'a>(pass: &Pass<'a>) -> Option<&'a OngoingDump> {
    let request = pass.request;
    let replaces = request.strategy != RestoreStrategy::NewDatabase;
    // With its status lost a request has stopped applications already.
    if !replaces || !may_wait_for_dumps(&pass.step.status) || ledger::carries_ours(pass) {
        return None;
    }
    let lock = lock_name(&request.place.server, &request.database);
    pass.seen.dumps.iter().find(|dump| dump.locks.contains(&lock))
}

fn limit(pass: &Pass<'_>) -> Timestamp {
    seconds_later(pass.phase_start(), LIMIT_SECONDS)
}

/// The dump that is waited for, in words.
pub(super) fn awaited(pass: &Pass<'_>) -> Option<String> {
    let limit = limit(pass);
    let dump = in_the_way(pass).filter(|_| pass.now() < limit)?;
    Some(format!(
        "waiting for the end of {dump}, which dumps database {} and would be cut off; until {limit} at most. To go on at once: kubectl \
         delete job {} -n {}",
        pass.request.database, dump.job, pass.request.identity.namespace
    ))
}

/// Whether a dump is waited for. Those that have not begun wait themselves as soon as this phase is stored.
pub(super) fn hold_up(pass: &mut Pass<'_>) -> bool {
    if let Some(what) = awaited(pass) {
        pass.status().progress = Some(what);
        pass.wake_in(LOOK_SECONDS);
        pass.wake_at(limit(pass));
        return true;
    }
    if let Some(dump) = in_the_way(pass) {
        let message = format!(
            "{dump} is not waited for any longer: unless it ends before, it is cut off when the databases are switched, and tried again"
        );
        pass.event(true, WAITING_FOR_BACKUP, message);
    }
    // Nothing else tells of progress before the first application is recorded.
    if may_wait_for_dumps(pass.stored) && pass.stored.progress.is_some() {
        pass.begin_again();
    }
    false
}
