//! Decides what the end of an attempt means: a backup that is there, another attempt, or a run that has failed. Pure.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{BackupReport, Outcome, RunReport};
use greenlang_backup_api::text;
use greenlang_backup_api::v1alpha1::{
    ActiveRun, AvailableBackup, BackupStatus, FailedRun, MAX_FAILURE, Run, RunHistory, SucceededRun,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::available;
use super::super::decide::{Pass, failure};
use super::super::validate::{ValidatedBackup, ValidatedPolicy};
use crate::pause::{backoff_seconds, seconds_later};

/// Seconds to the second attempt; doubled with each further one.
const RETRY_SECONDS: i64 = 10;
/// Longest reason in status, in bytes; all of ours are shorter.
const MAX_REASON: usize = 64;
/// Longest pause between attempts.
pub(super) const MAX_RETRY_SECONDS: i64 = 300;

/// The run has made its backup.
pub(super) fn succeed(
    pass: &mut Pass<'_>,
    status: &mut BackupStatus,
    active: &ActiveRun,
    made: &BackupReport,
) {
    let duration = made.end_time.duration_since(made.start_time).as_secs().try_into().unwrap_or(0);
    // Of the node's clock; one that is ahead would hide the failures to come.
    let time = Time(made.end_time.min(pass.now()));
    let success = SucceededRun {
        id: made.id.clone(),
        time: time.clone(),
        duration_seconds: duration,
        bytes: made.stored_bytes,
        verified: made.verified,
    };
    for history in histories(status, &active.run) {
        history.attempts += 1;
        history.succeeded += 1;
        history.last_success = Some(success.clone());
        // What is counted now is newer than what was counted before, whatever clock that had.
        if let Some(failure) = history.last_failure.as_mut().filter(|failure| failure.time > time) {
            failure.time = time.clone();
        }
    }
    let size = bytesize::ByteSize(made.stored_bytes).display().iec();
    pass.event(
        false,
        reasons::BACKUP_SUCCEEDED,
        format!("backup {} {} succeeded: {size} in {duration} s", status.name, made.id),
    );
    let latest = pass.latest_slot();
    let available = &mut pass.decision.status.available;
    available.retain(|entry| entry.backup != status.name || entry.id != made.id);
    available.push(AvailableBackup {
        backup: status.name.clone(),
        id: made.id.clone(),
        time: success.time,
        bytes: made.stored_bytes,
        verified: made.verified,
    });
    available::keep_newest(available, latest);
    pass.wake_now();
}

/// An attempt failed: the run with its next attempt, or none when it has failed for good. A run that is being stopped, or whose
/// backup the spec no longer has, is not tried again.
pub(super) fn fail(
    pass: &mut Pass<'_>,
    backup: Option<&ValidatedBackup>,
    status: &mut BackupStatus,
    mut active: ActiveRun,
    report: &RunReport,
) -> Option<ActiveRun> {
    let now = pass.now();
    let retry = backup.filter(|backup| {
        active.stopping.is_none()
            && report.outcome != Outcome::Failed
            && active.attempt <= ValidatedPolicy::backoff_limit(backup, &active.run)
    });
    for history in histories(status, &active.run) {
        history.attempts += 1;
        if retry.is_none() {
            history.failed += 1;
            if let Some(success) = history.last_success.as_mut().filter(|success| success.time.0 >= now) {
                success.time = Time(seconds_later(now, -1));
            }
            history.last_failure = Some(FailedRun {
                id: active.run.id.clone(),
                time: Time(now),
                reason: text::cut(&report.reason, MAX_REASON).to_owned(),
                message: text::cut(&report.message, MAX_FAILURE).to_owned(),
            });
        }
    }
    let what = format!(
        "backup {} {}, attempt {}: {}: {}",
        status.name, active.run.id, active.attempt, report.reason, report.message
    );
    pass.wake_now();
    let Some(backup) = retry else {
        pass.event(true, reasons::BACKUP_FAILED, what);
        return None;
    };
    pass.event(true, reasons::BACKUP_RETRYING, what);
    let pause = backoff_seconds(RETRY_SECONDS, active.attempt, MAX_RETRY_SECONDS);
    active.not_before = Some(Time(seconds_later(now, pause)));
    active.last_error = Some(failure(&report.reason, &report.message));
    active.attempt += 1;
    active.job_uid = None;
    active.progress = None;
    active.path = Some(backup.path.clone());
    Some(active)
}

/// The histories that a run counts in: those of its schedules, or the one of unscheduled runs if it has none, or none that the
/// spec still has.
fn histories<'a>(status: &'a mut BackupStatus, run: &'a Run) -> Vec<&'a mut RunHistory> {
    if !status.schedules.iter().any(|entry| run.schedules.contains(&entry.name)) {
        return vec![&mut status.manual];
    }
    let served = status.schedules.iter_mut().filter(|entry| run.schedules.contains(&entry.name));
    served.map(|entry| &mut entry.history).collect()
}
