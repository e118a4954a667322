//! Decides whether the bucket has to be asked for a policy's history, and takes it over. Pure.
//!
//! A policy without status is new, or was made again, or came from a backup of another cluster. Until the bucket has said what it
//! holds, no run is decided and no series is exported: a history that is merely forgotten must not look like one that failed.

use std::collections::BTreeSet;

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::prune::{CatalogueEntry, CatalogueReport};
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::RunReport;
use greenlang_backup_api::v1alpha1::{
    ActiveCatalogue, AvailableBackup, BackupPolicyStatus, BackupStatus, CatalogueStatus, RunHistory,
    ScheduleStatus, SucceededRun,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::available;
use super::decide::{Pass, failure};
use super::validate::ValidatedBackup;
use crate::job_state::{Ended, JobState};
use crate::jobs::PROGRESS_SECONDS;
use crate::jobs::{ObservedJob, Refusal, cannot_start};
use crate::pause::{backoff_seconds, seconds_later, still_ahead};

/// Seconds to the next try after a first failure; doubled with each further one.
const RETRY_SECONDS: i64 = 10;
/// Longest pause between tries.
const MAX_RETRY_SECONDS: i64 = 600;
/// After so many failures in a row backups are made all the same: a history that cannot be read must not cost the next one. It is
/// taken over as soon as it can be.
const PATIENCE: u32 = 5;
/// Seconds after which a reading that goes on holds up backups no longer, as a list of a very large bucket does, or a Pod without a place.
const PATIENCE_SECONDS: i64 = 600;

/// Reads the history where it is unknown; says whether runs may be decided.
pub(super) fn advance(pass: &mut Pass<'_>) -> bool {
    let status = &pass.decision.status;
    let Some(mut catalogue) = wanted(status) else { return true };
    match catalogue.active.clone() {
        None => start_if_due(pass, &mut catalogue),
        Some(active) => follow(pass, &mut catalogue, active),
    }
    let known = catalogue.completed_time.is_some() || catalogue.failures >= PATIENCE;
    // Once runs were decided they are followed, whatever comes of this try or the next one.
    let ready = known || has_begun(pass) || takes_too_long(pass, &catalogue);
    pass.decision.status.catalogue = Some(catalogue);
    ready
}

/// Whether runs were decided already: nothing else is known of any backup before.
fn has_begun(pass: &Pass<'_>) -> bool {
    !pass.decision.status.backups.is_empty()
}

/// Whether backups are not to wait for the reading that goes on. People are told when that is so first.
fn takes_too_long(pass: &mut Pass<'_>, catalogue: &CatalogueStatus) -> bool {
    let now = pass.now();
    // One that began in the future did so under a wrong clock.
    let is_late = |active: &ActiveCatalogue| {
        active.start_time.0 <= now && now >= seconds_later(active.start_time.0, PATIENCE_SECONDS)
    };
    let late = catalogue.active.as_ref().is_some_and(is_late);
    if late {
        let what = "the history in the bucket is still being read after ten minutes, and runs start without it; it is taken over when it is known";
        pass.event(true, reasons::HISTORY_UNKNOWN, what.to_owned());
    }
    late
}

/// What is known of the reading; none when there is nothing to read.
fn wanted(status: &BackupPolicyStatus) -> Option<CatalogueStatus> {
    match &status.catalogue {
        Some(catalogue) if catalogue.completed_time.is_some() => None,
        Some(catalogue) => Some(catalogue.clone()),
        // Written by a release that knew no catalogue: the history is there.
        None if !status.backups.is_empty() => None,
        None => Some(CatalogueStatus::default()),
    }
}

/// Whether the history is not known yet.
pub(super) fn is_unknown(status: &BackupPolicyStatus) -> bool {
    wanted(status).is_some()
}

fn start_if_due(pass: &mut Pass<'_>, catalogue: &mut CatalogueStatus) {
    let now = pass.now();
    let next = catalogue.next_time.as_ref();
    if let Some(next) = next.and_then(|next| still_ahead(next.0, now, MAX_RETRY_SECONDS)) {
        pass.wake_at(next);
        return;
    }
    catalogue.active = Some(ActiveCatalogue { start_time: Time(now), job_uid: None });
    pass.wake_now();
}

fn follow(pass: &mut Pass<'_>, catalogue: &mut CatalogueStatus, mut active: ActiveCatalogue) {
    match pass.job(&pass.policy.catalogue_job_name(&active)).cloned() {
        None if active.job_uid.is_some() => {
            fail(pass, catalogue, reasons::JOB_DELETED, "the Job was deleted before its end");
        }
        None => {
            pass.create(pass.policy.catalogue_job(&active, pass.runner));
            pass.wake_at(seconds_later(pass.now(), PROGRESS_SECONDS));
        }
        Some(ObservedJob { state: JobState::Ended(ended), details, .. }) => {
            end(pass, catalogue, &ended, &details);
            // With this status the Job's end is counted; the next pass deletes it.
            pass.wake_now();
        }
        Some(ObservedJob { name, state: JobState::Stuck(why), .. }) => {
            fail(pass, catalogue, reasons::POD_NOT_STARTED, &cannot_start(&name, &why));
        }
        Some(job) => {
            active.job_uid = Some(job.uid);
            catalogue.active = Some(active);
            pass.wake_at(seconds_later(pass.now(), PROGRESS_SECONDS));
        }
    }
}

fn end(pass: &mut Pass<'_>, catalogue: &mut CatalogueStatus, ended: &Ended, details: &str) {
    let RunReport { outcome, reason, message, catalogue: report, .. } = &ended.report;
    let Some(report) = report.as_ref().filter(|_| outcome.is_success()) else {
        fail(pass, catalogue, reason, message);
        return;
    };
    match CatalogueReport::entries(report, details) {
        Some(entries) => {
            take_over(pass, &entries);
            (catalogue.failures, catalogue.next_time, catalogue.last_error) = (0, None, None);
            (catalogue.active, catalogue.found) = (None, report.found);
            catalogue.completed_time = Some(Time(pass.now()));
        }
        None => fail(pass, catalogue, reasons::REPORT_LOST, "its log is not what its report says"),
    }
}

/// The API server refused a Job; if it was for the catalogue, that has failed.
pub(super) fn refused(pass: &mut Pass<'_>, refusal: &Refusal) {
    let Some(mut catalogue) = pass.decision.status.catalogue.clone() else { return };
    let active = catalogue.active.as_ref();
    if active.is_some_and(|active| pass.policy.catalogue_job_name(active) == refusal.job) {
        fail(pass, &mut catalogue, refusal.reason, &refusal.message);
        pass.decision.status.catalogue = Some(catalogue);
    }
}

/// People are told when it begins to fail, and when backups go on without it.
fn fail(pass: &mut Pass<'_>, catalogue: &mut CatalogueStatus, reason: &str, message: &str) {
    catalogue.failures = catalogue.failures.saturating_add(1);
    catalogue.last_error = Some(failure(reason, message));
    catalogue.active = None;
    let pause = backoff_seconds(RETRY_SECONDS, catalogue.failures, MAX_RETRY_SECONDS);
    catalogue.next_time = Some(Time(seconds_later(pass.now(), pause)));
    let then = match catalogue.failures {
        1 if has_begun(pass) => "runs go on without it",
        1 => "no run starts before it is",
        PATIENCE if !has_begun(pass) => "runs start without it",
        _ => "",
    };
    if !then.is_empty() {
        let what =
            format!("the history in the bucket could not be read yet, and {then}: {reason}: {message}");
        pass.event(true, reasons::HISTORY_UNKNOWN, what);
    }
    pass.wake_now();
}

/// Puts what was found into status. What status knows already and is newer stays.
fn take_over(pass: &mut Pass<'_>, entries: &[CatalogueEntry]) {
    if entries.is_empty() {
        return;
    }
    let policy = pass.policy;
    // From the future: it can be restored, and says nothing of what was made when.
    let latest = pass.latest_slot();
    let is_past =
        |entry: &CatalogueEntry| entry.end_time <= latest && entry.id.slot().is_ok_and(|slot| slot <= latest);
    for backup in &policy.backups {
        let statuses = &mut pass.decision.status.backups;
        let at = statuses.iter().position(|status| status.name == backup.name).unwrap_or_else(|| {
            statuses.push(new_status(backup, policy.run_tokens.get(&backup.name)));
            statuses.len() - 1
        });
        let of_backup: Vec<_> =
            entries.iter().filter(|entry| entry.backup == backup.name && is_past(entry)).collect();
        let accepted = Time(policy.created.min(pass.seen.now));
        fill(&mut statuses[at], backup, &of_backup, &accepted);
    }
    let available = &mut pass.decision.status.available;
    let known: BTreeSet<(String, BackupId)> =
        available.iter().map(|entry| (entry.backup.clone(), entry.id.clone())).collect();
    let new = entries.iter().filter(|entry| !known.contains(&(entry.backup.clone(), entry.id.clone())));
    available.extend(new.map(|entry| AvailableBackup {
        backup: entry.backup.clone(),
        id: entry.id.clone(),
        time: Time(entry.end_time),
        bytes: entry.bytes,
        verified: entry.verified,
    }));
    available::keep_newest(available, latest);
    let what = format!("the newest {} backups in the bucket are known again", entries.len());
    pass.event(false, reasons::HISTORY_RESTORED, what);
}

/// A run that an annotation asked for before status was lost is not run again.
fn new_status(backup: &ValidatedBackup, token: Option<&String>) -> BackupStatus {
    BackupStatus { name: backup.name.clone(), manual_token: token.cloned(), ..BackupStatus::default() }
}

fn fill(status: &mut BackupStatus, backup: &ValidatedBackup, entries: &[&CatalogueEntry], accepted: &Time) {
    let newest = |serves: &dyn Fn(&CatalogueEntry) -> bool| {
        entries.iter().copied().filter(|entry| serves(entry)).max_by(|one, next| one.id.cmp(&next.id))
    };
    for schedule in &backup.schedules {
        if status.schedules.iter().all(|entry| entry.name != schedule.name) {
            let entry = ScheduleStatus::new(&schedule.name, schedule.cadence.as_text(), accepted.clone());
            status.schedules.push(entry);
        }
        let found = newest(&|entry| entry.schedules.contains(&schedule.name));
        let known = status.schedules.iter_mut().find(|entry| entry.name == schedule.name);
        if let (Some(found), Some(known)) = (found, known) {
            let slot = found.id.slot().ok().map(Time);
            known.last_schedule_time = known.last_schedule_time.take().max(slot);
            succeeded(&mut known.history, found);
        }
    }
    if let Some(found) = newest(&|entry| entry.schedules.is_empty()) {
        succeeded(&mut status.manual, found);
    }
    let last = newest(&|_| true).map(|entry| entry.id.clone());
    status.last_id = status.last_id.take().max(last);
}

fn succeeded(history: &mut RunHistory, found: &CatalogueEntry) {
    if history.last_success.as_ref().is_some_and(|known| known.id >= found.id) {
        return;
    }
    let seconds = found.end_time.duration_since(found.start_time).as_secs();
    history.last_success = Some(SucceededRun {
        id: found.id.clone(),
        time: Time(found.end_time),
        duration_seconds: seconds.try_into().unwrap_or(0),
        bytes: found.bytes,
        verified: found.verified,
    });
}
