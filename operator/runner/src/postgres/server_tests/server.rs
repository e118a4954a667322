//! What the server says of itself: globals and settings, to those who may read them and to others.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::sync::LazyLock;

use greenlang_backup_api::globals::Role;
use greenlang_backup_api::reasons;

use super::super::connect::Session;
use super::super::inspect::ServerFacts;
use super::super::{globals, inspect, settings};
use super::{SERVERS, begin, session, snapshot};
use greenlang_backup_test_servers::{ADMIN_PASSWORD, Postgres};

/// The servers, set up by hand.
static SEEDED: LazyLock<&[(u32, Postgres)]> = LazyLock::new(|| {
    for (_, server) in &*SERVERS {
        seed(server);
    }
    &SERVERS
});

/// Roles as an application has them, and a user who may read nothing beyond what everyone may.
fn seed(server: &Postgres) {
    server.sql(
        "postgres",
        "CREATE ROLE owner_ü CREATEDB CONNECTION LIMIT 3 VALID UNTIL '2031-01-01 00:00:00+00' LOGIN PASSWORD 'owner-password';
        CREATE ROLE forever NOINHERIT CREATEROLE BYPASSRLS REPLICATION VALID UNTIL 'infinity';
        CREATE ROLE nobody LOGIN PASSWORD 'nobody-password';
        COMMENT ON ROLE forever IS 'it''s';
        GRANT forever TO owner_ü WITH ADMIN OPTION;
        GRANT pg_read_all_stats TO owner_ü;
        ALTER ROLE owner_ü SET app.jwt_secret = 'hunter2';
        ALTER DATABASE postgres SET statement_timeout = '9min'",
    );
    server.sql("postgres", "ALTER SYSTEM SET ssl_passphrase_command = 'echo hunter2'");
    server.sql("postgres", "ALTER SYSTEM SET work_mem = '5MB'");
    let hba = server.sql("postgres", "SHOW hba_file");
    let rules = "host app owner_x 10.9.8.0/24 radius radiusservers=127.0.0.1 radiussecrets=hunter2\nhostssl all all all no_such_method\n";
    OpenOptions::new().append(true).open(hba.trim()).unwrap().write_all(rules.as_bytes()).unwrap();
    let ident = server.sql("postgres", "SHOW ident_file");
    fs::write(ident.trim(), "people alice owner_x\n").unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");
    greenlang_backup_test_servers::poll(std::time::Duration::from_secs(20), || {
        (server.sql("postgres", "SHOW work_mem").trim() == "5MB").then_some(())
    })
    .unwrap();
}

#[tokio::test]
async fn a_superuser_gets_all_and_no_secret_in_the_settings() {
    for (major, server) in *SEEDED {
        let major = *major;
        let (session, ServerFacts { version, .. }) = snapshot(server, "postgres").await;

        let globals = globals::read(&session, &version, true).await.unwrap();
        assert_eq!((globals.notes.as_slice(), globals.passwords), ([].as_slice(), true), "{major}");
        let role = |name: &str| globals.roles.iter().find(|role| role.name == name).unwrap();
        let owner = role("owner_ü");
        assert!(owner.login && owner.create_db && owner.inherit && !owner.superuser && !owner.bypass_rls);
        assert_eq!(
            (owner.connection_limit, owner.valid_until.as_deref()),
            (3, Some("2031-01-01T00:00:00.000000Z"))
        );
        assert!(owner.password_hash.as_ref().unwrap().starts_with("SCRAM-SHA-256$"));
        assert!(!format!("{owner:?}").contains("SCRAM"), "a log gets no hash");
        let forever = role("forever");
        assert!(
            forever.create_role
                && forever.bypass_rls
                && forever.replication
                && !forever.inherit
                && !forever.login
        );
        assert_eq!(
            (forever.valid_until.as_deref(), forever.comment.as_deref()),
            (Some("infinity"), Some("it's"))
        );
        assert!(
            role("postgres").superuser
                && globals.roles.iter().all(|role: &Role| !role.name.starts_with("pg_"))
        );
        let member = |of: &str| globals.memberships.iter().find(|membership| membership.role == of).unwrap();
        assert_eq!((member("forever").member.as_str(), member("forever").admin), ("owner_ü", true));
        assert!(!member("pg_read_all_stats").admin);
        let options = (member("forever").inherit, member("forever").set);
        assert_eq!(options, if major < 16 { (None, None) } else { (Some(true), Some(true)) }, "{major}");
        assert!(
            globals.settings.iter().any(|setting| setting.value.as_deref() == Some("hunter2")),
            "needed by a restore"
        );

        let settings = settings::read(&session, &version, globals.settings.clone()).await.unwrap();
        let json = serde_json::to_string(&settings).unwrap();
        assert!(!json.contains("hunter2"), "{major}: {json}");
        let parameter =
            |name: &str| settings.parameters.iter().find(|parameter| parameter.name == name).unwrap();
        let work_mem = parameter("work_mem");
        assert_eq!((work_mem.value.as_deref(), work_mem.unit.as_deref()), (Some("5120"), Some("kB")));
        assert!(work_mem.source_file.as_ref().unwrap().ends_with("postgresql.auto.conf"));
        assert!(parameter("ssl_passphrase_command").value.is_none());
        let rules = settings.access_rules.as_ref().unwrap();
        let radius = rules.iter().find(|rule| rule.method.as_deref() == Some("radius")).unwrap();
        assert_eq!(
            (radius.databases.as_slice(), radius.address.as_deref()),
            (["app".to_owned()].as_slice(), Some("10.9.8.0"))
        );
        assert!(radius.options.iter().any(|option| option == "radiussecrets"), "{:?}", radius.options);
        assert!(rules.iter().any(|rule| rule.error.is_some()), "{rules:?}");
        for name in ["app.jwt_secret", "ssl_passphrase_command"] {
            assert!(settings.withheld.iter().any(|withheld| withheld == name), "{:?}", settings.withheld);
        }
        let mappings = settings.user_mappings.as_deref().unwrap_or_default();
        assert_eq!(mappings.len(), usize::from(major >= 15));
        assert_eq!(settings.notes.len(), usize::from(major < 15), "{:?}", settings.notes);
    }
}

/// What a managed server forbids; and the transaction goes on after each refusal.
#[tokio::test]
async fn what_is_forbidden_is_said_and_does_not_fail() {
    for (major, server) in *SEEDED {
        let major = *major;
        server.create_database("managed");
        server.sql(
            "managed",
            "REVOKE EXECUTE ON FUNCTION pg_tablespace_location(oid), pg_control_system() FROM PUBLIC",
        );
        let nobody = session(server, "nobody", "nobody-password", "managed").await;
        let ServerFacts { version, identity, .. } = begin(&nobody).await;
        assert_eq!(identity.system_identifier, None);

        let globals = globals::read(&nobody, &version, true).await.unwrap();
        assert!(!globals.passwords && globals.roles.iter().all(|role| role.password_hash.is_none()));
        assert!(globals.roles.iter().any(|role| role.name == "owner_ü"), "{major}");
        assert_eq!(globals.notes.len(), 2, "{major}: {:?}", globals.notes);
        assert!(
            globals.notes[0].contains("nobody") && globals.notes[1].contains("tablespaces"),
            "{:?}",
            globals.notes
        );
        let unwanted = globals::read(&nobody, &version, false).await.unwrap();
        assert_eq!(unwanted.notes.len(), 1, "what is not wanted is not missed");

        let settings = settings::read(&nobody, &version, vec![]).await.unwrap();
        assert!(settings.access_rules.is_none() && settings.user_mappings.is_none());
        assert_eq!(settings.notes.len(), 3, "{major}: {:?}", settings.notes);
        assert!(settings.notes.iter().any(|note| note.contains("GRANT pg_read_all_settings")));
        assert!(settings.parameters.iter().any(|parameter| parameter.name == "work_mem"));
        still_one_snapshot(&nobody).await;
    }
}

async fn still_one_snapshot(session: &Session) {
    let isolation: String = session.value("SELECT current_setting('transaction_isolation')").await.unwrap();
    assert_eq!(isolation, "repeatable read");
}

/// The rights that docs/operations.md asks for show all of it.
#[tokio::test]
async fn the_documented_user_reads_all() {
    for (major, server) in *SEEDED {
        let mut grants = "CREATE ROLE documented LOGIN PASSWORD 'pw'; GRANT pg_read_all_data, pg_read_all_settings TO documented;
            GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO documented;"
            .to_owned();
        if *major >= 15 {
            grants += "GRANT EXECUTE ON FUNCTION pg_ident_file_mappings() TO documented;";
        }
        server.sql("postgres", &grants);
        let session = session(server, "documented", "pw", "postgres").await;
        let ServerFacts { version, identity, .. } = begin(&session).await;
        assert!(identity.system_identifier.is_some(), "{major}");
        let globals = globals::read(&session, &version, true).await.unwrap();
        assert!(globals.passwords && globals.notes.is_empty(), "{major}: {:?}", globals.notes);
        let settings = settings::read(&session, &version, vec![]).await.unwrap();
        assert!(settings.access_rules.is_some(), "{major}: {:?}", settings.notes);
        assert_eq!(settings.notes.len(), usize::from(*major < 15), "{:?}", settings.notes);
        assert!(settings.parameters.iter().any(|parameter| parameter.source_file.is_some()), "{major}");
    }
}

/// A database without encoding may have names that are no text.
#[tokio::test]
async fn names_that_are_not_utf_8_are_refused_by_name() {
    for (major, server) in *SEEDED {
        server.sql("postgres", "CREATE DATABASE bytes TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'");
        server.sql("bytes", "CREATE TABLE \"Größe\" (); CREATE TABLE plain ()");
        let one = session(server, "postgres", ADMIN_PASSWORD, "bytes").await;
        assert!(inspect::database(&one).await.is_ok(), "{major}: names in UTF-8 are no problem");
        server.sql("bytes", "DO $$ BEGIN EXECUTE E'CREATE TABLE \"caf\\xe9\" ()'; END $$");
        let error = inspect::database(&one).await.unwrap_err();
        assert_eq!((error.reason(), error.is_retryable()), (reasons::NAMES_NOT_UTF8, false), "{major}");
        let message = error.to_string();
        assert!(message.contains(r"1 of 3 names, public.caf\xe9 for one"), "{major}: {message}");
        // Whatever else would read such a name says so, too.
        let error = one.rows("SELECT relname::text FROM pg_class").await.unwrap_err();
        assert_eq!(error.reason(), reasons::NAMES_NOT_UTF8, "{major}");
    }
}
