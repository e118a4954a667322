//! Decides when a backup runs, follows its attempts, and counts how it ended. Pure.

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{BackupReport, Outcome, RunReport};
use greenlang_backup_api::v1alpha1::{
    ActiveRun, AvailableBackup, BackupStatus, FailedRun, FirstRun, MAX_AVAILABLE, Run, RunHistory,
    RunProgress, ScheduleStatus, SucceededRun, Trigger,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::PROGRESS_SECONDS;
use super::clean_up;
use super::decide::{Pass, backoff_seconds, seconds_later};
use super::observe::{ObservedJob, Refusal};
use super::validate::{ValidatedBackup, ValidatedPolicy};
use crate::job_state::JobState;

/// Seconds to the second attempt; doubled with each further one.
const RETRY_SECONDS: i64 = 10;
/// Longest pause between attempts.
const MAX_RETRY_SECONDS: i64 = 300;

/// Advances every backup of the spec; what the spec no longer has is forgotten.
pub(super) fn advance_all(pass: &mut Pass<'_>) {
    let policy = pass.policy;
    let before = std::mem::take(&mut pass.decision.status.backups);
    let accepted_before = !before.is_empty();
    for backup in &policy.backups {
        let known = before.iter().find(|status| status.name == backup.name).cloned();
        let status =
            known.unwrap_or_else(|| BackupStatus { name: backup.name.clone(), ..BackupStatus::default() });
        let status = advance(pass, backup, status, accepted_before);
        pass.decision.status.backups.push(status);
    }
}

fn advance(
    pass: &mut Pass<'_>,
    backup: &ValidatedBackup,
    mut status: BackupStatus,
    accepted_before: bool,
) -> BackupStatus {
    let since = if accepted_before { pass.now() } else { pass.policy.created };
    status.schedules = schedules(backup, &status.schedules, since, pass.now());
    match status.active.clone() {
        Some(active) => follow(pass, backup, &mut status, active),
        None => start_if_due(pass, backup, &mut status, accepted_before),
    }
    next_slots(pass, backup, &mut status);
    status
}

/// One entry for each schedule of the spec. An expression that is new or changed counts from `since` on.
fn schedules(
    backup: &ValidatedBackup,
    before: &[ScheduleStatus],
    since: Timestamp,
    now: Timestamp,
) -> Vec<ScheduleStatus> {
    let entry = |schedule: &super::ValidatedSchedule| {
        let known = before.iter().find(|status| status.name == schedule.name);
        let accepted = schedule.cadence.as_text().to_owned();
        match known {
            Some(status) if status.accepted == accepted => {
                ScheduleStatus { accepted_time: Time(status.accepted_time.0.min(now)), ..status.clone() }
            }
            Some(status) => ScheduleStatus { accepted, accepted_time: Time(since), ..status.clone() },
            None => ScheduleStatus {
                name: schedule.name.clone(),
                accepted,
                accepted_time: Time(since),
                last_schedule_time: None,
                next_schedule_time: None,
                history: RunHistory::default(),
            },
        }
    };
    backup.schedules.iter().map(entry).collect()
}

fn next_slots(pass: &mut Pass<'_>, backup: &ValidatedBackup, status: &mut BackupStatus) {
    let now = pass.now();
    for (schedule, entry) in backup.schedules.iter().zip(&mut status.schedules) {
        let next =
            (!schedule.suspend && !pass.policy.suspend).then(|| schedule.cadence.next_after(now)).flatten();
        entry.next_schedule_time = next.map(Time);
        if let Some(next) = next {
            pass.wake_at(next);
        }
    }
}

fn start_if_due(
    pass: &mut Pass<'_>,
    backup: &ValidatedBackup,
    status: &mut BackupStatus,
    accepted_before: bool,
) {
    let mut started = status.clone();
    let Some(run) = due(pass, backup, &mut started, accepted_before) else {
        return;
    };
    if clean_up::is_active(status, &run.id) {
        // Its end wakes us, and the run is still due then.
        return;
    }
    *status = started;
    let schedules =
        if run.schedules.is_empty() { String::new() } else { format!(" for {}", run.schedules.join(", ")) };
    pass.event(
        false,
        reasons::BACKUP_STARTED,
        format!("backup {} {} started{schedules}", backup.name, run.id),
    );
    status.last_id = Some(run.id.clone());
    status.active = Some(ActiveRun {
        run,
        start_time: Time(pass.now()),
        attempt: 1,
        job_uid: None,
        not_before: None,
        last_error: None,
        progress: None,
    });
    pass.wake_now();
}

/// The run that is due: asked for by annotation, the first of a new policy, or the oldest due slot.
fn due(
    pass: &Pass<'_>,
    backup: &ValidatedBackup,
    status: &mut BackupStatus,
    accepted_before: bool,
) -> Option<Run> {
    let policy = pass.policy;
    let token = policy.run_tokens.get(&backup.name).filter(|token| !token.is_empty());
    if token != status.manual_token.as_ref()
        && let Some(token) = token
    {
        status.manual_token = Some(token.clone());
        let id = manual_id(pass.now(), status.last_id.as_ref());
        return Some(Run { id, trigger: Trigger::Manual, schedules: vec![] });
    }
    if !accepted_before && policy.first_run == FirstRun::Immediately {
        return Some(Run {
            id: BackupId::from_slot(policy.created),
            trigger: Trigger::FirstRun,
            schedules: vec![],
        });
    }
    if policy.suspend { None } else { due_slot(backup, status, pass.now()) }
}

/// A run without slot is named after its second, but never like the run before it.
fn manual_id(now: Timestamp, last: Option<&BackupId>) -> BackupId {
    let after_last = last.and_then(|id| id.slot().ok()).map_or(now, |slot| seconds_later(slot, 1));
    BackupId::from_slot(now.max(after_last))
}

/// The oldest due slot with every schedule that has it; their last slot moves on with it.
fn due_slot(backup: &ValidatedBackup, status: &mut BackupStatus, now: Timestamp) -> Option<Run> {
    let slots: Vec<Option<Timestamp>> = backup
        .schedules
        .iter()
        .zip(&status.schedules)
        .map(|(schedule, entry)| {
            // A slot in the future was written under a wrong clock. Forgetting it repeats the newest slot at most, which
            // ends as soon as the runner finds its manifest.
            let last = entry.last_schedule_time.as_ref().map(|last| last.0).filter(|last| *last <= now);
            let since = last.map_or(entry.accepted_time.0, |last| last.max(entry.accepted_time.0));
            if schedule.suspend { None } else { schedule.cadence.last_due(since, now) }
        })
        .collect();
    let slot = slots.iter().flatten().min().copied()?;
    let mut names = Vec::new();
    for (entry, _) in status.schedules.iter_mut().zip(&slots).filter(|(_, due)| **due == Some(slot)) {
        entry.last_schedule_time = Some(Time(slot));
        names.push(entry.name.clone());
    }
    Some(Run { id: BackupId::from_slot(slot), trigger: Trigger::Schedule, schedules: names })
}

fn follow(pass: &mut Pass<'_>, backup: &ValidatedBackup, status: &mut BackupStatus, mut active: ActiveRun) {
    let now = pass.now();
    match pass.job(&pass.policy.run_job_name(&backup.name, &active)).cloned() {
        None if active.job_uid.is_some() => {
            let message =
                format!("the Job of backup {} {} was deleted before its end", backup.name, active.run.id);
            let report = RunReport::new(Outcome::Retryable, reasons::JOB_DELETED, message);
            clean_up::note(pass, backup, status, &active, false);
            fail(pass, backup, status, active, &report);
        }
        None => {
            let wait = active
                .not_before
                .as_ref()
                .map(|time| time.0)
                .filter(|time| *time > now && *time <= seconds_later(now, MAX_RETRY_SECONDS));
            if let Some(time) = wait {
                pass.wake_at(time);
            } else {
                let size = pass.decision.status.probe.as_ref().and_then(|probe| probe.largest_database_bytes);
                pass.create(pass.policy.run_job(backup, &active, size, pass.runner));
                pass.wake_at(seconds_later(now, PROGRESS_SECONDS));
            }
        }
        Some(ObservedJob { state: JobState::Ended(ended), .. }) => {
            if ended.report.leftovers {
                clean_up::note(pass, backup, status, &active, ended.container_ended);
            }
            match &ended.report.backup {
                Some(made) if ended.report.outcome.is_success() => {
                    succeed(pass, backup, status, &active, made);
                }
                _ => fail(pass, backup, status, active, &ended.report),
            }
        }
        Some(job) => {
            if let JobState::Pending(Some(why)) = &job.state {
                active.last_error = Some(format!("the Pod has not started: {why}"));
            }
            active.progress = progress(&job, active.progress.take(), now);
            active.job_uid = Some(job.uid);
            status.active = Some(active);
            pass.wake_at(seconds_later(now, PROGRESS_SECONDS));
        }
    }
}

/// The progress to show: the newest line, but a new one no more often than every [`PROGRESS_SECONDS`].
fn progress(job: &ObservedJob, shown: Option<RunProgress>, now: Timestamp) -> Option<RunProgress> {
    let Some(newest) = &job.progress else { return shown };
    let fresh = shown.as_ref().is_some_and(|old| {
        old.progress.step == newest.step && now < seconds_later(old.time.0, PROGRESS_SECONDS)
    });
    if fresh || shown.as_ref().is_some_and(|old| old.progress == *newest) {
        return shown;
    }
    Some(RunProgress {
        progress: newest.clone(),
        percent: newest.percent(),
        seconds_left: newest.seconds_left(),
        time: Time(now),
    })
}

/// The API server refused a Job; if it was for a run, that attempt has failed.
pub(super) fn refused(pass: &mut Pass<'_>, refusal: &Refusal) {
    let policy = pass.policy;
    for backup in &policy.backups {
        let Some(at) = pass.decision.status.backups.iter().position(|status| status.name == backup.name)
        else {
            continue;
        };
        let mut status = pass.decision.status.backups[at].clone();
        if let Some(active) = status.active.clone()
            && policy.run_job_name(&backup.name, &active) == refusal.job
        {
            let report = RunReport::new(Outcome::Retryable, refusal.reason, refusal.message.clone());
            fail(pass, backup, &mut status, active, &report);
            pass.decision.status.backups[at] = status;
        }
    }
}

fn succeed(
    pass: &mut Pass<'_>,
    backup: &ValidatedBackup,
    status: &mut BackupStatus,
    active: &ActiveRun,
    made: &BackupReport,
) {
    let duration = made.end_time.duration_since(made.start_time).as_secs().try_into().unwrap_or(0);
    let success = SucceededRun {
        id: made.id.clone(),
        time: Time(made.end_time),
        duration_seconds: duration,
        bytes: made.stored_bytes,
        verified: made.verified,
    };
    for history in histories(status, &active.run) {
        history.attempts += 1;
        history.succeeded += 1;
        history.last_success = Some(success.clone());
    }
    status.active = None;
    let size = bytesize::ByteSize(made.stored_bytes).display().iec();
    pass.event(
        false,
        reasons::BACKUP_SUCCEEDED,
        format!("backup {} {} succeeded: {size} in {duration} s", backup.name, made.id),
    );
    let available = &mut pass.decision.status.available;
    available.retain(|entry| entry.backup != backup.name || entry.id != made.id);
    available.push(AvailableBackup {
        backup: backup.name.clone(),
        id: made.id.clone(),
        time: success.time,
        bytes: made.stored_bytes,
        verified: made.verified,
    });
    available.sort_by(|a, b| b.id.cmp(&a.id).then_with(|| a.backup.cmp(&b.backup)));
    available.truncate(MAX_AVAILABLE);
    pass.wake_now();
}

/// An attempt failed: another follows, or the run has failed for good.
fn fail(
    pass: &mut Pass<'_>,
    backup: &ValidatedBackup,
    status: &mut BackupStatus,
    mut active: ActiveRun,
    report: &RunReport,
) {
    let now = pass.now();
    let final_ = report.outcome == Outcome::Failed
        || active.attempt > ValidatedPolicy::backoff_limit(backup, &active.run);
    for history in histories(status, &active.run) {
        history.attempts += 1;
        if final_ {
            history.failed += 1;
            history.last_failure = Some(FailedRun {
                id: active.run.id.clone(),
                time: Time(now),
                reason: report.reason.clone(),
                message: report.message.clone(),
            });
        }
    }
    let what = format!(
        "backup {} {}, attempt {}: {}: {}",
        backup.name, active.run.id, active.attempt, report.reason, report.message
    );
    if final_ {
        pass.event(true, reasons::BACKUP_FAILED, what);
        status.active = None;
    } else {
        pass.event(true, reasons::BACKUP_RETRYING, what);
        let pause = backoff_seconds(RETRY_SECONDS, active.attempt, MAX_RETRY_SECONDS);
        active.not_before = Some(Time(seconds_later(now, pause)));
        active.last_error = Some(format!("{}: {}", report.reason, report.message));
        active.attempt += 1;
        active.job_uid = None;
        active.progress = None;
        status.active = Some(active);
    }
    pass.wake_now();
}

/// The histories that a run counts in: those of its schedules, or the one of unscheduled runs.
fn histories<'a>(status: &'a mut BackupStatus, run: &'a Run) -> Vec<&'a mut RunHistory> {
    if run.schedules.is_empty() {
        return vec![&mut status.manual];
    }
    let served = status.schedules.iter_mut().filter(|entry| run.schedules.contains(&entry.name));
    served.map(|entry| &mut entry.history).collect()
}
