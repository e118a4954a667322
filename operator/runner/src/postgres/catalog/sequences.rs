//! Where sequences stand. Asks the server.

use std::collections::HashMap;
use std::fmt::Write as _;

use greenlang_backup_api::contents::{Sequence, SequenceValue};
use tokio_postgres::Row;

use super::super::PostgresError;
use super::super::connect::{Session, quoted_identifier};
use super::super::inspect::ServerFacts;
use super::super::scope;

/// Sequences that are asked at once, before PostgreSQL 18.
const BATCH: usize = 500;

/// A sequence as the catalog has it.
struct Found {
    sequence: Sequence,
    dumped: bool,
}

/// All sequences with where they stand, as far as a dump carries them.
pub async fn read(session: &Session, server: &ServerFacts) -> Result<Vec<Sequence>, PostgresError> {
    let mut found = list(session, server.identity.standby).await?;
    let dumped: Vec<&Sequence> =
        found.iter().filter(|found| found.dumped).map(|found| &found.sequence).collect();
    let mut values = HashMap::with_capacity(dumped.len());
    for batch in dumped.chunks(BATCH) {
        values.extend(session.list(&question(batch, server.version.major), value).await?);
    }
    for Found { sequence, .. } in &mut found {
        sequence.value = values.remove(&sequence.oid);
    }
    Ok(found.into_iter().map(|found| found.sequence).collect())
}

async fn list(session: &Session, standby: bool) -> Result<Vec<Found>, PostgresError> {
    // An unlogged one has no value on a standby.
    let sql = format!(
        "SELECT c.oid, n.nspname::text, c.relname::text, c.relpersistence = 'u', {}
        FROM {} {} WHERE c.relkind = 'S' ORDER BY n.nspname, c.relname",
        scope::CONFIGURATION_OR_OURS,
        scope::RELATIONS,
        scope::EXTENSIONS
    );
    session
        .list(&sql, |row| {
            let (unlogged, of_ours): (bool, bool) = (row.try_get(3)?, row.try_get(4)?);
            Ok(Found {
                sequence: Sequence {
                    oid: row.try_get(0)?,
                    schema: row.try_get(1)?,
                    name: row.try_get(2)?,
                    value: None,
                },
                dumped: of_ours && !(standby && unlogged),
            })
        })
        .await
}

/// `pg_sequences` would not do: it does not tell a sequence that was never used from one that was set back.
fn question(batch: &[&Sequence], major: u32) -> String {
    if major >= 18 {
        let oids: Vec<String> = batch.iter().map(|sequence| sequence.oid.to_string()).collect();
        return format!(
            "SELECT s.oid::oid, v.last_value, v.is_called
            FROM unnest('{{{}}}'::oid[]) AS s (oid), LATERAL pg_catalog.pg_get_sequence_data(s.oid) v",
            oids.join(",")
        );
    }
    let mut sql = String::new();
    for Sequence { oid, schema, name, .. } in batch {
        let separator = if sql.is_empty() { "" } else { " UNION ALL " };
        let (schema, name) = (quoted_identifier(schema), quoted_identifier(name));
        // Writing to a string does not fail.
        let _ = write!(sql, "{separator}SELECT {oid}::oid, last_value, is_called FROM {schema}.{name}");
    }
    sql
}

fn value(row: &Row) -> Result<(u32, SequenceValue), tokio_postgres::Error> {
    Ok((row.try_get(0)?, SequenceValue { last_value: row.try_get(1)?, is_called: row.try_get(2)? }))
}
