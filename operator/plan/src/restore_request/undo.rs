//! Undoing: before the point of no return, or where nothing was renamed for sure, everything is as before again. The
//! applications come back at once; what was made is dropped beside that. Pure.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::v1alpha1::{RestoreJobKind, RestorePhase};

use super::follow::{self, Followed};
use super::step::Pass;
use super::{quiesce, resume};

/// Attempts to drop what was made.
const DROP_ATTEMPTS: u32 = 6;

pub(super) fn advance(pass: &mut Pass<'_>) {
    quiesce::recover(pass);
    let back = resume::give_back(pass);
    let clean = clean(pass);
    if back && clean {
        let end = pass.step.status.failure.as_ref().map_or(RestorePhase::Failed, |failure| failure.end);
        pass.end(end);
    }
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
            let Followed::Ended(ended) = follow::follow(pass, active.clone()) else { return false };
            let report = ended.report;
            if !report.outcome.is_success() {
                if report.outcome != Outcome::Failed && active.attempt < DROP_ATTEMPTS {
                    follow::retry(pass, active, &report);
                    return false;
                }
                let message = format!(
                    "database {} of this request could not be dropped and stays: {}; drop it by hand",
                    pass.request.temporary(),
                    report.message
                );
                pass.event(true, reasons::restore::DROP_FAILED, message);
            }
            let status = pass.status();
            status.active = None;
            // There is nothing of it any more.
            status.databases = None;
            pass.wake_now();
            false
        }
    }
}

/// Whether the plan has written a record, or a database may have been made.
fn made_something(pass: &Pass<'_>) -> bool {
    !pass.request.dry_run && pass.step.status.databases.is_some()
}
