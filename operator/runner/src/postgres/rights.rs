//! Finds rights that a dump will miss, and names the statements that give them, so that this shows before the night. Asks the
//! server. A hint, not a proof: what counts is that `pg_dump` ends well.

use std::sync::Arc;

use super::PostgresError;
use super::connect::{Session, quoted_identifier};

/// What a dump reads of the relations `c` in schema `n`: all but those of PostgreSQL itself, and of extensions those that are
/// called configuration.
const DUMPED: &str = "
    c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
            AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
            AND c.oid <> ALL (coalesce(e.extconfig, '{}')))";

/// Tables and sequences that the user cannot read. `pg_dump` locks tables, so rights to their columns are not enough.
const UNREADABLE: &str = "c.relkind IN ('r', 'p', 'S')
    AND NOT (has_schema_privilege(n.oid, 'USAGE') AND
        CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END)";

/// Tables of which row security would hide rows from the user; `pg_dump` refuses those.
const FILTERED: &str = "c.relkind = 'r' AND row_security_active(c.oid)";

/// Large objects that the user cannot read: `pg_read_all_data` does not cover them, and no function tells before PostgreSQL 18.
const UNREADABLE_LARGE_OBJECTS: &str = "
    SELECT m.oid::text, count(*) OVER ()
    FROM pg_catalog.pg_largeobject_metadata m
    WHERE NOT (SELECT rolsuper OR current_setting('lo_compat_privileges')::boolean
            FROM pg_catalog.pg_roles WHERE rolname = current_user)
        AND NOT pg_has_role(m.lomowner, 'USAGE')
        AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a
            WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))
    ORDER BY m.oid LIMIT 1";

/// Refuses a database that cannot be read as a whole, and says all that is missing at once.
pub async fn check(session: &Session) -> Result<(), PostgresError> {
    let missing = missing(session).await?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(PostgresError::PermissionDenied {
        target: Arc::clone(session.target()),
        cause: format!("{} (see docs/operations.md, Rights in the database)", missing.join(" and ")),
    })
}

/// Each kind of right that is missing, with an example and the statement that gives it.
async fn missing(session: &Session) -> Result<Vec<String>, PostgresError> {
    let user = quoted_identifier(&session.target().user);
    let questions = [
        (
            relations(UNREADABLE),
            "tables and sequences cannot be read",
            format!("GRANT pg_read_all_data TO {user};"),
        ),
        (relations(FILTERED), "tables hide rows by row security", format!("ALTER ROLE {user} BYPASSRLS;")),
        (
            UNREADABLE_LARGE_OBJECTS.to_owned(),
            "large objects cannot be read",
            format!(
                "SELECT format('GRANT SELECT ON LARGE OBJECT %s TO %I', oid, {}) FROM pg_largeobject_metadata \\gexec",
                quoted_literal(&session.target().user)
            ),
        ),
    ];
    let mut missing = Vec::new();
    for (question, problem, way_out) in questions {
        let found = session
            .list(&question, |row| Ok((row.try_get::<_, String>(0)?, row.try_get::<_, i64>(1)?)))
            .await?;
        if let Some((name, count)) = found.first() {
            missing.push(format!("{count} {problem}, {name} for one: {way_out}"));
        }
    }
    Ok(missing)
}

/// The first of the relations of which this holds, and how many there are.
fn relations(condition: &str) -> String {
    format!(
        "SELECT format('%I.%I', n.nspname, c.relname), count(*) OVER ()
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE {DUMPED} AND {condition}
        ORDER BY 1 LIMIT 1"
    )
}

fn quoted_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
