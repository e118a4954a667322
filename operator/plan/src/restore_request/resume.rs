//! Resuming: every application that was recorded gets back what it had, then they are waited for. Pure.

use greenlang_backup_api::reasons;
use greenlang_backup_api::v1alpha1::{QuiesceState, RestorePhase};

use super::pass::Pass;
use super::quiesce;
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
    quiesce::note_gone(pass);
    quiesce::note_taken(pass);
    let (request, seen) = (pass.request, pass.seen);
    let mut effects = Vec::new();
    for entry in pass.step.status.quiesced.iter_mut().rev() {
        if entry.state != QuiesceState::Recorded {
            continue;
        }
        let Some(state) = seen.workload(entry.kind, &entry.name) else { continue };
        if let Some(effect) = quiesce::give_back(request, entry, state) {
            effects.push(effect);
        } else {
            entry.state = QuiesceState::Resumed;
            entry.message = None;
        }
    }
    let all = effects.is_empty() && !pass.owes();
    pass.step.effects.extend(effects);
    if all && pass.stored.quiesced == pass.step.status.quiesced {
        return true;
    }
    if all {
        pass.wake_now();
    } else {
        pass.wake_in(READY_SECONDS);
    }
    false
}

/// Applications that are not ready yet, with what is missing.
fn unready(pass: &Pass<'_>) -> Vec<String> {
    let back = pass.step.status.quiesced.iter().filter(|entry| entry.state == QuiesceState::Resumed);
    let missing = back.filter_map(|entry| {
        let wanted = entry.replicas?;
        let ready = pass.seen.workload(entry.kind, &entry.name)?.ready_replicas;
        (ready < wanted).then(|| format!("{} ({ready} of {wanted} ready)", entry.name))
    });
    missing.collect()
}
