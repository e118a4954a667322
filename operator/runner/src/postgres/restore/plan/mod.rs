//! Finds out whether a restore can work, before anything is touched: backup, keys, server, rights, names, space. What cannot work is
//! refused here with the statement that mends it. Network; writes nothing but the record in the bucket.

mod backup;
mod choose;
mod rights;
mod room;
mod tablespaces;
mod target;
mod trial;
mod undo;

use greenlang_backup_api::contents::{DatabaseContents, TableData};
use greenlang_backup_api::reasons;
use greenlang_backup_api::reasons::restore;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::restore::{
    KnownRestore, PlanAction, PlanReport, PlanSource, RecordState, RestoreReport, RestoreTask,
};
use greenlang_backup_api::v1alpha1::{
    ChosenBackup, MAX_PLAN_ENTRIES, PlannedBackup, PlannedTarget, Refusal, RestoreInclude, RestorePlan,
    RestoreStrategy,
};
use greenlang_backup_store::Store;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio_util::sync::CancellationToken;

use super::legacy::{self, LegacySource};
use super::part::{self, Part};
use super::record::Ledger;
use super::source::Source;
use super::{RestoreError, open_store};
use crate::details::Details;
use crate::error::{RunError, until_cancelled};
use crate::postgres::clients::Clients;
use crate::postgres::connect::{Endpoint, Session};
use crate::postgres::inspect;
use choose::{Choice, Chosen};
use tablespaces::Used;

/// A restored database beside the text of its rows: indexes and the frame of rows take some more.
const EXPECTED_PERCENT: u64 = 130;

/// What was found so far.
#[derive(Debug, Default)]
pub struct Findings {
    pub plan: RestorePlan,
    pub report: PlanReport,
}

impl Findings {
    fn refuse(&mut self, reason: &str, message: impl Into<String>) {
        self.plan.refusals.push(Refusal { reason: reason.to_owned(), message: message.into() });
    }

    fn warn(&mut self, warning: impl Into<String>) {
        self.plan.warnings.push(warning.into());
    }
}

/// Makes the plan. What may pass ends it as an error; what will not is part of it.
pub async fn run(
    task: &RestoreTask,
    action: &PlanAction,
    cancel: &CancellationToken,
) -> Result<RunReport, RunError> {
    let mut findings = Findings::default();
    let work = async {
        let store = open_store(task).await?;
        let planned = match &action.source {
            PlanSource::Undo { of } => undo::plan(task, action, of, &store, &mut findings).await,
            PlanSource::Backup { .. } | PlanSource::Latest { .. } => {
                restore(task, action, &store, &mut findings).await
            }
        };
        match planned {
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => findings.refuse(error.reason(), error.to_string()),
            Ok(()) => {}
        }
        record(task, action, &store, &mut findings).await
    };
    until_cancelled(cancel, Box::pin(work)).await?;
    Ok(report(findings))
}

fn report(findings: Findings) -> RunReport {
    let Findings { mut plan, mut report } = findings;
    plan.feasible = plan.refusals.is_empty();
    let first = plan.refusals.first().cloned();
    for list in [
        &mut plan.steps,
        &mut plan.roles_to_make,
        &mut plan.roles_without_password,
        &mut plan.different_settings,
        &mut plan.left_out,
        &mut plan.warnings,
    ] {
        bound(list);
    }
    plan.refusals.truncate(MAX_PLAN_ENTRIES);
    let mut details = Details::default();
    details.line(&plan);
    (report.details, report.details_sha256) = details.end();
    let (outcome, reason, message) = match first {
        None => (Outcome::Done, reasons::SUCCEEDED.to_owned(), "the restore can work".to_owned()),
        Some(Refusal { reason, message }) => (Outcome::Failed, reason, message),
    };
    RunReport { restore: Some(RestoreReport::Plan(report)), ..RunReport::new(outcome, &reason, message) }
}

/// What is left out is counted in the last entry.
fn bound(list: &mut Vec<String>) {
    if list.len() > MAX_PLAN_ENTRIES {
        let more = list.len() - (MAX_PLAN_ENTRIES - 1);
        list.truncate(MAX_PLAN_ENTRIES - 1);
        list.push(format!("and {more} more"));
    }
}

/// A request is carried out once, whatever made it anew.
async fn record(
    task: &RestoreTask,
    action: &PlanAction,
    store: &Store,
    findings: &mut Findings,
) -> Result<(), RunError> {
    let mut ledger = Ledger::read(store, task).await?;
    if let Some(other) = ledger.of_other() {
        let (name, uid) = (&other.name, &other.uid);
        let message = format!(
            "a request of the name {name} was carried out before, with UID {uid}: its record is in the bucket; give this request another name to restore again"
        );
        findings.refuse(restore::ALREADY_CARRIED_OUT, message);
        return Ok(());
    }
    if ledger.own().is_none() && action.claim && findings.plan.refusals.is_empty() {
        let undo_of = match &action.source {
            PlanSource::Undo { of } => Some(of.clone()),
            _ => None,
        };
        let blank = ledger.blank(RecordState::Started, findings.report.backup.clone(), undo_of);
        ledger.write(blank).await?;
    }
    findings.report.known = ledger.own().map(|own| KnownRestore {
        state: own.state,
        restored: own.restored.clone(),
        previous: own.previous.clone(),
    });
    Ok(())
}

async fn restore(
    task: &RestoreTask,
    action: &PlanAction,
    store: &Store,
    findings: &mut Findings,
) -> Result<(), RunError> {
    // Each looks for itself, so that all that is wrong is told at once.
    let source = match of_the_bucket(task, action, store, findings).await {
        Ok(source) => source,
        Err(error) if error.is_retryable() => return Err(error),
        Err(error) => {
            findings.refuse(error.reason(), error.to_string());
            None
        }
    };
    let (endpoint, session) = target::connect(task, findings).await?;
    let made = [action.temporary.as_str(), &action.previous];
    of_the_server(task, action, &made, &endpoint, &session, findings).await?;
    if let Some(backup) = source {
        of_both(task, action, &session, &backup, findings).await?;
    } else {
        rights::enough(&session, &task.database, &[], findings).await?;
    }
    room::needed(&session, action.strategy, findings).await?;
    steps(task, action, findings);
    Ok(())
}

/// A backup that can be opened.
struct Backup {
    source: Source,
    /// What of its database is restored.
    contents: DatabaseContents,
    /// The tablespaces that this needs, if that is known.
    tablespaces: Option<Used>,
}

async fn of_the_bucket(
    task: &RestoreTask,
    action: &PlanAction,
    store: &Store,
    findings: &mut Findings,
) -> Result<Option<Backup>, RunError> {
    let choice = match choose::choose(store, &action.source, &task.database).await? {
        Chosen::Backup(choice) => *choice,
        Chosen::Legacy(backup, legacy) => {
            of_the_old_scripts(action, store, backup, &legacy, findings).await?;
            return Ok(None);
        }
    };
    findings.report.backup = Some(choice.backup.clone());
    findings.plan.backup = Some(planned_backup(&choice));
    let source = Source::open(store, &choice.backup, &action.keys).await?;
    let contents = source.contents().await?;
    let (part, contents, tablespaces) = if let Some(include) = &action.include {
        let Some((part, contents, used)) = of_the_archive(&source, include, contents, findings).await? else {
            return Ok(None);
        };
        source.confirm(Some(&part)).await?;
        (Some(part), contents, Some(used))
    } else {
        source.confirm(None).await?;
        (None, contents, Used::of_whole(&source).await?)
    };
    if let Some(planned) = &mut findings.plan.backup {
        planned.tables = Some(contents.tables.len() as u64);
        let rows = contents.tables.iter().filter_map(|table| match table.data {
            TableData::Stored { rows, .. } => Some(rows),
            TableData::Absent { .. } => None,
        });
        planned.rows = Some(rows.sum());
        planned.source_bytes = source.source_bytes(part.as_ref())?;
        let bytes = match part {
            Some(_) => part::row_bytes(&contents),
            None => planned.source_bytes,
        };
        planned.expected_bytes = Some(bytes / 100 * EXPECTED_PERCENT);
    }
    for warning in &source.manifest.warnings {
        findings.warn(format!("of the backup: {warning}"));
    }
    Ok(Some(Backup { source, contents, tablespaces }))
}

/// The part of the database that was asked for, with what the list of contents says of it and the tablespaces that it needs; none,
/// with all that is wrong, where it cannot be restored.
async fn of_the_archive(
    source: &Source,
    include: &RestoreInclude,
    contents: DatabaseContents,
    findings: &mut Findings,
) -> Result<Option<(Part, DatabaseContents, Used)>, RunError> {
    let toc = source.toc().await?;
    match part::part(include, &toc, contents) {
        Ok((part, contents)) => {
            findings.plan.left_out.clone_from(&part.left_out);
            let used = Used::of(&toc, Some(&part));
            Ok(Some((part, contents, used)))
        }
        Err(problems) => {
            for problem in problems {
                findings.refuse(problem.reason(), problem.to_string());
            }
            Ok(None)
        }
    }
}

/// Whether what the old scripts wrote can be opened, by its first bytes.
async fn of_the_old_scripts(
    action: &PlanAction,
    store: &Store,
    backup: ChosenBackup,
    legacy: &LegacySource,
    findings: &mut Findings,
) -> Result<(), RunError> {
    legacy.open(store, &action.keys).await?;
    let time = backup.id.slot().map_err(|error| RestoreError::NotUnderstood {
        key: legacy.object.key.clone(),
        problem: error.to_string(),
    })?;
    findings.plan.backup = Some(PlannedBackup {
        choice: "it was named; the old scripts wrote it".to_owned(),
        time: Time(time),
        server_version: "unknown".to_owned(),
        stored_bytes: legacy.object.bytes,
        source_bytes: legacy.object.bytes,
        expected_bytes: None,
        tables: None,
        rows: None,
        legacy: true,
    });
    findings.report.backup = Some(backup);
    for (is_wanted, why) in [
        (action.strategy == RestoreStrategy::Replace, legacy::NOT_TO_REPLACE),
        (action.include.is_some(), legacy::NOT_IN_PART),
    ] {
        if is_wanted {
            let error = RestoreError::NotSupported(why);
            findings.refuse(error.reason(), error.to_string());
        }
    }
    findings.warn(legacy::UNOWNED);
    findings.warn("what the old scripts wrote has no list of its tables: rows are counted, and there is nothing to compare them with");
    Ok(())
}

fn planned_backup(choice: &Choice) -> PlannedBackup {
    PlannedBackup {
        choice: choice.said.clone(),
        time: Time(choice.manifest.slot),
        server_version: choice.manifest.server_version.clone(),
        stored_bytes: choice.manifest.size_bytes,
        source_bytes: choice.manifest.source_bytes(),
        expected_bytes: None,
        tables: None,
        rows: None,
        legacy: false,
    }
}

/// `made`: names that databases will get, and so must not have.
async fn of_the_server(
    task: &RestoreTask,
    action: &PlanAction,
    made: &[&str],
    endpoint: &Endpoint,
    session: &Session,
    findings: &mut Findings,
) -> Result<(), RunError> {
    let version = inspect::version(session).await?;
    if let Err(error) = Clients::from_env().directory(version.major) {
        findings.refuse(error.reason(), error.to_string());
    }
    target::in_the_way(task, made, session, findings).await?;
    let present = target::present(task, action, session, findings).await?;
    if let Some(present) = present.as_ref().filter(|_| action.strategy != RestoreStrategy::NewDatabase) {
        target::bound(task, action, endpoint, session, present, findings).await?;
    }
    target::admitted(endpoint, &action.temporary, findings).await?;
    findings.report.target_oid = present.as_ref().map(|present| present.oid);
    let replaced = present.is_some() && action.strategy == RestoreStrategy::Swap;
    findings.plan.target = Some(PlannedTarget {
        server_version: version.text,
        strategy: action.strategy,
        present_bytes: present.as_ref().and_then(|present| present.bytes),
        sessions: present.as_ref().map_or(0, |present| present.sessions),
        temporary_database: action.temporary.clone(),
        previous_database: replaced.then(|| action.previous.clone()),
    });
    Ok(())
}

async fn of_both(
    task: &RestoreTask,
    action: &PlanAction,
    session: &Session,
    backup: &Backup,
    findings: &mut Findings,
) -> Result<(), RunError> {
    let Backup { source, contents, tablespaces } = backup;
    let major = inspect::version(session).await?.major;
    if let Some(backup) = source.major().filter(|backup| *backup > major) {
        let error = RestoreError::ServerTooOld { backup, server: major };
        findings.refuse(error.reason(), error.to_string());
    }
    let globals = source.globals().await?;
    backup::extensions(session, contents, findings).await?;
    backup::locale(session, contents, findings).await?;
    backup::labels(session, contents, (&task.database, &action.temporary), findings).await?;
    backup::missing_roles(session, contents, globals.as_ref(), action.globals, findings).await?;
    trial::settings(session, contents, findings).await?;
    tablespaces::missing(session, contents, globals.as_ref(), tablespaces.as_ref(), findings).await?;
    if let Some(settings) = source.settings().await? {
        backup::settings(session, &settings, findings).await?;
    }
    let mut owners: Vec<String> = contents.tables.iter().map(|table| table.owner.clone()).collect();
    owners.push(contents.properties.owner.clone());
    owners.sort();
    owners.dedup();
    rights::enough(session, &task.database, &owners, findings).await
}

fn steps(task: &RestoreTask, action: &PlanAction, findings: &mut Findings) {
    let (database, temporary) = (&task.database, &action.temporary);
    let steps = &mut findings.plan.steps;
    if action.strategy == RestoreStrategy::Replace && findings.report.target_oid.is_some() {
        steps.push(format!("drop database {database}"));
    }
    let makes = findings.plan.roles_to_make.len();
    if makes > 0 {
        steps.push(format!("make {makes} roles"));
    }
    let loaded = action.include.as_ref().map_or_else(String::new, |RestoreInclude { schemas, tables }| {
        format!("{} schemas and {} tables, and what they need, ", schemas.len(), tables.len())
    });
    steps.push(format!("load {loaded}into database {temporary}, with {} connections", action.jobs));
    steps.push(format!("compare it with the backup ({:?}), and analyze it", action.verify));
    if action.strategy == RestoreStrategy::Swap && findings.report.target_oid.is_some() {
        steps.push(format!("rename {database} to {}, which stays for an undo", action.previous));
    }
    steps.push(format!("rename {temporary} to {database}"));
}
