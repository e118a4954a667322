//! Finds rights that a dump will miss, and names the statements that give them, so that this shows before the night. Asks the
//! server. A hint, not a proof: what counts is that `pg_dump` ends well.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::{Error, Row};

use super::PostgresError;
use super::connect::{Session, quoted_identifier, quoted_literal};
use super::error::Target;
use super::scope;

/// What one question may take. A database may have millions of large objects, and these are hints.
pub const LIMIT: Duration = Duration::from_secs(8);

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

/// Refuses a database that cannot be read as a whole, and says all that is missing at once. Returns what was not found out within
/// the limit of each question: that refuses nothing, since `pg_dump` will tell.
pub async fn check(session: &Session, limit: Duration) -> Result<Vec<String>, PostgresError> {
    let (mut missing, mut unknown) = (Vec::new(), Vec::new());
    for Question { sql, of, problem, way_out } in questions(session.target()) {
        match session.list_within(limit, &sql, example).await {
            Ok(found) => missing.extend(
                found.first().map(|(name, count)| format!("{count} {problem}, {name} for one: {way_out}")),
            ),
            Err(error) if error.is_cancelled() => unknown.push(format!(
                "database {}: whether user {} may read all {of} was not found out within {limit:?}; pg_dump fails if not",
                session.target().database,
                session.target().user,
            )),
            Err(error) => return Err(error),
        }
    }
    if missing.is_empty() {
        return Ok(unknown);
    }
    Err(PostgresError::PermissionDenied {
        target: Arc::clone(session.target()),
        cause: format!("{} (see docs/operations.md, Rights in the database)", missing.join(" and ")),
    })
}

fn example(row: &Row) -> Result<(String, i64), Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// What is asked about a kind of right, which answers with an example and how many there are.
struct Question {
    sql: String,
    /// What the right is to.
    of: &'static str,
    problem: &'static str,
    /// The statement that gives the right.
    way_out: String,
}

fn questions(target: &Target) -> [Question; 3] {
    let user = quoted_identifier(&target.user);
    [
        Question {
            sql: relations(UNREADABLE),
            of: "tables and sequences",
            problem: "tables and sequences cannot be read",
            way_out: format!("GRANT pg_read_all_data TO {user};"),
        },
        Question {
            sql: relations(FILTERED),
            of: "rows of tables with row security",
            problem: "tables hide rows by row security",
            way_out: format!("ALTER ROLE {user} BYPASSRLS;"),
        },
        Question {
            sql: UNREADABLE_LARGE_OBJECTS.to_owned(),
            of: "large objects",
            problem: "large objects cannot be read",
            way_out: format!(
                "SELECT format('GRANT SELECT ON LARGE OBJECT %s TO %I', oid, {}) FROM pg_largeobject_metadata \\gexec",
                quoted_literal(&target.user)
            ),
        },
    ]
}

/// The first of the relations that a dump reads of which this holds, and how many there are.
fn relations(condition: &str) -> String {
    format!(
        "SELECT format('%I.%I', n.nspname, c.relname), count(*) OVER ()
        FROM {} {} WHERE {} AND {condition}
        ORDER BY 1 LIMIT 1",
        scope::RELATIONS,
        scope::EXTENSIONS,
        scope::CONFIGURATION_OR_OURS
    )
}
