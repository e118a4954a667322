//! Resuming: every application that was recorded gets back what it had, then they are waited for. Pure.

use greenlang_backup_api::reasons;
use greenlang_backup_api::v1alpha1::{QuiesceState, QuiescedWorkload, RestorePhase};

use super::observe::{Patched, WorkloadState};
use super::pass::Pass;
use super::skipped::{self, GivenBack};
use super::{keda, ledger, quiesce};
use crate::pause::seconds_later;

/// Seconds between two looks at applications that come back.
const READY_SECONDS: i64 = 1;
/// Seconds in which applications must be ready.
const LIMIT_SECONDS: i64 = 600;

pub(super) fn advance(pass: &mut Pass<'_>) {
    if !give_back(pass) {
        return;
    }
    if let Some(failure) = &pass.step.status.failure {
        let end = failure.end;
        pass.end(end);
        return;
    }
    let waits = unready(pass);
    if waits.is_empty() {
        pass.enter(RestorePhase::Checking);
        return;
    }
    let list = waits.join(", ");
    if pass.now() >= seconds_later(pass.phase_start(), LIMIT_SECONDS) {
        let message = format!("these came back and are not ready within {LIMIT_SECONDS} s: {list}");
        pass.note_failure(RestorePhase::Failed, reasons::restore::WORKLOADS_NOT_READY, &message);
        pass.end(RestorePhase::Failed);
        return;
    }
    pass.status().progress = Some(format!("waiting for {list}"));
    pass.wake_in(READY_SECONDS);
}

/// Gives back what was recorded, in the opposite order. True once that is done and stored.
pub(super) fn give_back(pass: &mut Pass<'_>) -> bool {
    ledger::note_gone(pass);
    ledger::note_taken(pass);
    start(pass);
    // What would start them is let go last, or it would do so with what it knows.
    if !pass.step.status.quiesced.iter().any(is_recorded) {
        let_go(pass);
    }
    let all = !pass.owes();
    let (now, before) = (&pass.step.status, pass.stored);
    let stored = before.quiesced == now.quiesced && before.skipped_applications == now.skipped_applications;
    if all && stored {
        return true;
    }
    if all {
        pass.wake_now();
    } else {
        pass.wake_in(READY_SECONDS);
    }
    false
}

fn is_recorded(entry: &QuiescedWorkload) -> bool {
    entry.state == QuiesceState::Recorded
}

/// Starts the workloads, or has KEDA start them.
fn start(pass: &mut Pass<'_>) {
    let (request, seen) = (pass.request, pass.seen);
    let (mut effects, mut hidden) = (Vec::new(), Vec::new());
    for entry in pass.step.status.quiesced.iter_mut().rev().filter(|entry| is_recorded(entry)) {
        if let Some(paused) = entry.scaled_object.as_ref().filter(|_| keda::is_hidden(seen, entry)) {
            hidden.push(Patched::ScaledObject(paused.name.clone()));
        } else if let Some(effect) = quiesce::give_back(request, seen, entry) {
            effects.push(effect);
        } else {
            entry.state = QuiesceState::Resumed;
            entry.message = None;
        }
    }
    pass.step.effects.extend(effects);
    for target in hidden {
        let message = format!("{target} is paused, and {}", keda::right(request));
        quiesce::stuck(pass, &target, &message);
    }
}

/// Lets Applications of Argo CD go on.
fn let_go(pass: &mut Pass<'_>) {
    let (request, seen) = (pass.request, pass.seen);
    let (mut effects, mut hidden) = (Vec::new(), Vec::new());
    for entry in &mut pass.step.status.skipped_applications {
        if entry.state != QuiesceState::Recorded {
            continue;
        }
        match skipped::give_back(request, seen, entry) {
            GivenBack::Todo(effect) => effects.push(effect),
            GivenBack::Hidden(target, why) => hidden.push((target, why)),
            GivenBack::Done => {
                entry.state = QuiesceState::Resumed;
                entry.message = None;
            }
        }
    }
    pass.step.effects.extend(effects);
    for (target, why) in hidden {
        let message = format!("{target} leaves everything as it is, and {why}");
        quiesce::stuck(pass, &target, &message);
    }
}

/// Applications that are not ready yet, with what is missing.
fn unready(pass: &Pass<'_>) -> Vec<String> {
    let back = pass.step.status.quiesced.iter().filter(|entry| entry.state == QuiesceState::Resumed);
    let missing = back.filter_map(|entry| {
        let state = pass.seen.workload(entry.kind, &entry.name)?;
        let (ready, wanted) = (state.ready_replicas, entry.replicas?);
        // What is scaled by others comes back to what they want now.
        let others = scaled_to(pass, entry, state);
        if ready >= wanted || others.is_some_and(|count| ready >= count) {
            return None;
        }
        if keda::stand_in(pass.seen, entry).is_some() && others.is_none() {
            return Some(format!("{} (KEDA is to scale it up)", entry.name));
        }
        Some(format!("{} ({ready} of {} ready)", entry.name, others.unwrap_or(wanted)))
    });
    missing.collect()
}

/// Replicas that KEDA or an autoscaler wants now; none where they have not said so, or where nobody but us scales it.
fn scaled_to(pass: &Pass<'_>, entry: &QuiescedWorkload, state: &WorkloadState) -> Option<i32> {
    let replicas = state.replicas?;
    if let Some(scaler) = keda::stand_in(pass.seen, entry) {
        return keda::wants(scaler, replicas);
    }
    entry.autoscaler.as_ref().map(|_| replicas).filter(|replicas| *replicas > 0)
}
