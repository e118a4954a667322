//! Planning: a Job finds out whether the request can work, and the workloads are looked at. What cannot work ends here, with
//! nothing touched. Pure.

use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::restore::{KnownRestore, PlanReport, RecordState, RestoreReport};
use greenlang_backup_api::v1alpha1::{
    ActiveRestoreJob, MAX_PLAN_ENTRIES, NamedDatabase, PlannedWorkload, Refusal, RequestDatabases,
    RestoreJobKind, RestorePhase, RestorePlan, RestoreStrategy,
};
use greenlang_backup_api::{conditions, reasons};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::follow::{self, Followed};
use super::pass::Pass;
use super::{argo_cd, keda, ledger, past, quiesce};
use crate::job_state::Ended;

pub(super) fn advance(pass: &mut Pass<'_>) {
    let Some(active) = pass.step.status.active.clone() else {
        follow::start(pass, RestoreJobKind::Plan, None);
        return;
    };
    if let Followed::Ended(ended) = follow::follow(pass, active.clone()) {
        self::ended(pass, active, &ended);
    }
}

/// What follows from the end of an attempt.
pub(super) fn ended(pass: &mut Pass<'_>, active: ActiveRestoreJob, ended: &Ended) {
    let details = pass.job(&pass.request.job_name(&active)).map(|job| job.details.clone());
    let report = &ended.report;
    let found = match report.restore.clone() {
        Some(RestoreReport::Plan(found)) => found,
        _ => PlanReport::default(),
    };
    let plan = found.plan(&details.unwrap_or_default());
    if report.outcome.is_success() {
        match plan {
            Some(plan) => planned(pass, active, &found, plan),
            None => once_more(
                pass,
                active,
                reasons::REPORT_LOST,
                "the plan could not be read from the log of its Job",
            ),
        }
        return;
    }
    if plan.is_some() {
        pass.status().plan = plan;
    }
    if follow::may_retry(&active, report) {
        follow::retry(pass, active, report);
    } else {
        give_up(pass, &report.reason, &report.message);
    }
}

/// The Job did what it was asked to, but that was not enough.
fn once_more(pass: &mut Pass<'_>, active: ActiveRestoreJob, reason: &str, message: &str) {
    let report = RunReport::new(Outcome::Retryable, reason, message);
    if follow::may_retry(&active, &report) {
        follow::retry(pass, active, &report);
    } else {
        give_up(pass, &report.reason, &report.message);
    }
}

/// It cannot work. Nothing was touched, unless this is a request whose status was lost.
fn give_up(pass: &mut Pass<'_>, reason: &str, message: &str) {
    if ledger::carries_ours(pass) {
        pass.fail(reason, message);
        return;
    }
    pass.note_failure(RestorePhase::Failed, reason, message);
    pass.end(RestorePhase::Failed);
}

fn planned(pass: &mut Pass<'_>, active: ActiveRestoreJob, found: &PlanReport, mut plan: RestorePlan) {
    let known = found.known.as_ref().filter(|known| known.state != RecordState::Started);
    // It goes on past the point of no return.
    if known.is_some() && !pass.is_held() {
        return;
    }
    look_at_workloads(pass, &mut plan);
    look_at_databases(pass, found, &mut plan);
    plan.expected_seconds = past::expected(pass, found, &plan);
    plan.feasible = plan.refusals.is_empty();
    let refusal = plan.refusals.first().cloned();
    let request = pass.request;
    let status = pass.status();
    status.plan = Some(plan);
    status.backup.clone_from(&found.backup);
    status.active = None;
    if let Some(known) = known {
        recover(pass, known);
        return;
    }
    if let Some(refusal) = refusal {
        give_up(pass, &refusal.reason, &refusal.message);
        return;
    }
    if request.dry_run {
        pass.end(RestorePhase::Planned);
        return;
    }
    if found.known.is_none() {
        let message = "when the plan began, an application could not be stopped that can be now";
        once_more(pass, active, reasons::restore::WORKLOAD_NOT_FOUND, message);
        return;
    }
    let comes_back = found.comes_back.clone();
    pass.status().databases = Some(RequestDatabases {
        temporary: comes_back.as_ref().map_or_else(|| request.temporary(), |database| database.name.clone()),
        temporary_oid: comes_back.map(|database| database.oid),
        target_oid: found.target_oid,
        previous: request.previous(),
    });
    let message = format!("restoring database {} began", request.database);
    pass.event(false, reasons::restore::RESTORE_STARTED, message);
    pass.enter(if request.stops_first() { RestorePhase::Quiescing } else { RestorePhase::Restoring });
}

fn refuse(plan: &mut RestorePlan, reason: &str, message: &str) {
    if plan.refusals.len() < MAX_PLAN_ENTRIES {
        // Part of it may be what somebody wrote to an annotation.
        let message = conditions::cut(message).to_owned();
        plan.refusals.push(Refusal { reason: reason.to_owned(), message });
    }
}

/// Whether the plan that is about to begin writes the record: the name of a request that is refused for its applications stays free.
pub(super) fn claims(pass: &Pass<'_>) -> bool {
    let mut plan = RestorePlan::default();
    look_at_workloads(pass, &mut plan);
    !pass.request.dry_run && plan.refusals.is_empty()
}

fn look_at_workloads(pass: &Pass<'_>, plan: &mut RestorePlan) {
    let (request, seen) = (pass.request, pass.seen);
    for workload in &request.workloads {
        for (reason, message) in quiesce::refusals(request, seen, workload) {
            refuse(plan, reason, &message);
        }
        let Some(state) = seen.workload(workload.kind, &workload.name) else { continue };
        if let Some(warning) = argo_cd::warning(request, seen, workload, state)
            && plan.warnings.len() < MAX_PLAN_ENTRIES
        {
            plan.warnings.push(conditions::cut(&warning).to_owned());
        }
        plan.workloads.push(PlannedWorkload {
            kind: workload.kind,
            name: workload.name.clone(),
            replicas: ledger::replicas_to_record(request, seen, workload),
            managed_by: state.managed_by.clone(),
            autoscaler: state.autoscaler.clone(),
            scaled_object: keda::record(request, seen, workload).map(|paused| paused.name),
            application: argo_cd::planned(request, seen, workload, state),
        });
    }
}

/// What the Job has refused already, unless it is of another release: a mistake here would cost a database.
fn look_at_databases(pass: &Pass<'_>, found: &PlanReport, plan: &mut RestorePlan) {
    let database = &pass.request.database;
    if pass.request.strategy == RestoreStrategy::NewDatabase && found.target_oid.is_some() {
        let message = format!("database {database} exists already: name one that does not");
        refuse(plan, reasons::restore::DATABASE_EXISTS, &message);
    }
    if pass.request.is_undo() && (found.comes_back.is_none() || found.target_oid.is_none()) {
        let message = format!("there is nothing that could take the place of database {database}");
        refuse(plan, reasons::restore::NOTHING_TO_UNDO, &message);
    }
    if !pass.request.is_undo() && found.backup.is_none() {
        refuse(plan, reasons::restore::BACKUP_NOT_FOUND, "no backup was chosen");
    }
}

/// The bucket knows this very request: its status was lost. It goes on where that says it was, with the applications that carry
/// its ledger.
fn recover(pass: &mut Pass<'_>, known: &KnownRestore) {
    ledger::recover(pass);
    if known.state == RecordState::RolledBack {
        pass.fail(reasons::restore::ALREADY_CARRIED_OUT, "it had been undone before its status was lost");
        return;
    }
    let (request, now) = (pass.request, pass.now());
    let restored = known.restored.clone();
    pass.status().databases = Some(RequestDatabases {
        temporary: restored.as_ref().map_or_else(|| request.temporary(), |database| database.name.clone()),
        temporary_oid: restored.as_ref().map(|database| database.oid),
        target_oid: known.previous.as_ref().map(|NamedDatabase { oid, .. }| *oid),
        // What Replace drops gets no name.
        previous: known
            .previous
            .as_ref()
            .filter(|_| restored.is_some())
            .map_or_else(|| request.previous(), |database| database.name.clone()),
    });
    pass.status().switch_started_time = Some(Time(now));
    pass.status().quiesced_time = Some(Time(now));
    if known.state == RecordState::Switched {
        pass.status().switched_time = Some(Time(now));
    }
    pass.enter(if restored.is_some() { RestorePhase::Switching } else { RestorePhase::Restoring });
}
