//! Makes the roles of a backup that the server lacks, all or none: half a role would not be missing any more, and never be mended.
//! Nothing that is there is changed or dropped, and what the user may not set is left out and said. Changes the server.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use greenlang_backup_api::globals::{Globals, Membership, Role};
use tracing::{info, warn};

use super::session_settings;
use crate::postgres::PostgresError;
use crate::postgres::catalog;
use crate::postgres::connect::{Session, quoted_identifier, quoted_literal};

/// Names of the roles that the server has.
pub async fn present(session: &Session) -> Result<BTreeSet<String>, PostgresError> {
    Ok(catalog::present(session).await?.into_iter().map(|role| role.name).collect())
}

/// Whether the user of a session is a superuser.
pub async fn is_superuser(session: &Session) -> Result<bool, PostgresError> {
    session.value("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user").await
}

/// Times that a role which is to be made may turn out to be there: others make some, too, but not for ever.
const MEETINGS: u32 = 20;

/// Makes those that are missing, with their attributes, settings and memberships, in one transaction. Returns what could not be had,
/// in words.
pub async fn make_missing(
    session: &Session,
    globals: &Globals,
    major: u32,
) -> Result<Vec<String>, PostgresError> {
    for _ in 1..MEETINGS {
        match make(session, globals, major).await {
            // A restore of another database has made it meanwhile, so it is not missing any more.
            Err(error) if error.is_already_there() => session.execute("ROLLBACK").await?,
            end => return end,
        }
    }
    make(session, globals, major).await
}

async fn make(session: &Session, globals: &Globals, major: u32) -> Result<Vec<String>, PostgresError> {
    let mut known = present(session).await?;
    // One that is listed twice is missing once.
    let missing: Vec<&Role> = globals.roles.iter().filter(|role| known.insert(role.name.clone())).collect();
    let mut warnings = Vec::new();
    if missing.is_empty() {
        return Ok(warnings);
    }
    let superuser = is_superuser(session).await?;
    session.execute("BEGIN").await?;
    let mut optional = Vec::new();
    for role in &missing {
        session.execute(&create(role)).await?;
        optional.extend(attributes(role));
        if !superuser {
            // Whoever makes a role may not give it databases and tables before it is a member.
            let options = if major < 16 { "" } else { " WITH INHERIT TRUE, SET TRUE" };
            optional.push(format!("GRANT {} TO CURRENT_USER{options}", quoted_identifier(&role.name)));
        }
    }
    let is_new = |name: &str| missing.iter().any(|role| role.name == name);
    let joining =
        globals.memberships.iter().filter(|joining| is_new(&joining.role) || is_new(&joining.member));
    optional.extend(joining.map(|joining| membership(joining, major)));
    for setting in globals.settings.iter().filter(|setting| setting.database.is_none()) {
        let Some(role) = setting.role.as_deref().filter(|role| is_new(role)) else { continue };
        match session_settings::assignment(setting) {
            Some(assignment) => {
                optional.push(format!("ALTER ROLE {} SET {assignment}", quoted_identifier(role)));
            }
            None => warnings.push(format!(
                "parameter {} of role {role} could be a secret and is not in the backup: set it by hand",
                setting.name
            )),
        }
    }
    for statement in optional {
        attempt(session, &statement, &mut warnings).await?;
    }
    session.execute("COMMIT").await?;
    for role in &missing {
        info!(role = role.name, "role made");
    }
    Ok(warnings)
}

/// Runs a statement that the server may refuse, and says whether it did it; if not, it is told what is missing now, without
/// passwords. In a transaction, which goes on after a refusal.
pub async fn attempt(
    session: &Session,
    statement: &str,
    warnings: &mut Vec<String>,
) -> Result<bool, PostgresError> {
    let Some(refused) = refusal(session, statement).await? else { return Ok(true) };
    let shown = statement.split(" PASSWORD ").next().unwrap_or_default();
    warn!(statement = shown, refused, "left out");
    warnings.push(format!("not done: {shown} ({refused})"));
    Ok(false)
}

/// Runs a statement, and returns the server's words if it refuses it. In a transaction, which goes on then.
pub async fn refusal(session: &Session, statement: &str) -> Result<Option<String>, PostgresError> {
    let guarded = format!("SAVEPOINT attempt; {statement}; RELEASE SAVEPOINT attempt");
    let refused = match session.execute(&guarded).await {
        Ok(()) => return Ok(None),
        Err(PostgresError::PermissionDenied { cause, .. } | PostgresError::DatabaseError { cause, .. }) => {
            cause
        }
        Err(PostgresError::DatabaseNotFound { .. }) => "no such database".to_owned(),
        Err(error) => return Err(error),
    };
    session.execute("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt").await?;
    Ok(Some(refused))
}

fn create(role: &Role) -> String {
    let word = |yes: bool, word: &str| if yes { word.to_owned() } else { format!("NO{word}") };
    let mut sql = format!(
        "CREATE ROLE {} WITH {} {} CONNECTION LIMIT {}",
        quoted_identifier(&role.name),
        word(role.login, "LOGIN"),
        word(role.inherit, "INHERIT"),
        role.connection_limit
    );
    if let Some(until) = &role.valid_until {
        // Writing to a string does not fail.
        let _ = write!(sql, " VALID UNTIL {}", quoted_literal(until));
    }
    sql
}

/// What only some users may set, one statement each, since one that is refused must not take the others with it.
fn attributes(role: &Role) -> Vec<String> {
    let name = quoted_identifier(&role.name);
    let mut statements = Vec::new();
    for (has, attribute) in [
        (role.superuser, "SUPERUSER"),
        (role.create_role, "CREATEROLE"),
        (role.create_db, "CREATEDB"),
        (role.replication, "REPLICATION"),
        (role.bypass_rls, "BYPASSRLS"),
    ] {
        if has {
            statements.push(format!("ALTER ROLE {name} WITH {attribute}"));
        }
    }
    if let Some(hash) = &role.password_hash {
        statements.push(format!("ALTER ROLE {name} WITH PASSWORD {}", quoted_literal(hash)));
    }
    if let Some(comment) = &role.comment {
        statements.push(format!("COMMENT ON ROLE {name} IS {}", quoted_literal(comment)));
    }
    statements
}

fn membership(membership: &Membership, major: u32) -> String {
    let mut options = Vec::new();
    if major >= 16 {
        let options_of =
            [("ADMIN", Some(membership.admin)), ("INHERIT", membership.inherit), ("SET", membership.set)];
        options.extend(options_of.into_iter().filter_map(|(option, value)| {
            value.map(|value| format!("{option} {}", if value { "TRUE" } else { "FALSE" }))
        }));
    } else if membership.admin {
        options.push("ADMIN OPTION".to_owned());
    }
    let options = if options.is_empty() { String::new() } else { format!(" WITH {}", options.join(", ")) };
    format!(
        "GRANT {} TO {}{options}",
        quoted_identifier(&membership.role),
        quoted_identifier(&membership.member)
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use greenlang_backup_api::globals::{SCHEMA_VERSION, Setting};
    use greenlang_backup_test_servers::{ADMIN_PASSWORD, POSTGRES};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::postgres::server_tests::endpoint;

    fn role(name: &str) -> Role {
        Role {
            oid: 1,
            name: name.to_owned(),
            superuser: false,
            inherit: true,
            create_role: false,
            create_db: true,
            login: true,
            replication: false,
            bypass_rls: false,
            connection_limit: -1,
            valid_until: None,
            password_hash: None,
            comment: None,
        }
    }

    fn globals(first: &str, second: &str) -> Globals {
        let setting = |name: &str, value: &str| Setting {
            database: None,
            role: Some(first.to_owned()),
            name: name.to_owned(),
            value: Some(value.to_owned()),
        };
        Globals {
            schema_version: SCHEMA_VERSION,
            server_version: "15".to_owned(),
            roles: vec![role(first), role(second)],
            passwords: false,
            memberships: vec![Membership {
                role: second.to_owned(),
                member: first.to_owned(),
                grantor: None,
                admin: false,
                inherit: None,
                set: None,
            }],
            settings: vec![setting("no_such_parameter", "1"), setting("work_mem", "7MB")],
            tablespaces: Vec::new(),
            parameter_acls: Vec::new(),
            notes: Vec::new(),
        }
    }

    async fn session() -> Session {
        endpoint(&POSTGRES, "postgres", ADMIN_PASSWORD).connect_to_change("postgres").await.unwrap()
    }

    type Made = Result<Vec<String>, PostgresError>;

    /// Makes two roles, up to where the second has to wait for somebody else, who is making it, too.
    async fn made_halfway(first: &'static str, second: &'static str) -> (Session, JoinHandle<Made>) {
        let other = session().await;
        other.execute(&format!("BEGIN; CREATE ROLE {second}")).await.unwrap();
        let making =
            tokio::spawn(async { make_missing(&session().await, &globals(first, second), 15).await });
        while POSTGRES.sql("postgres", &format!("SELECT count(*) FROM {}", waiting(second))) != "1\n" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (other, making)
    }

    fn waiting(role: &str) -> String {
        format!("pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{role}%'")
    }

    fn expect_whole(first: &str, second: &str, warnings: &[String]) {
        assert!(warnings.len() == 1 && warnings[0].contains("no_such_parameter"), "{warnings:?}");
        let sql = format!(
            "SELECT rolcreatedb, rolconfig, pg_has_role(oid, '{second}', 'MEMBER') FROM pg_roles WHERE rolname = '{first}'"
        );
        assert_eq!(POSTGRES.sql("postgres", &sql), "t|{work_mem=7MB}|t\n");
    }

    #[tokio::test]
    async fn roles_are_made_as_a_whole_or_not_at_all() {
        let (first, second) = ("cut_first", "cut_second");
        let (other, making) = made_halfway(first, second).await;
        POSTGRES.sql("postgres", &format!("SELECT pg_terminate_backend(pid) FROM {}", waiting(second)));
        assert!(making.await.unwrap().unwrap_err().is_retryable());
        other.execute("ROLLBACK").await.unwrap();
        let left = POSTGRES.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'cut%'");
        assert_eq!(left, "0\n");
        let warnings = make_missing(&session().await, &globals(first, second), 15).await.unwrap();
        expect_whole(first, second, &warnings);
        assert!(make_missing(&session().await, &globals(first, second), 15).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_role_that_another_restore_makes_meanwhile_is_there() {
        let (first, second) = ("met_first", "met_second");
        let (other, making) = made_halfway(first, second).await;
        other.execute("COMMIT").await.unwrap();
        expect_whole(first, second, &making.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn a_role_that_is_listed_twice_is_made_once() {
        let (first, second) = ("twice_first", "twice_second");
        let mut globals = globals(first, second);
        globals.roles.push(role(first));
        let session = session().await;
        let making = tokio::time::timeout(Duration::from_mins(1), make_missing(&session, &globals, 15));
        expect_whole(first, second, &making.await.unwrap().unwrap());
    }
}
