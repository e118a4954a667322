//! Makes the database that is loaded into: out of template0, with encoding, locale and owner of the backup, marked, and closed to
//! all but us. Changes the server.

use std::fmt::Write as _;

use greenlang_backup_api::contents::{DatabaseProperties, Locale, LocaleProvider};
use greenlang_backup_api::restore::RequestIdentity;
use tracing::info;

use super::RestoreError;
use super::databases::{self, comment_on, marked};
use crate::error::RunError;
use crate::postgres::connect::{Session, quoted_identifier, quoted_literal};

/// Makes it and returns its OID. It lets nobody in until it is marked, so one without a mark is empty.
pub async fn create(
    session: &Session,
    request: &RequestIdentity,
    name: &str,
    properties: &DatabaseProperties,
    major: u32,
) -> Result<u32, RunError> {
    session.execute(&statement(name, properties, major)).await?;
    let made = databases::named(session, name).await?.map(|found| found.oid);
    session.execute(&comment_on(name, Some(&marked(request, None)))).await?;
    let quoted = quoted_identifier(name);
    session.execute(&format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC")).await?;
    session.execute(&format!("ALTER DATABASE {quoted} WITH ALLOW_CONNECTIONS true")).await?;
    let found = databases::named(session, name).await?;
    let Some(found) = found.filter(|found| found.is_of(request) && made == Some(found.oid)) else {
        return Err(
            RestoreError::DatabaseChanged(format!("database {name} vanished while it was made")).into()
        );
    };
    info!(database = name, oid = found.oid, "database made");
    Ok(found.oid)
}

fn statement(name: &str, properties: &DatabaseProperties, major: u32) -> String {
    let mut sql = format!(
        "CREATE DATABASE {} WITH TEMPLATE template0 OWNER {} ENCODING {}",
        quoted_identifier(name),
        quoted_identifier(&properties.owner),
        quoted_literal(&properties.encoding)
    );
    // Writing to a string does not fail.
    let _ = write!(sql, "{}", locale(&properties.locale, major));
    if properties.tablespace != "pg_default" {
        let _ = write!(sql, " TABLESPACE {}", quoted_identifier(&properties.tablespace));
    }
    sql.push_str(" ALLOW_CONNECTIONS false");
    sql
}

fn locale(locale: &Locale, major: u32) -> String {
    let mut sql =
        format!(" LC_COLLATE {} LC_CTYPE {}", quoted_literal(&locale.collate), quoted_literal(&locale.ctype));
    if major < 15 {
        return sql;
    }
    let (provider, name) = match locale.provider {
        LocaleProvider::Libc => ("libc", None),
        LocaleProvider::Icu => ("icu", Some("ICU_LOCALE")),
        LocaleProvider::Builtin => ("builtin", Some("BUILTIN_LOCALE")),
    };
    let _ = write!(sql, " LOCALE_PROVIDER {provider}");
    if let (Some(option), Some(name)) = (name, &locale.name) {
        let _ = write!(sql, " {option} {}", quoted_literal(name));
    }
    if let Some(rules) = locale.icu_rules.as_ref().filter(|_| major >= 16) {
        let _ = write!(sql, " ICU_RULES {}", quoted_literal(rules));
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::super::compare::tests::contents;
    use super::*;

    fn made(major: u32, provider: LocaleProvider) -> String {
        let mut properties = contents().properties;
        properties.locale.provider = provider;
        if provider != LocaleProvider::Libc {
            properties.locale.name = Some("de-DE".to_owned());
            properties.locale.icu_rules =
                Some("&b < a".to_owned()).filter(|_| provider == LocaleProvider::Icu);
        }
        statement("shop_restore_1", &properties, major)
    }

    #[test]
    fn who_compares_text_is_said_as_each_major_version_takes_it() {
        let begin = "CREATE DATABASE \"shop_restore_1\" WITH TEMPLATE template0 OWNER \"owner\" ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'";
        for (major, provider, rest) in [
            (14, LocaleProvider::Libc, ""),
            (15, LocaleProvider::Libc, " LOCALE_PROVIDER libc"),
            (15, LocaleProvider::Icu, " LOCALE_PROVIDER icu ICU_LOCALE 'de-DE'"),
            (16, LocaleProvider::Icu, " LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' ICU_RULES '&b < a'"),
            (17, LocaleProvider::Builtin, " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'de-DE'"),
        ] {
            let expected = format!("{begin}{rest} ALLOW_CONNECTIONS false");
            assert_eq!(made(major, provider), expected, "{major} {provider:?}");
        }
    }

    #[test]
    fn the_tablespace_is_named_unless_it_is_the_one_that_all_have() {
        let mut properties = contents().properties;
        "fa\"st".clone_into(&mut properties.tablespace);
        let sql = statement("d", &properties, 15);
        assert!(sql.ends_with(" TABLESPACE \"fa\"\"st\" ALLOW_CONNECTIONS false"), "{sql}");
    }
}
