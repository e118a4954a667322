//! Which roles a database cannot be restored without, and which there are. Asks the server.

use super::super::PostgresError;
use super::super::connect::Session;

/// A role, which may be renamed, or dropped and made again under its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleId {
    /// OID.
    pub oid: u32,
    /// Name.
    pub name: String,
}

/// Roles that the session's database refers to: as owners, in rights, in policies, by settings. In the snapshot of the dump. The
/// roles that every server has are not among them; they cannot be dropped.
pub async fn needed(session: &Session) -> Result<Vec<RoleId>, PostgresError> {
    const SQL: &str = "
        WITH this AS (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        SELECT r.oid, r.rolname::text FROM pg_catalog.pg_roles r
        WHERE r.rolname !~ '^pg_' AND (
            r.oid IN (SELECT s.setrole FROM pg_catalog.pg_db_role_setting s JOIN this ON this.oid = s.setdatabase)
            OR r.oid IN (SELECT d.refobjid FROM pg_catalog.pg_shdepend d CROSS JOIN this
                WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND (d.dbid = this.oid
                    OR d.dbid = 0 AND d.classid = 'pg_catalog.pg_database'::regclass AND d.objid = this.oid)))
        ORDER BY r.rolname";
    list(session, SQL).await
}

/// All roles that the server has now.
pub async fn present(session: &Session) -> Result<Vec<RoleId>, PostgresError> {
    list(session, "SELECT oid, rolname::text FROM pg_catalog.pg_roles").await
}

async fn list(session: &Session, sql: &str) -> Result<Vec<RoleId>, PostgresError> {
    session.list(sql, |row| Ok(RoleId { oid: row.try_get(0)?, name: row.try_get(1)? })).await
}
