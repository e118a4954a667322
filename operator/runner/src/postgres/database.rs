//! Dumps one database: a snapshot, one dump or several at once, and the proof that together they hold every table. Network, child
//! processes.

use futures::future::join_all;
use greenlang_backup_api::contents::{DatabaseContents, LargeObjects};
use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::sizing::part_size_for;
use greenlang_backup_store::BackupKeys;
use tracing::warn;

use super::PostgresError;
use super::archive::Inspected;
use super::catalog::{self, DatabaseCatalog, RoleId};
use super::child::{DumpError, Producer};
use super::coverage::{self, CoverageError, Held};
use super::dump::{Dumped, Dumper, Stored};
use super::inspect::DatabaseFacts;
use super::pooler;
use super::prepare::Prepared;
use super::snapshot::Snapshot;
use super::streams::{Movable, movable, spread};
use super::warnings::Warning;
use crate::error::{RunError, until_cancelled};

/// What the manifest says of a newer format than the walk knows.
const NOT_COUNTED: &str = "pg_dump wrote a newer archive format than this release walks; pg_restore read it to its end, but no table was \
                           looked for in it and no row was counted: use a release that knows it";

/// A database that lies in the bucket.
pub struct DatabaseDump {
    pub objects: Vec<Stored>,
    pub warnings: Vec<String>,
    /// What `pg_dump` warned of.
    pub said: Vec<Warning>,
    pub contents: DatabaseContents,
    /// Roles that a restore of it needs.
    pub roles: Vec<RoleId>,
}

/// Where the dumps of a database go, and in how many streams.
pub struct DumpTarget<'a> {
    pub keys: &'a BackupKeys,
    pub attempt: u32,
    pub streams: u8,
}

/// One dump of a database.
struct Stream {
    key: String,
    content: Content,
    expected_bytes: u64,
    producer: Producer,
}

/// Dumps a database.
pub async fn dump(
    prepared: &Prepared,
    database: &DatabaseFacts,
    target: &DumpTarget<'_>,
    dumper: &Dumper<'_>,
) -> Result<DatabaseDump, RunError> {
    let name = &database.name;
    dumper.progress.step(format!("Taking a snapshot of {name}"));
    let mut warnings = Vec::new();
    let asked = async {
        let server = &prepared.server;
        let snapshot = Snapshot::take(&prepared.endpoint, name, server.version.major).await?;
        let catalog = catalog::read(snapshot.session(), server).await?;
        let moved =
            plan_streams(prepared, database, target.streams, &catalog, &snapshot, &mut warnings).await?;
        Ok::<_, PostgresError>((snapshot, catalog, moved))
    };
    let (snapshot, catalog, moved) = until_cancelled(dumper.cancel, Box::pin(asked)).await?;
    let streams = streams(prepared, database, target, &moved, snapshot.id());

    dumper.progress.step(match streams.len() {
        1 => format!("Dumping {name}"),
        several => format!("Dumping {name} in {several} streams"),
    });
    let outputs = tokio::select! {
        result = run_all(streams, dumper) => match result {
            Err(RunError::Dump(DumpError::LockedOut { stderr, .. })) => {
                let told = dumper.cancel.run_until_cancelled(snapshot.locked_out(stderr)).await;
                return Err(told.map_or(RunError::Interrupted, Into::into));
            }
            result => result?,
        },
        lost = snapshot.lost() => return Err(lost.into()),
    };
    until_cancelled(dumper.cancel, snapshot.verify()).await?;
    let Outputs { objects, said, walked } = Outputs::of(outputs);
    let roles = catalog.roles.clone();
    let contents = if let Some(walked) = walked {
        contents(catalog, prepared.server.identity.standby, &walked)?
    } else {
        warnings.push(format!("database {name}: {NOT_COUNTED}"));
        catalog.into_contents(Vec::new(), LargeObjects::default())
    };
    Ok(DatabaseDump { objects, warnings, said, contents, roles })
}

/// What the dumps of a database wrote.
struct Outputs {
    objects: Vec<Stored>,
    said: Vec<Warning>,
    /// What is in the archives; none if one was not walked.
    walked: Option<Vec<Held>>,
}

impl Outputs {
    fn of(dumps: Vec<Dumped>) -> Self {
        let mut outputs = Self { objects: Vec::new(), said: Vec::new(), walked: Some(Vec::new()) };
        for Dumped { stored, warnings, archive } in dumps {
            outputs.said.extend(warnings);
            match (archive, &mut outputs.walked) {
                (Some(Inspected::Walked(archive)), Some(walked)) => {
                    walked.push(Held { key: stored.object.key.clone(), archive: *archive });
                }
                _ => outputs.walked = None,
            }
            outputs.objects.push(stored);
        }
        outputs
    }
}

/// What the dumps hold: everything that the catalog says they must, or they are no backup.
fn contents(
    catalog: DatabaseCatalog,
    standby: bool,
    walked: &[Held],
) -> Result<DatabaseContents, CoverageError> {
    let tables = coverage::tables(catalog.relations.clone(), standby, walked)?;
    coverage::sequences(&catalog.sequences, walked)?;
    let large_objects = coverage::large_objects(catalog.large_objects, walked)?;
    Ok(catalog.into_contents(tables, large_objects))
}

/// Which tables are dumped apart from the rest, if several dumps at once were asked for and can be had.
async fn plan_streams(
    prepared: &Prepared,
    database: &DatabaseFacts,
    streams: u8,
    catalog: &DatabaseCatalog,
    snapshot: &Snapshot,
    warnings: &mut Vec<String>,
) -> Result<Vec<Vec<Movable>>, PostgresError> {
    if streams <= 1 {
        return Ok(Vec::new());
    }
    if let Some(why) = pooler::in_between(&prepared.endpoint, &database.name, snapshot, streams).await? {
        let warning =
            format!("database {} is dumped in one stream instead of {streams}: {why}", database.name);
        warn!(warning);
        warnings.push(warning);
        return Ok(Vec::new());
    }
    let mut tables = movable(snapshot.session()).await?;
    // pg_dump reads patterns in the encoding of the database.
    tables.retain(|table| catalog.properties.encoding == "UTF8" || table.is_ascii());
    let movable: u64 = tables.iter().map(|table| table.bytes).sum();
    let rest = database.expected_bytes.unwrap_or_default().saturating_sub(movable);
    Ok(spread(tables, rest, streams))
}

/// The dumps: the first has everything but the data that the others have.
fn streams(
    prepared: &Prepared,
    database: &DatabaseFacts,
    target: &DumpTarget<'_>,
    moved: &[Vec<Movable>],
    snapshot: &str,
) -> Vec<Stream> {
    let bytes = |tables: &[Movable]| tables.iter().map(|table| table.bytes).sum::<u64>();
    let all_moved: u64 = moved.iter().map(|tables| bytes(tables)).sum();
    let first = Stream {
        key: target.keys.database(target.attempt, &database.name),
        content: Content::PostgresArchive { database: database.name.clone() },
        expected_bytes: database.expected_bytes.unwrap_or_default().saturating_sub(all_moved),
        producer: prepared.database(&database.name, snapshot, moved.iter().flatten()),
    };
    let others = moved.iter().zip(2..).map(|(tables, number)| Stream {
        key: target.keys.data(target.attempt, &database.name, number),
        content: Content::PostgresData { database: database.name.clone(), stream: number },
        expected_bytes: bytes(tables),
        producer: prepared.data(&database.name, snapshot, number, tables),
    });
    std::iter::once(first).chain(others).collect()
}

/// Runs all dumps to their ends. The first failure stops the others, and is the one that is told.
async fn run_all(streams: Vec<Stream>, dumper: &Dumper<'_>) -> Result<Vec<Dumped>, RunError> {
    let cancel = dumper.cancel.child_token();
    let dumper = Dumper { cancel: &cancel, ..dumper.clone() };
    let ends = join_all(streams.into_iter().map(async |stream| {
        let part_size = part_size_for(stream.expected_bytes);
        let end = dumper.store(stream.key, stream.content, part_size, stream.producer).await;
        if end.is_err() {
            cancel.cancel();
        }
        end
    }));
    let (mut outputs, mut failures) = (Vec::new(), Vec::new());
    for end in ends.await {
        match end {
            Ok(output) => outputs.push(output),
            Err(error) => failures.push(error),
        }
    }
    // Those that were stopped only followed.
    match failures.into_iter().min_by_key(|error| matches!(error, RunError::Interrupted)) {
        Some(error) => Err(error),
        None => Ok(outputs),
    }
}
