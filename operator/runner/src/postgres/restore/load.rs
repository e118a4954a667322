//! Makes the temporary database, loads, verifies and analyzes it. Whatever ends this before its report drops what it made.
//! Network, child processes.

use std::sync::OnceLock;
use std::time::Duration;

use greenlang_backup_api::contents::{DatabaseContents, DatabaseProperties};
use greenlang_backup_api::report::RunReport;
use greenlang_backup_api::restore::{
    LoadAction, LoadReport, RecordState, RestoreRecord, RestoreReport, RestoreTask,
};
use greenlang_backup_api::v1alpha1::{
    NamedDatabase, RestoreGlobals, RestoreInclude, RestoredData, VerifyRestored,
};
use greenlang_backup_store::{Activity, NoProgress, Store};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::feed::Feeder;
use super::fill::Filling;
use super::legacy::{self, LegacySource};
use super::part::{self, Part};
use super::programs::Programs;
use super::record::Ledger;
use super::source::Source;
use super::verify::{self, Verification, Verified};
use super::{RestoreError, create, databases, done, open_store, properties, roles};
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
        let origin = Origin::open(&store, action).await?;
        let prepared = prepare(task, &origin).await?;
        Ok::<_, RunError>((store, origin, prepared))
    };
    let prepared = timeout(limit, until_cancelled(cancel, Box::pin(prepare))).await;
    let (store, origin, prepared) = prepared.unwrap_or_else(|_| Err(NoProgress { limit }.into()))?;
    let activity = Activity::default();
    let progress = ProgressLog::start(Some(origin.bytes()?));
    let feeder = Feeder {
        database: action.temporary.clone(),
        counter: progress.counter(),
        activity: activity.clone(),
        cancel: cancel.clone(),
        stops_early: false,
    };
    let load = Load {
        task,
        action,
        store: &store,
        origin: &origin,
        prepared: &prepared,
        feeder,
        progress: &progress,
        made: OnceLock::new(),
    };
    let work = async {
        let proved = load.make_way().await?;
        load.everything(&proved).await
    };
    match activity.watch(limit, Box::pin(work)).await {
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

async fn prepare(task: &RestoreTask, origin: &Origin) -> Result<Prepared, RunError> {
    let endpoint = Endpoint::open(&task.server)?.of_primary();
    let session = endpoint.connect(&task.server.maintenance_database).await?;
    session.begin().await?;
    let server = inspect::server(&session).await?;
    if let Some(backup) = origin.major().filter(|backup| *backup > server.version.major) {
        return Err(RestoreError::ServerTooOld { backup, server: server.version.major }.into());
    }
    let clients = Clients::from_env().directory(server.version.major)?;
    Ok(Prepared { endpoint, clients, server, databases: Vec::new(), warnings: Vec::new() })
}

/// What is loaded.
enum Origin {
    Backup(Box<Source>),
    /// What the old scripts wrote; it has no manifest of ours, so none was read by the plan.
    Legacy(LegacySource),
}

impl Origin {
    async fn open(store: &Store, action: &LoadAction) -> Result<Self, RunError> {
        if action.backup.manifest_sha256.is_none()
            && let Some(found) = LegacySource::find(store, &action.backup).await?
        {
            return Ok(Self::Legacy(found));
        }
        Ok(Self::Backup(Box::new(Source::open(store, &action.backup, &action.keys).await?)))
    }

    fn major(&self) -> Option<u32> {
        match self {
            Self::Backup(source) => source.major(),
            Self::Legacy(_) => None,
        }
    }

    fn bytes(&self) -> Result<u64, RunError> {
        match self {
            Self::Backup(source) => Ok(source.source_bytes(None)?),
            Self::Legacy(found) => Ok(found.object.bytes),
        }
    }
}

/// What is loaded, once it is known to be there and to open.
enum Proved<'a> {
    Backup(&'a Source, Box<Wanted>),
    Legacy(&'a LegacySource),
}

/// What is restored of a backup.
struct Wanted {
    /// What must be there afterwards.
    contents: DatabaseContents,
    /// Only this part.
    part: Option<Part>,
}

impl Wanted {
    async fn of(source: &Source, include: Option<&RestoreInclude>) -> Result<Self, RunError> {
        let contents = source.contents().await?;
        let Some(include) = include else { return Ok(Self { contents, part: None }) };
        let toc = source.toc().await?;
        let (part, contents) = part::part(include, &toc, contents).map_err(RestoreError::Part)?;
        Ok(Self { contents, part: Some(part) })
    }
}

struct Load<'a> {
    task: &'a RestoreTask,
    action: &'a LoadAction,
    store: &'a Store,
    origin: &'a Origin,
    prepared: &'a Prepared,
    feeder: Feeder,
    progress: &'a ProgressLog,
    /// OID of the database that it has made.
    made: OnceLock<u32>,
}

impl Load<'_> {
    async fn maintenance(&self) -> Result<Session, RunError> {
        Ok(self.prepared.endpoint.connect_to_change(&self.task.server.maintenance_database).await?)
    }

    /// Proves that the backup is there and can be opened, and only then drops what is in the way: what an earlier attempt left, and
    /// with strategy Replace the database that is replaced.
    async fn make_way(&self) -> Result<Proved<'_>, RunError> {
        self.progress.step("Reading what the backup holds");
        let proved = self.working(self.prove()).await?;
        let remove = async {
            let session = self.maintenance().await?;
            databases::drop_ours(&session, &self.task.request, &self.action.temporary, None).await?;
            match &self.action.drop_first {
                Some(replaced) => self.drop_first(&session, replaced).await,
                None => Ok(()),
            }
        };
        self.working(remove).await?;
        Ok(proved)
    }

    async fn prove(&self) -> Result<Proved<'_>, RunError> {
        match self.origin {
            Origin::Backup(source) => {
                let wanted = Wanted::of(source, self.action.include.as_ref()).await?;
                source.confirm(wanted.part.as_ref()).await?;
                Ok(Proved::Backup(source, Box::new(wanted)))
            }
            Origin::Legacy(_) if self.action.include.is_some() => {
                Err(RestoreError::NotSupported(legacy::NOT_IN_PART).into())
            }
            Origin::Legacy(_) if self.action.drop_first.is_some() => {
                Err(RestoreError::NotSupported(legacy::NOT_TO_REPLACE).into())
            }
            Origin::Legacy(found) => {
                found.open(self.store, &self.action.keys).await?;
                Ok(Proved::Legacy(found))
            }
        }
    }

    /// Strategy Replace. The record comes first: from here on there is no way back.
    async fn drop_first(&self, session: &Session, replaced: &NamedDatabase) -> Result<(), RunError> {
        let mut ledger = Ledger::read(self.store, self.task).await?;
        if ledger.state() != Some(RecordState::Switching) {
            let backup = Some(self.action.backup.clone());
            let blank = || ledger.blank(RecordState::Switching, backup, None);
            let record = ledger.own().cloned().unwrap_or_else(blank);
            let previous = Some(replaced.clone());
            ledger.write(RestoreRecord { state: RecordState::Switching, previous, ..record }).await?;
        }
        self.progress.step("Dropping the database that is replaced");
        databases::drop_replaced(session, replaced).await
    }

    async fn everything(&self, proved: &Proved<'_>) -> Result<LoadReport, RunError> {
        match proved {
            Proved::Backup(source, wanted) => self.backup(source, wanted).await,
            Proved::Legacy(found) => self.legacy(found).await,
        }
    }

    fn programs(&self) -> Programs<'_> {
        Programs {
            clients: &self.prepared.clients,
            endpoint: &self.prepared.endpoint,
            database: &self.action.temporary,
        }
    }

    /// Work of the server, which may take its time.
    async fn working<T>(&self, work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
        until_cancelled(&self.feeder.cancel, self.feeder.activity.keep_moving(Box::pin(work))).await
    }

    /// Makes the database. Once begun, this goes on to its end: nobody else could tell which one it has made.
    async fn create(&self, session: &Session, properties: &DatabaseProperties) -> Result<u32, RunError> {
        let (request, name) = (&self.task.request, &self.action.temporary);
        let major = self.prepared.server.version.major;
        let making = create::create(session, request, name, properties, major);
        let oid = self.feeder.activity.keep_moving(Box::pin(making)).await?;
        Ok(*self.made.get_or_init(|| oid))
    }

    async fn backup(&self, source: &Source, wanted: &Wanted) -> Result<LoadReport, RunError> {
        let (action, major) = (self.action, self.prepared.server.version.major);
        let (contents, part) = (&wanted.contents, wanted.part.as_ref());
        self.progress.step("Making roles and the database");
        let making = async {
            let session = self.maintenance().await?;
            let mut warnings = Vec::new();
            if action.globals == RestoreGlobals::Restore
                && let Some(globals) = source.globals().await?
            {
                warnings = roles::make_missing(&session, &globals, major).await?;
            }
            Ok((session, warnings))
        };
        let (session, warnings) = self.working(making).await?;
        let oid = self.create(&session, &contents.properties).await?;
        let programs = self.programs();
        let stops_early = part.is_some() && action.verify == VerifyRestored::Full;
        let filling = Filling {
            source,
            part,
            programs: &programs,
            feeder: &Feeder { stops_early, ..self.feeder.clone() },
            progress: self.progress,
            jobs: action.jobs,
        };
        filling.fill().await?;
        info!(bytes = filling.loaded(), "loaded");
        self.complete(oid, &contents.properties, Some(wanted), warnings).await
    }

    /// As the old procedure does it, but into a database made with what the present one is made with.
    async fn legacy(&self, found: &LegacySource) -> Result<LoadReport, RunError> {
        let version = &self.prepared.server.version;
        self.progress.step("Making the database");
        let making = async {
            let session = self.maintenance().await?;
            let endpoint = &self.prepared.endpoint;
            let properties = legacy::properties(endpoint, &session, version, &self.task.database).await?;
            Ok((session, properties))
        };
        let (session, properties) = self.working(making).await?;
        let oid = self.create(&session, &properties).await?;
        let dump = self.working(found.open(self.store, &self.action.keys)).await?;
        self.progress.step("Loading data and indexes");
        self.feeder.feed(self.programs().pg_restore_as_before(), Vec::new(), dump).await?;
        self.complete(oid, &properties, None, vec![legacy::UNOWNED.to_owned()]).await
    }

    /// What follows the data.
    async fn complete(
        &self,
        oid: u32,
        properties: &DatabaseProperties,
        wanted: Option<&Wanted>,
        mut warnings: Vec<String>,
    ) -> Result<LoadReport, RunError> {
        let (action, name) = (self.action, &self.action.temporary);
        self.progress.step("Setting what belongs to the database");
        let replaying = async {
            let session = self.maintenance().await?;
            properties::replay(&session, &self.task.request, name, properties).await
        };
        let refused = self.working(replaying).await?;
        warnings.extend(refused.warnings);
        let verification = Verification {
            prepared: self.prepared,
            database: name,
            expected: wanted.map(|wanted| &wanted.contents),
            is_listed: wanted.is_some_and(|wanted| wanted.part.is_some()),
            refused: &refused.settings,
            how: action.verify,
            feeder: &self.feeder,
            progress: self.progress,
        };
        let Verified { tables, rows, said, notes } = verification.run().await?;
        warnings.extend(notes);
        self.progress.step("Analyzing");
        self.feeder.run("vacuumdb", self.programs().analyze(action.jobs)).await?;
        let measuring = async {
            let session = self.prepared.endpoint.connect_to_change(name).await?;
            let sizes = verify::sizes(&session).await?;
            properties::limit_connections(&self.maintenance().await?, name, properties).await?;
            Ok(sizes)
        };
        let (bytes, largest) = self.working(measuring).await?;
        for warning in &warnings {
            warn!(warning, "restored with a warning");
        }
        let left_out = wanted.and_then(|wanted| wanted.part.as_ref()).map_or(&[][..], |part| &part.left_out);
        for what in left_out {
            warn!(what, "left out");
        }
        let count = |list: &[String]| u32::try_from(list.len()).unwrap_or(u32::MAX);
        let (warnings, left_out) = (count(&warnings), count(left_out));
        let data = RestoredData { tables, rows, bytes, verified: said, largest, warnings, left_out };
        Ok(LoadReport { database: NamedDatabase { name: name.clone(), oid }, data })
    }

    /// Drops what was made; what cannot be dropped now is dropped by the next attempt, or when the request is undone. By its OID: another
    /// attempt may have one of that name by now.
    async fn give_up(&self, failure: RunError) -> RunError {
        error!(reason = failure.reason(), error = %failure, "load failed");
        let Some(&oid) = self.made.get() else { return failure };
        let dropping = async {
            let session = self.maintenance().await?;
            databases::drop_ours(&session, &self.task.request, &self.action.temporary, Some(oid)).await
        };
        match timeout(DROP_TIMEOUT, dropping).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn!(%error, "half-made database not dropped"),
            Err(_) => warn!(limit = ?DROP_TIMEOUT, "half-made database not dropped in time"),
        }
        failure
    }
}
