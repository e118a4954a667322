//! The one snapshot that everything written of a database belongs to, with its tables locked as they were in it. Network.
//!
//! `pg_dump` alone takes its locks some time after its snapshot: a table that is truncated in between comes out empty, with exit
//! code 0 (tried). So a session of ours exports a snapshot, locks every table at once, proves that none was rewritten in
//! between, and holds both until the last dump has ended.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::PostgresError;
use super::connect::{Endpoint, Session};
use crate::error::RunError;

/// Snapshots taken before it is given up that tables change faster than they can be locked.
const TRIES: u32 = 5;
/// Tables named in one LOCK TABLE: the names stay well below what a server takes as one statement.
const LOCK_BATCH: usize = 500;
/// How long one LOCK TABLE may wait for whoever alters a table.
const LOCK_TIMEOUT: Duration = Duration::from_mins(1);
/// Keeps the connection from being called idle by whatever stands between it and the server.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Opens the transaction. A server's time limits would end it in the middle of a long dump.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
/// Only servers from 17 know it.
const NO_TRANSACTION_TIMEOUT: &str = "SET LOCAL transaction_timeout = 0";
const TRANSACTION_TIMEOUT_SINCE: u32 = 17;

/// Tables that `pg_dump` locks, as the snapshot has them, that this user may read. Partitioned tables have no file.
const TABLES: &str = "
    SELECT c.oid, format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    ORDER BY c.oid";
/// Names of tables whose file is no longer the one that the snapshot knows. `pg_class` is read under the snapshot, the function
/// looks at what is there now.
const REWRITTEN: &str = "
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.oid = ANY ($1) AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)";

/// A snapshot that is held, and the session that stands in it.
pub struct Snapshot {
    session: Session,
    id: String,
}

/// A held snapshot whose session is asked now and then whether it is still there.
pub struct Held {
    keeper: AbortOnDropHandle<PostgresError>,
}

impl Held {
    /// Ends only when the snapshot was lost.
    pub async fn lost(self) -> RunError {
        match self.keeper.await {
            Ok(error) => error.into(),
            Err(error) => error.into(),
        }
    }
}

impl Snapshot {
    /// Exports a snapshot of a database and locks its tables.
    pub async fn take(endpoint: &Endpoint, database: &str, major: u32) -> Result<Self, PostgresError> {
        let session = endpoint.connect(database).await?;
        let mut changed = String::new();
        for _ in 0..TRIES {
            match Self::try_take(&session, major).await? {
                Ok(id) => {
                    info!(database, snapshot = id, "snapshot taken, tables locked");
                    return Ok(Self { session, id });
                }
                Err(table) => {
                    warn!(
                        database,
                        table, "a table changed between snapshot and lock; taking another snapshot"
                    );
                    session.execute("ROLLBACK").await?;
                    changed = table;
                }
            }
        }
        Err(PostgresError::SnapshotUnstable { target: session.target().clone(), table: changed })
    }

    /// The snapshot's name, or the table that changed before it was locked.
    async fn try_take(session: &Session, major: u32) -> Result<Result<String, String>, PostgresError> {
        session.execute(BEGIN).await?;
        if major >= TRANSACTION_TIMEOUT_SINCE {
            session.execute(NO_TRANSACTION_TIMEOUT).await?;
        }
        session.execute(&format!("SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis())).await?;
        let id: String = session.value("SELECT pg_catalog.pg_export_snapshot()").await?;
        let rows = session.rows(TABLES).await?;
        let tables: Vec<(u32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for batch in tables.chunks(LOCK_BATCH) {
            let names: Vec<String> = batch.iter().map(|(_, name)| format!("ONLY {name}")).collect();
            let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
            match session.execute(&lock).await {
                Ok(()) => {}
                Err(error) if error.is_undefined_table() => return Ok(Err(error.to_string())),
                Err(error) => return Err(error),
            }
        }
        let oids: Vec<u32> = tables.iter().map(|(oid, _)| *oid).collect();
        let rewritten = session.rows_for(REWRITTEN, &oids).await?;
        Ok(rewritten.first().map_or(Ok(id), |row| Err(row.get(0))))
    }

    /// Name for `pg_dump --snapshot`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Session that sees what the snapshot holds.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Holds the snapshot until the returned value is dropped.
    pub fn hold(self) -> Held {
        let keeper = tokio::spawn(async move {
            loop {
                tokio::time::sleep(KEEP_ALIVE).await;
                if let Err(error) = self.session.execute("SELECT").await {
                    return PostgresError::SnapshotLost {
                        target: self.session.target().clone(),
                        cause: error.to_string(),
                    };
                }
            }
        });
        Held { keeper: AbortOnDropHandle::new(keeper) }
    }
}
