//! Decides when the old backups of a backup are deleted: once after each success, when its runs are over or have been waited for
//! for an hour. Pure. Which ones go is decided by `retention` when the bucket has been looked at.

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::prune::PruneReport;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::v1alpha1::{ActivePrune, BackupStatus, PrunePlan, PruneResult, PruneStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::{Pass, failure};
use super::validate::ValidatedBackup;
use crate::job_state::JobState;
use crate::jobs::PROGRESS_SECONDS;
use crate::jobs::{ObservedJob, Refusal, cannot_start};
use crate::pause::{backoff_seconds, seconds_later, still_ahead};

/// Seconds to the next try after a first failure; doubled with each further one.
const RETRY_SECONDS: i64 = 30;
/// Longest pause between tries.
const MAX_RETRY_SECONDS: i64 = 3_600;

/// Seconds for which a prune lets runs go first. It may go beside them: it is told their ids, and touches nothing that is new. Where one
/// run always follows the other there would never be a prune otherwise.
const PATIENCE_SECONDS: i64 = 3_600;

/// Follows the prunes that go on, or starts one: one at a time for each policy.
pub(super) fn advance_all(pass: &mut Pass<'_>) {
    let (policy, latest) = (pass.policy, pass.latest_slot());
    let mut backups = std::mem::take(&mut pass.decision.status.backups);
    let mut busy = false;
    for (backup, status) in configured(&policy.backups, &mut backups) {
        let mut prune = known(status, latest);
        if let Some(active) = prune.active.clone() {
            follow(pass, backup, status, &mut prune, active);
        }
        busy |= prune.active.is_some();
        status.prune = Some(prune);
    }
    for (backup, status) in configured(&policy.backups, &mut backups) {
        let mut prune = known(status, latest);
        if !busy {
            busy = start_if_due(pass, backup, status, &mut prune);
        }
        status.prune = Some(prune);
    }
    pass.decision.status.backups = backups;
}

fn configured<'a>(
    backups: &'a [ValidatedBackup],
    statuses: &'a mut [BackupStatus],
) -> impl Iterator<Item = (&'a ValidatedBackup, &'a mut BackupStatus)> {
    statuses.iter_mut().filter_map(|status| {
        let backup = backups.iter().find(|backup| backup.name == status.name)?;
        Some((backup, status))
    })
}

/// What is known. Where nothing is, no success of before asks for a prune: the next one does.
fn known(status: &BackupStatus, latest: Timestamp) -> PruneStatus {
    let new = || PruneStatus { after: newest_success(status, latest), ..PruneStatus::default() };
    status.prune.clone().unwrap_or_else(new)
}

/// One that was made under a clock far ahead would be the newest until that time has come, and no success before it would be
/// followed by a prune.
fn newest_success(status: &BackupStatus, latest: Timestamp) -> Option<BackupId> {
    let ids = status.histories().filter_map(|history| history.last_success.as_ref()).map(|run| &run.id);
    ids.filter(|id| id.slot().is_ok_and(|slot| slot <= latest)).max().cloned()
}

/// Whether backups are to be deleted because of a success that no prune has followed yet.
fn is_due(pass: &Pass<'_>, status: &BackupStatus, prune: &PruneStatus) -> bool {
    let success = newest_success(status, pass.latest_slot());
    success.is_some() && success != prune.after && !pass.policy.suspend_retention
}

/// Why old backups that are due have not been deleted yet. Where none are, what failed was a dry run.
pub(super) fn problem<'a>(pass: &Pass<'_>, status: &'a BackupStatus) -> Option<&'a str> {
    let prune = status.prune.as_ref().filter(|prune| prune.failures > 0 && is_due(pass, status, prune))?;
    prune.last_error.as_deref()
}

fn start_if_due(
    pass: &mut Pass<'_>,
    backup: &ValidatedBackup,
    status: &BackupStatus,
    prune: &mut PruneStatus,
) -> bool {
    let now = pass.now();
    let success = newest_success(status, pass.latest_slot());
    let token = pass.policy.prune_token.clone().filter(|token| Some(token) != prune.dry_run_token.as_ref());
    if !(is_due(pass, status, prune) || token.is_some()) {
        prune.waits_since = None;
        // Of a dry run that nobody asks for any more, or of what is suspended now.
        (prune.failures, prune.next_time, prune.last_error) = (0, None, None);
        return false;
    }
    if lets_runs_go_first(pass, status, prune) {
        return false;
    }
    let next = prune.next_time.as_ref();
    if let Some(next) = next.and_then(|next| still_ahead(next.0, now, MAX_RETRY_SECONDS)) {
        pass.wake_at(next);
        return false;
    }
    let planned = |plan: &PrunePlan| Some(&plan.after) == success.as_ref();
    if token.is_none() && !prune.plan.as_ref().is_some_and(planned) {
        prune.plan = success.clone().map(|after| PrunePlan { after, time: Time(now) });
    }
    prune.active = Some(ActivePrune {
        start_time: Time(now),
        rules: Some(pass.policy.retention(backup, status, &pass.seen.restores).digest()),
        after: success,
        dry_run_token: token,
        job_uid: None,
    });
    pass.wake_now();
    true
}

/// Whether it waits for the end of runs.
fn lets_runs_go_first(pass: &mut Pass<'_>, status: &BackupStatus, prune: &mut PruneStatus) -> bool {
    if status.runs().next().is_none() {
        return false;
    }
    let now = pass.now();
    // A time to come was written under a wrong clock.
    let since = prune.waits_since.as_ref().map(|time| time.0).filter(|since| *since <= now).unwrap_or(now);
    prune.waits_since = Some(Time(since));
    let until = seconds_later(since, PATIENCE_SECONDS);
    if now < until {
        pass.wake_at(until);
    }
    now < until
}

fn follow(
    pass: &mut Pass<'_>,
    backup: &ValidatedBackup,
    status: &BackupStatus,
    prune: &mut PruneStatus,
    mut active: ActivePrune,
) {
    let stale = is_stale(pass, backup, status, &active);
    match pass.job(&pass.policy.prune_job_name(&backup.name, &active)).cloned() {
        None if active.job_uid.is_some() => {
            fail(pass, backup, prune, reasons::JOB_DELETED, "the Job was deleted before its end");
        }
        // A run began between the decision and the Job: it goes first.
        None if lets_runs_go_first(pass, status, prune) => prune.active = None,
        None if stale => stop(pass, prune),
        None => make_job(pass, backup, status, prune, &active),
        Some(ObservedJob { state: JobState::Ended(ended), .. }) => {
            end(pass, backup, prune, &active, &ended.report);
        }
        Some(ObservedJob { name, state: JobState::Stuck(why), .. }) => {
            fail(pass, backup, prune, reasons::POD_NOT_STARTED, &cannot_start(&name, &why));
        }
        Some(_) if stale => stop(pass, prune),
        Some(job) => {
            active.job_uid = Some(job.uid);
            prune.active = Some(active);
            pass.wake_at(seconds_later(pass.now(), PROGRESS_SECONDS));
        }
    }
}

/// Whether a Job was, or would be, told what is no longer so: somebody pinned a backup, corrected a number of days, or suspended
/// retention, or a run failed, or a restore reads what may go. Its Pod may wait for hours for room on a node, so what is new must stop it.
fn is_stale(pass: &Pass<'_>, backup: &ValidatedBackup, status: &BackupStatus, active: &ActivePrune) -> bool {
    let rules_now = || pass.policy.retention(backup, status, &pass.seen.restores).digest();
    let told_otherwise = |rules: &String| *rules != rules_now();
    active.dry_run_token.is_none()
        && (pass.policy.suspend_retention || active.rules.as_ref().is_some_and(told_otherwise))
}

/// Once this is stored nothing needs its Job, which is deleted; if a prune is still due another one is made.
fn stop(pass: &mut Pass<'_>, prune: &mut PruneStatus) {
    prune.active = None;
    pass.wake_now();
}

fn make_job(
    pass: &mut Pass<'_>,
    backup: &ValidatedBackup,
    status: &BackupStatus,
    prune: &mut PruneStatus,
    active: &ActivePrune,
) {
    let time = prune.plan.as_ref().filter(|_| active.dry_run_token.is_none()).map(|plan| plan.time.0);
    match pass.policy.prune_job(backup, status, active, time, pass) {
        Ok(job) => {
            pass.create(Ok(job));
            pass.wake_at(seconds_later(pass.now(), PROGRESS_SECONDS));
        }
        // Validation cannot measure what status and annotations add.
        Err(error) => {
            let why = format!("what it is to be told, pins among it, does not fit into a Job: {error}");
            fail(pass, backup, prune, reasons::INVALID_SPEC, &why);
        }
    }
}

fn end(
    pass: &mut Pass<'_>,
    backup: &ValidatedBackup,
    prune: &mut PruneStatus,
    active: &ActivePrune,
    ended: &RunReport,
) {
    let RunReport { outcome, reason, message, prune: report, .. } = ended;
    match report {
        Some(report) if outcome.is_success() => succeed(pass, backup, prune, active, report, message),
        _ if *outcome == Outcome::Done => {
            fail(pass, backup, prune, reasons::REPORT_LOST, "the Job ended and said nothing");
        }
        _ => fail(pass, backup, prune, reason, message),
    }
    // With this status the Job's end is counted; the next pass deletes it.
    pass.wake_now();
}

fn succeed(
    pass: &mut Pass<'_>,
    backup: &ValidatedBackup,
    prune: &mut PruneStatus,
    active: &ActivePrune,
    report: &PruneReport,
    message: &str,
) {
    let result = PruneResult {
        time: Time(pass.now()),
        deleted: report.deleted,
        kept: report.kept,
        locked: report.locked,
        held_back: report.held_back,
        skipped: report.skipped,
        garbage: report.garbage.saturating_add(report.uploads),
        freed_bytes: report.freed_bytes,
        report: report.report.clone(),
    };
    (prune.failures, prune.next_time, prune.last_error, prune.active) = (0, None, None, None);
    prune.waits_since = None;
    if let Some(token) = &active.dry_run_token {
        prune.dry_run_token = Some(token.clone());
        prune.last_dry_run = Some(result);
        pass.event(false, reasons::PRUNE_DRY_RUN, format!("{message}; see {} in the bucket", report.report));
        return;
    }
    prune.after.clone_from(&active.after);
    prune.last = Some(result);
    let gone = |id: &BackupId| report.gone.contains(id);
    pass.decision.status.available.retain(|entry| entry.backup != backup.name || !gone(&entry.id));
    if report.deleted > 0 {
        pass.event(false, reasons::PRUNED, message.to_owned());
    }
    if report.held_back > 0 {
        let what = format!(
            "{} backups of {} were to be deleted and stay for now, because no more than half of a schedule's go at once: if that is not meant, correct keepDays or set spec.suspendRetention before the next run; see {} in the bucket",
            report.held_back, backup.name, report.report
        );
        pass.event(true, reasons::PRUNE_HELD_BACK, what);
    }
}

/// The API server refused a Job; if it was for a prune, that has failed.
pub(super) fn refused(pass: &mut Pass<'_>, refusal: &Refusal) {
    let policy = pass.policy;
    let mut backups = std::mem::take(&mut pass.decision.status.backups);
    for (backup, status) in configured(&policy.backups, &mut backups) {
        let mut prune = known(status, pass.latest_slot());
        let active = prune.active.as_ref();
        if active.is_some_and(|active| policy.prune_job_name(&backup.name, active) == refusal.job) {
            fail(pass, backup, &mut prune, refusal.reason, &refusal.message);
            status.prune = Some(prune);
        }
    }
    pass.decision.status.backups = backups;
}

/// It is tried again for as long as it takes; people are told once.
fn fail(pass: &mut Pass<'_>, backup: &ValidatedBackup, prune: &mut PruneStatus, reason: &str, message: &str) {
    if prune.failures == 0 {
        let what = if prune.active.as_ref().is_some_and(|active| active.dry_run_token.is_some()) {
            format!("the dry run of a prune of {} failed, and is tried again", backup.name)
        } else {
            format!("old backups of {} could not be deleted yet", backup.name)
        };
        let what = format!("{what}: {reason}: {message}");
        pass.event(true, reasons::PRUNE_FAILED, what);
    }
    prune.failures = prune.failures.saturating_add(1);
    prune.last_error = Some(failure(reason, message));
    prune.active = None;
    let pause = backoff_seconds(RETRY_SECONDS, prune.failures, MAX_RETRY_SECONDS);
    prune.next_time = Some(Time(seconds_later(pass.now(), pause)));
    pass.wake_now();
}
