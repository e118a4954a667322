//! Derives conditions and the columns of `kubectl get` from the rest of status. Pure.

use greenlang_backup_api::conditions::{
    self, BACKUPS_CURRENT, DATABASE_REACHABLE, ENCRYPTION_READY, READY, RECONCILING, RETENTION_ACTIVE,
    STALLED, STORAGE_REACHABLE, State,
};
use greenlang_backup_api::reasons;
use greenlang_backup_api::v1alpha1::{
    BackupPolicyStatus, BackupStatus, RunHistory, RunProgress, ScheduleStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::catalogue;
use super::decide::Pass;
use super::first_probe;
use super::prune;
use super::restores;

/// State, reason and message of a condition.
type Verdict = (State, String, String);

fn verdict(state: State, reason: &str, message: impl Into<String>) -> Verdict {
    (state, reason.to_owned(), message.into())
}

/// Sets everything that follows from the rest.
pub(super) fn summarise(pass: &mut Pass<'_>) {
    let (generation, now) = (pass.policy.generation, pass.now());
    let probed =
        pass.decision.status.probe.as_ref().is_some_and(|probe| probe.generation == Some(generation));
    let verdicts = [
        (READY, ready(pass, probed)),
        (RECONCILING, reconciling(pass, probed)),
        (STALLED, verdict(State::False, reasons::SUCCEEDED, "the spec is valid")),
        (BACKUPS_CURRENT, backups_current(&pass.decision.status)),
        (RETENTION_ACTIVE, retention_active(pass)),
    ];
    tell_unreadable_pin(pass);
    let progress = progress(pass);
    let status = &mut pass.decision.status;
    status.progress = progress;
    for (type_, (state, reason, message)) in verdicts {
        conditions::set(&mut status.conditions, type_, state, &reason, &message, generation, now);
    }
    status.observed_generation = Some(generation);
    columns(status);
}

fn ready(pass: &Pass<'_>, probed: bool) -> Verdict {
    let checks = [STORAGE_REACHABLE, DATABASE_REACHABLE, ENCRYPTION_READY];
    let bad =
        |condition: &&Condition| checks.contains(&condition.type_.as_str()) && condition.status != "True";
    let bad = pass.decision.status.conditions.iter().find(bad);
    match bad {
        Some(condition) if probed || condition.reason == reasons::POD_NOT_STARTED => {
            verdict(State::False, &condition.reason, condition.message.clone())
        }
        _ if !probed => {
            verdict(State::Unknown, reasons::PROBING, "bucket, database and keys are being checked")
        }
        _ if pass.policy.suspend => {
            verdict(State::True, reasons::SUSPENDED, "no scheduled run starts while spec.suspend is true")
        }
        _ => verdict(State::True, reasons::SUCCEEDED, "bucket, database and keys can be used"),
    }
}

fn reconciling(pass: &Pass<'_>, probed: bool) -> Verdict {
    if !probed {
        return verdict(State::True, reasons::PROBING, "the latest spec is being checked");
    }
    if let Some((id, restore)) = restores::waiting(pass) {
        let message = format!("the latest spec is in effect; run {id} waits: {restore}");
        return verdict(State::False, reasons::WAITING_FOR_RESTORE, message);
    }
    // Not that it is reconciling: to kstatus a rollout would not be over while other policies are at work.
    match pass.waiting_runs().next() {
        Some(waiting) => {
            let message = format!(
                "the latest spec is in effect; run {} waits until fewer than {} runs of all policies go on (maxConcurrentRuns)",
                waiting.id, pass.seen.places.limit
            );
            verdict(State::False, reasons::WAITING_FOR_CAPACITY, message)
        }
        None => verdict(State::False, reasons::IDLE, "the latest spec is in effect"),
    }
}

/// Whether the newest run of every schedule that has ended a run succeeded.
fn backups_current(status: &BackupPolicyStatus) -> Verdict {
    let schedules = || {
        status
            .backups
            .iter()
            .flat_map(|backup| backup.schedules.iter().map(move |entry| (&backup.name, entry)))
    };
    if let Some((backup, ScheduleStatus { name, history, .. })) =
        schedules().find(|(_, entry)| newest_failed(&entry.history))
    {
        let failure = history.last_failure.as_ref();
        let what = failure.map(|run| format!("{}: {}", run.reason, run.message)).unwrap_or_default();
        return verdict(
            State::False,
            reasons::BACKUP_FAILED,
            format!("the newest run of {backup}/{name} failed: {what}"),
        );
    }
    if catalogue::is_unknown(status) {
        let why = status.catalogue.as_ref().and_then(|catalogue| catalogue.last_error.as_deref());
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        let message = format!("the history is still to be read from the bucket{why}");
        return verdict(State::Unknown, reasons::HISTORY_UNKNOWN, message);
    }
    if let Some((backup, entry)) = schedules().find(|(_, entry)| newest_missed(entry)) {
        let slot = entry.last_missed_time.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
        return verdict(
            State::False,
            reasons::BACKUP_MISSED,
            format!("the newest slot of {backup}/{}, {slot}, passed without a run", entry.name),
        );
    }
    if schedules().all(|(_, entry)| entry.history.last_success.is_none()) {
        return verdict(State::Unknown, reasons::NOT_DUE_YET, "no scheduled run has ended yet");
    }
    verdict(State::True, reasons::SUCCEEDED, "the newest run of every schedule succeeded")
}

/// Whether backups go when their days are over, or what keeps them all.
fn retention_active(pass: &Pass<'_>) -> Verdict {
    let policy = pass.policy;
    if let Some(problem) = policy.pin_problem() {
        return verdict(State::False, reasons::PIN_UNREADABLE, problem);
    }
    if policy.suspend_retention {
        let message = "no backup is deleted while spec.suspendRetention is true";
        return verdict(State::False, reasons::SUSPENDED, message);
    }
    let mut errors = policy.backups.iter().filter_map(|backup| {
        Some((&backup.name, prune::problem(pass, pass.decision.status.backup(&backup.name)?)?))
    });
    if let Some((backup, error)) = errors.next() {
        let message = format!("old backups of {backup} could not be deleted yet: {error}");
        return verdict(State::False, reasons::PRUNE_FAILED, message);
    }
    verdict(State::True, reasons::SUCCEEDED, "backups are deleted when their days are over")
}

/// An annotation that holds everything is told once, and stands in the condition for as long as it is there.
fn tell_unreadable_pin(pass: &mut Pass<'_>) {
    let Some(problem) = pass.policy.pin_problem() else { return };
    let told = conditions::find(&pass.decision.status.conditions, RETENTION_ACTIVE);
    if told.is_none_or(|told| told.message != conditions::cut(&problem)) {
        pass.event(true, reasons::PIN_UNREADABLE, problem);
    }
}

pub(super) fn newest_failed(history: &RunHistory) -> bool {
    match (&history.last_failure, &history.last_success) {
        (Some(failure), Some(success)) => failure.time > success.time,
        (failure, None) => failure.is_some(),
        (None, Some(_)) => false,
    }
}

fn newest_missed(entry: &ScheduleStatus) -> bool {
    let time = |time: &Option<Time>| time.as_ref().map(|time| time.0);
    time(&entry.last_missed_time) > time(&entry.last_schedule_time)
}

fn columns(status: &mut BackupPolicyStatus) {
    let histories = status.backups.iter().flat_map(BackupStatus::histories);
    let successes = histories.filter_map(|history| history.last_success.as_ref());
    if let Some(newest) = successes.max_by_key(|run| run.time.0) {
        let size = bytesize::ByteSize(newest.bytes).display().iec().to_string();
        (status.last_backup_time, status.last_size) = (Some(newest.time.clone()), Some(size));
    }
    let slots = status.backups.iter().flat_map(|backup| &backup.schedules);
    status.next_backup = slots.filter_map(|entry| entry.next_schedule_time.clone()).min_by_key(|time| time.0);
}

/// Of the first run that goes on, in the order of the spec.
fn progress(pass: &Pass<'_>) -> Option<String> {
    pass.decision.status.backups.iter().find_map(|backup| {
        let active = backup.active.as_ref()?;
        let job = || pass.policy.run_job_name(&backup.name, active);
        let restore = || restores::waited_for(pass, &backup.name, active);
        let step = || match first_probe::wait_until(pass, active) {
            Some(_) => "waiting for the probe to tell the size of the database".to_owned(),
            None if restore().is_some() => format!("waiting: {}", restore().unwrap_or_default()),
            None if pass.waiting_runs().any(|waiting| waiting.job == job()) => {
                format!("waiting until fewer than {} runs go on", pass.seen.places.limit)
            }
            None => "starting".to_owned(),
        };
        let begun = active.progress.as_ref().map(in_words);
        Some(begun.unwrap_or_else(|| format!("{} {}: {}", backup.name, active.run.id, step())))
    })
}

/// For example `Dumping greenlang 42%, 35.1 MiB/s, 75s left`.
fn in_words(run: &RunProgress) -> String {
    let percent = run.percent.map(|percent| format!(" {percent}%")).unwrap_or_default();
    let rate = match run.progress.bytes_per_second {
        0 => String::new(),
        rate => format!(", {}/s", bytesize::ByteSize(rate).display().iec()),
    };
    let left = run.seconds_left.map(|seconds| format!(", {seconds}s left")).unwrap_or_default();
    format!("{}{percent}{rate}{left}", run.progress.step)
}
