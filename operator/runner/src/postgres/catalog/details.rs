//! Extensions, large objects, what is invalid, and what a dump leaves out without a word. Asks the server.

use greenlang_backup_api::contents::{Extension, InvalidIndex, NotValidConstraint};

use super::super::PostgresError;
use super::super::connect::Session;
use super::super::scope;

pub async fn extensions(session: &Session) -> Result<Vec<Extension>, PostgresError> {
    const SQL: &str = "
        SELECT e.extname::text, e.extversion, n.nspname::text
        FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY 1";
    session
        .list(SQL, |row| {
            Ok(Extension { name: row.try_get(0)?, version: row.try_get(1)?, schema: row.try_get(2)? })
        })
        .await
}

pub async fn large_objects(session: &Session) -> Result<u64, PostgresError> {
    let count: i64 = session.value("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata").await?;
    Ok(count.unsigned_abs())
}

pub async fn invalid_indexes(session: &Session) -> Result<Vec<InvalidIndex>, PostgresError> {
    let sql = format!(
        "SELECT n.nspname::text, t.relname::text, c.relname::text, pg_catalog.pg_get_indexdef(c.oid)
        FROM {}
            JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
            JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
        WHERE NOT (i.indisvalid AND i.indisready AND i.indislive)
        ORDER BY 1, 3",
        scope::RELATIONS
    );
    session
        .list(&sql, |row| {
            Ok(InvalidIndex {
                schema: row.try_get(0)?,
                table: row.try_get(1)?,
                name: row.try_get(2)?,
                definition: row.try_get(3)?,
            })
        })
        .await
}

pub async fn not_valid_constraints(session: &Session) -> Result<Vec<NotValidConstraint>, PostgresError> {
    let sql = format!(
        "SELECT n.nspname::text, coalesce(c.relname, t.typname)::text, k.conname::text,
            pg_catalog.pg_get_constraintdef(k.oid)
        FROM pg_catalog.pg_constraint k
            JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
            LEFT JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
            LEFT JOIN pg_catalog.pg_type t ON t.oid = k.contypid
        WHERE NOT k.convalidated AND {}
        ORDER BY 1, 2, 3",
        scope::SCHEMAS
    );
    session
        .list(&sql, |row| {
            Ok(NotValidConstraint {
                schema: row.try_get(0)?,
                of: row.try_get(1)?,
                name: row.try_get(2)?,
                definition: row.try_get(3)?,
            })
        })
        .await
}

/// What `pg_dump` leaves out for want of a right without saying so.
pub async fn omissions(session: &Session) -> Result<Vec<String>, PostgresError> {
    // Without the right to them the view shows no options of a mapping, and the dump makes it without.
    const SQL: &str = "
        SELECT count(*) FROM pg_catalog.pg_user_mappings
        WHERE umoptions IS NULL AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)";
    let mappings: i64 = session.value(SQL).await?;
    Ok(match mappings {
        0 => vec![],
        _ => vec![format!(
            "options of {mappings} user mappings of foreign servers (such as passwords) are not part of this backup if there are any: user {} may not read them",
            session.target().user
        )],
    })
}
