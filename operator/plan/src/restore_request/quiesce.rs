//! Quiescing: records the applications, stops them, and waits until their last Pod is gone and their last Job has ended. Pure.
//!
//! The ledger is stored before the first of them is touched, and a recorded count is never overwritten. Each carries its count
//! itself, written in one request with the stop, so that it comes back although the status is lost. What KEDA scales is stopped by
//! [`keda`]; what would start any of them again is told not to before ([`skipped`]).

use greenlang_backup_api::labels::{KEDA_PAUSED_REPLICAS, LEDGER};
use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{
    QuiesceState, QuiescedWorkload, RestorePhase, WorkloadKind, WorkloadRef,
};
use greenlang_backup_api::{conditions, reasons};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::observe::{Observed, PatchRefusal, Patched, WorkloadState};
use super::pass::Pass;
use super::step::Effect;
use super::validate::ValidatedRestore;
use super::{argo_cd, keda, ledger, skipped};
use crate::pause::{seconds_later, still_ahead};

/// Seconds between two looks at Pods that are to go.
const PODS_SECONDS: i64 = 1;
/// Seconds in which the Pods and Jobs of all applications must have ended.
const LIMIT_SECONDS: i64 = 900;
/// Seconds between two looks at applications that are stopped, while what they left has its time.
const DRAIN_LOOK_SECONDS: i64 = 10;
/// Seconds between two attempts to bring back a workload that the API server refuses to change.
const REFUSED_SECONDS: i64 = 30;

pub(super) fn advance(pass: &mut Pass<'_>) {
    if pass.step.status.quiesced.is_empty() && !pass.request.workloads.is_empty() {
        record(pass);
        return;
    }
    if !pass.step.status.quiesced.is_empty() && !pass.is_held() {
        return;
    }
    ledger::note_gone(pass);
    if pass.step.status.quiesced_time.is_none() {
        stop_all(pass);
    } else if !contested(pass) {
        drain(pass);
    }
}

/// What keeps a workload from being stopped, or from staying so, each with its reason and the way out.
pub(super) fn refusals(
    request: &ValidatedRestore,
    seen: &Observed,
    workload: &WorkloadRef,
) -> Vec<(&'static str, String)> {
    let Some(state) = seen.workload(workload.kind, &workload.name) else {
        let message =
            format!("there is no {workload} in this namespace: take it out of spec.quiesce.workloads");
        return vec![(reasons::restore::WORKLOAD_NOT_FOUND, message)];
    };
    let taken = ledger::taken(request, seen, workload).map(|why| (reasons::restore::WORKLOAD_TAKEN, why));
    let volumes = state.volumes_would_go.then(|| {
        let message = format!(
            "{workload} would lose its volumes at 0 replicas: set its persistentVolumeClaimRetentionPolicy.whenScaled to Retain"
        );
        (reasons::restore::VOLUMES_WOULD_GO, message)
    });
    let scaled = keda::refusal(request, seen, workload, state);
    let scaled = scaled.map(|why| (reasons::restore::SCALED_BY_KEDA, why));
    let healed = argo_cd::refusal(request, seen, workload, state);
    [taken, volumes, scaled, healed].into_iter().flatten().collect()
}

/// Writes down what there is before anything is stopped. What the plan found may have changed since.
fn record(pass: &mut Pass<'_>) {
    let (request, seen) = (pass.request, pass.seen);
    let mut recorded = Vec::with_capacity(request.workloads.len());
    for workload in &request.workloads {
        if let Some((reason, message)) = refusals(request, seen, workload).into_iter().next() {
            pass.fail(reason, &message);
            return;
        }
        recorded.push(ledger::entry(request, seen, workload));
    }
    pass.status().quiesced = recorded;
    pass.status().skipped_applications = skipped::record(request, seen);
    pass.wake_now();
}

/// Whether somebody started what is to be stopped: the count, or what pauses KEDA, was written with the ledger at once, so somebody
/// else has changed it since.
fn started(pass: &Pass<'_>, entry: &QuiescedWorkload, state: &WorkloadState) -> bool {
    let (request, seen) = (pass.request, pass.seen);
    let asked = keda::stand_in(seen, entry).map_or_else(|| state.is_stopped(), keda::keeps_at_none);
    let was_stopped = pass.step.status.quiesced_time.is_some();
    match entry.state {
        QuiesceState::Recorded if was_stopped => !asked || !state.is_stopped() || state.at_work().is_some(),
        QuiesceState::Recorded => ledger::carries(request, seen, entry) && !asked,
        QuiesceState::Gone => !state.is_stopped(),
        QuiesceState::Resumed | QuiesceState::Taken => false,
    }
}

/// Who started it, in words.
fn starter(pass: &Pass<'_>, entry: &QuiescedWorkload, state: &WorkloadState) -> String {
    let workload = ledger::reference(entry);
    if let Some(scaler) = keda::stand_in(pass.seen, entry).filter(|scaler| !keda::keeps_at_none(scaler)) {
        let who = scaler.paused_by.as_ref().map(|(who, _)| who.as_str());
        return format!(
            "ScaledObject {} was told by {} to scale {workload} while it was to be paused",
            scaler.name,
            who.unwrap_or(ledger::NAMELESS)
        );
    }
    // Nobody changed it itself, so whoever wrote it last has nothing to do with it.
    if let Some(what) = state.at_work().filter(|_| state.is_stopped()) {
        return format!(
            "something of {workload} was started by itself while that was to be stopped: {what}; the events of the namespace may say by \
             whom"
        );
    }
    let who = state.managed_by.as_deref().unwrap_or("an unknown field manager");
    format!("{workload} was started by {who} while it was to be stopped")
}

/// Whether another request has stopped what this one is to stop; if so, this one fails and is undone.
fn is_taken(pass: &mut Pass<'_>) -> bool {
    let (request, seen) = (pass.request, pass.seen);
    let mut entries = pass.step.status.quiesced.iter().filter(|entry| entry.state == QuiesceState::Recorded);
    let found = entries.find_map(|entry| ledger::taken(request, seen, &ledger::reference(entry)));
    let Some(message) = found.or_else(|| skipped::is_taken(pass)) else { return false };
    pass.fail(reasons::restore::WORKLOAD_TAKEN, &message);
    true
}

/// Whether somebody started or took what is to be stopped; if so, the request fails and is undone. Only before the switch.
pub(super) fn contested(pass: &mut Pass<'_>) -> bool {
    if is_taken(pass) {
        return true;
    }
    let found = pass.step.status.quiesced.iter().find_map(|entry| {
        let state = pass.seen.workload(entry.kind, &entry.name)?;
        started(pass, entry, state).then(|| starter(pass, entry, state))
    });
    let Some(message) = found.or_else(|| skipped::contested(pass)) else { return false };
    pass.fail(reasons::restore::SCALE_CONTESTED, &message);
    true
}

fn stop_all(pass: &mut Pass<'_>) {
    if contested(pass) {
        return;
    }
    let mut waits = skipped::pause(pass);
    if waits.is_empty() {
        waits = stop_workloads(pass);
    }
    if waits.is_empty() {
        pass.status().quiesced_time = Some(Time(pass.seen.now));
        pass.wake_now();
        return;
    }
    if let Some(message) = ignored(pass) {
        pass.fail(reasons::restore::PAUSE_IGNORED, &message);
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

/// Stops what is not stopped yet. What is still waited for.
fn stop_workloads(pass: &mut Pass<'_>) -> Vec<String> {
    let (request, seen) = (pass.request, pass.seen);
    let (mut waits, mut patches) = (Vec::new(), Vec::new());
    for entry in pass.step.status.quiesced.iter().filter(|entry| entry.state == QuiesceState::Recorded) {
        let Some(state) = seen.workload(entry.kind, &entry.name) else { continue };
        if keda::is_hidden(seen, entry) {
            waits.push(format!("{} ({})", entry.name, keda::right(request)));
        } else if !ledger::carries(request, seen, entry) {
            patches.push(stop(request, seen, entry, state));
            waits.push(entry.name.clone());
        } else if !state.is_stopped() {
            waits.push(format!("{} (KEDA is to scale it to 0)", entry.name));
        } else if let Some(what) = state.at_work() {
            waits.push(format!("{} ({what})", entry.name));
        }
    }
    pass.step.effects.extend(patches);
    waits
}

/// A workload that KEDA does not scale to 0 although it was told to.
fn ignored(pass: &Pass<'_>) -> Option<String> {
    let (request, seen) = (pass.request, pass.seen);
    pass.step.status.quiesced.iter().filter(|entry| entry.state == QuiesceState::Recorded).find_map(|entry| {
        let scaler = keda::stand_in(seen, entry).filter(|scaler| keda::carries(request, scaler))?;
        let state = seen.workload(entry.kind, &entry.name).filter(|state| !state.is_stopped())?;
        keda::ignores_pause(scaler, pass.phase_start(), pass.now()).then(|| {
            format!(
                "KEDA leaves {} at {} replicas although ScaledObject {} says {KEDA_PAUSED_REPLICAS}=0: see whether KEDA runs, and what \
                 it says of the ScaledObject",
                ledger::reference(entry),
                state.replicas.unwrap_or_default(),
                scaler.name
            )
        })
    })
}

/// The last Pod is gone; what it left on its way has some seconds more.
fn drain(pass: &mut Pass<'_>) {
    let Some(quiesced) = pass.step.status.quiesced_time.clone() else { return };
    let seconds =
        if pass.step.status.quiesced.is_empty() { 0 } else { i64::from(pass.request.drain_seconds) };
    if let Some(end) = still_ahead(seconds_later(quiesced.0, seconds), pass.now(), seconds) {
        pass.status().progress = Some(format!("the last Pod is gone, and drainSeconds last until {end}"));
        pass.wake_at(end);
        // Nothing else tells that somebody starts an application meanwhile.
        pass.wake_in(DRAIN_LOOK_SECONDS);
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

/// What Argo CD would have to leave to others for a workload of this kind to stay stopped.
pub(super) const fn field_of(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Deployment | WorkloadKind::StatefulSet => "/spec/replicas",
        WorkloadKind::CronJob => "/spec/suspend",
    }
}

fn stop(
    request: &ValidatedRestore,
    seen: &Observed,
    entry: &QuiescedWorkload,
    state: &WorkloadState,
) -> Effect {
    if let Some(scaler) = keda::stand_in(seen, entry) {
        return keda::stop(request, entry, scaler);
    }
    let ledger = Ledger::of(&request.identity, entry).encode();
    let patch = patch(state, entry.kind, &Value::String(ledger), Some(0), Some(true));
    Effect::Patch { target: Patched::Workload(ledger::reference(entry)), patch }
}

/// What gives a workload back what it had; none where it has it, and nothing carries anything of ours.
pub(super) fn give_back(
    request: &ValidatedRestore,
    seen: &Observed,
    entry: &QuiescedWorkload,
) -> Option<Effect> {
    if let Some(scaler) = keda::stand_in(seen, entry) {
        return keda::give_back(request, entry, scaler);
    }
    let state = seen.workload(entry.kind, &entry.name)?;
    // Without its ledger it was either never stopped, or is back already, unless somebody took the ledger only.
    let back = state.replicas == entry.replicas && state.suspend == entry.suspend || !state.is_stopped();
    if !ledger::carries(request, seen, entry) && back {
        return None;
    }
    let patch = patch(state, entry.kind, &Value::Null, entry.replicas, entry.suspend);
    Some(Effect::Patch { target: Patched::Workload(ledger::reference(entry)), patch })
}

/// Something could not be patched. Before the switch the request fails; what is to come back is tried again.
pub(super) fn refused(pass: &mut Pass<'_>, refusal: &PatchRefusal) {
    let message = format!("the API server refused to change {}: {}", refusal.target, refusal.message);
    stuck(pass, &refusal.target, &message);
}

/// Something cannot be patched, for this reason.
pub(super) fn stuck(pass: &mut Pass<'_>, target: &Patched, message: &str) {
    // An admission webhook may say what it likes, however long that is.
    let message = conditions::cut(message).to_owned();
    let known = message_of(pass, target).is_some_and(|known| {
        let before = known.replace(message.clone());
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

/// What is said of something that was recorded.
fn message_of<'a>(pass: &'a mut Pass<'_>, target: &Patched) -> Option<&'a mut Option<String>> {
    let status = &mut pass.step.status;
    if let Patched::Application(application) = target {
        let mut all = status.skipped_applications.iter_mut();
        let found =
            all.find(|entry| entry.namespace == application.namespace && entry.name == application.name);
        return found.map(|entry| &mut entry.message);
    }
    let is_it = |entry: &&mut QuiescedWorkload| match target {
        Patched::Workload(workload) => entry.kind == workload.kind && entry.name == workload.name,
        Patched::ScaledObject(name) => {
            entry.scaled_object.as_ref().is_some_and(|paused| paused.name == *name)
        }
        Patched::Application(_) => false,
    };
    status.quiesced.iter_mut().find(is_it).map(|entry| &mut entry.message)
}
