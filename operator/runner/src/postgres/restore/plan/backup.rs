//! What the backup needs of the server: version, extensions, locale, labels, roles, settings. Asks the server.

use std::collections::{BTreeMap, BTreeSet};

use greenlang_backup_api::contents::{DatabaseContents, LocaleProvider};
use greenlang_backup_api::globals::Globals;
use greenlang_backup_api::reasons::{self, restore};
use greenlang_backup_api::settings::{Parameter, Settings};
use greenlang_backup_api::v1alpha1::RestoreGlobals;
use tokio_postgres::error::SqlState;

use super::super::properties::{self, labelling};
use super::super::roles;
use super::Findings;
use crate::error::RunError;
use crate::postgres::PostgresError;
use crate::postgres::connect::{Session, quoted_identifier, quoted_literal};
use crate::postgres::withhold::could_be_secret;

/// Parameters that differ between any two servers, or are about where it is.
const OF_THE_PLACE: [&str; 12] = [
    "archive_command",
    "cluster_name",
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "port",
    "ssl_cert_file",
    "ssl_key_file",
    "unix_socket_directories",
];

/// Extensions that the backup has and the server cannot make.
pub async fn extensions(
    session: &Session,
    contents: &DatabaseContents,
    findings: &mut Findings,
) -> Result<(), RunError> {
    const AVAILABLE: &str = "
        SELECT e.name::text, e.default_version, coalesce(v.superuser AND NOT v.trusted, false)
        FROM pg_catalog.pg_available_extensions e
            LEFT JOIN pg_catalog.pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version";
    let found: Vec<(String, Option<String>, bool)> =
        session.list(AVAILABLE, |row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).await?;
    let restricted = found.iter().filter(|(_, _, restricted)| *restricted).map(|(name, ..)| name.as_str());
    not_trusted(session, contents, &restricted.collect(), findings).await?;
    let available: BTreeMap<&String, &Option<String>> =
        found.iter().map(|(name, version, _)| (name, version)).collect();
    for extension in &contents.extensions {
        match available.get(&extension.name) {
            None => findings.refuse(
                restore::EXTENSION_UNAVAILABLE,
                format!(
                    "the server has no extension {} ({} in the backup): install its package on the server",
                    extension.name, extension.version
                ),
            ),
            Some(version) if version.as_ref().is_some_and(|version| *version != extension.version) => {
                let version = version.as_deref().unwrap_or_default();
                findings.warn(format!(
                    "extension {} comes back in version {version} instead of {}: a dump does not carry it",
                    extension.name, extension.version
                ));
            }
            Some(_) => {}
        }
    }
    let names: Vec<String> = contents.extensions.iter().map(|extension| extension.name.clone()).collect();
    super::target::bound_extensions(&names, "the backup", findings);
    Ok(())
}

/// Extensions that only a superuser makes, where the user is none. Providers let roles of their own make some, which no catalog tells:
/// they are known by such a role, or by the settings of the modules that let it (pgextwlist, supautils).
async fn not_trusted(
    session: &Session,
    contents: &DatabaseContents,
    restricted: &BTreeSet<&str>,
    findings: &mut Findings,
) -> Result<(), RunError> {
    const OF_A_PROVIDER: &str = "
        SELECT pg_catalog.current_setting('extwlist.extensions', true) IS NOT NULL
            OR pg_catalog.current_setting('supautils.privileged_extensions', true) IS NOT NULL
            OR EXISTS (SELECT FROM pg_catalog.pg_roles
                WHERE rolname IN
                    ('alloydbsuperuser', 'azure_pg_admin', 'cloudsqlsuperuser', 'neon_superuser', 'rds_superuser')
                AND pg_catalog.pg_has_role(current_user, oid, 'MEMBER'))";
    let mut names = contents.extensions.iter().map(|extension| extension.name.as_str());
    if !names.any(|name| restricted.contains(name)) || roles::is_superuser(session).await? {
        return Ok(());
    }
    let of_a_provider: bool = session.value(OF_A_PROVIDER).await?;
    let user = &session.target().user;
    for extension in contents.extensions.iter().filter(|of| restricted.contains(&*of.name)) {
        let name = &extension.name;
        if of_a_provider {
            findings.warn(format!(
                "extension {name} is not trusted, so loading fails unless the provider lets user {user} make it"
            ));
        } else {
            findings.refuse(
                reasons::PERMISSION_DENIED,
                format!(
                    "user {user} may not make extension {name}, which is not trusted: let a superuser restore, or ALTER ROLE {} SUPERUSER; until it is done",
                    quoted_identifier(user)
                ),
            );
        }
    }
    Ok(())
}

/// Roles that are made, those of them that nobody can log in with afterwards, and those that are missing for good.
pub async fn missing_roles(
    session: &Session,
    contents: &DatabaseContents,
    globals: Option<&Globals>,
    how: RestoreGlobals,
    findings: &mut Findings,
) -> Result<(), RunError> {
    let present = roles::present(session).await?;
    let mut coming = BTreeSet::new();
    if how == RestoreGlobals::Restore
        && let Some(globals) = globals
    {
        for role in globals.roles.iter().filter(|role| !present.contains(&role.name)) {
            coming.insert(role.name.clone());
            findings.plan.roles_to_make.push(role.name.clone());
            if role.login && role.password_hash.is_none() {
                findings.plan.roles_without_password.push(role.name.clone());
            }
        }
    }
    let mut wanted: BTreeSet<String> = contents.tables.iter().map(|table| table.owner.clone()).collect();
    wanted.insert(contents.properties.owner.clone());
    wanted.extend(contents.properties.settings.iter().filter_map(|setting| setting.role.clone()));
    wanted.extend(contents.properties.acl.iter().flatten().flat_map(|item| properties::roles_of(item)));
    wanted.extend(contents.lost_roles.iter().cloned());
    // Everything that a role may own or use is not listed; without the roles of the backup, each of them may be wanted.
    if how == RestoreGlobals::Skip
        && let Some(globals) = globals
    {
        let others =
            globals.roles.iter().filter(|role| !present.contains(&role.name) && !wanted.contains(&role.name));
        let names: Vec<&str> = others.map(|role| role.name.as_str()).collect();
        if !names.is_empty() {
            findings.warn(format!(
                "the server lacks roles of the backup's server that nothing known needs: {}",
                names.join(", ")
            ));
        }
    }
    for role in wanted.iter().filter(|role| !present.contains(*role) && !coming.contains(*role)) {
        findings.refuse(
            restore::ROLES_MISSING,
            format!(
                "the server has no role {role}, which the database needs: CREATE ROLE {};",
                quoted_identifier(role)
            ),
        );
    }
    Ok(())
}

/// Tries the locale on a collation that is never kept. Only where no database of the server has it already.
pub async fn locale(
    session: &Session,
    contents: &DatabaseContents,
    findings: &mut Findings,
) -> Result<(), RunError> {
    const USED: &str = "
        SELECT 1 FROM pg_catalog.pg_database WHERE datcollate::text = $1 AND datctype::text = $2
            AND pg_catalog.pg_encoding_to_char(encoding)::text = $3 LIMIT 1";
    let properties = &contents.properties;
    let locale = &properties.locale;
    let texts = [&*locale.collate, &*locale.ctype, &*properties.encoding];
    let used = session.list_with(USED, &texts, |row| row.try_get::<_, i32>(0)).await?;
    if !used.is_empty() && locale.provider == LocaleProvider::Libc {
        return Ok(());
    }
    let mut locales = vec![format!(
        "LC_COLLATE = {}, LC_CTYPE = {}",
        quoted_literal(&locale.collate),
        quoted_literal(&locale.ctype)
    )];
    if let (LocaleProvider::Icu, Some(name)) = (locale.provider, &locale.name) {
        locales.push(format!("PROVIDER = icu, LOCALE = {}", quoted_literal(name)));
    }
    for options in locales {
        session.execute("BEGIN; SET LOCAL transaction_read_only = off").await?;
        let tried = session.execute(&format!("CREATE COLLATION pg_temp.tried ({options})")).await;
        session.execute("ROLLBACK").await?;
        match tried {
            Ok(()) => {}
            Err(PostgresError::DatabaseError { cause, .. }) => findings.refuse(
                restore::LOCALE_UNAVAILABLE,
                format!("the server does not have the locale of the database ({options}: {cause}): install it on the server (Debian: a line in /etc/locale.gen, locale-gen) and restart PostgreSQL"),
            ),
            Err(PostgresError::PermissionDenied { .. }) => findings.warn(format!("whether the server has the locale of the database ({options}) was not found out")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Security labels of the database that the server does not take: it has not loaded what reads them, so they mean nothing to it. They
/// are left out, and told with the statement that sets them later. Tried on the temporary database, which is not there yet: a provider
/// that is not loaded is told before that, and nothing is kept.
pub async fn labels(
    session: &Session,
    contents: &DatabaseContents,
    (database, temporary): (&str, &str),
    findings: &mut Findings,
) -> Result<(), RunError> {
    for label in &contents.properties.security_labels {
        session.execute("BEGIN; SET LOCAL transaction_read_only = off").await?;
        let tried = session.execute(&labelling(temporary, label)).await;
        session.execute("ROLLBACK").await?;
        match tried {
            Err(PostgresError::DatabaseError { code, cause, .. })
                if code == SqlState::INVALID_PARAMETER_VALUE =>
            {
                findings.warn(format!(
                    "the database has a security label, and {cause} on this server: load it before (shared_preload_libraries), or set the label afterwards: {};",
                    labelling(database, label)
                ));
            }
            Err(error @ (PostgresError::ConnectionFailed { .. } | PostgresError::Slow { .. })) => {
                return Err(error.into());
            }
            // The provider is there, and looked for the database.
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// What the server is set to otherwise than the backup's was. Shown, never applied.
pub async fn settings(
    session: &Session,
    settings: &Settings,
    findings: &mut Findings,
) -> Result<(), RunError> {
    const SQL: &str = "SELECT name::text, setting FROM pg_catalog.pg_settings WHERE setting IS NOT NULL";
    let now: BTreeMap<String, String> =
        session.list(SQL, |row| Ok((row.try_get(0)?, row.try_get(1)?))).await?.into_iter().collect();
    for parameter in &settings.parameters {
        let Some(value) = &parameter.value else { continue };
        if OF_THE_PLACE.contains(&parameter.name.as_str()) || now.get(&parameter.name) == Some(value) {
            continue;
        }
        findings.plan.different_settings.push(difference(parameter, now.get(&parameter.name)));
    }
    Ok(())
}

/// Both values of a parameter. That of the server is no secret of the backup's, but can be one of its own.
fn difference(parameter: &Parameter, here: Option<&String>) -> String {
    let Parameter { name, value, unit, .. } = parameter;
    let here = match here {
        None => "unknown",
        Some(here) if could_be_secret(name, here) => "(withheld)",
        Some(here) => here,
    };
    let unit = unit.as_deref().map_or_else(String::new, |unit| format!(" × {unit}"));
    format!("{name} = {here} here, {}{unit} there", value.as_deref().unwrap_or("(withheld)"))
}

#[cfg(test)]
mod tests {
    use greenlang_backup_api::contents::Extension;
    use greenlang_backup_test_servers::{ADMIN_PASSWORD, POSTGRES};
    use serde_json::json;

    use super::super::super::compare::tests::contents;
    use super::*;
    use crate::postgres::server_tests::endpoint;

    async fn session() -> Session {
        endpoint(&POSTGRES, "postgres", ADMIN_PASSWORD).connect("postgres").await.unwrap()
    }

    fn told(findings: &Findings) -> Vec<(&str, &str)> {
        let refusals = findings.plan.refusals.iter();
        refusals.map(|refusal| (refusal.reason.as_str(), refusal.message.as_str())).collect()
    }

    #[tokio::test]
    async fn extensions_that_cannot_be_made_or_are_bound_to_their_database_are_refused() {
        let of = |names: &[&str]| {
            let extension = |name: &&str| Extension {
                name: (*name).to_owned(),
                version: "0.1".to_owned(),
                schema: "public".to_owned(),
            };
            DatabaseContents { extensions: names.iter().map(extension).collect(), ..contents() }
        };
        let mut findings = Findings::default();
        extensions(&session().await, &of(&["hstore", "tested", "pg_cron", "timescaledb"]), &mut findings)
            .await
            .unwrap();
        let found = told(&findings);
        let unavailable = found.iter().filter(|(reason, _)| *reason == restore::EXTENSION_UNAVAILABLE);
        let unavailable: Vec<&str> = unavailable.map(|(_, message)| *message).collect();
        assert_eq!(unavailable.len(), 3, "{found:#?}");
        assert!(unavailable[0].starts_with("the server has no extension tested (0.1 in the backup)"));
        let bound = found.iter().filter(|(reason, _)| *reason == restore::EXTENSION_BOUND);
        let bound: Vec<&str> = bound.map(|(_, message)| *message).collect();
        assert!(
            bound.len() == 2
                && bound[0].contains("cron.database_name")
                && bound[1].contains("timescaledb_pre_restore"),
            "{found:#?}"
        );
        assert!(
            findings.plan.warnings.len() == 1
                && findings.plan.warnings[0].starts_with("extension hstore comes back in version 1."),
            "{findings:?}"
        );
    }

    #[tokio::test]
    async fn a_locale_is_tried_and_what_the_server_lacks_is_refused() {
        let session = session().await;
        for (provider, collate, name, wanted) in [
            (LocaleProvider::Libc, "C.UTF-8", None, None),
            (LocaleProvider::Libc, "POSIX", None, None),
            (LocaleProvider::Icu, "C.UTF-8", Some("de-DE"), None),
            (LocaleProvider::Libc, "xx_YY.UTF-8", None, Some("LC_COLLATE = 'xx_YY.UTF-8'")),
            (LocaleProvider::Icu, "xx_YY.UTF-8", Some("de-DE"), Some("LC_COLLATE = 'xx_YY.UTF-8'")),
        ] {
            let mut contents = contents();
            let locale = &mut contents.properties.locale;
            locale.provider = provider;
            (locale.collate, locale.ctype) = (collate.to_owned(), "C.UTF-8".to_owned());
            locale.name = name.map(str::to_owned);
            let mut findings = Findings::default();
            locale_of(&session, &contents, &mut findings).await;
            match (&told(&findings)[..], wanted) {
                ([], None) => {}
                ([(reason, message)], Some(words)) => {
                    assert_eq!(*reason, restore::LOCALE_UNAVAILABLE);
                    assert!(message.contains(words) && message.contains("locale-gen"), "{message}");
                }
                (found, _) => panic!("{collate}: {found:?}"),
            }
        }
    }

    async fn locale_of(session: &Session, contents: &DatabaseContents, findings: &mut Findings) {
        locale(session, contents, findings).await.unwrap();
        // Nothing was kept, and the session may be used on.
        let left =
            session.value::<i64>("SELECT count(*) FROM pg_catalog.pg_collation WHERE collname = 'tried'");
        assert_eq!(left.await.unwrap(), 0);
    }

    #[test]
    fn a_secret_of_the_server_is_not_shown_beside_a_harmless_value() {
        let parameter: Parameter = serde_json::from_value(
            json!({"name": "primary_conninfo", "value": "", "source": "file", "pending_restart": false}),
        )
        .unwrap();
        let shown = |here: &str| difference(&parameter, Some(&here.to_owned()));
        assert_eq!(shown("host=a password=hush"), "primary_conninfo = (withheld) here,  there");
        assert_eq!(shown("host=a"), "primary_conninfo = host=a here,  there");
        assert_eq!(difference(&parameter, None), "primary_conninfo = unknown here,  there");
    }
}
