//! Makes the temporary database, loads, verifies and analyzes it. Whatever ends this before its report drops what it made.
//! Network, child processes.

use std::time::Duration;

use greenlang_backup_api::report::RunReport;
use greenlang_backup_api::restore::{
    LoadAction, LoadReport, RecordState, RestoreRecord, RestoreReport, RestoreTask,
};
use greenlang_backup_api::v1alpha1::{NamedDatabase, RestoreGlobals, RestoredData};
use greenlang_backup_store::{Activity, NoProgress};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::feed::Feeder;
use super::fill::Filling;
use super::programs::Programs;
use super::record::Ledger;
use super::source::Source;
use super::verify::{self, Verification, Verified};
use super::{RestoreError, create, databases, done, open_store, properties, roles, switch};
use crate::error::{RunError, until_cancelled};
use crate::postgres::clients::Clients;
use crate::postgres::connect::{Endpoint, Session};
use crate::postgres::inspect;
use crate::postgres::prepare::Prepared;
use crate::progress::ProgressLog;

/// A Pod has 60 seconds to stop; ending sessions and dropping a database take some of them.
const DROP_TIMEOUT: Duration = Duration::from_secs(40);

/// Loads the backup that the plan has chosen.
pub async fn run(
    task: &RestoreTask,
    action: &LoadAction,
    cancel: &CancellationToken,
) -> Result<RunReport, RunError> {
    let limit = Duration::from_secs(task.stall_seconds.into());
    let prepare = async {
        let store = open_store(task).await?;
        let source = Source::open(&store, &action.backup, &action.keys).await?;
        let prepared = prepare(task, &source).await?;
        Ok::<_, RunError>((source, prepared))
    };
    let prepared = timeout(limit, until_cancelled(cancel, Box::pin(prepare))).await;
    let (source, prepared) = prepared.unwrap_or_else(|_| Err(NoProgress { limit }.into()))?;
    let activity = Activity::default();
    let progress = ProgressLog::start(Some(expected_bytes(&source)?));
    let feeder = Feeder {
        database: action.temporary.clone(),
        counter: progress.counter(),
        activity: activity.clone(),
        cancel: cancel.clone(),
    };
    let load = Load { task, action, source: &source, prepared: &prepared, feeder, progress: &progress };
    load.remove_half_made().await?;
    let loaded = activity.watch(limit, Box::pin(load.everything())).await;
    match loaded {
        Ok(report) => {
            let message = format!(
                "database {} holds {} tables with {} rows, {} bytes",
                action.temporary, report.data.tables, report.data.rows, report.data.bytes
            );
            Ok(done(message, RestoreReport::Load(report)))
        }
        Err(failure) => Err(load.give_up(failure).await),
    }
}

async fn prepare(task: &RestoreTask, source: &Source) -> Result<Prepared, RunError> {
    let endpoint = Endpoint::open(&task.server)?;
    let session = endpoint.connect(&task.server.maintenance_database).await?;
    session.begin().await?;
    let server = inspect::server(&session).await?;
    if let Some(backup) = source.major().filter(|backup| *backup > server.version.major) {
        return Err(RestoreError::ServerTooOld { backup, server: server.version.major }.into());
    }
    let clients = Clients::from_env().directory(server.version.major)?;
    Ok(Prepared { endpoint, clients, server, databases: Vec::new(), warnings: Vec::new() })
}

fn expected_bytes(source: &Source) -> Result<u64, RunError> {
    let data: u64 = source.data().iter().map(|object| object.source_bytes).sum();
    Ok(source.archive()?.source_bytes + data)
}

struct Load<'a> {
    task: &'a RestoreTask,
    action: &'a LoadAction,
    source: &'a Source,
    prepared: &'a Prepared,
    feeder: Feeder,
    progress: &'a ProgressLog,
}

impl Load<'_> {
    async fn maintenance(&self) -> Result<Session, RunError> {
        Ok(self.prepared.endpoint.connect_to_change(&self.task.server.maintenance_database).await?)
    }

    /// What an earlier attempt left.
    async fn remove_half_made(&self) -> Result<(), RunError> {
        let remove = async {
            let session = self.maintenance().await?;
            databases::drop_ours(&session, &self.task.request, &self.action.temporary, None).await?;
            match &self.action.drop_first {
                Some(replaced) => self.drop_first(&session, replaced).await,
                None => Ok(()),
            }
        };
        until_cancelled(&self.feeder.cancel, Box::pin(remove)).await
    }

    /// Strategy Replace. The record comes first: from here on there is no way back.
    async fn drop_first(&self, session: &Session, replaced: &NamedDatabase) -> Result<(), RunError> {
        let store = open_store(self.task).await?;
        let mut ledger = Ledger::read(&store, self.task).await?;
        if ledger.state() != Some(RecordState::Switching) {
            let backup = Some(self.action.backup.clone());
            let blank = ledger.blank(RecordState::Switching, backup, None);
            let record =
                ledger.own().cloned().map(|own| RestoreRecord { state: RecordState::Switching, ..own });
            ledger.write(record.unwrap_or(blank)).await?;
        }
        self.progress.step("Dropping the database that is replaced");
        switch::drop_replaced(session, &self.task.request, replaced).await
    }

    async fn everything(&self) -> Result<LoadReport, RunError> {
        let (action, major) = (self.action, self.prepared.server.version.major);
        let cancel = &self.feeder.cancel;
        self.progress.step("Reading what the backup holds");
        let reading = self.feeder.activity.keep_moving(Box::pin(self.source.contents()));
        let contents = until_cancelled(cancel, reading).await?;
        self.progress.step("Making roles and the database");
        let making = async {
            let session = self.maintenance().await?;
            let mut warnings = Vec::new();
            if action.globals == RestoreGlobals::Restore
                && let Some(globals) = self.source.globals().await?
            {
                warnings = roles::make_missing(&session, &globals, major).await?;
            }
            let request = &self.task.request;
            let oid =
                create::create(&session, request, &action.temporary, &contents.properties, major).await?;
            Ok::<_, RunError>((oid, warnings))
        };
        let (oid, mut warnings) =
            until_cancelled(cancel, self.feeder.activity.keep_moving(Box::pin(making))).await?;
        let programs = Programs {
            clients: &self.prepared.clients,
            endpoint: &self.prepared.endpoint,
            database: &action.temporary,
            include: action.include.as_ref(),
        };
        let filling = Filling {
            source: self.source,
            programs: &programs,
            feeder: &self.feeder,
            progress: self.progress,
            jobs: action.jobs,
        };
        filling.fill().await?;
        info!(bytes = filling.loaded(), "loaded");
        self.progress.step("Setting what belongs to the database");
        let replaying = async {
            let session = self.maintenance().await?;
            properties::replay(&session, &self.task.request, &action.temporary, &contents.properties).await
        };
        warnings.extend(until_cancelled(cancel, Box::pin(replaying)).await?);
        let verification = Verification {
            prepared: self.prepared,
            database: &action.temporary,
            expected: &contents,
            how: action.verify,
            feeder: &self.feeder,
            progress: self.progress,
        };
        let Verified { tables, rows, said, notes } = verification.run().await?;
        warnings.extend(notes);
        self.progress.step("Analyzing");
        self.feeder.run("vacuumdb", programs.analyze(action.jobs)).await?;
        let measuring = async {
            let session = self.prepared.endpoint.connect_to_change(&action.temporary).await?;
            verify::sizes(&session).await
        };
        let (bytes, largest) = until_cancelled(cancel, Box::pin(measuring)).await?;
        for warning in &warnings {
            warn!(warning, "restored with a warning");
        }
        let warnings = u32::try_from(warnings.len()).unwrap_or(u32::MAX);
        let data = RestoredData { tables, rows, bytes, verified: said, largest, warnings };
        Ok(LoadReport { database: NamedDatabase { name: action.temporary.clone(), oid }, data })
    }

    /// Drops what was made; what cannot be dropped now is dropped by the next attempt, or when the request is undone.
    async fn give_up(&self, failure: RunError) -> RunError {
        error!(reason = failure.reason(), error = %failure, "load failed");
        let dropping = async {
            let session = self.maintenance().await?;
            databases::drop_ours(&session, &self.task.request, &self.action.temporary, None).await
        };
        match timeout(DROP_TIMEOUT, dropping).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn!(%error, "half-made database not dropped"),
            Err(_) => warn!(limit = ?DROP_TIMEOUT, "half-made database not dropped in time"),
        }
        failure
    }
}
