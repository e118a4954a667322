//! Applications of Argo CD that would start again what is stopped: whether they may, and what people should know of them. Pure.

use greenlang_backup_api::labels::{ARGO_CD_SKIP_RECONCILE, LEDGER};
use greenlang_backup_api::reasons;
use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{QuiesceArgoCd, WorkloadRef};

use super::observe::{ApplicationRef, ApplicationState, Forbidden, Observed, PartOf, WorkloadState};
use super::quiesce::field_of;
use super::validate::ValidatedRestore;

/// Whether Argo CD leaves everything of an Application as it is; it reads Go's words for true.
pub(super) fn is_skipped(state: &ApplicationState) -> bool {
    let said = state.skip_reconcile.as_deref();
    said.is_some_and(|said| ["1", "t", "T", "true", "TRUE", "True"].contains(&said))
}

/// What an Application carries of this request.
pub(super) fn ours<'a>(request: &ValidatedRestore, state: &'a ApplicationState) -> Option<&'a Ledger> {
    state.ledger.as_ref().filter(|ledger| ledger.request_uid == request.identity.uid)
}

/// What it carries of another request, which will let it go.
pub(super) fn of_another<'a>(request: &ValidatedRestore, state: &'a ApplicationState) -> Option<&'a Ledger> {
    state.ledger.as_ref().filter(|ledger| ledger.request_uid != request.identity.uid)
}

/// The Application that would start a workload again, unless somebody has told it not to.
pub(super) fn healer<'a>(
    request: &ValidatedRestore,
    seen: &'a Observed,
    workload: &WorkloadRef,
    state: &'a WorkloadState,
) -> Option<(&'a ApplicationRef, &'a ApplicationState)> {
    let PartOf { application, .. } = state.part_of.as_ref()?;
    let found = seen.application(&application.namespace, &application.name).ok()??;
    let acts = !is_skipped(found) || found.ledger.is_some();
    (found.heals.contains(workload) && acts || ours(request, found).is_some()).then_some((application, found))
}

/// Namespace and name of the Application that would start a workload again, for the plan.
pub(super) fn planned(
    request: &ValidatedRestore,
    seen: &Observed,
    workload: &WorkloadRef,
    state: &WorkloadState,
) -> Option<String> {
    healer(request, seen, workload, state).map(|(application, _)| application.to_string())
}

/// Why a workload would not stay stopped; none where it would.
pub(super) fn refusal(
    request: &ValidatedRestore,
    seen: &Observed,
    workload: &WorkloadRef,
    state: &WorkloadState,
) -> Option<(&'static str, String)> {
    let PartOf { application, by_annotation } = state.part_of.as_ref()?;
    let heals = reasons::restore::HEALED_BY_ARGO_CD;
    if seen.application(&application.namespace, &application.name) == Err(Forbidden) {
        // The label alone says little: whatever Helm installs has it.
        return by_annotation.then(|| {
            let right = right(application);
            let message = format!("Argo CD has {workload} in its Application {application}, and {right}");
            (heals, message)
        });
    }
    let (application, found) = healer(request, seen, workload, state)?;
    if let Some(ledger) = of_another(request, found) {
        return Some((reasons::restore::WORKLOAD_TAKEN, taken(application, ledger)));
    }
    if request.argo_cd == QuiesceArgoCd::SkipReconcile || ours(request, found).is_some() {
        return None;
    }
    let field = field_of(workload.kind);
    let message = format!(
        "Argo CD would start {workload} again: its Application {application} heals itself. Say spec.quiesce.argoCD: SkipReconcile, by which \
         the operator has it leave everything as it is until the applications are back; or turn selfHeal off, or name {field} below \
         ignoreDifferences"
    );
    Some((heals, message))
}

/// The right that the operator lacks, and how it gets it.
pub(super) fn right(application: &ApplicationRef) -> String {
    let ApplicationRef { namespace, name } = application;
    format!(
        "the operator may neither read nor patch that: it needs the verbs get and patch on applications.argoproj.io {name} in namespace \
         {namespace}, which its chart gives with quiesce.argoCD.applications: [{{namespace: {namespace}, names: [{name}]}}]"
    )
}

/// Why such an Application is not touched, and what to do.
pub(super) fn taken(application: &ApplicationRef, ledger: &Ledger) -> String {
    format!(
        "Application {application} was told by RestoreRequest {} to leave everything as it is: wait until that has ended; if there is no such \
         request any more, give its annotation {ARGO_CD_SKIP_RECONCILE} back what its annotation {LEDGER} says, and remove that",
        ledger.request
    )
}

/// What people should know of a workload although it can be stopped.
pub(super) fn warning(
    request: &ValidatedRestore,
    seen: &Observed,
    workload: &WorkloadRef,
    state: &WorkloadState,
) -> Option<String> {
    let PartOf { application, by_annotation } = state.part_of.as_ref()?;
    if *by_annotation && seen.application(&application.namespace, &application.name) == Ok(None) {
        return Some(format!(
            "{workload} is marked as a part of the Application {application} of Argo CD, which is not in this cluster: if it is in another \
             one and heals itself, the request will be undone as ScaleContested"
        ));
    }
    let (_, found) = healer(request, seen, workload, state)?;
    let made_by = found.made_by.as_ref()?;
    Some(format!(
        "Application {application} is made by ApplicationSet {made_by}, which may take the annotation away that keeps Argo CD from starting \
         {workload}: name {ARGO_CD_SKIP_RECONCILE} and {LEDGER} in its spec.preservedFields.annotations"
    ))
}
