//! How a server was set up: parameters that are not at their defaults, and who may connect. What the server forbids is said in
//! notes, and no value that could be a secret is kept. Asks the server.

use greenlang_backup_api::globals::Setting;
use greenlang_backup_api::settings::{AccessRule, Parameter, SCHEMA_VERSION, Settings, UserMapping};
use tokio_postgres::{Error, Row};

use super::PostgresError;
use super::connect::{Session, quoted_identifier};
use super::inspect::Version;
use super::withhold::{could_be_secret, without_secret};

/// The settings of the server. In a transaction. `sessions`: those that sessions start with.
pub async fn read(
    session: &Session,
    version: &Version,
    sessions: Vec<Setting>,
) -> Result<Settings, PostgresError> {
    let mut settings = Settings {
        schema_version: SCHEMA_VERSION,
        server_version: version.text.clone(),
        parameters: parameters(session).await?,
        sessions,
        access_rules: None,
        user_mappings: None,
        withheld: Vec::new(),
        notes: Vec::new(),
    };
    if !session.value::<bool>("SELECT pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE')").await? {
        settings.notes.push(forbidden(session, "parameters that only superusers see", GRANT_SETTINGS));
    }
    settings.access_rules = rules(session, version.major, &mut settings.notes).await?;
    settings.user_mappings = user_mappings(session, version.major, &mut settings.notes).await?;
    withhold(&mut settings);
    Ok(settings)
}

/// What gives the right, but for whom. Views of files need the right to their function, too.
const GRANT_SETTINGS: &str = "GRANT pg_read_all_settings";
const GRANT_RULES: &str =
    "GRANT SELECT ON pg_hba_file_rules TO {user}; GRANT EXECUTE ON FUNCTION pg_hba_file_rules()";
const GRANT_MAPPINGS: &str =
    "GRANT SELECT ON pg_ident_file_mappings TO {user}; GRANT EXECUTE ON FUNCTION pg_ident_file_mappings()";

fn forbidden(session: &Session, what: &str, grant: &str) -> String {
    let user = quoted_identifier(&session.target().user);
    let grant = grant.replace("{user}", &user);
    let database = &session.target().database;
    format!(
        "{what}: user {user} may not read them; as a superuser in database {database}: {grant} TO {user};"
    )
}

async fn parameters(session: &Session) -> Result<Vec<Parameter>, PostgresError> {
    // What this very session was started with says nothing of the server.
    const SQL: &str = "
        SELECT name, setting, unit, source, sourcefile, pending_restart
        FROM pg_catalog.pg_settings WHERE source NOT IN ('default', 'client', 'session') ORDER BY name";
    session
        .list(SQL, |row| {
            Ok(Parameter {
                name: row.try_get(0)?,
                value: row.try_get(1)?,
                unit: row.try_get(2)?,
                source: row.try_get(3)?,
                source_file: row.try_get(4)?,
                pending_restart: row.try_get(5)?,
            })
        })
        .await
}

async fn rules(
    session: &Session,
    major: u32,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<AccessRule>>, PostgresError> {
    let (file, order) = if major < 16 {
        ("NULL::text", "line_number")
    } else {
        ("file_name", "rule_number NULLS LAST, 1, 2")
    };
    let sql = format!(
        "SELECT {file}, line_number, type, coalesce(database, '{{}}'), coalesce(user_name, '{{}}'), address, netmask,
            auth_method, coalesce(options, '{{}}'), error
        FROM pg_catalog.pg_hba_file_rules ORDER BY {order}"
    );
    view(session, "pg_hba_file_rules", ("rules of pg_hba.conf", GRANT_RULES), &sql, rule, notes).await
}

fn rule(row: &Row) -> Result<AccessRule, Error> {
    Ok(AccessRule {
        file: row.try_get(0)?,
        line: row.try_get(1)?,
        kind: row.try_get(2)?,
        databases: row.try_get(3)?,
        users: row.try_get(4)?,
        address: row.try_get(5)?,
        netmask: row.try_get(6)?,
        method: row.try_get(7)?,
        options: row.try_get(8)?,
        error: row.try_get(9)?,
    })
}

async fn user_mappings(
    session: &Session,
    major: u32,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<UserMapping>>, PostgresError> {
    let (file, order) = match major {
        ..15 => {
            notes.push("mappings of pg_ident.conf: PostgreSQL shows them from 15 on".to_owned());
            return Ok(None);
        }
        15 => ("NULL::text", "line_number"),
        16.. => ("file_name", "map_number NULLS LAST, 1, 2"),
    };
    let sql = format!(
        "SELECT {file}, line_number, map_name, sys_name, pg_username, error
        FROM pg_catalog.pg_ident_file_mappings ORDER BY {order}"
    );
    let what = ("mappings of pg_ident.conf", GRANT_MAPPINGS);
    view(session, "pg_ident_file_mappings", what, &sql, mapping, notes).await
}

fn mapping(row: &Row) -> Result<UserMapping, Error> {
    Ok(UserMapping {
        file: row.try_get(0)?,
        line: row.try_get(1)?,
        map: row.try_get(2)?,
        system_user: row.try_get(3)?,
        user: row.try_get(4)?,
        error: row.try_get(5)?,
    })
}

/// Reads a view over a function of the same name, which must both be granted. Asked before it is tried, since a refusal would
/// be an error in the server's log every night.
async fn view<T>(
    session: &Session,
    name: &str,
    (what, grant): (&str, &str),
    sql: &str,
    read: impl Fn(&Row) -> Result<T, Error>,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<T>>, PostgresError> {
    let allowed = format!(
        "SELECT has_table_privilege('pg_catalog.{name}', 'SELECT') AND has_function_privilege('pg_catalog.{name}()', 'EXECUTE')"
    );
    if !session.value::<bool>(&allowed).await? {
        notes.push(forbidden(session, what, grant));
        return Ok(None);
    }
    match session.permitted(sql, read).await? {
        Ok(rows) => Ok(Some(rows)),
        Err(refused) => {
            notes.push(format!("{what}: {}", refused.0));
            Ok(None)
        }
    }
}

/// Leaves out every value that could be a secret, and says whose.
fn withhold(settings: &mut Settings) {
    for parameter in &mut settings.parameters {
        let value = parameter.value.as_deref().unwrap_or_default();
        if could_be_secret(&parameter.name, value) {
            parameter.value = None;
            settings.withheld.push(parameter.name.clone());
        }
    }
    for setting in &mut settings.sessions {
        let value = setting.value.as_deref().unwrap_or_default();
        if could_be_secret(&setting.name, value) {
            setting.value = None;
            settings.withheld.push(setting.name.clone());
        }
    }
    for rule in settings.access_rules.iter_mut().flatten() {
        for option in &mut rule.options {
            if let Some(name) = without_secret(option) {
                settings.withheld.push(format!("{name} in line {} of pg_hba.conf", rule.line));
                *option = name;
            }
        }
        // What is wrong with a list of secrets is told by quoting it.
        if rule.error.as_deref().is_some_and(|error| could_be_secret("error", error)) {
            settings.withheld.push(format!("error in line {} of pg_hba.conf", rule.line));
            rule.error = Some("withheld: it speaks of a secret".to_owned());
        }
    }
    settings.withheld.sort();
    settings.withheld.dedup();
}
