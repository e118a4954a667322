//! Dumps one database: a snapshot, one dump or several at once, and the proof that together they hold every table. Network, child
//! processes.

use std::sync::Arc;

use futures::future::join_all;
use greenlang_backup_store::{BackupKeys, part_size_for};
use tracing::warn;

use super::PostgresError;
use super::child::Producer;
use super::dump::{Dumped, Dumper};
use super::inspect::{self, DatabaseFacts};
use super::manifest::StoredObject;
use super::pooler;
use super::prepare::Prepared;
use super::snapshot::Snapshot;
use super::streams::{Movable, spread};
use crate::error::{RunError, until_cancelled};

/// A database that lies in the bucket.
pub struct DatabaseDump {
    pub objects: Vec<StoredObject>,
    pub warnings: Vec<String>,
}

/// Where the dumps of a database go.
pub struct Target<'a> {
    pub keys: &'a BackupKeys,
    pub attempt: u32,
    pub streams: u8,
}

/// One dump of a database.
struct Stream {
    key: String,
    expected_bytes: u64,
    producer: Producer,
}

/// Dumps a database.
pub async fn dump(
    prepared: &Prepared,
    database: &DatabaseFacts,
    target: &Target<'_>,
    dumper: &Dumper<'_>,
) -> Result<DatabaseDump, RunError> {
    let name = &database.name;
    dumper.progress.step(format!("Taking a snapshot of {name}"));
    let take = Snapshot::take(&prepared.endpoint, name, prepared.server.version.major);
    let snapshot = until_cancelled(dumper.cancel, take).await?;
    let mut warnings = Vec::new();
    let planned = plan_streams(prepared, database, target.streams, &snapshot, &mut warnings);
    let moved = until_cancelled(dumper.cancel, planned).await?;
    let streams = streams(prepared, database, target, &moved, snapshot.id());

    dumper.progress.step(match streams.len() {
        1 => format!("Dumping {name}"),
        several => format!("Dumping {name} in {several} streams"),
    });
    let held = snapshot.hold();
    let keys: Vec<String> = streams.iter().map(|stream| stream.key.clone()).collect();
    let dumped = tokio::select! {
        dumped = run_all(streams, dumper) => dumped?,
        lost = held.lost() => return Err(lost),
    };
    let objects = keys
        .into_iter()
        .zip(1..)
        .zip(dumped)
        .map(|((key, number), Dumped { sealed, warnings: said })| {
            warnings.extend(said);
            StoredObject::database(key, name, number, sealed)
        })
        .collect();
    Ok(DatabaseDump { objects, warnings })
}

/// Which tables are dumped apart from the rest, if several dumps at once were asked for and can be had.
async fn plan_streams(
    prepared: &Prepared,
    database: &DatabaseFacts,
    streams: u8,
    snapshot: &Snapshot,
    warnings: &mut Vec<String>,
) -> Result<Vec<Vec<Movable>>, PostgresError> {
    if streams <= 1 {
        return Ok(Vec::new());
    }
    if let Some(why) = pooler::in_between(&prepared.endpoint, &database.name, snapshot).await? {
        let warning =
            format!("database {} is dumped in one stream instead of {streams}: {why}", database.name);
        warn!(warning);
        warnings.push(warning);
        return Ok(Vec::new());
    }
    let tables = inspect::movable(snapshot.session()).await?;
    let movable: u64 = tables.iter().map(|table| table.bytes).sum();
    let rest = database.expected_bytes.unwrap_or_default().saturating_sub(movable);
    Ok(spread(tables, rest, streams))
}

/// The dumps: the first has everything but the data that the others have.
fn streams(
    prepared: &Prepared,
    database: &DatabaseFacts,
    target: &Target<'_>,
    moved: &[Vec<Movable>],
    snapshot: &str,
) -> Vec<Stream> {
    let bytes = |tables: &[Movable]| tables.iter().map(|table| table.bytes).sum::<u64>();
    let all_moved: u64 = moved.iter().map(|tables| bytes(tables)).sum();
    let first = Stream {
        key: target.keys.database(target.attempt, &database.name),
        expected_bytes: database.expected_bytes.unwrap_or_default().saturating_sub(all_moved),
        producer: prepared.database(&database.name, snapshot, moved.iter().flatten()),
    };
    let others = moved.iter().zip(2..).map(|(tables, number)| Stream {
        key: target.keys.data(target.attempt, &database.name, number),
        expected_bytes: bytes(tables),
        producer: prepared.data(&database.name, snapshot, number, tables),
    });
    std::iter::once(first).chain(others).collect()
}

/// Runs all dumps to their ends. The first failure stops the others, and is the one that is told.
async fn run_all(streams: Vec<Stream>, dumper: &Dumper<'_>) -> Result<Vec<Dumped>, RunError> {
    let cancel = dumper.cancel.child_token();
    let dumper = Dumper { sealer: Arc::clone(&dumper.sealer), cancel: &cancel, ..*dumper };
    let ends = join_all(streams.into_iter().map(async |stream| {
        let part_size = part_size_for(stream.expected_bytes);
        let end = dumper.store(&stream.key, part_size, stream.producer).await;
        if end.is_err() {
            cancel.cancel();
        }
        end
    }));
    let (dumped, failed): (Vec<_>, Vec<_>) = ends.await.into_iter().partition(Result::is_ok);
    match failed
        .into_iter()
        .filter_map(Result::err)
        .min_by_key(|error| matches!(error, RunError::Interrupted))
    {
        Some(error) => Err(error),
        None => Ok(dumped.into_iter().filter_map(Result::ok).collect()),
    }
}
