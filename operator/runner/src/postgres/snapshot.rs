//! The one snapshot that everything written of a database belongs to, with its tables locked as they were in it. Network.
//!
//! `pg_dump` alone takes its locks some time after its snapshot: a table that is truncated in between comes out empty, with exit
//! code 0 (tried). So a session of ours exports a snapshot, locks every table at once, proves that none was rewritten in
//! between, and holds both until the last dump has ended.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use super::PostgresError;
use super::connect::{Endpoint, Session};
use super::scope;

/// Snapshots taken before it is given up that tables change faster than they can be locked.
const TRIES: u32 = 5;
/// Tables named in one LOCK TABLE: the names stay well below what a server takes as one statement.
const LOCK_BATCH: usize = 500;
/// How long one LOCK TABLE may wait for whoever alters a table.
const LOCK_TIMEOUT: Duration = Duration::from_mins(1);
/// Keeps the connection from being called idle by whatever stands between it and the server.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long the session may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// For the transaction. A server's time limits would end it in the middle of a long dump.
const NO_LIMITS: &str = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
/// A sequence can be dropped and replaced by a view of its name before we read it, and its functions would run with our rights
/// (as in `pg_dump`, CVE-2024-7348). Servers that know no such setting (before 14.13, 15.8, 16.4) have no defence.
const NO_VIEWS: &str = "SELECT pg_catalog.set_config(name, 'view, foreign-table', true)
    FROM pg_catalog.pg_settings WHERE name = 'restrict_nonsystem_relation_kind'";
/// Only servers from 17 know it.
const NO_TRANSACTION_TIMEOUT: &str = "SET LOCAL transaction_timeout = 0";
const TRANSACTION_TIMEOUT_SINCE: u32 = 17;

/// Tables that are no longer what the snapshot knows: with another file (truncated, rewritten), dropped, or with another table
/// under their name, which `pg_dump` would find empty. `pg_class` is read under the snapshot, the functions look at what is
/// there now.
const CHANGED: &str = "
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = ANY ($1)
      AND (c.relkind = 'r' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)
        OR c.oid IS DISTINCT FROM to_regclass(format('%I.%I', n.nspname, c.relname))::oid)";

/// A snapshot that is held, and the session that stands in it. It ends when this is dropped.
pub struct Snapshot {
    session: Session,
    id: String,
    /// The tables that are locked.
    tables: Vec<u32>,
}

impl Snapshot {
    /// Exports a snapshot of a database and locks its tables.
    pub async fn take(endpoint: &Endpoint, database: &str, major: u32) -> Result<Self, PostgresError> {
        let session = endpoint.connect(database).await?;
        let mut changed = String::new();
        for _ in 0..TRIES {
            match Self::try_take(&session, major).await? {
                Ok((id, tables)) => {
                    info!(database, snapshot = id, tables = tables.len(), "snapshot taken, tables locked");
                    return Ok(Self { session, id, tables });
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

    /// The snapshot's name and the tables that are locked, or the table that changed before it was.
    async fn try_take(
        session: &Session,
        major: u32,
    ) -> Result<Result<(String, Vec<u32>), String>, PostgresError> {
        session.begin().await?;
        session.execute(NO_LIMITS).await?;
        session.execute(NO_VIEWS).await?;
        if major >= TRANSACTION_TIMEOUT_SINCE {
            session.execute(NO_TRANSACTION_TIMEOUT).await?;
        }
        session.execute(&format!("SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis())).await?;
        let id: String = session.value("SELECT pg_catalog.pg_export_snapshot()").await?;
        let tables = session
            .list(&tables(), |row| Ok((row.try_get::<_, u32>(0)?, row.try_get::<_, String>(1)?)))
            .await?;
        for batch in tables.chunks(LOCK_BATCH) {
            let names: Vec<String> = batch.iter().map(|(_, name)| format!("ONLY {name}")).collect();
            let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
            match session.execute(&lock).await {
                Ok(()) => {}
                Err(error) if error.is_undefined_table() => return Ok(Err(error.to_string())),
                Err(PostgresError::TableLocked { target, cause }) => {
                    session.execute("ROLLBACK").await?;
                    let cause = lockers(session).await?.unwrap_or(cause);
                    return Err(PostgresError::TableLocked { target, cause });
                }
                Err(error) => return Err(error),
            }
        }
        let oids: Vec<u32> = tables.into_iter().map(|(oid, _)| oid).collect();
        Ok(match changed(session, &oids).await? {
            Some(table) => Err(table),
            None => Ok((id, oids)),
        })
    }

    /// Name for `pg_dump --snapshot`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Session that sees what the snapshot holds.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Asks now and then whether the session is still there. Ends only when it is not.
    pub async fn lost(&self) -> PostgresError {
        loop {
            tokio::time::sleep(KEEP_ALIVE).await;
            if let Err(error) = self.answered(self.session.execute("SELECT")).await {
                return error;
            }
        }
    }

    /// Proves, once all dumps have ended, that snapshot and locks were held all the time and no table has changed.
    pub async fn verify(&self) -> Result<(), PostgresError> {
        match self.answered(changed(&self.session, &self.tables)).await? {
            None => Ok(()),
            Some(table) => {
                Err(PostgresError::SnapshotUnstable { target: self.session.target().clone(), table })
            }
        }
    }

    /// What a dump means that was kept from a lock which this session has: others wait for a stronger one, and it for them.
    pub async fn locked_out(&self, said: String) -> PostgresError {
        match self.answered(lockers(&self.session)).await {
            Ok(found) => PostgresError::TableLocked {
                target: self.session.target().clone(),
                cause: found.unwrap_or(said),
            },
            Err(error) => error,
        }
    }

    /// A session that says nothing is as lost as one that says that it is.
    async fn answered<T>(
        &self,
        question: impl Future<Output = Result<T, PostgresError>>,
    ) -> Result<T, PostgresError> {
        let lost = |cause| PostgresError::SnapshotLost { target: self.session.target().clone(), cause };
        match timeout(ANSWER_TIMEOUT, question).await {
            Ok(answer) => answer.map_err(|error| lost(error.to_string())),
            Err(_) => Err(lost(format!("no answer within {ANSWER_TIMEOUT:?}"))),
        }
    }
}

/// Tables that `pg_dump` locks, as the snapshot has them, that this user may read. Partitioned tables have no file.
fn tables() -> String {
    format!(
        "SELECT c.oid, format('%I.%I', n.nspname, c.relname) FROM {}
        WHERE c.relkind IN ('r', 'p')
          AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
        ORDER BY c.oid",
        scope::RELATIONS
    )
}

/// One of these tables that is no longer what the snapshot knows.
async fn changed(session: &Session, tables: &[u32]) -> Result<Option<String>, PostgresError> {
    let found = session.list_for(CHANGED, tables, |row| row.try_get(0)).await?;
    Ok(found.into_iter().next())
}

/// Who has, or waits for, the one lock that keeps others from reading a table; those that have it first.
async fn lockers(session: &Session) -> Result<Option<String>, PostgresError> {
    let sql = format!(
        "SELECT format('session %s %s AccessExclusiveLock on %I.%I', l.pid,
            CASE WHEN l.granted THEN 'holds' ELSE 'waits for' END, n.nspname, c.relname)
        FROM {} JOIN pg_catalog.pg_locks l ON l.relation = c.oid
            JOIN pg_catalog.pg_database b ON b.oid = l.database AND b.datname = pg_catalog.current_database()
        WHERE c.relkind IN ('r', 'p') AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid()
        ORDER BY l.granted DESC, l.pid, c.oid LIMIT 3",
        scope::RELATIONS
    );
    let found: Vec<String> = session.list(&sql, |row| row.try_get(0)).await?;
    Ok((!found.is_empty()).then(|| found.join(", ")))
}
