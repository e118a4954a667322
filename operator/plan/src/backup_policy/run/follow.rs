//! Decides the next step of runs that go on: a Job, its end, a stop. Pure.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::v1alpha1::{ActiveRun, BackupStatus, Stopping};

use super::super::clean_up;
use super::super::decide::{Pass, failure};
use super::super::first_probe;
use super::super::observe::Observed;
use super::super::restores;
use super::super::validate::ValidatedBackup;
use super::{count, stop_reason};
use crate::job_state::{Ended, JobState};
use crate::jobs::PROGRESS_SECONDS;
use crate::jobs::{ObservedJob, cannot_start, shown_progress};
use crate::pause::{seconds_later, still_ahead};
use crate::queue::Wanted;

/// Seconds between two looks at a Pod that is to go.
const STOP_SECONDS: i64 = 5;
/// Seconds after which the UID of a Job is stored however much goes on.
const UID_SECONDS: i64 = 10;

/// Follows all runs of a backup. `backup` is none when the spec no longer has it.
pub(super) fn follow_all(pass: &mut Pass<'_>, backup: Option<&ValidatedBackup>, status: &mut BackupStatus) {
    for run in status.take_runs() {
        if let Some(run) = follow(pass, backup, status, run) {
            status.push_run(run);
        }
    }
}

/// The run as it is now; none once it has ended.
fn follow(
    pass: &mut Pass<'_>,
    backup: Option<&ValidatedBackup>,
    status: &mut BackupStatus,
    mut active: ActiveRun,
) -> Option<ActiveRun> {
    let now = pass.now();
    match (pass.job(&pass.policy.run_job_name(&status.name, &active)).cloned(), active.stopping) {
        (None, Some(stopping)) => stopped(pass, backup, status, active, stopping),
        (None, None) if active.job_uid.is_some() => {
            let message =
                format!("the Job of backup {} {} was deleted before its end", status.name, active.run.id);
            let report = RunReport::new(Outcome::Retryable, reasons::JOB_DELETED, message);
            clean_up::note(pass, backup, status, &active, false);
            count::fail(pass, backup, status, active, &report)
        }
        (None, None) => {
            if let Some(backup) = backup {
                begin(pass, backup, &active);
            }
            Some(active)
        }
        (Some(ObservedJob { state: JobState::Ended(ended), .. }), _) => {
            end(pass, backup, status, active, &ended)
        }
        (Some(ObservedJob { name, state: JobState::Stuck(why), .. }), None) => {
            let message = cannot_start(&name, &why);
            let report = RunReport::new(Outcome::Retryable, reasons::POD_NOT_STARTED, message);
            count::fail(pass, backup, status, active, &report)
        }
        (Some(job), None) if can_wait(&job, &active, pass.seen) => {
            pass.wake_at(seconds_later(now, 1));
            Some(active)
        }
        (Some(job), _) => {
            if let JobState::Pending(Some(why)) = &job.state {
                active.last_error = Some(failure("the Pod has not started", why));
            }
            active.progress = shown_progress(&job, active.progress.take(), now);
            active.job_uid = Some(job.uid);
            pass.wake_at(seconds_later(now, PROGRESS_SECONDS));
            Some(active)
        }
    }
}

/// Whether all that could be stored is the UID of a Job that was just made and has not started. Where many slots are due in the same
/// second, such writes would take the API server's time from Jobs that are still to be made. One that is deleted before that
/// is made again, once its Pod is gone.
fn can_wait(job: &ObservedJob, active: &ActiveRun, seen: &Observed) -> bool {
    let is_new = job.created <= seen.now && seen.now < seconds_later(job.created, UID_SECONDS);
    seen.busy && is_new && active.job_uid.is_none() && job.state == JobState::Pending(None)
}

/// Makes the Job of an attempt, unless it is to wait. Whoever gives it a place wakes us.
fn begin(pass: &mut Pass<'_>, backup: &ValidatedBackup, active: &ActiveRun) {
    let now = pass.now();
    let pause = active.not_before.as_ref();
    let pause = pause.and_then(|time| still_ahead(time.0, now, count::MAX_RETRY_SECONDS));
    if let Some(time) = pause.or_else(|| first_probe::wait_until(pass, active)) {
        pass.wake_at(time);
        return;
    }
    let job = pass.policy.run_job_name(&backup.name, active);
    // Its Job was deleted before status had its UID. Two Pods of one attempt would write the same objects.
    if pass.seen.remains.contains(&job) {
        pass.wake_at(seconds_later(now, STOP_SECONDS));
        return;
    }
    if restores::hold_up(pass, backup) {
        return;
    }
    let has_place = pass.seen.places.taken.contains(&job);
    pass.decision.wanted.insert(Wanted { id: active.run.id.clone(), job });
    if !has_place {
        return;
    }
    let size = pass.decision.status.probe.as_ref().and_then(|probe| probe.largest_database_bytes);
    pass.create(pass.policy.run_job(backup, active, size, pass.runner));
    pass.wake_at(seconds_later(now, PROGRESS_SECONDS));
}

fn end(
    pass: &mut Pass<'_>,
    backup: Option<&ValidatedBackup>,
    status: &mut BackupStatus,
    active: ActiveRun,
    ended: &Ended,
) -> Option<ActiveRun> {
    if ended.report.leftovers {
        clean_up::note(pass, backup, status, &active, ended.container_ended);
    }
    match (&ended.report.backup, active.stopping) {
        (Some(made), _) if ended.report.outcome.is_success() => {
            count::succeed(pass, status, &active, made);
            None
        }
        (_, Some(stopping)) => count::fail(pass, backup, status, active, &stop_report(stopping)),
        (_, None) => count::fail(pass, backup, status, active, &ended.report),
    }
}

/// A run that is being stopped has no Job any more: it ends once no Pod of that Job is left. Nobody saw that Pod end, so what
/// it may have left is not touched before its time limit.
fn stopped(
    pass: &mut Pass<'_>,
    backup: Option<&ValidatedBackup>,
    status: &mut BackupStatus,
    active: ActiveRun,
    stopping: Stopping,
) -> Option<ActiveRun> {
    if let Some(uid) = &active.job_uid {
        if pass.seen.remains.contains(uid) {
            pass.wake_at(seconds_later(pass.now(), STOP_SECONDS));
            return Some(active);
        }
        clean_up::note(pass, backup, status, &active, false);
    }
    count::fail(pass, backup, status, active, &stop_report(stopping))
}

fn stop_report(stopping: Stopping) -> RunReport {
    let (reason, message) = stop_reason(stopping);
    RunReport::new(Outcome::Failed, reason, message)
}
