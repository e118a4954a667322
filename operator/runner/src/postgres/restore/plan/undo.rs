//! The plan of an undo, which restores nothing: what it wants is on the server, or it is not. Network.

use greenlang_backup_api::reasons::restore;
use greenlang_backup_api::restore::{PlanAction, RecordState, RestoreRecord, RestoreTask, marked_by};
use greenlang_backup_api::task::PostgresServer;
use greenlang_backup_api::v1alpha1::NamedDatabase;
use greenlang_backup_store::Store;

use super::super::databases;
use super::{Findings, of_the_server, rights, target};
use crate::error::RunError;
use crate::postgres::connect::Session;

/// `of`: the request that is undone.
pub async fn plan(
    task: &RestoreTask,
    action: &PlanAction,
    of: &str,
    store: &Store,
    findings: &mut Findings,
) -> Result<(), RunError> {
    let nothing = |findings: &mut Findings, why: String| findings.refuse(restore::NOTHING_TO_UNDO, why);
    let (endpoint, session) = target::connect(task, findings).await?;
    let found = store.read_record(&task.request.namespace, of).await?.map(|stored| stored.record);
    let Some(record) = found.filter(|record| record.state == RecordState::Switched) else {
        nothing(findings, format!("the bucket has no record of a request {of} that replaced a database"));
        return Ok(());
    };
    let Some(previous) = record.previous.as_ref().filter(|_| record.database == task.database) else {
        nothing(findings, format!("request {of} replaced no database called {}", task.database));
        return Ok(());
    };
    let is_kept = is_kept(&session, &record, previous).await?;
    if let Some(why) = elsewhere(of, &record, &task.server).filter(|_| !is_kept) {
        nothing(findings, why);
        return Ok(());
    }
    // Nothing is made: the one that comes back is there under its name already, marked by the other request.
    let back = PlanAction { temporary: previous.name.clone(), ..action.clone() };
    of_the_server(task, &back, &[&action.previous], &endpoint, &session, findings).await?;
    if !is_kept {
        nothing(
            findings,
            format!(
                "database {} (OID {}), which request {of} replaced, is gone: it was kept long enough, or dropped by hand",
                previous.name, previous.oid
            ),
        );
        return Ok(());
    }
    if findings.report.target_oid != record.restored.as_ref().map(|restored| restored.oid) {
        nothing(
            findings,
            format!("database {} is not the one any more that request {of} restored", task.database),
        );
    }
    rights::enough(&session, &task.database, &[], findings).await?;
    findings.plan.steps = vec![
        format!("rename {} to {}", task.database, action.previous),
        format!("rename {} to {}", previous.name, task.database),
    ];
    findings.report.comes_back = Some(previous.clone());
    Ok(())
}

/// Whether what a request replaced is on the server, by its OID, under the name that it got and with the mark of that request.
async fn is_kept(
    session: &Session,
    record: &RestoreRecord,
    previous: &NamedDatabase,
) -> Result<bool, RunError> {
    let found = databases::with_oid(session, previous.oid).await?;
    Ok(found.is_some_and(|found| {
        found.name == previous.name
            && marked_by(found.comment.as_deref().unwrap_or_default()) == Some(record.uid.as_str())
    }))
}

/// That the restore went to another server than the undo looks at, by their names. A server may have several, so this counts only
/// where what was replaced is not found.
fn elsewhere(of: &str, record: &RestoreRecord, server: &PostgresServer) -> Option<String> {
    let RestoreRecord { host, port, .. } = record;
    if *host == server.host && *port == server.port {
        return None;
    }
    Some(format!(
        "what request {of} replaced is kept on {host}:{port}, and this undo looks on {}:{}: repeat the database.target of that request in this one",
        server.host, server.port
    ))
}
