//! What the user of a restore may do, and whether that is enough to make, own, rename and empty databases. Asks the server.

use greenlang_backup_api::reasons;

use super::Findings;
use crate::error::RunError;
use crate::postgres::connect::{Session, quoted_identifier};
use crate::postgres::inspect;
use crate::postgres::restore::properties::array;

/// The user of the restore.
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
struct User {
    superuser: bool,
    create_db: bool,
    create_role: bool,
    /// May end sessions of others.
    signals: bool,
    /// `INHERIT`; from 16 on each membership says for itself.
    inherits: bool,
}

/// Refuses what the user may not do; `database` is the one that is replaced, `owners` are those of what is loaded.
pub async fn enough(
    session: &Session,
    database: &str,
    owners: &[String],
    findings: &mut Findings,
) -> Result<(), RunError> {
    let user = read(session).await?;
    if user.superuser {
        return Ok(());
    }
    let major = inspect::version(session).await?.major;
    let name = &session.target().user;
    let quoted = quoted_identifier(name);
    let made = findings.plan.roles_to_make.clone();
    let mut lacks = |what: &str, statement: String| {
        findings.refuse(reasons::PERMISSION_DENIED, format!("user {name} {what}: {statement}"));
    };
    if !user.create_db {
        lacks("may not create databases", format!("ALTER ROLE {quoted} CREATEDB;"));
    }
    if !made.is_empty() && !user.create_role {
        lacks(
            "may not create the roles of the backup that the server lacks",
            format!("ALTER ROLE {quoted} CREATEROLE;"),
        );
    }
    if !user.signals {
        lacks("may not end sessions of others", format!("GRANT pg_signal_backend TO {quoted};"));
    }
    if major < 16 && !user.inherits && owners.iter().any(|owner| made.contains(owner)) {
        lacks(
            "does not inherit the rights of the owners that it makes",
            format!("ALTER ROLE {quoted} INHERIT;"),
        );
    }
    for owner in strangers(session, database, owners, major).await? {
        let grant = format!("GRANT {} TO {quoted}", quoted_identifier(&owner));
        let statement = match (major, user.inherits) {
            (16.., _) => format!("{grant} WITH INHERIT TRUE, SET TRUE;"),
            (_, true) => format!("{grant};"),
            (_, false) => format!("{grant}; ALTER ROLE {quoted} INHERIT;"),
        };
        lacks(&format!("cannot act as role {owner}, which owns something in the database"), statement);
    }
    findings.warn(format!("user {name} is no superuser: what only superusers may set (SUPERUSER, REPLICATION and BYPASSRLS of roles, some parameters) is left out and told"));
    Ok(())
}

async fn read(session: &Session) -> Result<User, RunError> {
    const SQL: &str = "
        SELECT rolsuper, rolcreatedb, rolcreaterole, pg_catalog.pg_has_role(oid, 'pg_signal_backend', 'USAGE'), rolinherit
        FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let user = session.only(SQL, |row| {
        Ok(User {
            superuser: row.try_get(0)?,
            create_db: row.try_get(1)?,
            create_role: row.try_get(2)?,
            signals: row.try_get(3)?,
            inherits: row.try_get(4)?,
        })
    });
    Ok(user.await?)
}

/// Owners that the user cannot act as. `ALTER … OWNER TO` and `CREATE DATABASE … OWNER` demand membership, from 16 on its SET
/// option; rows, indexes and rights come after the owner, and demand what that one may do, which is inherited or not.
async fn strangers(
    session: &Session,
    database: &str,
    owners: &[String],
    major: u32,
) -> Result<Vec<String>, RunError> {
    let gives = if major < 16 { "" } else { "AND pg_catalog.pg_has_role(current_user, r.oid, 'SET')" };
    let sql = format!(
        "SELECT r.rolname::text FROM pg_catalog.pg_roles r
        WHERE r.rolname::text = ANY ($1::text[])
            AND NOT (pg_catalog.pg_has_role(current_user, r.oid, 'USAGE') {gives})
        UNION SELECT r.rolname::text FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba
        WHERE d.datname::text = $2 AND NOT pg_catalog.pg_has_role(current_user, r.oid, 'USAGE')
        ORDER BY 1"
    );
    Ok(session.list_with(&sql, &[&array(owners), database], |row| row.try_get(0)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::connect::Endpoint;
    use crate::postgres::server_tests::{SERVERS, endpoint};
    use greenlang_backup_test_servers::{ADMIN_PASSWORD, Postgres};

    /// Whether a user can give a table away and go on working on it, as `pg_restore` does.
    async fn can_give(endpoint: &Endpoint, table: &str) -> bool {
        let session = endpoint.connect_to_change("handed").await.unwrap();
        let sql = format!(
            "CREATE TABLE public.{table} (i int); ALTER TABLE public.{table} OWNER TO handed_owner;
             INSERT INTO public.{table} VALUES (1); CREATE INDEX ON public.{table} (i)"
        );
        session.execute(&sql).await.is_ok()
    }

    async fn refusals(endpoint: &Endpoint) -> Vec<String> {
        let mut findings = Findings::default();
        let session = endpoint.connect("postgres").await.unwrap();
        enough(&session, "handed", &["handed_owner".to_owned()], &mut findings).await.unwrap();
        findings.plan.refusals.into_iter().map(|refusal| refusal.message).collect()
    }

    async fn compare(server: &Postgres, user: &str, grant: &str, enough: bool) {
        server.sql(
            "postgres",
            &format!(
                "CREATE ROLE {user} LOGIN CREATEDB PASSWORD '{ADMIN_PASSWORD}'; GRANT pg_signal_backend TO {user}; {grant}"
            ),
        );
        let endpoint = endpoint(server, user, ADMIN_PASSWORD);
        assert_eq!(can_give(&endpoint, user).await, enough, "{user}");
        let refused = refusals(&endpoint).await;
        assert_eq!(refused.is_empty(), enough, "{user}: {refused:?}");
        for message in refused {
            let (_, way_out) = message.split_once(": ").unwrap();
            server.sql("postgres", way_out);
        }
        assert_eq!(refusals(&endpoint).await, Vec::<String>::new(), "{user}");
        assert!(can_give(&endpoint, &format!("{user}_then")).await, "{user}");
    }

    #[tokio::test]
    async fn exactly_what_giving_away_demands_is_asked_for() {
        for (major, server) in &*SERVERS {
            server.sql("postgres", "CREATE ROLE handed_owner");
            server.sql("postgres", "CREATE DATABASE handed OWNER handed_owner");
            server.sql("handed", "GRANT CREATE ON SCHEMA public TO PUBLIC");
            compare(server, "stranger", "", false).await;
            if *major < 16 {
                compare(server, "member", "GRANT handed_owner TO member", true).await;
                let grant = "ALTER ROLE no_heir NOINHERIT; GRANT handed_owner TO no_heir";
                compare(server, "no_heir", grant, false).await;
            } else {
                for (user, inherit, set, enough) in [
                    ("heir", true, true, true),
                    ("no_heir", false, true, false),
                    ("no_giver", true, false, false),
                ] {
                    let grant = format!("GRANT handed_owner TO {user} WITH INHERIT {inherit}, SET {set}");
                    compare(server, user, &grant, enough).await;
                }
            }
        }
    }
}
