//! Quiescing: records the applications, stops them, and waits until their last Pod is gone. Pure.
//!
//! The ledger is stored before the first of them is touched, and a recorded count is never overwritten. Each carries its count
//! itself, written in one request with the stop, so that it comes back although the status is lost.

use greenlang_backup_api::labels::LEDGER;
use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{
    QuiesceState, QuiescedWorkload, RestorePhase, WorkloadKind, WorkloadRef,
};
use greenlang_backup_api::{conditions, reasons};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::observe::{WorkloadRefusal, WorkloadState};
use super::pass::Pass;
use super::step::Effect;
use super::validate::ValidatedRestore;
use crate::pause::seconds_later;

/// Seconds between two looks at Pods that are to go.
const PODS_SECONDS: i64 = 1;
/// Seconds in which the Pods of all applications must be gone.
const LIMIT_SECONDS: i64 = 900;
/// Seconds between two attempts to bring back a workload that the API server refuses to change.
const REFUSED_SECONDS: i64 = 30;

pub(super) fn advance(pass: &mut Pass<'_>) {
    if pass.step.status.quiesced.is_empty() && !pass.request.workloads.is_empty() {
        record(pass);
        return;
    }
    if !pass.step.status.quiesced.is_empty() && !pass.seen.has_finalizer && !pass.seen.deleting {
        pass.effect(Effect::AddFinalizer);
        pass.wake_in(1);
        return;
    }
    note_gone(pass);
    if pass.step.status.quiesced_time.is_none() {
        stop_all(pass);
    } else if !contested(pass) {
        drain(pass);
    }
}

/// Whether a workload carries a ledger of this request.
pub(super) fn carries_ours(pass: &Pass<'_>) -> bool {
    let uid = &pass.request.identity.uid;
    let states = pass.seen.workloads.iter().filter_map(|seen| seen.state.as_ref());
    states.filter_map(|state| state.ledger.as_ref()).any(|ledger| ledger.request_uid == *uid)
}

/// What a workload carries of another request, which has stopped it and will bring it back.
pub(super) fn of_another<'a>(request: &ValidatedRestore, state: &'a WorkloadState) -> Option<&'a Ledger> {
    state.ledger.as_ref().filter(|ledger| ledger.request_uid != request.identity.uid)
}

/// Why such a workload is not touched, and what to do.
pub(super) fn taken(workload: &WorkloadRef, ledger: &Ledger) -> String {
    format!(
        "{workload} was stopped by RestoreRequest {}: wait until that has ended; if there is no such request any more, give {workload} \
         back what its annotation {LEDGER} says, and remove that",
        ledger.request
    )
}

/// What a workload carries of this request.
fn ours<'a>(request: &ValidatedRestore, state: &'a WorkloadState) -> Option<&'a Ledger> {
    state.ledger.as_ref().filter(|ledger| ledger.request_uid == request.identity.uid)
}

/// Replicas that a workload comes back to: those that it carries if it was stopped already, or those that it has.
pub(super) fn replicas_to_record(request: &ValidatedRestore, state: &WorkloadState) -> Option<i32> {
    ours(request, state).map_or(state.replicas, |ledger| ledger.replicas)
}

fn entry(request: &ValidatedRestore, workload: &WorkloadRef, state: &WorkloadState) -> QuiescedWorkload {
    QuiescedWorkload {
        kind: workload.kind,
        name: workload.name.clone(),
        uid: state.uid.clone(),
        replicas: replicas_to_record(request, state),
        suspend: ours(request, state).map_or(state.suspend, |ledger| ledger.suspend),
        autoscaler: state.autoscaler.clone(),
        state: QuiesceState::Recorded,
        message: None,
    }
}

/// Writes down what there is before anything is stopped.
fn record(pass: &mut Pass<'_>) {
    let (request, seen) = (pass.request, pass.seen);
    let mut recorded = Vec::with_capacity(request.workloads.len());
    for workload in &request.workloads {
        let Some(state) = seen.workload(workload.kind, &workload.name) else {
            let message = format!("{workload} is not there any more");
            pass.fail(reasons::restore::WORKLOAD_NOT_FOUND, &message);
            return;
        };
        if let Some(ledger) = of_another(request, state) {
            pass.fail(reasons::restore::WORKLOAD_TAKEN, &taken(workload, ledger));
            return;
        }
        recorded.push(entry(request, workload, state));
    }
    pass.status().quiesced = recorded;
    pass.wake_now();
}

/// Takes the ledger from what workloads carry, where status has none: it was lost. Returns whether it was.
pub(super) fn recover(pass: &mut Pass<'_>) -> bool {
    if !pass.step.status.quiesced.is_empty() {
        return false;
    }
    let (request, seen) = (pass.request, pass.seen);
    let carried = request.workloads.iter().filter_map(|workload| {
        let state = seen.workload(workload.kind, &workload.name)?;
        ours(request, state).map(|_| entry(request, workload, state))
    });
    let carried: Vec<_> = carried.collect();
    pass.status().quiesced = carried;
    !pass.step.status.quiesced.is_empty()
}

/// Notes which workloads are gone. One that was made anew is another, unless it was made of a copy that says that it is stopped.
pub(super) fn note_gone(pass: &mut Pass<'_>) {
    let (request, seen) = (pass.request, pass.seen);
    let mut told = Vec::new();
    for entry in &mut pass.step.status.quiesced {
        let state = seen.workload(entry.kind, &entry.name);
        if entry.state != QuiesceState::Recorded || state.is_some_and(|state| state.uid == entry.uid) {
            continue;
        }
        if let Some(copy) = state.filter(|state| ours(request, state).is_some()) {
            entry.uid.clone_from(&copy.uid);
            continue;
        }
        let what = if state.is_some() { "was made anew" } else { "was deleted" };
        let message = format!(
            "{} {} {what} while it was stopped: it is left as it is",
            entry.kind.as_str(),
            entry.name
        );
        told.push(leave(entry, QuiesceState::Gone, message));
    }
    tell(pass, reasons::restore::WORKLOAD_NOT_FOUND, told);
}

/// Notes which workloads another request has stopped: they are that one's to bring back.
pub(super) fn note_taken(pass: &mut Pass<'_>) {
    let (request, seen) = (pass.request, pass.seen);
    let mut told = Vec::new();
    for entry in pass.step.status.quiesced.iter_mut().filter(|entry| entry.state == QuiesceState::Recorded) {
        let state = seen.workload(entry.kind, &entry.name);
        if let Some(ledger) = state.and_then(|state| of_another(request, state)) {
            let message = taken(&reference(entry), ledger);
            told.push(leave(entry, QuiesceState::Taken, message));
        }
    }
    tell(pass, reasons::restore::WORKLOAD_TAKEN, told);
}

fn leave(entry: &mut QuiescedWorkload, state: QuiesceState, message: String) -> String {
    entry.state = state;
    entry.message = Some(message.clone());
    message
}

fn tell(pass: &mut Pass<'_>, reason: &'static str, told: Vec<String>) {
    for message in told {
        pass.event(true, reason, message);
        pass.wake_now();
    }
}

/// The workload, if somebody started it although it is to be stopped.
fn started(entry: &QuiescedWorkload, state: &WorkloadState, carries: bool) -> bool {
    // The stop and the ledger are written at once: with the ledger there, somebody else has changed the count since.
    let stopped = state.is_stopped();
    match entry.state {
        QuiesceState::Recorded => carries && !stopped,
        QuiesceState::Gone => !stopped,
        QuiesceState::Resumed | QuiesceState::Taken => false,
    }
}

/// Whether another request has stopped what this one is to stop; if so, this one fails and is undone.
fn is_taken(pass: &mut Pass<'_>) -> bool {
    let (request, seen) = (pass.request, pass.seen);
    let mut entries = pass.step.status.quiesced.iter().filter(|entry| entry.state == QuiesceState::Recorded);
    let found = entries.find_map(|entry| {
        let ledger = of_another(request, seen.workload(entry.kind, &entry.name)?)?;
        Some(taken(&reference(entry), ledger))
    });
    let Some(message) = found else { return false };
    pass.fail(reasons::restore::WORKLOAD_TAKEN, &message);
    true
}

/// Whether somebody started or took what is to be stopped; if so, the request fails and is undone. Only before the switch.
pub(super) fn contested(pass: &mut Pass<'_>) -> bool {
    if is_taken(pass) {
        return true;
    }
    let (request, seen) = (pass.request, pass.seen);
    let stopped_before = pass.step.status.quiesced_time.is_some();
    let found = pass.step.status.quiesced.iter().find_map(|entry| {
        let state = seen.workload(entry.kind, &entry.name)?;
        let carries = ours(request, state).is_some();
        let alive = stopped_before
            && entry.state == QuiesceState::Recorded
            && (!state.is_stopped() || state.pods > 0);
        (alive || started(entry, state, carries)).then(|| {
            let who = state.managed_by.as_deref().unwrap_or("an unknown field manager");
            format!("{} {} was started by {who} while it was to be stopped", entry.kind.as_str(), entry.name)
        })
    });
    let Some(message) = found else { return false };
    pass.fail(reasons::restore::SCALE_CONTESTED, &message);
    true
}

fn stop_all(pass: &mut Pass<'_>) {
    if contested(pass) {
        return;
    }
    let (request, seen) = (pass.request, pass.seen);
    let (mut waits, mut patches) = (Vec::new(), Vec::new());
    for entry in pass.step.status.quiesced.iter().filter(|entry| entry.state == QuiesceState::Recorded) {
        let Some(state) = seen.workload(entry.kind, &entry.name) else { continue };
        if ours(request, state).is_none() {
            patches.push(stop(request, entry, state));
            waits.push(entry.name.clone());
        } else if state.pods > 0 {
            waits.push(format!("{} ({} Pods)", entry.name, state.pods));
        }
    }
    pass.step.effects.extend(patches);
    if waits.is_empty() {
        pass.status().quiesced_time = Some(Time(pass.seen.now));
        pass.wake_now();
        return;
    }
    let list = waits.join(", ");
    if pass.now() >= seconds_later(pass.phase_start(), LIMIT_SECONDS) {
        let message = format!("these do not stop within {LIMIT_SECONDS} s: {list}");
        pass.fail(reasons::restore::PODS_REMAIN, &message);
        return;
    }
    pass.status().progress = Some(format!("waiting for {list} to stop"));
    pass.wake_in(PODS_SECONDS);
}

/// The last Pod is gone; what it left on its way has some seconds more.
fn drain(pass: &mut Pass<'_>) {
    let Some(quiesced) = pass.step.status.quiesced_time.clone() else { return };
    let seconds =
        if pass.step.status.quiesced.is_empty() { 0 } else { i64::from(pass.request.drain_seconds) };
    let end = seconds_later(quiesced.0, seconds);
    if pass.now() < end {
        pass.wake_at(end);
        return;
    }
    let loaded = pass.step.status.restored.is_some() || pass.request.is_undo();
    pass.enter(if loaded { RestorePhase::Switching } else { RestorePhase::Restoring });
}

fn patch(
    state: &WorkloadState,
    kind: WorkloadKind,
    ledger: &Value,
    replicas: Option<i32>,
    suspend: Option<bool>,
) -> Value {
    let spec = match kind {
        WorkloadKind::Deployment | WorkloadKind::StatefulSet => json!({"replicas": replicas}),
        WorkloadKind::CronJob => json!({"suspend": suspend}),
    };
    json!({
        "metadata": {
            "uid": state.uid,
            "resourceVersion": state.resource_version,
            "annotations": {LEDGER: ledger},
        },
        "spec": spec,
    })
}

fn reference(entry: &QuiescedWorkload) -> WorkloadRef {
    WorkloadRef { kind: entry.kind, name: entry.name.clone() }
}

fn stop(request: &ValidatedRestore, entry: &QuiescedWorkload, state: &WorkloadState) -> Effect {
    let ledger = Ledger::of(&request.identity, entry).encode();
    let patch = patch(state, entry.kind, &Value::String(ledger), Some(0), Some(true));
    Effect::PatchWorkload { workload: reference(entry), patch }
}

/// What gives a workload back what it had; none where it has it, and carries nothing of ours.
pub(super) fn give_back(
    request: &ValidatedRestore,
    entry: &QuiescedWorkload,
    state: &WorkloadState,
) -> Option<Effect> {
    // Without its ledger it was either never stopped, or is back already, unless somebody took the ledger only.
    let back = state.replicas == entry.replicas && state.suspend == entry.suspend || !state.is_stopped();
    if ours(request, state).is_none() && back {
        return None;
    }
    let patch = patch(state, entry.kind, &Value::Null, entry.replicas, entry.suspend);
    Some(Effect::PatchWorkload { workload: reference(entry), patch })
}

/// The API server refused to patch a workload. Before the switch the request fails; what is to come back is tried again.
pub(super) fn refused(pass: &mut Pass<'_>, refusal: &WorkloadRefusal) {
    let message = format!("the API server refused to change {}: {}", refusal.workload, refusal.message);
    // An admission webhook may say what it likes, however long that is.
    let message = conditions::cut(&message).to_owned();
    let (kind, name) = (refusal.workload.kind, &refusal.workload.name);
    let mut entries = pass.step.status.quiesced.iter_mut();
    let known = entries.find(|entry| entry.kind == kind && entry.name == *name).is_some_and(|entry| {
        let before = entry.message.replace(message.clone());
        before.as_ref() == Some(&message)
    });
    if pass.phase() == RestorePhase::Quiescing {
        pass.fail(reasons::restore::WORKLOAD_REFUSED, &message);
        return;
    }
    if !known {
        let message = format!("{message}; it stays stopped, and is tried again until it comes back");
        pass.event(true, reasons::restore::APPLICATIONS_DOWN, message);
    }
    pass.wake_in(REFUSED_SECONDS);
}
