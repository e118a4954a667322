//! Restoring and Verifying: one Job loads and verifies beside what is there. Pure.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::restore::{RestoreReport, VERIFYING_STEP};
use greenlang_backup_api::v1alpha1::{ActiveRestoreJob, RestoreJobKind, RestorePhase, RestoreStrategy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::follow::{self, Followed};
use super::pass::Pass;
use super::{ledger, quiesce, switch};
use crate::job_state::Ended;

/// Attempts to load where the old database was dropped already.
const PATIENT_ATTEMPTS: u32 = 20;

pub(super) fn advance(pass: &mut Pass<'_>) {
    if pass.request.stops_first() && !pass.is_past_return() {
        ledger::note_gone(pass);
        if quiesce::contested(pass) {
            return;
        }
    }
    // What is made from here on is undone even if the request is deleted.
    if !pass.is_held() {
        return;
    }
    if pass.request.strategy == RestoreStrategy::Replace && !pass.is_past_return() {
        // The Job drops the database first.
        pass.status().switch_started_time = Some(Time(pass.seen.now));
        pass.wake_now();
        return;
    }
    let Some(active) = pass.step.status.active.clone() else {
        follow::start(pass, RestoreJobKind::Load, None);
        return;
    };
    let Followed::Ended(ended) = follow::follow(pass, active.clone()) else {
        note_verifying(pass);
        return;
    };
    self::ended(pass, active, &ended);
}

/// What follows from the end of an attempt.
pub(super) fn ended(pass: &mut Pass<'_>, active: ActiveRestoreJob, ended: &Ended) {
    let report = &ended.report;
    match report.restore.clone() {
        Some(RestoreReport::Load(loaded)) if report.outcome.is_success() => {
            let status = pass.status();
            if let Some(databases) = &mut status.databases {
                databases.temporary = loaded.database.name;
                databases.temporary_oid = Some(loaded.database.oid);
            }
            status.restored = Some(loaded.data);
            status.active = None;
            let waits = !pass.request.stops_first() && !pass.request.workloads.is_empty();
            pass.enter(if waits { RestorePhase::Quiescing } else { RestorePhase::Switching });
        }
        _ if may_retry(pass, &active, report) => follow::retry(pass, active, report),
        // A success that says nothing of what it made cannot be switched to.
        _ if report.outcome.is_success() => {
            pass.fail(reasons::REPORT_LOST, "the Job that loaded did not say what it made");
        }
        _ if pass.is_past_return() => {
            let database = &pass.request.database;
            let message = format!(
                "{}; database {database} may be dropped already: mend what is said, and apply a new request",
                report.message
            );
            pass.fail(&report.reason, &message);
        }
        _ => pass.fail(&report.reason, &report.message),
    }
}

/// Once the old database was dropped there is nothing to go back to, so it is tried for longer: with their pauses more than an hour.
fn may_retry(pass: &Pass<'_>, active: &ActiveRestoreJob, report: &RunReport) -> bool {
    let patient =
        pass.is_past_return() && report.outcome != Outcome::Failed && active.attempt < PATIENT_ATTEMPTS;
    patient || follow::may_retry(active, report)
}

fn note_verifying(pass: &mut Pass<'_>) {
    let active = pass.step.status.active.as_ref();
    let progress = active.and_then(|active| active.progress.as_ref());
    let verifies = progress.is_some_and(|progress| progress.progress.step.starts_with(VERIFYING_STEP));
    if verifies && pass.phase() == RestorePhase::Restoring {
        let wake = pass.step.wake;
        pass.enter(RestorePhase::Verifying);
        pass.step.wake = wake;
    }
    switch::keep_wake(pass);
}
