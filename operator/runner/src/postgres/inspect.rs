//! What a backup wants to know of a server before it starts. Asks the server.

use tracing::warn;

use super::PostgresError;
use super::connect::Session;
use super::streams::{Movable, pattern};

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
    /// Directories of tablespaces, which must exist before the globals can be restored.
    pub tablespaces: Vec<String>,
}

/// One database.
#[derive(Clone, Debug)]
pub struct DatabaseFacts {
    /// Its name.
    pub name: String,
    /// Bytes that a dump is expected to have: an estimate, since rows lie there otherwise than they are written. Absent
    /// when the server was too busy to say.
    pub expected_bytes: Option<u64>,
    /// Its collation locale.
    pub locale: String,
}

/// Heap and TOAST of all tables that are dumped, and large objects; indexes are not dumped.
const DUMPED_BYTES: &str = "
    SELECT (coalesce(sum(pg_table_size(c.oid)), 0) + pg_table_size('pg_catalog.pg_largeobject'))::bigint
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// For this transaction only: behind a pooler, others get the server's session after us.
const NO_WAITING: &str = "BEGIN; SET LOCAL lock_timeout = '1s'";

/// The same without looking at the files, and so without a lock.
const REMEMBERED_BYTES: &str = "
    SELECT (coalesce(sum(c.relpages::bigint + coalesce(t.relpages, 0)), 0) * current_setting('block_size')::bigint)::bigint
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      OR c.oid = 'pg_catalog.pg_largeobject'::regclass";

/// Asks for the version.
pub async fn version(session: &Session) -> Result<Version, PostgresError> {
    let number: i32 = session.value("SELECT current_setting('server_version_num')::int").await?;
    Ok(Version {
        major: number.unsigned_abs() / 10_000,
        text: session.value("SELECT current_setting('server_version')").await?,
    })
}

/// Asks about the server as a whole.
pub async fn server(session: &Session) -> Result<ServerFacts, PostgresError> {
    Ok(ServerFacts {
        version: version(session).await?,
        // 10 is the OID of the superuser that initdb makes.
        owner: session.value("SELECT pg_catalog.pg_get_userbyid(10)::text").await?,
        tablespaces: tablespaces(session).await?,
    })
}

/// None where the server does not let them be asked for, which the globals say.
async fn tablespaces(session: &Session) -> Result<Vec<String>, PostgresError> {
    const ALLOWED: &str =
        "SELECT has_function_privilege('pg_catalog.pg_tablespace_location(oid)', 'EXECUTE')";
    const LOCATIONS: &str = "
        SELECT location FROM (
            SELECT pg_catalog.pg_tablespace_location(oid) AS location, spcname FROM pg_catalog.pg_tablespace) t
        WHERE location <> '' ORDER BY spcname";
    if !session.value::<bool>(ALLOWED).await? {
        return Ok(vec![]);
    }
    session.list(LOCATIONS, |row| row.try_get(0)).await
}

/// Asks about the database of a session.
pub async fn database(session: &Session) -> Result<DatabaseFacts, PostgresError> {
    let locale = "SELECT datcollate::text FROM pg_catalog.pg_database WHERE datname = current_database()";
    Ok(DatabaseFacts {
        name: session.target().database.clone(),
        expected_bytes: expected_bytes(session).await,
        locale: session.value(locale).await?,
    })
}

/// Tables that somebody alters cannot be measured; then what the last VACUUM or ANALYZE wrote down has to do.
async fn expected_bytes(session: &Session) -> Option<u64> {
    let measured = async {
        session.execute(NO_WAITING).await?;
        session.value::<i64>(DUMPED_BYTES).await
    };
    let measured = measured.await;
    // A connection that is gone says so to the next question.
    let _ = session.execute("ROLLBACK").await;
    let bytes = match measured {
        Ok(bytes) => Ok(bytes),
        Err(error) => {
            warn!(%error, "tables not measured");
            session.value(REMEMBERED_BYTES).await
        }
    };
    bytes
        .inspect_err(|error| warn!(%error, "size not known"))
        .ok()
        .and_then(|bytes| u64::try_from(bytes).ok())
}

/// Tables whose data a dump of its own can hold: none of an extension, whose data only a whole dump knows to leave out or in.
/// The sequences are those that a table owns: `pg_dump` takes them along with it (tried on 15 and 17).
const MOVABLE: &str = "
    SELECT n.nspname::text, c.relname::text, pg_table_size(c.oid)::bigint,
        ARRAY(SELECT n2.nspname::text FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
            JOIN pg_catalog.pg_namespace n2 ON n2.oid = s.relnamespace
            WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
              AND d.refobjid = c.oid AND d.deptype IN ('a', 'i') ORDER BY s.oid),
        ARRAY(SELECT s.relname::text FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
            WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
              AND d.refobjid = c.oid AND d.deptype IN ('a', 'i') ORDER BY s.oid)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')";

/// Tables that can be dumped apart from the rest of their database.
pub async fn movable(session: &Session) -> Result<Vec<Movable>, PostgresError> {
    let rows = session.rows(MOVABLE).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let (schemas, names): (Vec<String>, Vec<String>) = (row.get(3), row.get(4));
            Movable {
                pattern: pattern(row.get(0), row.get(1)),
                sequences: schemas.iter().zip(&names).map(|(schema, name)| pattern(schema, name)).collect(),
                bytes: u64::try_from(row.get::<_, i64>(2)).unwrap_or_default(),
            }
        })
        .collect())
}
