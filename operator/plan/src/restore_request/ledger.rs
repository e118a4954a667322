//! What is recorded of the applications, what they carry themselves, and what became of them. Pure.
//!
//! A recorded count is never overwritten. What KEDA scales carries its ledger on the ScaledObject that is paused in its place.

use greenlang_backup_api::labels::LEDGER;
use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{QuiesceState, QuiescedWorkload, WorkloadRef};
use greenlang_backup_api::{conditions, reasons};

use super::observe::{Observed, Patched};
use super::pass::Pass;
use super::validate::ValidatedRestore;
use super::{keda, skipped};

/// Who has taken away an annotation: managed fields do not tell.
pub(super) const NAMELESS: &str = "somebody (whoever removes an annotation leaves no name)";

/// What a workload, or the ScaledObject in its place, carries.
fn carried<'a>(seen: &'a Observed, workload: &WorkloadRef) -> impl Iterator<Item = (Patched, &'a Ledger)> {
    let state = seen.workload(workload.kind, &workload.name);
    let own = state.and_then(|state| state.ledger.as_ref());
    let own = own.map(|ledger| (Patched::Workload(workload.clone()), ledger));
    let scaler = keda::scaler_of(seen, workload.kind, &workload.name);
    let paused =
        scaler.and_then(|scaler| Some((Patched::ScaledObject(scaler.name.clone()), scaler.ledger.as_ref()?)));
    own.into_iter().chain(paused)
}

/// Whether anything carries a ledger of this request.
pub(super) fn carries_ours(pass: &Pass<'_>) -> bool {
    let (request, seen) = (pass.request, pass.seen);
    let mut workloads = request.workloads.iter();
    workloads.any(|workload| ours(request, seen, workload).is_some()) || skipped::carries_ours(request, seen)
}

/// Whether a request without status has begun: its status was lost. There is no finalizer before anything is touched.
pub(super) fn has_begun(pass: &Pass<'_>) -> bool {
    pass.seen.has_finalizer || carries_ours(pass)
}

/// Why a workload is not touched that another request has stopped and will bring back, and what to do; none where it has not.
pub(super) fn taken(request: &ValidatedRestore, seen: &Observed, workload: &WorkloadRef) -> Option<String> {
    let mut all = carried(seen, workload);
    let (target, ledger) = all.find(|(_, ledger)| ledger.request_uid != request.identity.uid)?;
    Some(format!(
        "{workload} was stopped by RestoreRequest {}: wait until that has ended; if there is no such request any more, give {target} \
         back what its annotation {LEDGER} says, and remove that",
        ledger.request
    ))
}

/// What a workload, or the ScaledObject in its place, carries of this request.
fn ours<'a>(request: &ValidatedRestore, seen: &'a Observed, workload: &WorkloadRef) -> Option<&'a Ledger> {
    let mut all = carried(seen, workload);
    all.find(|(_, ledger)| ledger.request_uid == request.identity.uid).map(|(_, ledger)| ledger)
}

/// Replicas that a workload comes back to: those that it carries if it was stopped already, or those that it has.
pub(super) fn replicas_to_record(
    request: &ValidatedRestore,
    seen: &Observed,
    workload: &WorkloadRef,
) -> Option<i32> {
    let state = seen.workload(workload.kind, &workload.name);
    match ours(request, seen, workload) {
        Some(ledger) => ledger.replicas,
        None => state.and_then(|state| state.replicas),
    }
}

/// What is recorded of a workload; it may be gone where a ScaledObject is paused in its place.
pub(super) fn entry(request: &ValidatedRestore, seen: &Observed, workload: &WorkloadRef) -> QuiescedWorkload {
    let state = seen.workload(workload.kind, &workload.name);
    let suspend = match ours(request, seen, workload) {
        Some(ledger) => ledger.suspend,
        None => state.and_then(|state| state.suspend),
    };
    QuiescedWorkload {
        kind: workload.kind,
        name: workload.name.clone(),
        uid: state.map(|state| state.uid.clone()).unwrap_or_default(),
        replicas: replicas_to_record(request, seen, workload),
        suspend,
        autoscaler: state.and_then(|state| state.autoscaler.clone()),
        scaled_object: keda::record(request, seen, workload),
        state: QuiesceState::Recorded,
        message: None,
    }
}

/// Takes the ledger from what workloads and Applications carry, where status has none: it was lost. Returns whether it was.
pub(super) fn recover(pass: &mut Pass<'_>) -> bool {
    let (request, seen) = (pass.request, pass.seen);
    if !pass.step.status.quiesced.is_empty() || !pass.step.status.skipped_applications.is_empty() {
        return false;
    }
    let carried = request.workloads.iter().filter(|workload| ours(request, seen, workload).is_some());
    let carried: Vec<_> = carried.map(|workload| entry(request, seen, workload)).collect();
    let status = pass.status();
    status.quiesced = carried;
    status.skipped_applications = skipped::recover(request, seen);
    !status.quiesced.is_empty() || !status.skipped_applications.is_empty()
}

/// Notes which workloads and Applications are gone. One that was made anew is another, unless it was made of a copy that says that it is stopped.
pub(super) fn note_gone(pass: &mut Pass<'_>) {
    let (request, seen) = (pass.request, pass.seen);
    let mut told = Vec::new();
    for entry in &mut pass.step.status.quiesced {
        let state = seen.workload(entry.kind, &entry.name);
        let hidden = keda::is_hidden(seen, entry);
        if hidden
            || entry.state != QuiesceState::Recorded
            || state.is_some_and(|state| state.uid == entry.uid)
        {
            continue;
        }
        if carries(request, seen, entry) {
            // Paused, its ScaledObject would keep down whatever comes under that name.
            if let Some(copy) = state {
                entry.uid.clone_from(&copy.uid);
            }
            continue;
        }
        let what = if state.is_some() { "was made anew" } else { "was deleted" };
        let message = format!(
            "{} {} {what} while it was stopped: it is left as it is",
            entry.kind.as_str(),
            entry.name
        );
        told.push(leave(entry, QuiesceState::Gone, &message));
    }
    told.extend(skipped::note_gone(request, seen, &mut pass.step.status.skipped_applications));
    tell(pass, reasons::restore::WORKLOAD_NOT_FOUND, told);
}

/// Notes which workloads and Applications another request has stopped: they are that one's to bring back.
pub(super) fn note_taken(pass: &mut Pass<'_>) {
    let (request, seen) = (pass.request, pass.seen);
    let mut told = Vec::new();
    for entry in pass.step.status.quiesced.iter_mut().filter(|entry| entry.state == QuiesceState::Recorded) {
        if let Some(message) = taken(request, seen, &reference(entry)) {
            told.push(leave(entry, QuiesceState::Taken, &message));
        }
    }
    told.extend(skipped::note_taken(request, seen, &mut pass.step.status.skipped_applications));
    tell(pass, reasons::restore::WORKLOAD_TAKEN, told);
}

fn leave(entry: &mut QuiescedWorkload, state: QuiesceState, message: &str) -> String {
    // Part of it may be what somebody wrote to an annotation.
    let message = conditions::cut(message).to_owned();
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

/// Whether a recorded workload, or the ScaledObject in its place, carries a ledger of this request.
pub(super) fn carries(request: &ValidatedRestore, seen: &Observed, entry: &QuiescedWorkload) -> bool {
    if let Some(scaler) = keda::stand_in(seen, entry) {
        return keda::carries(request, scaler);
    }
    let state = seen.workload(entry.kind, &entry.name);
    let ledger = state.and_then(|state| state.ledger.as_ref());
    ledger.is_some_and(|ledger| ledger.request_uid == request.identity.uid)
}

pub(super) fn reference(entry: &QuiescedWorkload) -> WorkloadRef {
    WorkloadRef { kind: entry.kind, name: entry.name.clone() }
}
