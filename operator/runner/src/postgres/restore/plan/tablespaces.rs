//! Tablespaces that a restore needs: PostgreSQL makes none by itself, since each is a directory of its server. Network.

use std::collections::{BTreeMap, HashSet};

use greenlang_backup_api::contents::DatabaseContents;
use greenlang_backup_api::globals::Globals;
use greenlang_backup_api::reasons::{self, restore};

use super::super::RestoreError;
use super::super::part::Part;
use super::super::source::Source;
use super::Findings;
use crate::error::RunError;
use crate::postgres::archive::Toc;
use crate::postgres::connect::{Session, quoted_identifier, quoted_literal};

/// The one that every database has without a word.
const DEFAULT: &str = "pg_default";

/// Tablespaces that definitions of the archive name, each with what lies in it, in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Used(BTreeMap<String, String>);

impl Used {
    /// Of all of an archive, or of a part of it.
    pub fn of(toc: &Toc, part: Option<&Part>) -> Self {
        let chosen: Option<HashSet<u32>> = part.map(|part| part.entries.iter().copied().collect());
        let used = toc.tablespaces.iter().filter_map(|(name, entries)| {
            let is_chosen =
                |entry: &&u32| chosen.as_ref().is_none_or(|chosen: &HashSet<u32>| chosen.contains(*entry));
            let (count, first) = (entries.iter().filter(is_chosen).count(), entries.iter().find(is_chosen)?);
            let first = toc.entries.iter().find(|entry| entry.dump_id == *first)?;
            let (kind, schema) = (first.desc.to_lowercase(), first.namespace.escape_debug());
            let first = format!("{kind} {schema}.{}", first.tag.escape_debug());
            let others = count - 1;
            let what = if others == 0 { first } else { format!("{first} and {others} more") };
            Some((name.clone(), what))
        });
        Self(used.collect())
    }

    /// Of all of a backup's database; none where its table of contents is too much for this program, which loads it all the same.
    pub async fn of_whole(source: &Source) -> Result<Option<Self>, RunError> {
        match source.toc().await {
            Ok(toc) => Ok(Some(Self::of(&toc, None))),
            Err(RunError::Restore(RestoreError::NotSupported(_) | RestoreError::NotUnderstood { .. })) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Refuses those that the server lacks or does not let the user fill, and tells of others that the backup's server had.
pub async fn missing(
    session: &Session,
    contents: &DatabaseContents,
    globals: Option<&Globals>,
    used: Option<&Used>,
    findings: &mut Findings,
) -> Result<(), RunError> {
    const SQL: &str = "
        SELECT spcname::text, pg_catalog.has_tablespace_privilege(oid, 'CREATE') FROM pg_catalog.pg_tablespace";
    let present: BTreeMap<String, bool> =
        session.list(SQL, |row| Ok((row.try_get(0)?, row.try_get(1)?))).await?.into_iter().collect();
    let mut needed = used.map_or_else(BTreeMap::new, |used| used.0.clone());
    let of_database = &contents.properties.tablespace;
    if of_database != DEFAULT {
        needed.insert(of_database.clone(), "the database".to_owned());
    }
    if used.is_none() {
        findings.warn("whether tables lie in tablespaces that the server lacks was not found out: the archive's table of contents is too long for this program, or of a newer format");
    }
    let who = &session.target().user;
    for (name, what) in &needed {
        match present.get(name) {
            None => findings.refuse(restore::TABLESPACE_MISSING, lacking(name, what, globals)),
            Some(false) => findings.refuse(
                reasons::PERMISSION_DENIED,
                format!(
                    "user {who} may not make {what} in tablespace {name}: GRANT CREATE ON TABLESPACE {} TO {};",
                    quoted_identifier(name),
                    quoted_identifier(who)
                ),
            ),
            Some(true) => {}
        }
    }
    let known = globals.map_or(&[][..], |globals| &globals.tablespaces);
    let others = known.iter().map(|tablespace| tablespace.name.as_str());
    let others: Vec<&str> =
        others.filter(|name| !present.contains_key(*name) && !needed.contains_key(*name)).collect();
    if !others.is_empty() {
        findings.warn(format!(
            "the server lacks tablespaces of the backup's server that nothing known needs: {}",
            others.join(", ")
        ));
    }
    Ok(())
}

/// One that is not there, with the statement that makes it where the backup knows its directory.
fn lacking(name: &str, what: &str, globals: Option<&Globals>) -> String {
    let known = globals.map_or(&[][..], |globals| &globals.tablespaces);
    let known = known.iter().find(|tablespace| tablespace.name == name);
    let directory = known
        .and_then(|tablespace| tablespace.location.as_deref())
        .map_or_else(|| "'…'".to_owned(), quoted_literal);
    format!(
        "the server has no tablespace {name}, in which {what} must lie: make an empty directory that the server's system user owns, and CREATE TABLESPACE {} LOCATION {directory};",
        quoted_identifier(name)
    )
}

#[cfg(test)]
mod tests {
    use greenlang_backup_api::globals::Tablespace;
    use greenlang_backup_test_servers::{ADMIN_PASSWORD, Postgres};

    use super::super::super::compare::tests::contents;
    use super::*;
    use crate::postgres::server_tests::endpoint;

    fn globals(names: &[&str]) -> Globals {
        let tablespace = |name: &&str| Tablespace {
            oid: 1,
            name: (*name).to_owned(),
            owner: "postgres".to_owned(),
            location: Some(format!("/srv/{name}")).filter(|_| *name != "untold"),
            options: vec![],
            acl: None,
            comment: None,
        };
        Globals {
            schema_version: greenlang_backup_api::globals::SCHEMA_VERSION,
            server_version: "15".to_owned(),
            roles: vec![],
            passwords: false,
            memberships: vec![],
            settings: vec![],
            tablespaces: names.iter().map(tablespace).collect(),
            parameter_acls: vec![],
            notes: vec![],
        }
    }

    /// What a server with the tablespace `there` says; which of them is the database's, which has a table.
    async fn found(user: &str, of_database: &str, of_table: &[&str]) -> Findings {
        static SERVER: std::sync::LazyLock<Postgres> = std::sync::LazyLock::new(|| {
            let server = Postgres::start_with(ADMIN_PASSWORD, &[("allow_in_place_tablespaces", "on")]);
            server.sql("postgres", "CREATE TABLESPACE there LOCATION ''");
            server.sql("postgres", "CREATE ROLE loader LOGIN PASSWORD 'loader'");
            server
        });
        let mut contents = contents();
        of_database.clone_into(&mut contents.properties.tablespace);
        let needed =
            Used(of_table.iter().map(|name| ((*name).to_owned(), "table app.t".to_owned())).collect());
        let password = if user == "postgres" { ADMIN_PASSWORD } else { user };
        let session = endpoint(&SERVER, user, password).connect("postgres").await.unwrap();
        let mut findings = Findings::default();
        let globals = globals(&["there", "fast", "untold", "unused"]);
        missing(&session, &contents, Some(&globals), Some(&needed), &mut findings).await.unwrap();
        findings
    }

    fn told(findings: &Findings) -> Vec<(&str, &str)> {
        let refusals = findings.plan.refusals.iter();
        refusals.map(|refusal| (refusal.reason.as_str(), refusal.message.as_str())).collect()
    }

    #[tokio::test]
    async fn what_must_lie_in_a_tablespace_that_is_not_there_is_refused_with_its_statement() {
        let well = found("postgres", "pg_default", &["there"]).await;
        assert_eq!(told(&well), []);
        assert_eq!(
            well.plan.warnings,
            [
                "the server lacks tablespaces of the backup's server that nothing known needs: fast, untold, unused"
            ]
        );
        let lacking = found("postgres", "fast", &["untold"]).await;
        let [(database, first), (table, second)] = told(&lacking)[..] else { panic!("{lacking:?}") };
        assert_eq!((database, table), (restore::TABLESPACE_MISSING, restore::TABLESPACE_MISSING));
        assert!(first.contains("fast, in which the database must lie"), "{first}");
        assert!(first.ends_with("CREATE TABLESPACE \"fast\" LOCATION '/srv/fast';"), "{first}");
        assert!(second.contains("table app.t must lie") && second.ends_with("LOCATION '…';"), "{second}");
    }

    #[tokio::test]
    async fn one_that_the_user_may_not_fill_is_refused_but_for_the_default() {
        let refused = found("loader", "there", &[]).await;
        let [(reason, message)] = told(&refused)[..] else { panic!("{refused:?}") };
        assert_eq!(reason, reasons::PERMISSION_DENIED);
        assert!(message.ends_with("GRANT CREATE ON TABLESPACE \"there\" TO \"loader\";"), "{message}");
        assert_eq!(told(&found("loader", "pg_default", &[]).await), []);
    }
}
