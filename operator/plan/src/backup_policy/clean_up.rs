//! Decides when a Job removes what attempts left in the bucket that could not clean up after themselves. Pure.

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::v1alpha1::{
    ActiveCleanUp, ActiveRun, BackupStatus, CleanUp, MAX_CLEAN_UPS, MAX_CLEAN_UPS_IN_ALL, MAX_REMOVED,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::{Pass, failure};
use super::validate::{ValidatedBackup, ValidatedPolicy};
use crate::job_state::JobState;
use crate::jobs::PROGRESS_SECONDS;
use crate::jobs::{ObservedJob, Refusal, cannot_start};
use crate::pause::{backoff_seconds, seconds_later};

/// Seconds to the next clean-up after a first failure; doubled with each further one.
const RETRY_SECONDS: i64 = 30;
/// Longest pause between failing clean-ups.
const MAX_RETRY_SECONDS: i64 = 3_600;
/// Seconds beyond the time limit of a Pod after which it has ended, whoever saw it: the kubelet counts from the Pod's start,
/// gives it a minute to stop, and may have a clock that is a little slow.
const UNSEEN_MARGIN: i64 = 300;
/// Longest time limit that a schedule may have. A clean-up that is to wait longer was put off under a wrong clock.
const LONGEST_DEADLINE: i64 = 604_800;

/// Seconds after the end of a container in which a request that it sent may still be carried out. The manifest may be among
/// them: what it names is spared, but only once it is there.
const SETTLE_SECONDS: i64 = 60;

/// Notes that an attempt may have left something. `seen_to_end`: its container is known to have ended. Otherwise it may go on
/// where nobody hears of it, so nothing is removed before its time limit is over: a backup that it still finishes must be whole.
pub(super) fn note(
    pass: &mut Pass<'_>,
    backup: Option<&ValidatedBackup>,
    status: &mut BackupStatus,
    active: &ActiveRun,
    seen_to_end: bool,
) {
    // An earlier release did not write down where an attempt writes to.
    let Some(path) = active.path.clone().or_else(|| backup.map(|backup| backup.path.clone())) else { return };
    let limit = backup.map_or(LONGEST_DEADLINE, |backup| {
        i64::from(ValidatedPolicy::active_deadline_seconds(backup, &active.run))
    });
    let pause = if seen_to_end { SETTLE_SECONDS } else { limit + UNSEEN_MARGIN };
    let wait = Some(Time(seconds_later(pass.now(), pause)));
    // What a clean-up that goes on was told cannot be changed any more; it gets a successor.
    let known = status
        .clean_ups
        .iter_mut()
        .find(|entry| entry.id == active.run.id && entry.path == path && entry.active.is_none());
    if let Some(entry) = known {
        entry.attempts.push(active.attempt);
        entry.attempts.sort_unstable();
        entry.attempts.dedup();
        entry.next_time = entry.next_time.take().max(wait);
        return;
    }
    status.clean_ups.push(CleanUp {
        id: active.run.id.clone(),
        path,
        attempts: vec![active.attempt],
        failures: 0,
        next_time: wait,
        last_error: None,
        active: None,
    });
    drop_last(pass, std::slice::from_mut(status), MAX_CLEAN_UPS);
}

/// The lists are bounded. What falls out is the entry whose time is the furthest away: were it the oldest, then with runs that are
/// replaced again and again none would ever come to its time.
fn drop_last(pass: &mut Pass<'_>, backups: &mut [BackupStatus], most: usize) {
    let wait =
        |backups: &[BackupStatus]| -> usize { backups.iter().map(|status| status.clean_ups.len()).sum() };
    while wait(backups) > most {
        let last = backups
            .iter_mut()
            .filter_map(|status| {
                let waiting = status.clean_ups.iter().enumerate().filter(|(_, entry)| entry.active.is_none());
                let (at, entry) =
                    waiting.max_by_key(|(_, entry)| entry.next_time.as_ref().map(|time| time.0))?;
                Some((entry.next_time.as_ref().map(|time| time.0), at, status))
            })
            .max_by_key(|(time, ..)| *time);
        let Some((_, at, status)) = last else { return };
        let entry = status.clean_ups.remove(at);
        status.clean_ups_dropped = status.clean_ups_dropped.saturating_add(1);
        tell_dropped(pass, status, &entry);
    }
}

/// The deletion of old backups removes what a dropped clean-up was about, but nothing of a backup that the spec no longer has.
fn tell_dropped(pass: &mut Pass<'_>, status: &BackupStatus, entry: &CleanUp) {
    let CleanUp { id, path, attempts, .. } = entry;
    let then = if pass.policy.backups.iter().any(|backup| backup.name == status.name) {
        "is left to the deletion of old backups, which removes it after a day, or with the backup if its manifest is there, and not while spec.suspendRetention is true"
    } else {
        "stays there, since the spec no longer has this backup: delete it by hand"
    };
    let message = format!(
        "too many runs wait for a clean-up; what attempts {attempts:?} of backup {} left below {path}/{id} in the bucket {then}",
        status.name
    );
    pass.event(true, reasons::CLEAN_UP_DROPPED, message);
}

/// Backups that the spec no longer has, the newest first, without those that are too many; of what these wait for it is told.
pub(super) fn bound_removed(pass: &mut Pass<'_>, mut removed: Vec<BackupStatus>) -> Vec<BackupStatus> {
    for status in removed.split_off(removed.len().min(MAX_REMOVED)) {
        for entry in &status.clean_ups {
            tell_dropped(pass, &status, entry);
        }
        if status.active.is_some() {
            let message = format!(
                "more than {MAX_REMOVED} backups that the spec no longer has wait for the end of their runs: backup {} is forgotten, and what its runs leave in the bucket stays there",
                status.name
            );
            pass.event(true, reasons::CLEAN_UP_DROPPED, message);
        }
    }
    removed
}

/// Whether a clean-up of this id goes on. A run of the same id waits for its end: both would be at the same objects.
pub(super) fn is_active(status: &BackupStatus, id: &BackupId) -> bool {
    status.clean_ups.iter().any(|entry| entry.id == *id && entry.active.is_some())
}

/// Follows the clean-up that goes on, or starts one: one at a time, and none of an id while its run goes on. Where the next run
/// always begins before the one before it is over, waiting for all of them would be waiting for ever.
pub(super) fn advance_all(pass: &mut Pass<'_>) {
    let mut backups = std::mem::take(&mut pass.decision.status.backups);
    drop_last(pass, &mut backups, MAX_CLEAN_UPS_IN_ALL);
    let mut busy = false;
    for status in &mut backups {
        follow_active(pass, status);
        busy |= status.clean_ups.iter().any(|entry| entry.active.is_some());
    }
    for status in &mut backups {
        if !busy {
            busy = start_if_due(pass, status);
        }
    }
    pass.decision.status.backups = backups;
}

/// Follows the clean-up of a backup that goes on, and forgets what is done.
fn follow_active(pass: &mut Pass<'_>, status: &mut BackupStatus) {
    // A time too far ahead was written under a wrong clock.
    let latest = seconds_later(pass.now(), LONGEST_DEADLINE + UNSEEN_MARGIN);
    let running: Vec<BackupId> = status.runs().map(|run| run.run.id.clone()).collect();
    for mut entry in std::mem::take(&mut status.clean_ups) {
        entry.next_time = entry.next_time.filter(|time| time.0 <= latest);
        let after = match entry.active.clone() {
            Some(active) => {
                let running = running.contains(&entry.id);
                follow(pass, &status.name, entry, active, running)
            }
            None => Some(entry),
        };
        status.clean_ups.extend(after);
    }
}

/// Starts the oldest entry whose time has come; says whether there was one.
fn start_if_due(pass: &mut Pass<'_>, status: &mut BackupStatus) -> bool {
    let now = pass.now();
    let time = |entry: &CleanUp| entry.next_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
    let running: Vec<BackupId> = status.runs().map(|run| run.run.id.clone()).collect();
    let free = |entry: &CleanUp| !running.contains(&entry.id);
    if let Some(entry) = status.clean_ups.iter_mut().find(|entry| time(entry) <= now && free(entry)) {
        entry.active = Some(ActiveCleanUp { start_time: Time(now), job_uid: None });
        pass.wake_now();
        return true;
    }
    // The end of a run wakes us by itself.
    if let Some(next) = status.clean_ups.iter().filter(|entry| free(entry)).map(time).min() {
        pass.wake_at(next);
    }
    false
}

/// The entry as it is now; none once its clean-up succeeded.
fn follow(
    pass: &mut Pass<'_>,
    backup: &str,
    mut entry: CleanUp,
    mut active: ActiveCleanUp,
    running: bool,
) -> Option<CleanUp> {
    let job = pass.job(&pass.policy.clean_up_job_name(backup, &entry, &active)).cloned();
    match job {
        None if active.job_uid.is_some() => {
            let message = "the Job of the clean-up was deleted before its end";
            Some(fail(pass, backup, entry, reasons::JOB_DELETED, message))
        }
        // A run began between the decision and the Job: it goes first.
        None if running => {
            entry.active = None;
            Some(entry)
        }
        None => {
            pass.create(pass.policy.clean_up_job(backup, &entry, &active, pass.runner));
            pass.wake_at(seconds_later(pass.now(), PROGRESS_SECONDS));
            Some(entry)
        }
        Some(ObservedJob { state: JobState::Ended(ended), .. }) => {
            // With this status the Job's end is counted; the next pass deletes it.
            pass.wake_now();
            let RunReport { outcome, reason, message, .. } = &ended.report;
            (!Outcome::is_success(*outcome)).then(|| fail(pass, backup, entry, reason, message))
        }
        Some(ObservedJob { name, state: JobState::Stuck(why), .. }) => {
            let message = cannot_start(&name, &why);
            Some(fail(pass, backup, entry, reasons::POD_NOT_STARTED, &message))
        }
        Some(job) => {
            active.job_uid = Some(job.uid);
            entry.active = Some(active);
            pass.wake_at(seconds_later(pass.now(), PROGRESS_SECONDS));
            Some(entry)
        }
    }
}

/// The API server refused a Job; if it was for a clean-up, that has failed.
pub(super) fn refused(pass: &mut Pass<'_>, refusal: &Refusal) {
    let policy = pass.policy;
    let mut backups = std::mem::take(&mut pass.decision.status.backups);
    for status in &mut backups {
        for entry in &mut status.clean_ups {
            let refused = entry
                .active
                .as_ref()
                .is_some_and(|active| policy.clean_up_job_name(&status.name, entry, active) == refusal.job);
            if refused {
                *entry = fail(pass, &status.name, entry.clone(), refusal.reason, &refusal.message);
            }
        }
    }
    pass.decision.status.backups = backups;
}

/// It is tried again for as long as it takes; people are told once.
fn fail(pass: &mut Pass<'_>, backup: &str, mut entry: CleanUp, reason: &str, message: &str) -> CleanUp {
    let now = pass.now();
    if entry.failures == 0 {
        let CleanUp { id, path, attempts, .. } = &entry;
        let what = format!(
            "what attempts {attempts:?} of backup {backup} {id} left below {path}/{id} in the bucket could not be removed yet, and is tried again: {reason}: {message}"
        );
        pass.event(true, reasons::CLEAN_UP_FAILED, what);
    }
    entry.failures = entry.failures.saturating_add(1);
    entry.last_error = Some(failure(reason, message));
    entry.active = None;
    let pause = backoff_seconds(RETRY_SECONDS, entry.failures, MAX_RETRY_SECONDS);
    entry.next_time = Some(Time(seconds_later(now, pause)));
    pass.wake_now();
    entry
}
