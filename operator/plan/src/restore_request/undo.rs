//! Undoing: before the point of no return, or where nothing was renamed for sure, everything is as before again. The
//! applications come back at once; what was made is dropped beside that. Pure.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::restore::{RequestIdentity, RestoreReport, record_key};
use greenlang_backup_api::v1alpha1::{ActiveRestoreJob, RestoreJobKind, RestorePhase};

use super::follow::{self, Followed};
use super::pass::Pass;
use super::{ledger, resume};
use crate::job_state::{Ended, JobState};
use crate::pause::seconds_later;

/// Attempts to drop what was made.
const DROP_ATTEMPTS: u32 = 6;
/// Seconds between two looks at Jobs that are to go.
const STRAYS_SECONDS: i64 = 5;
/// Seconds for which they are waited for.
const STRAYS_LIMIT_SECONDS: i64 = 300;

pub(super) fn advance(pass: &mut Pass<'_>) {
    if ledger::recover(pass) && pass.step.status.plan.is_none() {
        let RequestIdentity { namespace, name, .. } = &pass.request.identity;
        let message = format!(
            "status was lost before, so nobody knows how far it came: {} in the bucket says so, and anything that it made is still there",
            record_key(namespace, name)
        );
        pass.add_to_failure(&message);
    }
    let back = !has_strays(pass) && resume::give_back(pass);
    let clean = clean(pass);
    if back && clean {
        let end = pass.step.status.failure.as_ref().map_or(RestorePhase::Failed, |failure| failure.end);
        pass.end(end);
    }
}

/// Whether Jobs may still work that a status named which was lost: one of them may be about to rename. They are deleted as
/// superfluous at the end of the pass; the applications do not wait for a lost node.
fn has_strays(pass: &mut Pass<'_>) -> bool {
    let status = &pass.step.status;
    let limit = seconds_later(pass.phase_start(), STRAYS_LIMIT_SECONDS);
    // A plan is made only when no other Job works.
    if status.plan.is_some() || pass.now() >= limit {
        return false;
    }
    let active = status.active.as_ref();
    let name = active.map(|active| pass.request.job_name(active));
    let uid = active.and_then(|active| active.job_uid.as_ref());
    let mut jobs = pass.seen.jobs.iter().filter(|job| !matches!(job.state, JobState::Ended(_)));
    let mut remains = pass.seen.remains.iter();
    let found = jobs.any(|job| Some(&job.name) != name.as_ref())
        || remains.any(|gone| Some(gone) != name.as_ref() && Some(gone) != uid);
    if found {
        pass.wake_in(STRAYS_SECONDS);
    }
    found
}

/// Stops what runs, then drops what was made. True once nothing is left to do.
fn clean(pass: &mut Pass<'_>) -> bool {
    match pass.step.status.active.clone() {
        None if !made_something(pass) => true,
        None => {
            follow::start(pass, RestoreJobKind::DropTemporary, None);
            false
        }
        Some(active) if active.kind != RestoreJobKind::DropTemporary => {
            follow::stop(pass, active);
            false
        }
        Some(active) => {
            if let Followed::Ended(ended) = follow::follow(pass, active.clone()) {
                self::ended(pass, active, &ended);
            }
            false
        }
    }
}

/// What follows from the end of an attempt to drop what was made.
pub(super) fn ended(pass: &mut Pass<'_>, active: ActiveRestoreJob, ended: &Ended) {
    let report = &ended.report;
    if !report.outcome.is_success() {
        if report.outcome != Outcome::Failed && active.attempt < DROP_ATTEMPTS {
            follow::retry(pass, active, report);
            return;
        }
        let (reason, message) = what_stays(pass, report);
        pass.add_to_failure(&message);
        pass.event(true, reason, message);
    }
    let status = pass.status();
    status.active = None;
    // Nothing of it is there any more, or nothing more is done about it.
    status.databases = None;
    pass.wake_now();
}

/// What is left once nobody tries any more: the database, or only a record that does not say how the request ended.
fn what_stays(pass: &Pass<'_>, report: &RunReport) -> (&'static str, String) {
    let (request, why) = (pass.request, &report.message);
    // A Job that has looked at the server says so; an undo makes no database at all.
    let is_gone = matches!(report.restore, Some(RestoreReport::Drop(_)));
    if !is_gone && !request.is_undo() {
        let name = request.temporary();
        let message =
            format!("database {name} of this request could not be dropped and stays: {why}; drop it by hand");
        return (reasons::restore::DROP_FAILED, message);
    }
    let RequestIdentity { namespace, name, .. } = &request.identity;
    let record = record_key(namespace, name);
    let message = if is_gone {
        format!("{why}. Nothing of this request stays on the server, and its name is used up")
    } else {
        format!(
            "the record {record} in the bucket could not be written: {why}. An undo makes nothing on the server that could stay, and the name of this one is used up"
        )
    };
    (reasons::restore::RECORD_NOT_WRITTEN, message)
}

/// Whether the plan has written a record, or a database may have been made.
fn made_something(pass: &Pass<'_>) -> bool {
    !pass.request.dry_run && pass.step.status.databases.is_some() && pass.step.status.place.is_some()
}
