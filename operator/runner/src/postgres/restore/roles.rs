//! Makes the roles of a backup that the server lacks, statement by statement. Nothing that is there is changed or dropped, and
//! what the user may not set is left out and said. Changes the server.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use greenlang_backup_api::globals::{Globals, Membership, Role};
use tracing::{info, warn};

use super::session_settings;
use crate::error::RunError;
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

/// Makes those that are missing, with their attributes, settings and memberships. Returns what could not be had, in words.
pub async fn make_missing(session: &Session, globals: &Globals, major: u32) -> Result<Vec<String>, RunError> {
    let present = present(session).await?;
    let missing: Vec<&Role> = globals.roles.iter().filter(|role| !present.contains(&role.name)).collect();
    let mut warnings = Vec::new();
    if missing.is_empty() {
        return Ok(warnings);
    }
    let superuser = is_superuser(session).await?;
    let mut optional = Vec::new();
    for role in &missing {
        session.execute(&create(role)).await?;
        info!(role = role.name, "role made");
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
    Ok(warnings)
}

/// Runs a statement that the server may refuse; then it is told what is missing now, without passwords.
pub async fn attempt(
    session: &Session,
    statement: &str,
    warnings: &mut Vec<String>,
) -> Result<(), PostgresError> {
    let (shown, refused) = match session.execute(statement).await {
        Ok(()) => return Ok(()),
        Err(PostgresError::PermissionDenied { cause, .. } | PostgresError::DatabaseError { cause, .. }) => {
            (statement.split(" PASSWORD ").next().unwrap_or_default(), cause)
        }
        Err(PostgresError::DatabaseNotFound { .. }) => (statement, "no such database".to_owned()),
        Err(error) => return Err(error),
    };
    warn!(statement = shown, refused, "left out");
    warnings.push(format!("not done: {shown} ({refused})"));
    Ok(())
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
