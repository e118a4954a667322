//! Checking: URLs and queries in one Job, then the user's Jobs one by one. A failure undoes nothing: the message names the
//! undo. Pure.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::RunReport;
use greenlang_backup_api::restore::RestoreReport;
use greenlang_backup_api::v1alpha1::{ActiveRestoreJob, RestoreJobKind, RestorePhase};

use super::follow::{self, Followed};
use super::pass::Pass;
use super::switch::fate_of;
use crate::job_state::Ended;

pub(super) fn advance(pass: &mut Pass<'_>) {
    if pass.seen.deleting {
        succeed(pass);
        return;
    }
    let Some(active) = pass.step.status.active.clone() else {
        next(pass, None);
        return;
    };
    if let Followed::Ended(ended) = follow::follow(pass, active.clone()) {
        self::ended(pass, active, &ended);
    }
}

/// What follows from the end of an attempt.
pub(super) fn ended(pass: &mut Pass<'_>, active: ActiveRestoreJob, ended: &Ended) {
    if passed(&active, ended) {
        pass.status().active = None;
        next(pass, Some(&active));
        return;
    }
    let report = &ended.report;
    let judged = active.kind == RestoreJobKind::CheckJob && ended.exit_code.is_some();
    if !judged && follow::may_retry(&active, report) {
        follow::retry(pass, active, report);
        return;
    }
    let message = describe(&active, ended);
    fail(pass, &message);
}

/// The check after `done`; none left is success.
fn next(pass: &mut Pass<'_>, done: Option<&ActiveRestoreJob>) {
    let checks = &pass.request.checks;
    let own = !checks.health.is_empty() || !checks.sql.is_empty();
    if done.is_none() && own {
        follow::start(pass, RestoreJobKind::Check, None);
        return;
    }
    let after = done.and_then(|done| done.check.as_ref());
    let at =
        after.and_then(|name| checks.jobs.iter().position(|job| job.name == *name)).map_or(0, |at| at + 1);
    match checks.jobs.get(at) {
        Some(job) => follow::start(pass, RestoreJobKind::CheckJob, Some(job.name.clone())),
        None => succeed(pass),
    }
}

fn passed(active: &ActiveRestoreJob, ended: &Ended) -> bool {
    match active.kind {
        // A program that is told to stop may end well without having come to its end.
        RestoreJobKind::CheckJob => {
            ended.exit_code == Some(0) && ended.report.reason != reasons::DEADLINE_EXCEEDED
        }
        _ => ended.report.outcome.is_success(),
    }
}

fn describe(active: &ActiveRestoreJob, ended: &Ended) -> String {
    let RunReport { reason, message, restore, .. } = &ended.report;
    // Kubernetes ended the program: its code says nothing of the check.
    let cut_off = [reasons::DEADLINE_EXCEEDED, reasons::OUT_OF_MEMORY].contains(&reason.as_str());
    match (&active.check, restore) {
        (Some(name), _) => match ended.exit_code.filter(|_| !cut_off) {
            Some(code) => format!("{name} ended with code {code}: see the log of its Pod"),
            None => format!("{name}: {reason}: {message}"),
        },
        (None, Some(RestoreReport::Check(found))) if !found.failed.is_empty() => found.failed.join("; "),
        _ => format!("{reason}: {message}"),
    }
}

fn fail(pass: &mut Pass<'_>, what: &str) {
    let request = &pass.request.identity;
    let way_out = match &pass.step.status.previous {
        Some(previous) if pass.now() < previous.drop_after.0 => format!(
            "; {}: to go back to it, apply a RestoreRequest with spec.source.undoOf.name: {}",
            fate_of(previous, pass.now()),
            request.name
        ),
        Some(previous) => format!("; {}", fate_of(previous, pass.now())),
        None => String::new(),
    };
    let message = format!("a check failed: {what}{way_out}");
    pass.note_failure(RestorePhase::Failed, reasons::restore::CHECK_FAILED, &message);
    pass.end(RestorePhase::Failed);
}

fn succeed(pass: &mut Pass<'_>) {
    pass.end(RestorePhase::Succeeded);
}
