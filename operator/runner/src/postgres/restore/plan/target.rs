//! What the server says that is restored to, and what of it keeps a restore from working, each with the way out. Asks the server.

use greenlang_backup_api::reasons::restore;
use greenlang_backup_api::restore::{PlanAction, RestoreTask};
use greenlang_backup_api::v1alpha1::RestoreStrategy;

use super::super::RestoreError;
use super::super::databases::{self, Found};
use super::Findings;
use crate::error::RunError;
use crate::postgres::PostgresError;
use crate::postgres::connect::{Endpoint, Session, quoted_identifier};

/// Extensions whose background workers or catalogs know their database by name or OID.
const BOUND: [(&str, &str); 2] = [
    (
        "pg_cron",
        "its jobs and its worker belong to the database with that name (cron.database_name): move pg_cron to another database first",
    ),
    (
        "timescaledb",
        "a dump of it can only be restored between timescaledb_pre_restore() and timescaledb_post_restore(): restore by hand, as its documentation says",
    ),
];

/// The database that is there.
#[derive(Clone, Debug)]
pub struct Present {
    pub oid: u32,
    pub bytes: Option<u64>,
    pub sessions: u32,
}

/// A session that sees the server itself, if it does.
pub async fn connect(task: &RestoreTask, findings: &mut Findings) -> Result<(Endpoint, Session), RunError> {
    let endpoint = Endpoint::open(&task.server)?.of_primary();
    let session = match endpoint.connect(&task.server.maintenance_database).await {
        Ok(session) => session,
        // A later attempt could wait for one that takes over; nobody waits for a plan.
        Err(error @ PostgresError::Standby { .. }) => {
            return Err(RestoreError::Standby(error.to_string()).into());
        }
        Err(error) => return Err(error.into()),
    };
    let path: String = session.value("SELECT pg_catalog.current_setting('search_path')").await?;
    if path != "pg_catalog,pg_temp" && path != "pg_catalog, pg_temp" {
        findings.refuse(
            restore::POOLER_FOUND,
            "a connection pooler stands between this Job and the server and passes over what sessions ask for, so databases cannot be renamed safely through it: let the target's host and port name the server itself",
        );
    }
    if task.server.maintenance_database == task.database {
        findings.refuse(
            restore::NOT_SUPPORTED,
            format!("database {} is the maintenance database, from which statements about databases are sent, and cannot be renamed under them: name another one in maintenanceDatabase", task.database),
        );
    }
    Ok((endpoint, session))
}

/// Databases that have a name which this request will give to one, and are not its own.
pub async fn in_the_way(
    task: &RestoreTask,
    made: &[&str],
    session: &Session,
    findings: &mut Findings,
) -> Result<(), RunError> {
    for name in made {
        if let Some(found) = databases::named(session, name).await?
            && !found.is_of(&task.request)
        {
            findings.refuse(
                restore::DATABASE_EXISTS,
                format!("database {name} is in the way and is not of this request: ALTER DATABASE {} RENAME TO …;", quoted_identifier(name)),
            );
        }
    }
    Ok(())
}

/// The database that has the name.
pub async fn present(
    task: &RestoreTask,
    action: &PlanAction,
    session: &Session,
    findings: &mut Findings,
) -> Result<Option<Present>, RunError> {
    let Some(found) = databases::named(session, &task.database).await? else { return Ok(None) };
    if action.strategy == RestoreStrategy::NewDatabase {
        findings.refuse(
            restore::DATABASE_EXISTS,
            format!("database {} is there already, and strategy NewDatabase makes one that is not: name another, or use strategy Swap", task.database),
        );
    }
    // Replace drops it for good.
    if found.half_dropped && action.strategy == RestoreStrategy::Swap {
        findings.refuse(
            restore::DATABASE_EXISTS,
            format!("a DROP DATABASE of {} was cut off, so it cannot be renamed: finish it, DROP DATABASE {};, and use strategy NewDatabase", task.database, quoted_identifier(&task.database)),
        );
    }
    let Found { oid, .. } = found;
    let bytes = session.value::<i64>(&format!("SELECT pg_catalog.pg_database_size({oid}::oid)")).await;
    let sessions: i64 = session
        .value(&format!("SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datid = {oid} AND pid <> pg_catalog.pg_backend_pid()"))
        .await?;
    Ok(Some(Present {
        oid,
        bytes: bytes.ok().map(i64::unsigned_abs),
        sessions: u32::try_from(sessions).unwrap_or_default(),
    }))
}

/// What would be lost or broken when the database that is there gets another name.
pub async fn bound(
    task: &RestoreTask,
    action: &PlanAction,
    endpoint: &Endpoint,
    session: &Session,
    present: &Present,
    findings: &mut Findings,
) -> Result<(), RunError> {
    let database = &task.database;
    let names = "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database::text = $1 ORDER BY 1 LIMIT 3";
    let prepared: Vec<String> = session.list_with(names, &[database], |row| row.try_get(0)).await?;
    if let Some(first) = prepared.first() {
        findings.refuse(
            restore::PREPARED_TRANSACTIONS,
            format!("database {database} has prepared transactions, {first:?} for one: in it, COMMIT PREPARED or ROLLBACK PREPARED each of pg_prepared_xacts"),
        );
    }
    let slots = "SELECT slot_name::text FROM pg_catalog.pg_replication_slots WHERE database::text = $1 ORDER BY 1 LIMIT 3";
    let slots: Vec<String> = session.list_with(slots, &[database], |row| row.try_get(0)).await?;
    let mut lost: Vec<String> = slots
        .iter()
        .map(|slot| format!("logical replication slot {slot}, which stays with what is replaced: SELECT pg_drop_replication_slot('{slot}');"))
        .collect();
    let subscriptions = format!(
        "SELECT subname::text FROM pg_catalog.pg_subscription WHERE subdbid = {} ORDER BY 1 LIMIT 3",
        present.oid
    );
    // Only superusers may look at all of it; who may not is told by the statement that fails later.
    if let Ok(names) = session.list(&subscriptions, |row| row.try_get::<_, String>(0)).await {
        lost.extend(names.iter().map(|name| {
            format!(
                "subscription {name}, which would go on writing to what is replaced: DROP SUBSCRIPTION {};",
                quoted_identifier(name)
            )
        }));
    }
    let inside = match endpoint.connect(database).await {
        Ok(inside) => Some(inside),
        Err(
            error @ (PostgresError::ConnectionFailed { .. }
            | PostgresError::Slow { .. }
            | PostgresError::Standby { .. }),
        ) => {
            return Err(error.into());
        }
        Err(error) => {
            findings.warn(format!("what is in database {database} was not looked at: {error}"));
            None
        }
    };
    if let Some(inside) = inside.as_ref().filter(|_| !slots.is_empty()) {
        let publications: Vec<String> = inside
            .list("SELECT pubname::text FROM pg_catalog.pg_publication ORDER BY 1 LIMIT 3", |row| {
                row.try_get(0)
            })
            .await?;
        lost.extend(
            publications
                .iter()
                .map(|name| format!("publication {name}, whose subscribers would get nothing any more")),
        );
    }
    for what in lost {
        if action.allow_logical_replication_loss {
            findings.warn(format!("database {database} has {what}"));
        } else {
            findings.refuse(
                restore::LOGICAL_REPLICATION,
                format!("database {database} has {what} (or accept it: allowLogicalReplicationLoss)"),
            );
        }
    }
    if let Some(inside) = inside {
        let extensions: Vec<String> =
            inside.list("SELECT extname::text FROM pg_catalog.pg_extension", |row| row.try_get(0)).await?;
        bound_extensions(&extensions, &format!("database {database}"), findings);
    }
    Ok(())
}

/// Extensions that bind what they are in to its name or its server.
pub fn bound_extensions(extensions: &[String], of: &str, findings: &mut Findings) {
    for (name, why) in BOUND {
        if extensions.iter().any(|extension| extension == name) {
            findings.refuse(restore::EXTENSION_BOUND, format!("{of} has extension {name}: {why}"));
        }
    }
}

/// Whether the server lets this user into a database of the temporary name: one that is not there is refused only after the rules
/// for access were asked.
pub async fn admitted(endpoint: &Endpoint, name: &str, findings: &mut Findings) -> Result<(), RunError> {
    match endpoint.connect(name).await {
        // The last is one that is closed by the attempt that made it, or busy: it was let in as far as the rules go.
        Ok(_) | Err(PostgresError::DatabaseNotFound { .. } | PostgresError::DatabaseError { .. }) => Ok(()),
        Err(PostgresError::AuthenticationFailed { cause, .. }) => {
            findings.refuse(
                restore::ACCESS_RULE_MISSING,
                format!("the server does not let user {} into a database called {name} ({cause}): add a line to pg_hba.conf that does, such as 'hostssl all {} all scram-sha-256', and SELECT pg_reload_conf();", endpoint.user, quoted_identifier(&endpoint.user)),
            );
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
