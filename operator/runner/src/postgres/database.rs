//! Dumps one database: a snapshot, one dump or several at once, and the proof that together they hold every table. Network, child
//! processes.

use futures::future::join_all;
use greenlang_backup_api::contents::{DatabaseContents, LargeObject, LargeObjects, Server};
use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::sizing::part_size_for;
use greenlang_backup_store::BackupKeys;
use tracing::warn;

use super::PostgresError;
use super::archive::Inspected;
use super::catalog::{self, DatabaseCatalog};
use super::child::Producer;
use super::coverage::{self, Archive, CoverageError, LargeObjectEntries, TableEntry};
use super::dump::{Dumped, Dumper, Stored};
use super::inspect::{self, DatabaseFacts};
use super::pooler;
use super::prepare::Prepared;
use super::snapshot::Snapshot;
use super::streams::{Movable, spread};
use crate::error::{RunError, until_cancelled};

/// What the manifest says of a newer format than the walk knows.
const NOT_COUNTED: &str = "pg_dump wrote a newer archive format than this release walks; pg_restore read it to its end, but no table was \
                           looked for in it and no row was counted: use a release that knows it";

/// A database that lies in the bucket.
pub struct DatabaseDump {
    pub objects: Vec<Stored>,
    pub warnings: Vec<String>,
    pub contents: DatabaseContents,
}

/// Where the dumps of a database go, in how many streams, and what is known of its server.
pub struct DumpTarget<'a> {
    pub keys: &'a BackupKeys,
    pub attempt: u32,
    pub streams: u8,
    pub server: &'a Server,
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
        let version = &prepared.server.version;
        let snapshot = Snapshot::take(&prepared.endpoint, name, version.major).await?;
        let catalog = catalog::read(snapshot.session(), version, target.server).await?;
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
        result = run_all(streams, dumper) => result?,
        lost = snapshot.lost() => return Err(lost.into()),
    };
    until_cancelled(dumper.cancel, snapshot.verify()).await?;
    let (mut objects, mut archives) = (Vec::new(), Vec::new());
    for Dumped { stored, warnings: said, archive } in outputs {
        warnings.extend(said);
        archives.push((stored.object.key.clone(), archive));
        objects.push(stored);
    }
    let Some(walked) =
        archives.iter().map(|(key, archive)| seen(key, archive.as_ref())).collect::<Option<Vec<_>>>()
    else {
        warnings.push(format!("database {name}: {NOT_COUNTED}"));
        return Ok(DatabaseDump {
            objects,
            warnings,
            contents: catalog.into_contents(Vec::new(), LargeObjects::default()),
        });
    };
    let contents = contents(catalog, target.server.standby, &walked)?;
    Ok(DatabaseDump { objects, warnings, contents })
}

/// What the dumps hold: everything that the catalog says they must, or they are no backup.
fn contents(
    catalog: DatabaseCatalog,
    standby: bool,
    walked: &[Archive],
) -> Result<DatabaseContents, CoverageError> {
    let tables = coverage::tables(catalog.relations.clone(), standby, walked)?;
    let large_objects = coverage::large_objects(catalog.large_objects, walked)?;
    Ok(catalog.into_contents(tables, large_objects))
}

/// What coverage wants to know of an archive; none if it was not walked.
fn seen(key: &str, archive: Option<&Inspected>) -> Option<Archive> {
    let Some(Inspected::Walked(archive)) = archive else {
        return None;
    };
    let tables = archive.entries.iter().filter_map(|entry| {
        let rows = entry.data.as_ref()?.rows()?;
        Some(TableEntry {
            oid: entry.oid,
            schema: entry.namespace.to_string(),
            name: entry.tag.to_string(),
            rows: rows.count,
            bytes: rows.bytes,
            digest: hex(rows.digest),
        })
    });
    let objects = &archive.large_objects;
    let first = objects.listed.iter().map(|object| LargeObject {
        oid: object.oid,
        bytes: object.length,
        digest: hex(object.digest),
    });
    Some(Archive {
        key: key.to_owned(),
        other_encoding: archive.encoding.as_deref() != Some("UTF8"),
        tables: tables.collect(),
        large_objects: LargeObjectEntries {
            count: objects.count,
            bytes: objects.bytes,
            digest: hex(objects.digest),
            first: first.collect(),
        },
    })
}

fn hex(digest: u128) -> String {
    format!("{digest:032x}")
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
    let mut tables = inspect::movable(snapshot.session()).await?;
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
