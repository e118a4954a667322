//! Finds rights that a dump will miss, so that this shows before the night. Asks the server. A hint, not a proof: what
//! counts is that `pg_dump` ends well.

use std::sync::Arc;

use super::PostgresError;
use super::connect::Session;

/// Tables and sequences that are dumped but that the user cannot read; those of extensions are not dumped.
const UNREADABLE: &str = "
    SELECT format('%I.%I', n.nspname, c.relname), count(*) OVER ()
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1 LIMIT 1";

/// Tables of which row security would hide rows from the user; `pg_dump` refuses those.
const FILTERED: &str = "
    SELECT format('%I.%I', n.nspname, c.relname), count(*) OVER ()
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND row_security_active(c.oid)
    ORDER BY 1 LIMIT 1";

/// Refuses a database that cannot be read as a whole.
pub async fn check(session: &Session) -> Result<(), PostgresError> {
    let user = quoted(&session.target().user);
    let ways = [
        (UNREADABLE, "cannot be read", format!("GRANT pg_read_all_data TO {user}")),
        (FILTERED, "hide rows by row security", format!("ALTER ROLE {user} BYPASSRLS")),
    ];
    for (question, problem, way_out) in ways {
        if let Some(row) = session.rows(question).await?.first() {
            let (name, count): (String, i64) = (row.get(0), row.get(1));
            return Err(PostgresError::PermissionDenied {
                target: Arc::clone(session.target()),
                cause: format!("{count} tables {problem}, {name} for one; as a superuser: {way_out};"),
            });
        }
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
