//! What KEDA scales is left to KEDA: its ScaledObject is paused at 0 by KEDA's own annotation, which carries the ledger in the place of the
//! workload. Pure.

use greenlang_backup_api::labels::{KEDA_PAUSED_REPLICAS, LEDGER};
use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{PausedScaledObject, QuiescedWorkload, WorkloadKind, WorkloadRef};
use jiff::Timestamp;
use serde_json::json;

use super::observe::{Observed, Patched, ScaledObjectState, WorkloadState};
use super::step::Effect;
use super::validate::ValidatedRestore;
use crate::pause::seconds_later;

/// What the annotation says of a workload that is to have no replicas.
const NONE: &str = "0";
/// Seconds in which KEDA must act on its annotation, beside two looks at its triggers, which is when older releases read it.
const LIMIT_SECONDS: i64 = 120;

/// The ScaledObject that decides how many replicas a workload has.
pub(super) fn scaler_of<'a>(
    seen: &'a Observed,
    kind: WorkloadKind,
    name: &str,
) -> Option<&'a ScaledObjectState> {
    let is_of = |target: &WorkloadRef| target.kind == kind && target.name == name;
    let mut all = seen.scaled_objects();
    let found = all.find(|scaler| scaler.target.as_ref().is_some_and(is_of))?;
    // Told to leave the workload as it is, KEDA scales nothing: neither to 0 nor back.
    let decides = !found.paused || found.paused_replicas.is_some() || found.ledger.is_some();
    decides.then_some(found)
}

/// The ScaledObject that is paused in the place of a recorded workload, if it is there.
pub(super) fn stand_in<'a>(seen: &'a Observed, entry: &QuiescedWorkload) -> Option<&'a ScaledObjectState> {
    let recorded = entry.scaled_object.as_ref()?;
    seen.scaled_objects().find(|scaler| scaler.name == recorded.name)
}

/// Whether nobody can say how the ScaledObject of a recorded workload is.
pub(super) fn is_hidden(seen: &Observed, entry: &QuiescedWorkload) -> bool {
    entry.scaled_object.is_some() && seen.scaled_objects.is_err()
}

/// Whether it carries a ledger of this request.
pub(super) fn carries(request: &ValidatedRestore, scaler: &ScaledObjectState) -> bool {
    scaler.ledger.as_ref().is_some_and(|ledger| ledger.request_uid == request.identity.uid)
}

/// Whether it is told to keep its workload at 0.
pub(super) fn keeps_at_none(scaler: &ScaledObjectState) -> bool {
    scaler.paused_replicas.as_deref() == Some(NONE)
}

/// Why a workload cannot be stopped by KEDA; none where it can, or where KEDA has nothing to do with it.
pub(super) fn refusal(
    request: &ValidatedRestore,
    seen: &Observed,
    workload: &WorkloadRef,
    state: &WorkloadState,
) -> Option<String> {
    if let (Err(_), Some(scaler)) = (&seen.scaled_objects, &state.autoscaled_for) {
        let right = right(request);
        return Some(format!("{workload} is scaled by ScaledObject {scaler} of KEDA, and {right}"));
    }
    let scaler = scaler_of(seen, workload.kind, &workload.name)?;
    let count = scaler.paused_replicas.as_ref()?;
    if carries(request, scaler) || keeps_at_none(scaler) {
        return None;
    }
    Some(format!(
        "{workload} is kept at {count} replicas by somebody, who wrote {KEDA_PAUSED_REPLICAS}={count} to ScaledObject {}: take that \
         annotation away, or set it to 0",
        scaler.name
    ))
}

/// The right that the operator lacks, and how it gets it.
pub(super) fn right(request: &ValidatedRestore) -> String {
    format!(
        "the operator may neither read nor patch that: it needs the verbs list and patch on scaledobjects.keda.sh in namespace {}, which its \
         chart gives with quiesce.keda: true",
        request.identity.namespace
    )
}

/// What is to be recorded of the ScaledObject that will be paused in the place of a workload; none where the workload itself is stopped.
pub(super) fn record(
    request: &ValidatedRestore,
    seen: &Observed,
    workload: &WorkloadRef,
) -> Option<PausedScaledObject> {
    let is_ours = |ledger: &Ledger| ledger.request_uid == request.identity.uid;
    let state = seen.workload(workload.kind, &workload.name);
    if state.and_then(|state| state.ledger.as_ref()).is_some_and(is_ours) {
        return None;
    }
    let scaler = scaler_of(seen, workload.kind, &workload.name)?;
    let carried = scaler.ledger.as_ref().filter(|ledger| is_ours(ledger));
    let paused_replicas = carried.map_or(&scaler.paused_replicas, |ledger| &ledger.annotation).clone();
    Some(PausedScaledObject { name: scaler.name.clone(), paused_replicas })
}

fn patch(scaler: &ScaledObjectState, ledger: Option<&str>, paused_replicas: Option<&str>) -> Effect {
    let patch = json!({
        "metadata": {
            "uid": scaler.uid,
            "resourceVersion": scaler.resource_version,
            "annotations": {LEDGER: ledger, KEDA_PAUSED_REPLICAS: paused_replicas},
        },
    });
    Effect::Patch { target: Patched::ScaledObject(scaler.name.clone()), patch }
}

/// Tells KEDA to scale the workload to 0, and to leave it there.
pub(super) fn stop(
    request: &ValidatedRestore,
    entry: &QuiescedWorkload,
    scaler: &ScaledObjectState,
) -> Effect {
    let ledger = Ledger::of(&request.identity, entry).encode();
    patch(scaler, Some(&ledger), Some(NONE))
}

/// Gives the annotation back what it said; none where it says that, and nothing of ours is there.
pub(super) fn give_back(
    request: &ValidatedRestore,
    entry: &QuiescedWorkload,
    scaler: &ScaledObjectState,
) -> Option<Effect> {
    let before = &entry.scaled_object.as_ref()?.paused_replicas;
    // As of a workload: without its ledger it was never paused, or is not any more, unless somebody took the ledger only.
    let back = scaler.paused_replicas == *before || !keeps_at_none(scaler);
    if !carries(request, scaler) && back {
        return None;
    }
    Some(patch(scaler, None, before.as_deref()))
}

/// Whether KEDA does not do what its annotation says: its workload still has replicas.
pub(super) fn ignores_pause(scaler: &ScaledObjectState, phase_start: Timestamp, now: Timestamp) -> bool {
    let since = scaler.paused_by.as_ref().map_or(phase_start, |(_, time)| phase_start.max(*time));
    now >= seconds_later(since, LIMIT_SECONDS + 2 * i64::from(scaler.polling_seconds))
}

/// Replicas that KEDA wants a workload to have that it may scale again; none while it has not said so.
pub(super) fn wants(scaler: &ScaledObjectState, replicas: i32) -> Option<i32> {
    if let Some(count) = &scaler.paused_replicas {
        return count.parse().ok();
    }
    let leaves_at_none =
        scaler.paused_at.is_none() && !scaler.paused && scaler.least == 0 && scaler.active == Some(false);
    (replicas > 0 || leaves_at_none).then_some(replicas)
}
