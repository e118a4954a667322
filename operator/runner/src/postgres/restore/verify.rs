//! Proves that a loaded database is what its backup holds: by counting its rows, or by dumping it as a backup is dumped and looking
//! at every row. Asks the server, child processes.

use std::collections::BTreeMap;
use std::io;

use greenlang_backup_api::contents::{DatabaseContents, LargeObjects, TableData};
use greenlang_backup_api::restore::VERIFYING_STEP;
use greenlang_backup_api::v1alpha1::{TableSize, VerifyRestored};

use super::compare::{Comparison, Depth, Direction, compare};
use super::feed::Feeder;
use super::{RestoreError, properties};
use crate::error::RunError;
use crate::postgres::archive::Inspected;
use crate::postgres::catalog::{self, Config, DatabaseCatalog, Relation};
use crate::postgres::connect::{Session, quoted_identifier};
use crate::postgres::coverage::{self, Held};
use crate::postgres::prepare::Prepared;
use crate::postgres::scope;
use crate::postgres::snapshot::Snapshot;
use crate::progress::ProgressLog;

/// Largest tables that are told.
const LARGEST: i64 = 10;

/// A database to be verified.
pub struct Verification<'a> {
    pub prepared: &'a Prepared,
    pub database: &'a str,
    /// What must be in it; none where nothing is known of it.
    pub expected: Option<&'a DatabaseContents>,
    /// Whether the tables are certainly listed there, even if there are none.
    pub is_listed: bool,
    /// Settings that the server refused.
    pub refused: &'a properties::Settings,
    pub how: VerifyRestored,
    pub feeder: &'a Feeder,
    pub progress: &'a ProgressLog,
}

/// What is in a database that was verified.
pub struct Verified {
    pub tables: u64,
    pub rows: u64,
    /// How it was compared, in words; none where there was nothing to compare with.
    pub said: Option<String>,
    /// What people should know.
    pub notes: Vec<String>,
}

impl Verification<'_> {
    /// Fails with all differences, or says what was found to be the same.
    pub async fn run(&self) -> Result<Verified, RunError> {
        let (found, content) = match self.how {
            VerifyRestored::Full if self.expected.is_some() => self.dump_again().await?,
            VerifyRestored::Full | VerifyRestored::Counts => (self.count().await?, false),
        };
        let rows = found.tables.iter().filter_map(|table| match table.data {
            TableData::Stored { rows, .. } => Some(rows),
            TableData::Absent { .. } => None,
        });
        let (tables, rows) = (found.tables.len() as u64, rows.sum());
        let Some(expected) = self.expected else {
            return Ok(Verified { tables, rows, said: None, notes: Vec::new() });
        };
        let session = self.prepared.endpoint.connect_to_change(self.database).await?;
        let directions = directions(&session).await?;
        // A format that was not walked when the backup was made left no list of tables.
        let listed = self.is_listed || !expected.tables.is_empty() || found.tables.is_empty();
        let expected = if listed {
            expected.clone()
        } else {
            let (tables, large_objects) = (found.tables.clone(), found.large_objects.clone());
            DatabaseContents { tables, large_objects, ..expected.clone() }
        };
        let depth = Depth { content, refused: self.refused };
        let Comparison { differences, notes } = compare(&expected, &found, &directions, depth);
        for difference in &differences {
            tracing::error!(difference, "restored otherwise");
        }
        if !differences.is_empty() {
            return Err(RestoreError::Differs(differences).into());
        }
        let said = match (listed, content) {
            (false, _) => None,
            (true, true) => {
                Some(format!("the content of {tables} tables with {rows} rows is that of the backup"))
            }
            (true, false) => Some(format!("{tables} tables have as many rows as in the backup, {rows}")),
        };
        Ok(Verified { tables, rows, said, notes })
    }

    /// The same dump and the same walk as those of the backup, whose output goes nowhere. Says whether it could be walked.
    async fn dump_again(&self) -> Result<(DatabaseContents, bool), RunError> {
        let server = &self.prepared.server;
        let major = server.version.major;
        let snapshot = Snapshot::take(&self.prepared.endpoint, self.database, major).await?;
        let catalog = catalog::read(snapshot.session(), server).await?;
        let producer = self.prepared.database(self.database, snapshot.id(), std::iter::empty());
        let bytes = self.feeder.counter.load(std::sync::atomic::Ordering::Relaxed);
        let counter = self.progress.begin(&format!("{VERIFYING_STEP} all rows"), bytes);
        let (running, mut tap) = producer.start(counter, self.feeder.activity.clone())?;
        let walk = tokio::task::spawn_blocking(move || {
            let copied = io::copy(&mut tap, &mut io::sink());
            (copied, tap.finish())
        });
        let work = async {
            let (copied, checked) = walk.await?;
            let finished = running.finish(checked).await?;
            copied.map_err(|error| RunError::Machine { what: "reading the restored database", error })?;
            Ok::<_, RunError>(finished.archive)
        };
        let archive = self.feeder.cancel.run_until_cancelled(work).await.ok_or(RunError::Interrupted)??;
        let Some(Inspected::Walked(archive)) = archive else {
            return Ok((self.counted(catalog).await?, false));
        };
        let held = [Held { key: String::new(), archive: *archive }];
        let tables = coverage::tables(catalog.relations.clone(), false, &held)?;
        coverage::sequences(&catalog.sequences, &held)?;
        let large_objects = coverage::large_objects(catalog.large_objects, &held)?;
        Ok((catalog.into_contents(tables, large_objects), true))
    }

    async fn count(&self) -> Result<DatabaseContents, RunError> {
        let session = self.prepared.endpoint.connect(self.database).await?;
        session.begin().await?;
        let catalog = catalog::read(&session, &self.prepared.server).await?;
        self.counted(catalog).await
    }

    /// Counts the rows of every table that a dump takes.
    async fn counted(&self, catalog: DatabaseCatalog) -> Result<DatabaseContents, RunError> {
        let session = self.prepared.endpoint.connect_to_change(self.database).await?;
        session.begin().await?;
        let relations = catalog.relations.clone();
        let counter = self.progress.begin(&format!("{VERIFYING_STEP} numbers of rows"), 0);
        let mut tables = Vec::with_capacity(relations.len());
        for relation in relations {
            let data = match coverage::no_data(&relation, false) {
                Some(reason) => TableData::Absent { reason },
                None => self.rows(&session, &relation).await?,
            };
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tables.push(coverage::table(relation, data));
        }
        let large_objects = LargeObjects { count: catalog.large_objects, ..LargeObjects::default() };
        Ok(catalog.into_contents(tables, large_objects))
    }

    async fn rows(&self, session: &Session, relation: &Relation) -> Result<TableData, RunError> {
        let filter = relation.extension.as_ref().and_then(|member| match &member.config {
            Config::Filtered(condition) => Some(condition.as_str()),
            Config::No | Config::Whole => None,
        });
        let sql = format!(
            "SELECT count(*) FROM ONLY {}.{} {}",
            quoted_identifier(&relation.schema),
            quoted_identifier(&relation.name),
            filter.unwrap_or_default()
        );
        let counting = self.feeder.activity.keep_moving(session.value::<i64>(&sql));
        let counted = self.feeder.cancel.run_until_cancelled(counting).await;
        let rows = counted.ok_or(RunError::Interrupted)??;
        Ok(TableData::Stored {
            object: String::new(),
            rows: rows.unsigned_abs(),
            bytes: 0,
            digest: String::new(),
            filter: filter.map(str::to_owned),
        })
    }
}

async fn directions(session: &Session) -> Result<BTreeMap<(String, String), Direction>, RunError> {
    let sql = format!(
        "SELECT n.nspname::text, c.relname::text, s.seqincrement > 0, s.seqcycle
        FROM {} JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid",
        scope::RELATIONS
    );
    let found = session
        .list(&sql, |row| {
            let direction = Direction { ascending: row.try_get(2)?, cycles: row.try_get(3)? };
            Ok(((row.try_get(0)?, row.try_get(1)?), direction))
        })
        .await?;
    Ok(found.into_iter().collect())
}

/// Bytes of the database of a session, and its largest tables.
pub async fn sizes(session: &Session) -> Result<(u64, Vec<TableSize>), RunError> {
    let bytes: i64 = session
        .value("SELECT pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()")
        .await?;
    let sql = format!(
        "SELECT pg_catalog.format('%s.%s', n.nspname, c.relname), pg_catalog.pg_total_relation_size(c.oid)
        FROM {} WHERE c.relkind IN ('r', 'm') ORDER BY 2 DESC, 1 LIMIT {LARGEST}",
        scope::RELATIONS
    );
    let largest = session
        .list(&sql, |row| {
            Ok(TableSize { table: row.try_get(0)?, bytes: row.try_get::<_, i64>(1)?.unsigned_abs() })
        })
        .await?;
    Ok((bytes.unsigned_abs(), largest))
}
