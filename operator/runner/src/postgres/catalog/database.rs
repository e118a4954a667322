//! The database as a whole: properties, locale, settings. Asks the server.

use greenlang_backup_api::contents::{DatabaseProperties, Locale, LocaleProvider, SecurityLabel};
use greenlang_backup_api::globals::Setting;
use tokio_postgres::{Error, Row};

use super::super::PostgresError;
use super::super::connect::Session;
use super::super::inspect::Version;

/// What the session's database is made with.
pub async fn properties(session: &Session, version: &Version) -> Result<DatabaseProperties, PostgresError> {
    let sql = format!(
        "SELECT datname::text, pg_catalog.pg_get_userbyid(datdba)::text, pg_catalog.pg_encoding_to_char(encoding)::text,
            datacl::text[], datconnlimit, datistemplate,
            (SELECT spcname::text FROM pg_catalog.pg_tablespace t WHERE t.oid = dattablespace),
            pg_catalog.shobj_description(oid, 'pg_database'), {}
        FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()",
        locale_columns(version.major)
    );
    let mut properties = session.only(&sql, database).await?;
    let name = properties.name.clone();
    properties.settings = session_settings(session).await?;
    properties.settings.retain(|setting| setting.database.as_ref() == Some(&name));
    properties.security_labels = security_labels(session).await?;
    Ok(properties)
}

/// Labels of the session's database. An archive has them only for a `pg_restore --create`, which gives the database its old name.
async fn security_labels(session: &Session) -> Result<Vec<SecurityLabel>, PostgresError> {
    const SQL: &str = "
        SELECT l.provider, l.label
        FROM pg_catalog.pg_shseclabel l JOIN pg_catalog.pg_database d ON d.oid = l.objoid
        WHERE l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND d.datname = pg_catalog.current_database()
        ORDER BY 1";
    session.list(SQL, |row| Ok(SecurityLabel { provider: row.try_get(0)?, label: row.try_get(1)? })).await
}

/// Provider, locale, rules and versions stand in other columns in each major version, or in none.
fn locale_columns(major: u32) -> String {
    let (provider, versions) = match major {
        ..15 => ("'c'", "NULL::text, NULL::text"),
        15.. => {
            ("datlocprovider::text", "datcollversion, pg_catalog.pg_database_collation_actual_version(oid)")
        }
    };
    let name = match major {
        ..15 => "NULL::text",
        15 | 16 => "daticulocale::text",
        17.. => "datlocale::text",
    };
    let rules = if major < 16 { "NULL::text" } else { "daticurules::text" };
    format!("{provider}, datcollate::text, datctype::text, {name}, {rules}, {versions}")
}

fn database(row: &Row) -> Result<DatabaseProperties, Error> {
    Ok(DatabaseProperties {
        name: row.try_get(0)?,
        owner: row.try_get(1)?,
        encoding: row.try_get(2)?,
        acl: row.try_get(3)?,
        connection_limit: row.try_get(4)?,
        template: row.try_get(5)?,
        tablespace: row.try_get(6)?,
        comment: row.try_get(7)?,
        locale: Locale {
            provider: match row.try_get(8)? {
                "i" => LocaleProvider::Icu,
                "b" => LocaleProvider::Builtin,
                _ => LocaleProvider::Libc,
            },
            collate: row.try_get(9)?,
            ctype: row.try_get(10)?,
            name: row.try_get(11)?,
            icu_rules: row.try_get(12)?,
            collation_version: row.try_get(13)?,
            actual_collation_version: row.try_get(14)?,
        },
        settings: Vec::new(),
        security_labels: Vec::new(),
    })
}

/// Settings that sessions start with, of all databases and roles of the server.
pub async fn session_settings(session: &Session) -> Result<Vec<Setting>, PostgresError> {
    const SQL: &str = "
        SELECT d.datname::text, CASE WHEN s.setrole <> 0 THEN pg_catalog.pg_get_userbyid(s.setrole)::text END,
            split_part(setting, '=', 1), substr(setting, position('=' IN setting) + 1)
        FROM pg_catalog.pg_db_role_setting s
            LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
            CROSS JOIN unnest(s.setconfig) AS setting
        ORDER BY 1 NULLS FIRST, 2 NULLS FIRST, 3";
    session
        .list(SQL, |row| {
            Ok(Setting {
                database: row.try_get(0)?,
                role: row.try_get(1)?,
                name: row.try_get(2)?,
                value: row.try_get(3)?,
            })
        })
        .await
}
