//! Decides when a backup runs, follows its attempts, and counts how it ended. Pure.
//!
//! `slots` says which slots are due or missed, `start` what of it may start, `follow` what the next step of a run is that goes
//! on, and `count` what an end means for status.

mod count;
mod follow;
mod slots;
mod start;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::v1alpha1::{BackupStatus, Stopping};

use super::clean_up;
use super::decide::Pass;
use super::validate::ValidatedBackup;
use crate::jobs::Refusal;

/// Advances every backup of the spec, and stops what the spec no longer has.
pub(super) fn advance_all(pass: &mut Pass<'_>) {
    let policy = pass.policy;
    let mut before = std::mem::take(&mut pass.decision.status.backups);
    let accepted_before = !before.is_empty();
    for backup in &policy.backups {
        let known = before.iter().position(|status| status.name == backup.name).map(|at| before.remove(at));
        let status =
            known.unwrap_or_else(|| BackupStatus { name: backup.name.clone(), ..BackupStatus::default() });
        let status = advance(pass, backup, status, accepted_before);
        pass.decision.status.backups.push(status);
    }
    let removed: Vec<_> = before.into_iter().filter_map(|status| retire(pass, status)).collect();
    let removed = clean_up::bound_removed(pass, removed);
    pass.decision.status.backups.extend(removed);
}

fn advance(
    pass: &mut Pass<'_>,
    backup: &ValidatedBackup,
    mut status: BackupStatus,
    accepted_before: bool,
) -> BackupStatus {
    let since = if accepted_before { pass.now() } else { pass.policy.created };
    status.schedules = slots::entries(pass, backup, &status, since);
    follow::follow_all(pass, Some(backup), &mut status);
    start::start_if_due(pass, backup, &mut status, accepted_before);
    slots::note_next(pass, backup, &mut status);
    status
}

/// A backup that the spec no longer has, or has under another name: its runs are stopped, what they left is cleaned up, and
/// then it is forgotten.
fn retire(pass: &mut Pass<'_>, mut status: BackupStatus) -> Option<BackupStatus> {
    status.schedules.clear();
    status.waiting.clear();
    // Its old backups are deleted no more; a prune that goes on has its Job deleted with this.
    status.prune = None;
    stop_all(pass, &mut status, Stopping::BackupRemoved);
    follow::follow_all(pass, None, &mut status);
    for run in status.active.iter_mut().chain(&mut status.alongside) {
        (run.progress, run.last_error) = (None, None);
    }
    (status.active.is_some() || !status.clean_ups.is_empty()).then_some(status)
}

/// Runs that are to stop. Once that is stored their Jobs are deleted.
fn stop_all(pass: &mut Pass<'_>, status: &mut BackupStatus, stopping: Stopping) {
    for run in status.active.iter_mut().chain(&mut status.alongside).filter(|run| run.stopping.is_none()) {
        run.stopping = Some(stopping);
        pass.wake_now();
    }
}

/// The API server refused a Job; if it was for a run, that attempt has failed.
pub(super) fn refused(pass: &mut Pass<'_>, refusal: &Refusal) {
    let policy = pass.policy;
    let mut backups = std::mem::take(&mut pass.decision.status.backups);
    for status in &mut backups {
        let Some(backup) = policy.backups.iter().find(|backup| backup.name == status.name) else { continue };
        for active in status.take_runs() {
            let still = if policy.run_job_name(&status.name, &active) == refusal.job {
                let report = RunReport::new(Outcome::Retryable, refusal.reason, refusal.message.clone());
                count::fail(pass, Some(backup), status, active, &report)
            } else {
                Some(active)
            };
            if let Some(run) = still {
                status.push_run(run);
            }
        }
    }
    pass.decision.status.backups = backups;
}

/// Reason and sentence for a run that is stopped.
fn stop_reason(stopping: Stopping) -> (&'static str, &'static str) {
    match stopping {
        Stopping::Replaced => (
            reasons::REPLACED,
            "it was stopped because a newer run takes its place (concurrencyPolicy: Replace)",
        ),
        Stopping::BackupRemoved => {
            (reasons::BACKUP_REMOVED, "it was stopped because the spec no longer has this backup")
        }
    }
}
