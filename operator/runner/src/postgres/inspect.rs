//! What a backup wants to know of a server before it starts. Asks the server.

use std::sync::Arc;

use greenlang_backup_api::contents::Server;
use tracing::warn;

use super::PostgresError;
use super::connect::{SAFE_PATH, Session};
use super::scope;

/// A server's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The number before the first dot.
    pub major: u32,
    /// As the server says it.
    pub text: String,
}

/// The server as a whole.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// Its version.
    pub version: Version,
    /// The superuser that the server was made with.
    pub owner: String,
    /// Who it is.
    pub identity: Server,
}

/// One database.
#[derive(Clone, Debug)]
pub struct DatabaseFacts {
    /// Its name.
    pub name: String,
    /// Bytes that a dump is expected to have: an estimate, since rows lie there otherwise than they are written. Absent
    /// when the server was too busy to say.
    pub expected_bytes: Option<u64>,
}

/// For this transaction only: behind a pooler, others get the server's session after us.
const NO_WAITING: &str = "SET LOCAL lock_timeout = '1s'";

/// Asks for the version.
pub async fn version(session: &Session) -> Result<Version, PostgresError> {
    let number: i32 = session.value("SELECT current_setting('server_version_num')::int").await?;
    Ok(Version {
        major: number.unsigned_abs() / 10_000,
        text: session.value("SELECT current_setting('server_version')").await?,
    })
}

/// Asks about the server as a whole. In a transaction.
pub async fn server(session: &Session) -> Result<ServerFacts, PostgresError> {
    const IDENTIFIER: &str = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
    let version = version(session).await?;
    let identifier = session.permitted(IDENTIFIER, |row| row.try_get(0)).await?;
    Ok(ServerFacts {
        // 10 is the OID of the superuser that initdb makes.
        owner: session.value("SELECT pg_catalog.pg_get_userbyid(10)::text").await?,
        identity: Server {
            version: version.text.clone(),
            system_identifier: identifier.ok().and_then(|found| found.into_iter().next()),
            standby: session.value("SELECT pg_catalog.pg_is_in_recovery()").await?,
        },
        version,
    })
}

/// Asks about the database of a session.
pub async fn database(session: &Session) -> Result<DatabaseFacts, PostgresError> {
    names(session).await?;
    Ok(DatabaseFacts {
        name: session.target().database.clone(),
        expected_bytes: expected_bytes(session).await,
    })
}

/// Refuses a database without encoding in which a table or sequence has a name that is not UTF-8: it can stand in no list of
/// contents, and no statement of ours could name it.
async fn names(session: &Session) -> Result<(), PostgresError> {
    let sql = format!(
        "SELECT pg_catalog.convert_to(n.nspname::text || '.' || c.relname::text, 'SQL_ASCII')
        FROM {} WHERE c.relkind IN ('r', 'p', 'm', 'f', 'S')
            AND pg_catalog.current_setting('server_encoding') = 'SQL_ASCII' ORDER BY c.oid",
        scope::RELATIONS
    );
    let names = session.list(&sql, |row| row.try_get::<_, Vec<u8>>(0)).await?;
    let odd: Vec<&Vec<u8>> = names.iter().filter(|name| std::str::from_utf8(name).is_err()).collect();
    match odd.first() {
        None => Ok(()),
        Some(first) => Err(PostgresError::NamesNotUtf8 {
            target: Arc::clone(session.target()),
            cause: format!("{} of {} names, {} for one", odd.len(), names.len(), first.escape_ascii()),
        }),
    }
}

/// Heap and TOAST of all tables that are dumped, and large objects; indexes are not dumped.
fn dumped_bytes() -> String {
    format!(
        "SELECT (coalesce(sum(pg_table_size(c.oid)), 0) + pg_table_size('pg_catalog.pg_largeobject'))::bigint
        FROM {} WHERE c.relkind = 'r'",
        scope::RELATIONS
    )
}

/// The same without looking at the files, and so without a lock.
fn remembered_bytes() -> String {
    format!(
        "SELECT ((coalesce(sum(c.relpages::bigint + coalesce(t.relpages, 0)), 0)
                + (SELECT relpages FROM pg_catalog.pg_class WHERE oid = 'pg_catalog.pg_largeobject'::regclass))
            * current_setting('block_size')::bigint)::bigint
        FROM {} LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid WHERE c.relkind = 'r'",
        scope::RELATIONS
    )
}

/// Tables that somebody alters cannot be measured; then what the last VACUUM or ANALYZE wrote down has to do.
async fn expected_bytes(session: &Session) -> Option<u64> {
    let measured = async {
        session.execute(&format!("BEGIN; {SAFE_PATH}; {NO_WAITING}")).await?;
        session.value::<i64>(&dumped_bytes()).await
    };
    let measured = measured.await;
    // A connection that is gone says so to the next question.
    let _ = session.execute("ROLLBACK").await;
    let bytes = match measured {
        Ok(bytes) => Ok(bytes),
        Err(error) => {
            warn!(%error, "tables not measured");
            session.value(&remembered_bytes()).await
        }
    };
    bytes
        .inspect_err(|error| warn!(%error, "size not known"))
        .ok()
        .and_then(|bytes| u64::try_from(bytes).ok())
}
