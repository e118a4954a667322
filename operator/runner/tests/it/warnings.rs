//! What the programs warn of although they end well: what is known is kept, by the words of real programs; what is not fails.

use greenlang_backup_api::contents::Contents;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use crate::fixture::{Fixture, ID};
use crate::happy::SEEDED;
use crate::servers::{ADMIN_PASSWORD, Postgres};

#[test]
fn words_that_nobody_knows_make_the_attempt_fail() {
    for (name, program, words) in [
        ("unknown-dump", "pg_dump", "pg_dump: warning: something was left out"),
        ("unknown-globals", "pg_dumpall", "WARNING:  something of the server"),
        (
            "unknown-later",
            "pg_dump",
            "pg_dump: warning: subscriptions not dumped because current user is not a superuser\npg_dump: detail: odd",
        ),
    ] {
        let fixture = Fixture::new(name, &[*SEEDED]);
        let clients = fixture.fake_clients(&[(program, &format!("printf '%s\\n' '{words}' >&2"))]);
        let ended = fixture.run_with_clients(&clients);
        ended.expect(Outcome::Failed, reasons::UNKNOWN_WARNING);
        ended.expect_message(&[program, words.lines().last().unwrap()]);
        fixture.bucket.assert_empty();
    }
}

/// A warning may not hide behind others.
#[test]
fn more_words_than_are_kept_make_the_attempt_fail() {
    let fixture = Fixture::new("unknown-cut", &[*SEEDED]);
    let many = "echo 'pg_dump: warning: something was left out' >&2
        for i in {1..5000}; do echo 'pg_dump: warning: unsupported pg_init_privs entry: 1 2 3' >&2; done";
    let ended = fixture.run_with_clients(&fixture.fake_clients(&[("pg_dump", many)]));
    ended.expect(Outcome::Failed, reasons::UNKNOWN_WARNING);
}

#[test]
fn real_warnings_that_are_known_are_kept() {
    let server = Postgres::start(ADMIN_PASSWORD);
    for (database, options) in
        [("old-icu", "LOCALE_PROVIDER icu ICU_LOCALE 'en' TEMPLATE template0"), ("old-libc", "")]
    {
        server.sql("postgres", &format!("CREATE DATABASE \"{database}\" {options}"));
        server.sql(
            "postgres",
            &format!("UPDATE pg_database SET datcollversion = '1' WHERE datname = '{database}'"),
        );
    }
    // An extension made by hand, whose configuration table refers to itself.
    server.sql(
        "old-libc",
        "CREATE TABLE patients (id int PRIMARY KEY, parent int REFERENCES patients);
        INSERT INTO pg_extension VALUES (9999, 'by_hand', 10, 'public'::regnamespace, false, '1', ARRAY['patients'::regclass::oid], ARRAY['']);
        INSERT INTO pg_depend VALUES ('pg_class'::regclass, 'patients'::regclass, 0, 'pg_extension'::regclass, 9999, 0, 'e')",
    );
    server.sql(
        "old-libc",
        "CREATE SUBSCRIPTION far CONNECTION 'host=nowhere password=far' PUBLICATION p WITH (connect = false)",
    );
    server.sql("postgres", "INSERT INTO pg_auth_members VALUES (10, 9998, 10, false)");
    server.sql(
        "postgres",
        "CREATE ROLE reader LOGIN PASSWORD 'reader-password'; GRANT pg_read_all_data TO reader",
    );

    let mut fixture = Fixture::new("known", &["old-icu", "old-libc"]);
    fixture.task.server.port = server.port;
    fixture.task.server.credentials =
        fixture.secret("reader", &[("username", "reader"), ("password", "reader-password")]);
    fixture.task.role_passwords = greenlang_backup_api::v1alpha1::RolePasswords::Never;
    let ended = fixture.run();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let contents: Contents = serde_json::from_str(
        &fixture.opened(&format!("clusters/test/database/{ID}/1/contents.json.zst.age")),
    )
    .unwrap();
    assert_each(
        &contents.warnings,
        &[
            "found orphaned pg_auth_members entry for role 9998",
            "pg_dump of database old-icu: WARNING:  database \"old-icu\" has a collation version mismatch DETAIL:  The database was created using collation version 1,",
            "pg_dump of database old-libc: WARNING:  database \"old-libc\" has no actual collation version, but a version was recorded",
            "there are circular foreign-key constraints on this table: detail: patients hint: You might not",
            "subscriptions not dumped because current user is not a superuser",
        ],
    );
    let manifest = fixture.manifest();
    assert_each(
        &manifest.warnings,
        &[
            "pg_dumpall of roles and tablespaces: remains of memberships",
            "pg_dump of database old-icu: indexes of the source were made with another version",
            "pg_dump of database old-libc: the collation of the source has no version",
            "pg_dump of database old-libc: circular foreign keys among configuration tables of an extension (1 warnings",
            "pg_dump of database old-libc: subscriptions are not in the dump",
        ],
    );
    // The manifest is not encrypted.
    assert!(!serde_json::to_string(&manifest).unwrap().contains("patients"));
}

#[track_caller]
fn assert_each(warnings: &[String], expected: &[&str]) {
    for words in expected {
        assert!(warnings.iter().any(|warning| warning.contains(words)), "{words}\nis not in {warnings:#?}");
    }
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
}
