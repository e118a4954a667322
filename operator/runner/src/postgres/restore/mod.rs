//! The steps of a RestoreRequest that a Job does: each looks first how far it came, and leaves nothing half-made behind that is not
//! known by its mark. Network, child processes.

mod check;
mod compare;
mod create;
mod databases;
mod error;
mod feed;
mod fill;
mod head;
mod legacy;
mod load;
mod part;
mod passes;
mod plan;
mod programs;
mod properties;
mod record;
mod roles;
mod session_settings;
mod source;
mod switch;
mod verify;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::restore::{
    DropAction, DropReport, RecordState, RequestIdentity, RestoreAction, RestoreRecord, RestoreReport,
    RestoreTask, record_key,
};
use greenlang_backup_store::Store;
use tokio_util::sync::CancellationToken;

pub use error::RestoreError;

use record::Ledger;

use crate::error::{RunError, until_cancelled};
use crate::postgres::connect::Endpoint;
use crate::report;

/// Tries of each request to the bucket.
const ATTEMPTS: u32 = 6;

/// Does one step.
pub async fn run(task: &RestoreTask, cancel: &CancellationToken) -> Result<RunReport, RunError> {
    match &task.action {
        RestoreAction::Load(action) => load::run(task, action, cancel).await,
        RestoreAction::Drop(action) => until_cancelled(cancel, Box::pin(drop_database(task, action))).await,
        RestoreAction::Switch(action) => switch::run(task, action, cancel).await,
        RestoreAction::Plan(action) => plan::run(task, action, cancel).await,
        RestoreAction::Check(action) => until_cancelled(cancel, Box::pin(check::run(task, action))).await,
    }
}

fn done(message: String, restore: RestoreReport) -> RunReport {
    RunReport { restore: Some(restore), ..RunReport::new(Outcome::Done, reasons::SUCCEEDED, message) }
}

async fn drop_database(task: &RestoreTask, action: &DropAction) -> Result<RunReport, RunError> {
    let endpoint = Endpoint::open(&task.server)?;
    let session = endpoint.connect_to_change(&task.server.maintenance_database).await?;
    if let Some(time) = action.not_before {
        databases::expect_due(&session, &action.name, time).await?;
    }
    let dropped = databases::drop_ours(&session, &task.request, &action.name, action.oid).await?;
    let message = match &dropped {
        Some(dropped) => format!("database {} was dropped, {} bytes", action.name, dropped.bytes),
        None => format!("database {} is gone", action.name),
    };
    let freed_bytes = dropped.map_or(0, |dropped| dropped.bytes);
    let report = RestoreReport::Drop(DropReport { dropped: dropped.is_some(), freed_bytes });
    if action.rolls_back
        && let Err(error) = roll_back(task).await
    {
        return Ok(not_recorded(task, &message, report, &error));
    }
    Ok(done(message, report))
}

/// The drop was done, and what failed is only its record: nobody may think that the database is still there.
fn not_recorded(task: &RestoreTask, message: &str, report: RestoreReport, error: &RunError) -> RunReport {
    let RequestIdentity { namespace, name, .. } = &task.request;
    let failed = report::failed(error);
    let message = format!(
        "{message}; the record {} in the bucket could not be written: {}",
        record_key(namespace, name),
        failed.message
    );
    RunReport { restore: Some(report), message, ..failed }
}

/// Writes that nothing was replaced after all.
async fn roll_back(task: &RestoreTask) -> Result<(), RunError> {
    let store = open_store(task).await?;
    let mut ledger = Ledger::read(&store, task).await?;
    match ledger.own() {
        Some(record) if !matches!(record.state, RecordState::Switched | RecordState::RolledBack) => {
            let record = RestoreRecord { state: RecordState::RolledBack, ..record.clone() };
            ledger.write(record).await
        }
        _ => Ok(()),
    }
}

async fn open_store(task: &RestoreTask) -> Result<Store, RunError> {
    Ok(Store::open(&task.bucket, ATTEMPTS).await?)
}
