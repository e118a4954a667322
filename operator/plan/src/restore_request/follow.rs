//! Follows the one Job of a request that goes on: makes it, reads its end, tries again. Pure.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::v1alpha1::{ActiveRestoreJob, RestoreJobKind, RestorePhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::kept::kept_name;
use super::pass::Pass;
use super::step::Effect;
use super::{check, load, plan, switch, undo};
use crate::job_state::{Ended, JobState};
use crate::jobs::{ObservedJob, PROGRESS_SECONDS, Refusal, cannot_start, shown_progress, superfluous};
use crate::pause::{backoff_seconds, seconds_later, still_ahead};

/// Attempts of a Job that fails for reasons that may pass, where failing is allowed.
pub(super) const ATTEMPTS: u32 = 3;
/// Seconds to the second attempt; doubled with each further one.
const RETRY_SECONDS: i64 = 10;
/// Longest pause between attempts.
const MAX_RETRY_SECONDS: i64 = 300;
/// Seconds between two looks at a Pod that is to go.
const STOP_SECONDS: i64 = 5;

/// How the active Job is.
pub(super) enum Followed {
    /// It goes on, or is still to begin.
    Going,
    /// The attempt has ended.
    Ended(Box<Ended>),
}

/// A Job that is decided now and made once that is stored.
pub(super) fn start(pass: &mut Pass<'_>, kind: RestoreJobKind, check: Option<String>) {
    let start_time = Time(pass.now());
    pass.status().active = Some(ActiveRestoreJob {
        kind,
        check,
        start_time,
        attempt: 1,
        job_uid: None,
        not_before: None,
        last_error: None,
        stopping: false,
        progress: None,
    });
    pass.wake_now();
}

/// The next step of the active Job, which is stored: whoever decides on one ends the pass with it.
pub(super) fn follow(pass: &mut Pass<'_>, mut active: ActiveRestoreJob) -> Followed {
    let name = pass.request.job_name(&active);
    match pass.job(&name).cloned() {
        None => absent(pass, &active),
        Some(ObservedJob { state: JobState::Ended(ended), .. }) if is_lost(&ended) => {
            lost(pass, active, &ended);
            Followed::Going
        }
        Some(ObservedJob { state: JobState::Ended(ended), .. }) => Followed::Ended(ended),
        Some(ObservedJob { state: JobState::Stuck(why), .. }) => not_started(&name, &why),
        Some(ObservedJob { state: JobState::Pending(why), created, .. })
            if pass.now() >= seconds_later(created, pass.request.start_limit(&active)) =>
        {
            not_started(&name, why.as_deref().unwrap_or("nothing says why"))
        }
        Some(job) => {
            if let JobState::Pending(Some(why)) = &job.state {
                active.last_error = Some(format!("{}: {why}", reasons::POD_NOT_STARTED));
            }
            active.progress = shown_progress(&job, active.progress, pass.now());
            active.job_uid = Some(job.uid);
            pass.status().active = Some(active);
            pass.wake_in(PROGRESS_SECONDS);
            Followed::Going
        }
    }
}

fn not_started(job: &str, why: &str) -> Followed {
    let report = RunReport::new(Outcome::Retryable, reasons::POD_NOT_STARTED, cannot_start(job, why));
    Followed::Ended(over(report))
}

/// Its container may still write to the server: nothing else may before it is known to be gone.
fn lost(pass: &mut Pass<'_>, mut active: ActiveRestoreJob, ended: &Ended) {
    let error = format!("{}: {}", ended.report.reason, ended.report.message);
    if active.last_error.as_ref() != Some(&error) && pass.owes() {
        let message =
            format!("applications stay stopped until it is known to be over: {}", ended.report.message);
        pass.event(true, reasons::restore::APPLICATIONS_DOWN, message);
    }
    active.last_error = Some(error);
    pass.status().active = Some(active);
    pass.wake_in(PROGRESS_SECONDS);
}

fn absent(pass: &mut Pass<'_>, active: &ActiveRestoreJob) -> Followed {
    if let Some(uid) = &active.job_uid {
        if pass.seen.remains.contains(uid) {
            pass.wake_in(STOP_SECONDS);
            return Followed::Going;
        }
        let message = "the Job was deleted before its end could be read";
        let report = RunReport::new(Outcome::Retryable, reasons::JOB_DELETED, message);
        return Followed::Ended(over(report));
    }
    let pause = active.not_before.as_ref();
    if let Some(time) = pause.and_then(|time| still_ahead(time.0, pass.now(), MAX_RETRY_SECONDS)) {
        pass.wake_at(time);
        return Followed::Going;
    }
    // No two of them work on one server: what an earlier one may still do must be over.
    let busy = pass.seen.jobs.iter().any(|job| job.deleting || !matches!(job.state, JobState::Ended(_)));
    if busy || !pass.seen.remains.is_empty() {
        pass.wake_in(STOP_SECONDS);
        return Followed::Going;
    }
    let claim = plan::claims(pass);
    let (reason, message) = match pass.request.job(pass.stored, active, pass.runner, claim) {
        Ok(Some(job)) => {
            pass.effect(Effect::CreateJob(Box::new(job)));
            pass.wake_in(PROGRESS_SECONDS);
            return Followed::Going;
        }
        Ok(None) => (
            reasons::INVALID_OBJECT,
            "status lacks what the next Job needs: it was changed by hand, or by another release".to_owned(),
        ),
        Err(error) => (reasons::INVALID_SPEC, error.to_string()),
    };
    Followed::Ended(over(RunReport::new(Outcome::Failed, reason, message)))
}

/// An end without a Job that says it.
fn over(report: RunReport) -> Box<Ended> {
    Box::new(Ended { report, container_ended: false, exit_code: None })
}

/// Whether a Pod that was told to stop does not go: it may still run on a node that nobody hears of.
fn is_lost(ended: &Ended) -> bool {
    ended.report.reason == reasons::NODE_LOST && !ended.container_ended
}

/// Another attempt, after a pause.
pub(super) fn retry(pass: &mut Pass<'_>, mut active: ActiveRestoreJob, report: &RunReport) {
    let pause = backoff_seconds(RETRY_SECONDS, active.attempt, MAX_RETRY_SECONDS);
    let what = format!(
        "{}, attempt {}: {}: {}",
        active.kind.as_str(),
        active.attempt,
        report.reason,
        report.message
    );
    // One that is tried for hours is told of a few times only.
    if active.attempt <= ATTEMPTS {
        pass.event(true, reasons::restore::RESTORE_RETRYING, what);
    }
    active.not_before = Some(Time(seconds_later(pass.now(), pause)));
    active.last_error = Some(format!("{}: {}", report.reason, report.message));
    active.attempt = active.attempt.saturating_add(1);
    active.job_uid = None;
    active.progress = None;
    pass.status().active = Some(active);
    pass.wake_now();
}

/// Whether an attempt that ended so may be followed by another.
pub(super) fn may_retry(active: &ActiveRestoreJob, report: &RunReport) -> bool {
    report.outcome != Outcome::Failed && active.attempt < ATTEMPTS
}

/// Stops the active Job. True once neither the Job nor a Pod of it is left.
pub(super) fn stop(pass: &mut Pass<'_>, mut active: ActiveRestoreJob) -> bool {
    let job = pass.job(&pass.request.job_name(&active)).cloned();
    let ended =
        job.as_ref().is_some_and(|job| matches!(&job.state, JobState::Ended(ended) if !is_lost(ended)));
    let remains = active.job_uid.as_ref().is_some_and(|uid| pass.seen.remains.contains(uid));
    if (job.is_none() || ended) && !remains {
        pass.status().active = None;
        pass.wake_now();
        return true;
    }
    if let Some(job) = job {
        // By its UID its Pod is waited for, so that is stored first.
        if pass.stored.active.as_ref().is_some_and(|stored| stored.stopping && stored.job_uid.is_some())
            && !job.deleting
        {
            pass.effect(Effect::DeleteJob { name: job.name.clone(), uid: job.uid.clone() });
        }
        active.job_uid = Some(job.uid);
    }
    if !active.stopping {
        pass.wake_now();
    }
    active.stopping = true;
    pass.status().active = Some(active);
    pass.wake_in(STOP_SECONDS);
    false
}

/// The API server refused a Job, or the ConfigMap of what is replaced: its attempt has failed, and each phase does what it does then.
pub(super) fn refused(pass: &mut Pass<'_>, refusal: &Refusal) {
    if refusal.job == kept_name(&pass.request.identity) {
        switch::not_remembered(pass, refusal);
        return;
    }
    let Some(active) = pass.step.status.active.clone() else { return };
    if pass.request.job_name(&active) != refusal.job {
        return;
    }
    let ended = over(RunReport::new(Outcome::Retryable, refusal.reason, refusal.message.clone()));
    match pass.phase() {
        RestorePhase::Planning => plan::ended(pass, active, &ended),
        RestorePhase::Restoring | RestorePhase::Verifying => load::ended(pass, active, &ended),
        RestorePhase::Switching => switch::ended(pass, active, &ended),
        RestorePhase::Checking => check::ended(pass, active, &ended),
        RestorePhase::Undoing => undo::ended(pass, active, &ended),
        // No other has Jobs.
        _ => {}
    }
}

/// Deletes Jobs that neither the stored status nor the new one names: their ends were counted. The last failed ones stay for
/// their logs.
pub(super) fn sweep(pass: &mut Pass<'_>) {
    let active = [pass.stored.active.as_ref(), pass.step.status.active.as_ref()];
    let needed: Vec<String> =
        active.into_iter().flatten().map(|active| pass.request.job_name(active)).collect();
    let doomed = superfluous(&pass.seen.jobs, &needed, |_| None);
    let deletions =
        doomed.into_iter().map(|job| Effect::DeleteJob { name: job.name.clone(), uid: job.uid.clone() });
    pass.step.effects.extend(deletions);
}
