//! Applications of Argo CD that are told to leave everything as it is, by Argo CD's own annotation, which goes when the applications are
//! back. Their spec is never touched. Pure.

use greenlang_backup_api::conditions;
use greenlang_backup_api::labels::{ARGO_CD_SKIP_RECONCILE, LEDGER};
use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{QuiesceState, SkippedApplication};
use serde_json::json;

use super::argo_cd::{healer, is_skipped, of_another, ours, right, taken};
use super::ledger::NAMELESS;
use super::observe::{ApplicationRef, ApplicationState, Forbidden, Observed, Patched};
use super::pass::Pass;
use super::step::Effect;
use super::validate::ValidatedRestore;

/// What the annotation says of an Application that is to leave everything as it is.
const SKIP: &str = "true";

/// Applications that are to be told to leave everything as it is, each once.
pub(super) fn record(request: &ValidatedRestore, seen: &Observed) -> Vec<SkippedApplication> {
    let mut all: Vec<SkippedApplication> = Vec::new();
    for workload in &request.workloads {
        let Some(state) = seen.workload(workload.kind, &workload.name) else { continue };
        let Some((application, found)) = healer(request, seen, workload, state) else { continue };
        if !all.iter().any(|known| reference(known) == *application) {
            all.push(entry(request, application, found));
        }
    }
    all
}

fn entry(
    request: &ValidatedRestore,
    application: &ApplicationRef,
    state: &ApplicationState,
) -> SkippedApplication {
    let before = ours(request, state).map_or(&state.skip_reconcile, |ledger| &ledger.annotation);
    SkippedApplication {
        namespace: application.namespace.clone(),
        name: application.name.clone(),
        uid: state.uid.clone(),
        skip_reconcile: before.clone(),
        state: QuiesceState::Recorded,
        message: None,
    }
}

/// Whether an Application carries a ledger of this request.
pub(super) fn carries_ours(request: &ValidatedRestore, seen: &Observed) -> bool {
    let mut states = seen.applications.iter().filter_map(|seen| seen.state.as_ref().ok()?.as_ref());
    states.any(|state| ours(request, state).is_some())
}

/// What Applications carry of this request, whose status was lost.
pub(super) fn recover(request: &ValidatedRestore, seen: &Observed) -> Vec<SkippedApplication> {
    let carried = seen.applications.iter().filter_map(|seen| {
        let state = seen.state.as_ref().ok()?.as_ref()?;
        ours(request, state).map(|_| entry(request, &seen.application, state))
    });
    carried.collect()
}

fn reference(entry: &SkippedApplication) -> ApplicationRef {
    ApplicationRef { namespace: entry.namespace.clone(), name: entry.name.clone() }
}

/// Notes which Applications are gone. One that was made anew is another, unless it was made of a copy that says what it is told.
pub(super) fn note_gone(
    request: &ValidatedRestore,
    seen: &Observed,
    entries: &mut [SkippedApplication],
) -> Vec<String> {
    let mut told = Vec::new();
    for entry in entries.iter_mut().filter(|entry| entry.state == QuiesceState::Recorded) {
        let Ok(state) = seen.application(&entry.namespace, &entry.name) else { continue };
        if let Some(copy) = state.filter(|state| ours(request, state).is_some()) {
            entry.uid.clone_from(&copy.uid);
        } else if state.is_none_or(|state| state.uid != entry.uid) {
            let what = if state.is_some() { "was made anew" } else { "was deleted" };
            let message = format!(
                "Application {} {what} while it was told to leave everything as it is: it is left alone",
                reference(entry)
            );
            (entry.state, entry.message) = (QuiesceState::Gone, Some(message.clone()));
            told.push(message);
        }
    }
    told
}

/// Notes which Applications another request has told to leave everything as it is: they are that one's to let go.
pub(super) fn note_taken(
    request: &ValidatedRestore,
    seen: &Observed,
    entries: &mut [SkippedApplication],
) -> Vec<String> {
    let mut told = Vec::new();
    for entry in entries.iter_mut().filter(|entry| entry.state == QuiesceState::Recorded) {
        let Ok(Some(state)) = seen.application(&entry.namespace, &entry.name) else { continue };
        if let Some(ledger) = of_another(request, state) {
            let message = conditions::cut(&taken(&reference(entry), ledger)).to_owned();
            (entry.state, entry.message) = (QuiesceState::Taken, Some(message.clone()));
            told.push(message);
        }
    }
    told
}

fn recorded<'a>(
    pass: &'a Pass<'_>,
) -> impl Iterator<Item = (&'a SkippedApplication, Result<Option<&'a ApplicationState>, Forbidden>)> {
    let entries = pass.step.status.skipped_applications.iter();
    let entries = entries.filter(|entry| entry.state == QuiesceState::Recorded);
    entries.map(|entry| (entry, pass.seen.application(&entry.namespace, &entry.name)))
}

/// Whether another request has taken an Application that is to leave everything as it is.
pub(super) fn is_taken(pass: &Pass<'_>) -> Option<String> {
    recorded(pass).find_map(|(entry, state)| {
        let ledger = of_another(pass.request, state.ok()??)?;
        Some(taken(&reference(entry), ledger))
    })
}

/// Who told an Application to go on that is to leave everything as it is.
pub(super) fn contested(pass: &Pass<'_>) -> Option<String> {
    let stopped_before = pass.step.status.quiesced_time.is_some();
    recorded(pass).find_map(|(entry, state)| {
        let state = state.ok()??;
        let was_skipped = ours(pass.request, state).is_some() || stopped_before;
        (was_skipped && !is_skipped(state)).then(|| {
            let who = state.skipped_by.as_deref().unwrap_or(NAMELESS);
            format!(
                "Application {} was told by {who} to go on while it was to leave everything as it is",
                reference(entry)
            )
        })
    })
}

/// Tells Applications to leave everything as it is. What is still waited for; nothing else may be stopped before.
pub(super) fn pause(pass: &mut Pass<'_>) -> Vec<String> {
    let (mut waits, mut patches) = (Vec::new(), Vec::new());
    for (entry, state) in recorded(pass) {
        let application = reference(entry);
        match state {
            Ok(Some(state)) if ours(pass.request, state).is_some() => {}
            // It could not go on to its end.
            Ok(Some(state)) if state.operating => {
                waits.push(format!("Application {application} (an operation of Argo CD goes on)"));
            }
            Ok(Some(state)) => {
                patches.push(skip(pass.request, entry, state));
                waits.push(format!("Application {application}"));
            }
            Ok(None) => {}
            Err(Forbidden) => waits.push(format!("Application {application} ({})", right(&application))),
        }
    }
    pass.step.effects.extend(patches);
    waits
}

fn patch(
    entry: &SkippedApplication,
    state: &ApplicationState,
    ledger: Option<&str>,
    skip: Option<&str>,
) -> Effect {
    let patch = json!({
        "metadata": {
            "uid": state.uid,
            "resourceVersion": state.resource_version,
            "annotations": {LEDGER: ledger, ARGO_CD_SKIP_RECONCILE: skip},
        },
    });
    Effect::Patch { target: Patched::Application(reference(entry)), patch }
}

fn skip(request: &ValidatedRestore, entry: &SkippedApplication, state: &ApplicationState) -> Effect {
    let ledger = Ledger::of_application(&request.identity, entry).encode();
    patch(entry, state, Some(&ledger), Some(SKIP))
}

/// What becomes of an Application that is to go on.
pub(super) enum GivenBack {
    /// It is as it was.
    Done,
    /// This is still to be done.
    Todo(Effect),
    /// Nobody can say how it is, for this reason.
    Hidden(Patched, String),
}

/// Gives the annotation back what it said.
pub(super) fn give_back(
    request: &ValidatedRestore,
    seen: &Observed,
    entry: &SkippedApplication,
) -> GivenBack {
    let application = reference(entry);
    let state = match seen.application(&entry.namespace, &entry.name) {
        Ok(Some(state)) => state,
        Ok(None) => return GivenBack::Done,
        Err(Forbidden) => {
            let why = right(&application);
            return GivenBack::Hidden(Patched::Application(application), why);
        }
    };
    // Without its ledger it was never told, or is not any more, unless somebody took the ledger only.
    let back = state.skip_reconcile == entry.skip_reconcile || !is_skipped(state);
    if ours(request, state).is_none() && back {
        return GivenBack::Done;
    }
    GivenBack::Todo(patch(entry, state, None, entry.skip_reconcile.as_deref()))
}

/// Gives back what was recorded, and waits for nothing.
pub(super) fn let_go_at_once(pass: &mut Pass<'_>) {
    let (request, seen) = (pass.request, pass.seen);
    let back = recorded(pass).filter_map(|(entry, _)| match give_back(request, seen, entry) {
        GivenBack::Todo(effect) => Some(effect),
        GivenBack::Done | GivenBack::Hidden(..) => None,
    });
    let back: Vec<_> = back.collect();
    pass.step.effects.extend(back);
}
