//! Derives conditions and the columns of `kubectl get` from the rest of status. Pure.

use greenlang_backup_api::conditions::{
    self, FINISHED, PLANNED, QUIESCED, READY, RECONCILING, RESTORED, RESUMED, STALLED, SWITCHED, State,
    VERIFIED,
};
use greenlang_backup_api::reasons::{self, restore as why};
use greenlang_backup_api::v1alpha1::{QuiesceState, RestorePhase, RestoreRequestStatus};
use jiff::Timestamp;

use super::pass::{Pass, owes};
use super::step::too_late;
use super::switch::{fate_of, outgoing, way_out};
use super::{Lock, dumps};
use crate::backup_policy::Event;
use crate::backup_policy::decide::not_served;

/// State, reason and message of a condition.
type Verdict = (State, String, String);

fn verdict(state: State, reason: &str, message: impl Into<String>) -> Verdict {
    (state, reason.to_owned(), message.into())
}

/// The status of a request in a namespace where the operator may make nothing. Its spec is not read; what is known stays known.
pub fn unserved(
    before: &RestoreRequestStatus,
    namespace: &str,
    generation: i64,
    now: Timestamp,
) -> RestoreRequestStatus {
    let mut status = before.clone();
    let (reason, message) = not_served(namespace);
    for (type_, state) in [(READY, State::False), (STALLED, State::True), (RECONCILING, State::False)] {
        conditions::set(&mut status.conditions, type_, state, reason, &message, generation, now);
    }
    status.observed_generation = Some(generation);
    status
}

/// Sets everything that follows from the rest.
pub(super) fn summarise(pass: &mut Pass<'_>) {
    let (generation, now) = (pass.request.generation, pass.now());
    pass.step.status.phase.get_or_insert_default();
    progress(pass);
    let status = &pass.step.status;
    let verdicts = [
        (READY, ready(pass)),
        (RECONCILING, reconciling(pass)),
        (STALLED, stalled(pass)),
        (PLANNED, planned(status)),
        (QUIESCED, quiesced(pass)),
        (RESTORED, restored(pass)),
        (VERIFIED, verified(pass)),
        (SWITCHED, switched(status)),
        (RESUMED, resumed(status)),
        (FINISHED, finished(pass)),
    ];
    let status = &mut pass.step.status;
    for (type_, (state, reason, message)) in verdicts {
        conditions::set(&mut status.conditions, type_, state, &reason, &message, generation, now);
    }
    status.observed_generation = Some(generation);
    tell_end(pass);
}

fn phase(status: &RestoreRequestStatus) -> RestorePhase {
    status.phase.unwrap_or_default()
}

/// What goes on, in words. Steps that wait for something have said so already.
fn progress(pass: &mut Pass<'_>) {
    let active = pass.step.status.active.as_ref().and_then(|active| active.progress.as_ref());
    let text = active.map(|shown| match shown.percent {
        Some(percent) => format!("{} {percent} %", shown.progress.step),
        None => shown.progress.step.clone(),
    });
    let ended = pass.phase().is_end();
    let shown = &mut pass.step.status.progress;
    if ended {
        *shown = None;
    } else if text.is_some() {
        *shown = text;
    }
}

/// Why a switch takes its time: it was tried, and nobody knows.
fn uncertain(pass: &Pass<'_>) -> Option<String> {
    let status = &pass.step.status;
    let active = status.active.as_ref().filter(|_| phase(status) == RestorePhase::Switching)?;
    let error = active.last_error.as_ref()?;
    let is_lost = error.starts_with(reasons::NODE_LOST);
    if pass.request.give_up {
        return status.progress.clone();
    }
    (active.attempt > 1 || is_lost).then(|| way_out(pass, error))
}

/// Why `spec.cancel` changes nothing any more, and what does.
pub(super) fn why_too_late(pass: &Pass<'_>) -> String {
    let begin = "spec.cancel came too late, for the databases were being switched already: the request goes on to its end";
    match outgoing(pass.request, &pass.step.status) {
        Some(_) => format!(
            "{begin}; to go back, apply a RestoreRequest with spec.source.undoOf.name: {} then",
            pass.request.identity.name
        ),
        None => begin.to_owned(),
    }
}

fn ready(pass: &Pass<'_>) -> Verdict {
    let status = &pass.step.status;
    if let Some(message) = uncertain(pass) {
        return verdict(State::False, why::SWITCH_UNCERTAIN, message);
    }
    match (phase(status), &status.failure) {
        (RestorePhase::Succeeded, _) => verdict(State::True, reasons::SUCCEEDED, success(status, pass.now())),
        (RestorePhase::Planned, _) => verdict(State::True, why::PLANNED, "it can work: see status.plan"),
        (_, Some(failure)) => verdict(State::False, &failure.reason, failure.message.clone()),
        (phase, None) => {
            let (reason, message) = going_on(pass, phase);
            verdict(State::False, reason, message)
        }
    }
}

fn success(status: &RestoreRequestStatus, now: Timestamp) -> String {
    match &status.previous {
        Some(previous) if previous.dropped_time.is_none() => {
            format!("all was done; {}", fate_of(previous, now))
        }
        _ => "all was done".to_owned(),
    }
}

/// Reason and sentence for a phase that goes on.
fn going_on(pass: &Pass<'_>, phase: RestorePhase) -> (&'static str, String) {
    let status = &pass.step.status;
    if let (RestorePhase::Pending, Lock::Other(other)) = (phase, &pass.seen.lock) {
        let message = format!(
            "RestoreRequest {other} works on database {}: waiting for its end",
            pass.request.database
        );
        return (why::WAITING_FOR_OTHER, message);
    }
    if let Some(message) = dumps::awaited(pass) {
        return (why::WAITING_FOR_BACKUP, message);
    }
    let reason = match phase {
        RestorePhase::Planning => why::PLANNING,
        RestorePhase::Quiescing => why::QUIESCING,
        RestorePhase::Restoring => why::RESTORING,
        RestorePhase::Verifying => why::VERIFYING,
        RestorePhase::Switching => why::SWITCHING,
        RestorePhase::Resuming => why::RESUMING,
        RestorePhase::Checking => why::CHECKING,
        RestorePhase::Undoing => why::UNDOING,
        _ => why::PENDING,
    };
    let error = status.active.as_ref().and_then(|active| active.last_error.clone());
    let words = error.or_else(|| status.progress.clone());
    let words = words.unwrap_or_else(|| format!("{} goes on", phase.as_str()));
    if too_late(pass) {
        return (why::TOO_LATE_TO_CANCEL, format!("{words}. {}", why_too_late(pass)));
    }
    (reason, words)
}

fn reconciling(pass: &Pass<'_>) -> Verdict {
    let phase = phase(&pass.step.status);
    if phase.is_end() {
        verdict(State::False, reasons::IDLE, "nothing is under way")
    } else {
        let (reason, message) = going_on(pass, phase);
        verdict(State::True, reason, message)
    }
}

fn stalled(pass: &Pass<'_>) -> Verdict {
    let (_, reason, message) = ready(pass);
    let status = &pass.step.status;
    // Also of a request that was cancelled: tools that wait for readiness would wait for ever.
    let ended =
        matches!(phase(status), RestorePhase::Failed | RestorePhase::Expired | RestorePhase::Cancelled);
    if ended || uncertain(pass).is_some() {
        verdict(State::True, &reason, message)
    } else {
        verdict(State::False, reasons::IDLE, "no person is needed")
    }
}

fn planned(status: &RestoreRequestStatus) -> Verdict {
    let failed = status.failure.as_ref().filter(|failure| failure.phase == RestorePhase::Planning);
    match (&status.plan, failed) {
        (_, Some(failure)) => verdict(State::False, &failure.reason, failure.message.clone()),
        (Some(plan), None) if plan.feasible => {
            verdict(State::True, why::PLANNED, "it can work: see status.plan")
        }
        (Some(_), None) => verdict(State::False, why::NOT_YET, "it cannot work: see status.plan"),
        (None, None) => verdict(State::Unknown, why::NOT_YET, "no plan was made yet"),
    }
}

fn quiesced(pass: &Pass<'_>) -> Verdict {
    let status = &pass.step.status;
    if status.quiesced.is_empty() {
        return verdict(State::False, why::NOTHING_TO_QUIESCE, "no application is stopped");
    }
    if !owes(status) {
        return verdict(State::False, why::RESUMING, "the applications were given back what they had");
    }
    match &status.quiesced_time {
        Some(time) => verdict(State::True, why::QUIESCED, format!("the last Pod was gone at {}", time.0)),
        None => verdict(State::False, why::QUIESCING, "the applications are being stopped"),
    }
}

/// What a failure leaves unknown will not be known later.
fn not_yet(status: &RestoreRequestStatus, what: &str) -> Verdict {
    match &status.failure {
        Some(failure) => verdict(State::False, &failure.reason, failure.message.clone()),
        None if phase(status).is_end() => {
            verdict(State::False, why::NOT_YET, format!("{what} was not asked for"))
        }
        None => verdict(State::Unknown, why::NOT_YET, format!("{what} is still to come")),
    }
}

/// Whether what was loaded is not of use any more: it was dropped, or is to be dropped by hand.
fn is_undone(status: &RestoreRequestStatus) -> bool {
    status.restored.is_some() && status.databases.is_none()
}

fn undone(status: &RestoreRequestStatus) -> Verdict {
    let why = status.failure.as_ref().map_or("", |failure| &failure.message);
    verdict(State::False, why::UNDONE, format!("it was done, and undone with all the rest: {why}"))
}

fn restored(pass: &Pass<'_>) -> Verdict {
    let status = &pass.step.status;
    match &status.restored {
        Some(_) if is_undone(status) => undone(status),
        Some(data) => {
            let loaded = format!("{} tables with {} rows", data.tables, data.rows);
            let message = match data.left_out {
                0 => loaded,
                count => format!(
                    "{loaded}; {count} entries of the backup that need more were left out: see status.plan.leftOut"
                ),
            };
            verdict(State::True, reasons::SUCCEEDED, message)
        }
        None if pass.request.is_undo() => {
            verdict(State::False, why::NOT_YET, "an undo loads nothing: it swaps back")
        }
        None => not_yet(status, "loading"),
    }
}

fn verified(pass: &Pass<'_>) -> Verdict {
    let status = &pass.step.status;
    let data = status.restored.as_ref();
    match data.and_then(|data| data.verified.as_ref()) {
        Some(_) if is_undone(status) => undone(status),
        Some(how) => verdict(State::True, reasons::SUCCEEDED, how.clone()),
        None if data.is_some() => {
            verdict(State::False, why::NOT_YET, "the backup does not say what it should hold")
        }
        None if pass.request.is_undo() => {
            verdict(State::False, why::NOT_YET, "an undo loads nothing: it swaps back")
        }
        None => not_yet(status, "verifying"),
    }
}

fn switched(status: &RestoreRequestStatus) -> Verdict {
    match (&status.switched_time, &status.failure) {
        (Some(time), _) => {
            verdict(State::True, why::SWITCHED, format!("the databases were renamed at {}", time.0))
        }
        (None, Some(failure)) if failure.reason == why::GIVEN_UP => {
            verdict(State::Unknown, why::SWITCH_UNCERTAIN, failure.message.clone())
        }
        (None, _) => not_yet(status, "the switch"),
    }
}

fn resumed(status: &RestoreRequestStatus) -> Verdict {
    let workloads = || status.quiesced.iter().map(|entry| (entry.state, entry.message.as_ref()));
    let applications =
        || status.skipped_applications.iter().map(|entry| (entry.state, entry.message.as_ref()));
    let said = |of: QuiesceState| {
        let mut all = workloads().chain(applications()).filter(|(state, _)| *state == of);
        all.find_map(|(_, message)| message.cloned())
    };
    if workloads().chain(applications()).next().is_none() {
        return verdict(State::True, why::NOTHING_TO_QUIESCE, "no application was stopped");
    }
    if let Some(message) = said(QuiesceState::Recorded) {
        return verdict(State::False, why::WORKLOAD_REFUSED, message);
    }
    if workloads().any(|(state, _)| state == QuiesceState::Recorded) {
        return verdict(State::False, why::QUIESCED, "applications are stopped");
    }
    if owes(status) {
        return verdict(
            State::False,
            why::QUIESCED,
            "Argo CD is still told to leave the applications as they are",
        );
    }
    if let Some(message) = said(QuiesceState::Taken) {
        return verdict(State::True, why::WORKLOAD_TAKEN, message);
    }
    verdict(State::True, reasons::SUCCEEDED, "the applications were given back what they had")
}

fn finished(pass: &Pass<'_>) -> Verdict {
    let status = &pass.step.status;
    let failure = status.failure.as_ref();
    let told =
        || failure.map(|failure| format!("{}: {}", failure.reason, failure.message)).unwrap_or_default();
    match phase(status) {
        RestorePhase::Succeeded => verdict(State::True, reasons::SUCCEEDED, success(status, pass.now())),
        RestorePhase::Planned => verdict(State::True, why::PLANNED, "it was a dry run: see status.plan"),
        RestorePhase::Cancelled => {
            verdict(State::True, why::CANCELLED, failure.map_or("", |failure| &failure.message))
        }
        RestorePhase::Expired => verdict(State::True, why::EXPIRED, told()),
        RestorePhase::Failed => verdict(State::True, why::RESTORE_FAILED, told()),
        phase => verdict(State::False, why::PENDING, format!("it is {}", phase.as_str())),
    }
}

/// One event at the end.
fn tell_end(pass: &mut Pass<'_>) {
    if !pass.phase().is_end() || pass.stored.phase.is_some_and(RestorePhase::is_end) {
        return;
    }
    let (_, _, message) = finished(pass);
    let (warning, reason) = match pass.phase() {
        RestorePhase::Succeeded => (false, why::RESTORE_SUCCEEDED),
        RestorePhase::Failed => (true, why::RESTORE_FAILED),
        RestorePhase::Expired => (true, why::EXPIRED),
        RestorePhase::Cancelled => (false, why::CANCELLED),
        _ => (false, why::PLANNED),
    };
    pass.step.events.push(Event { warning, reason, message });
}
