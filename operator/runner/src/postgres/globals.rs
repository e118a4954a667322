//! Roles, memberships, settings and tablespaces as data, beside the SQL of `pg_dumpall`. What the server forbids is said in
//! notes. Asks the server.

use greenlang_backup_api::globals::{Globals, Membership, ParameterAcl, Role, SCHEMA_VERSION, Tablespace};
use tokio_postgres::{Error, Row};

use super::PostgresError;
use super::catalog::session_settings;
use super::connect::Session;
use super::inspect::Version;

/// The globals. In a transaction. `passwords`: whether password hashes are wanted, where they can be read.
pub async fn read(session: &Session, version: &Version, passwords: bool) -> Result<Globals, PostgresError> {
    let mut notes = Vec::new();
    let (roles, passwords) = roles(session, passwords, &mut notes).await?;
    Ok(Globals {
        schema_version: SCHEMA_VERSION,
        server_version: version.text.clone(),
        roles,
        passwords,
        memberships: memberships(session, version.major).await?,
        settings: session_settings(session).await?,
        tablespaces: tablespaces(session, &mut notes).await?,
        parameter_acls: parameter_acls(session, version.major, &mut notes).await?,
        notes,
    })
}

/// Roles, and whether their password hashes are with them.
async fn roles(
    session: &Session,
    passwords: bool,
    notes: &mut Vec<String>,
) -> Result<(Vec<Role>, bool), PostgresError> {
    // Asked before it is tried, since a refusal would be an error in the server's log every night.
    let readable = session.value("SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')").await?;
    if passwords && readable {
        match session.permitted(&question("pg_authid", "rolpassword"), role).await? {
            Ok(roles) => return Ok((roles, true)),
            Err(refused) => notes.push(format!("password hashes of roles: {}", refused.0)),
        }
    } else if passwords {
        let user = &session.target().user;
        notes.push(format!("password hashes of roles: user {user} may not read them"));
    }
    Ok((session.list(&question("pg_roles", "NULL::text"), role).await?, false))
}

fn question(catalog: &str, password: &str) -> String {
    format!(
        "SELECT oid, rolname::text, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
            rolbypassrls, rolconnlimit,
            CASE WHEN isfinite(rolvaliduntil)
                THEN to_char(rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                ELSE rolvaliduntil::text END,
            {password}, pg_catalog.shobj_description(oid, 'pg_authid')
        FROM pg_catalog.{catalog} WHERE rolname !~ '^pg_' ORDER BY rolname"
    )
}

fn role(row: &Row) -> Result<Role, Error> {
    Ok(Role {
        oid: row.try_get(0)?,
        name: row.try_get(1)?,
        superuser: row.try_get(2)?,
        inherit: row.try_get(3)?,
        create_role: row.try_get(4)?,
        create_db: row.try_get(5)?,
        login: row.try_get(6)?,
        replication: row.try_get(7)?,
        bypass_rls: row.try_get(8)?,
        connection_limit: row.try_get(9)?,
        valid_until: row.try_get(10)?,
        password_hash: row.try_get(11)?,
        comment: row.try_get(12)?,
    })
}

async fn memberships(session: &Session, major: u32) -> Result<Vec<Membership>, PostgresError> {
    let options = if major < 16 { "NULL::boolean, NULL::boolean" } else { "m.inherit_option, m.set_option" };
    // What is left of roles that were dropped joins nothing. Memberships of pg_… roles among themselves are every server's.
    let sql = format!(
        "SELECT r.rolname::text, u.rolname::text, g.rolname::text, m.admin_option, {options}
        FROM pg_catalog.pg_auth_members m
            JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
            JOIN pg_catalog.pg_roles u ON u.oid = m.member
            LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.grantor
        WHERE NOT (r.rolname ~ '^pg_' AND u.rolname ~ '^pg_')
        ORDER BY 1, 2, 3"
    );
    session
        .list(&sql, |row| {
            Ok(Membership {
                role: row.try_get(0)?,
                member: row.try_get(1)?,
                grantor: row.try_get(2)?,
                admin: row.try_get(3)?,
                inherit: row.try_get(4)?,
                set: row.try_get(5)?,
            })
        })
        .await
}

/// Tablespaces but those that every server has. In a transaction.
pub async fn tablespaces(
    session: &Session,
    notes: &mut Vec<String>,
) -> Result<Vec<Tablespace>, PostgresError> {
    let sql = |location: &str| {
        format!(
            "SELECT oid, spcname::text, pg_catalog.pg_get_userbyid(spcowner)::text, {location},
                coalesce(spcoptions, '{{}}'), spcacl::text[], pg_catalog.shobj_description(oid, 'pg_tablespace')
            FROM pg_catalog.pg_tablespace WHERE spcname !~ '^pg_' ORDER BY spcname"
        )
    };
    match session.permitted(&sql("pg_catalog.pg_tablespace_location(oid)"), tablespace).await? {
        Ok(tablespaces) => Ok(tablespaces),
        Err(refused) => {
            notes.push(format!("directories of tablespaces: {}", refused.0));
            session.list(&sql("NULL::text"), tablespace).await
        }
    }
}

fn tablespace(row: &Row) -> Result<Tablespace, Error> {
    Ok(Tablespace {
        oid: row.try_get(0)?,
        name: row.try_get(1)?,
        owner: row.try_get(2)?,
        location: row.try_get(3)?,
        options: row.try_get(4)?,
        acl: row.try_get(5)?,
        comment: row.try_get(6)?,
    })
}

async fn parameter_acls(
    session: &Session,
    major: u32,
    notes: &mut Vec<String>,
) -> Result<Vec<ParameterAcl>, PostgresError> {
    const SQL: &str =
        "SELECT parname, coalesce(paracl::text[], '{}') FROM pg_catalog.pg_parameter_acl ORDER BY parname";
    if major < 15 {
        return Ok(vec![]);
    }
    let read = |row: &Row| Ok(ParameterAcl { name: row.try_get(0)?, acl: row.try_get(1)? });
    match session.permitted(SQL, read).await? {
        Ok(acls) => Ok(acls),
        Err(refused) => {
            notes.push(format!("rights to change parameters: {}", refused.0));
            Ok(vec![])
        }
    }
}
