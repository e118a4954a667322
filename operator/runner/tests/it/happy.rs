//! Backups that succeed, and what can be done with them.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;

use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::progress::Progress;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::v1alpha1::{RolePasswords, Verification};

use crate::fixture::{Fixture, ID};
use crate::servers::{CLIENTS, POSTGRES, Postgres, S3_KEY, S3_SECRET, run};

/// A name that is hostile to shells, URLs, SQL, connection strings and paths.
pub const HOSTILE: &str = "a/b \"é\" $(touch x) `y` 'z' dbname=postgres\\";

/// One database of everything, made once.
pub static SEEDED: LazyLock<&str> = LazyLock::new(|| {
    let name = "greenlang";
    POSTGRES.create_database(name);
    POSTGRES.sql_file(name, "tests/it/seed.sql".as_ref());
    name
});

/// The commands of a manifest as they stand, with what they need; nothing but public programs.
pub fn recovery(fixture: &Fixture, target: &Postgres, commands: &[String]) -> Command {
    let mut command = Command::new("bash");
    command
        .args(["-c", &commands.join("\n")])
        .env("PATH", format!("{CLIENTS}:{}", std::env::var("PATH").unwrap()))
        .env("AWS_ENDPOINT_URL", fixture.task.bucket.endpoint.as_ref().unwrap())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", S3_KEY)
        .env("AWS_SECRET_ACCESS_KEY", S3_SECRET)
        .env("IDENTITY", &fixture.identity_file)
        .env("PGHOST", "localhost")
        .env("PGPORT", target.port.to_string())
        .env("PGUSER", "postgres")
        .env("PGPASSWORD", target.password);
    command
}

#[test]
fn a_backup_can_be_recovered_with_public_programs_only() {
    let seeded = *SEEDED;
    POSTGRES.create_database(HOSTILE);
    POSTGRES.sql(HOSTILE, "CREATE TABLE t AS SELECT 'ü' AS ü, i FROM generate_series(1, 100) i");
    POSTGRES.sql("postgres", "CREATE TABLE IF NOT EXISTS in_postgres AS SELECT 1 AS one");
    let fixture = Fixture::new("happy", &[seeded, HOSTILE, "postgres"]);
    let ended = fixture.run();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);

    let manifest = fixture.manifest();
    let backup = ended.report.backup.as_ref().unwrap();
    assert_eq!((backup.id.as_str(), backup.path.as_str()), (ID, "database"));
    assert_eq!((backup.stored_bytes, backup.warnings), (manifest.size_bytes, 0));
    assert_eq!((backup.verified, manifest.verified), (Verification::ReadBack, Verification::ReadBack));
    assert_eq!(manifest.database.as_deref(), Some(seeded));
    let archive = |database: &str| Content::PostgresArchive { database: database.to_owned() };
    let stored: Vec<&Content> = manifest.objects.iter().map(|object| &object.content).collect();
    assert_eq!(
        stored,
        [
            &Content::PostgresGlobals,
            &Content::PostgresGlobalsData,
            &Content::PostgresSettings,
            &archive(seeded),
            &archive(HOSTILE),
            &archive("postgres"),
            &Content::PostgresContents,
        ]
    );
    let mut expected: Vec<String> = manifest.objects.iter().map(|object| object.key.clone()).collect();
    expected.push(format!("clusters/test/database/{ID}/manifest.json"));
    expected.sort();
    assert_eq!(fixture.bucket.keys(), expected);
    assert_eq!(fixture.bucket.open_uploads(), Vec::<String>::new());

    let steps: Vec<String> = ended.progress().into_iter().map(|progress| progress.step).collect();
    for step in ["Dumping roles and tablespaces", "Dumping greenlang", "Reading back", "Writing the manifest"]
    {
        assert!(steps.iter().any(|found| found == step), "{steps:?}");
    }
    // The line comes before what it announces; reading back counts anew, in bytes as stored.
    let storing = |progress: &Progress| progress.step == "Storing the list of contents";
    let dumped = ended.progress().into_iter().rfind(storing).unwrap();
    let list = manifest.objects.last().unwrap().source_bytes;
    assert_eq!(dumped.bytes_done + list, manifest.source_bytes());
    assert!(dumped.bytes_expected.is_some());
    let read_back = ended.progress().pop().unwrap();
    assert_eq!(
        (read_back.bytes_done, read_back.bytes_expected),
        (manifest.size_bytes, Some(manifest.size_bytes))
    );

    let target = Postgres::start("another password");
    run(&mut recovery(&fixture, &target, &manifest.recovery.commands));
    for database in [seeded, HOSTILE, "postgres"] {
        assert_same(&target.content(database), &POSTGRES.content(database));
    }
    // The source goes on being used by other tests, which make roles; what was in the backup must be there.
    let restored = target.globals();
    for line in POSTGRES.globals().iter().filter(|line| line.contains("seed")) {
        assert!(restored.contains(line), "{line}\n{restored:#?}");
    }
    let setting = target.sql("postgres", "SELECT setconfig[1] FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase WHERE setrole = 0 AND datname = 'greenlang'");
    assert_eq!(setting.trim(), "search_path=app, public");
}

#[test]
fn an_existing_manifest_is_not_replaced() {
    let fixture = Fixture::new("unchanged", &[*SEEDED]);
    let first = fixture.run();
    first.expect(Outcome::Done, reasons::SUCCEEDED);
    let keys = fixture.bucket.keys();
    let mut again = fixture;
    again.task.run.attempt = 2;
    let second = again.run();
    second.expect(Outcome::Unchanged, reasons::SUCCEEDED);
    assert_eq!(second.report.backup, first.report.backup);
    assert_eq!(again.bucket.keys(), keys);
}

/// A manifest alone is no success, whatever deleted the rest.
#[test]
fn an_existing_backup_that_lacks_an_object_is_not_taken_for_one() {
    let mut fixture = Fixture::new("lacking", &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let object = fixture.manifest().objects.into_iter().find(|object| object.key.ends_with("dump.zst.age"));
    let key = object.unwrap().key;
    fixture.bucket.delete(&key);
    fixture.task.run.attempt = 2;
    let before = fixture.bucket.keys();
    let ended = fixture.run();
    ended.expect(Outcome::Failed, reasons::OBJECT_MISSING);
    ended.expect_message(&["manifest.json is there already", &key]);
    assert_eq!(fixture.bucket.keys(), before);
}

/// Two Pods of one attempt, as a Job controller may start: the other one's object took the place of ours.
#[test]
fn an_object_that_was_overwritten_before_the_manifest_is_noticed() {
    let seeded = *SEEDED;
    let mut fixture = Fixture::new("overwritten", &[seeded]);
    // Nothing is read again.
    fixture.task.read_back_limit = 0;
    let go = fixture.directory.path().join("go");
    let clients = fixture
        .fake_clients(&[("pg_dumpall", &format!("while ! [ -e {} ]; do sleep 0.05; done", go.display()))]);
    let started = fixture.start(&[("GREENLANG_PG_BIN_DIR", &clients)]);
    // The database is stored once the globals have begun.
    crate::servers::poll(std::time::Duration::from_mins(1), || {
        fixture.bucket.open_uploads().iter().any(|key| key.contains("globals")).then_some(())
    })
    .unwrap();
    let keys = fixture.bucket.keys();
    let stored = keys.iter().find(|key| key.ends_with(".dump.zst.age")).unwrap();
    fixture.bucket.put(stored, b"of the other Pod");
    std::fs::write(go, "").unwrap();
    let ended = started.end();
    ended.expect(Outcome::Retryable, reasons::OBJECT_DAMAGED);
    ended.expect_message(&[stored]);
    fixture.bucket.assert_empty();
}

#[test]
fn a_backup_of_another_policy_is_not_taken_for_ours() {
    let fixture = Fixture::new("taken", &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let keys = fixture.bucket.keys();
    let mut other = fixture;
    other.task.run.policy = "other".into();
    let ended = other.run();
    ended.expect(Outcome::Failed, reasons::PATH_TAKEN);
    assert!(ended.report.message.contains("storage.s3.prefix"), "{}", ended.report.message);
    assert_eq!(other.bucket.keys(), keys, "what the first policy stored is let alone");
}

#[test]
fn a_manifest_that_appears_during_the_dump_wins() {
    let seeded = *SEEDED;
    let other = Fixture::new("race-source", &[seeded]);
    other.run().expect(Outcome::Done, reasons::SUCCEEDED);

    let mut fixture = Fixture::new("race", &[seeded]);
    fixture.task.run.attempt = 2;
    let go = fixture.directory.path().join("go");
    let clients = fixture
        .fake_clients(&[("pg_dump", &format!("while ! [ -e {} ]; do sleep 0.05; done", go.display()))]);
    let started = fixture.start(&[("GREENLANG_PG_BIN_DIR", &clients)]);
    crate::servers::poll(std::time::Duration::from_secs(20), || {
        fixture.bucket.open_uploads().iter().any(|key| key.contains("greenlang")).then_some(())
    })
    .unwrap();
    for key in other.bucket.keys() {
        fixture.bucket.put(&key, &other.bucket.get(&key));
    }
    std::fs::write(go, "").unwrap();
    let ended = started.end();
    ended.expect(Outcome::Unchanged, reasons::SUCCEEDED);
    assert_eq!(fixture.manifest().attempt, 1);
    assert_eq!(fixture.bucket.keys(), other.bucket.keys());
    assert_eq!(fixture.bucket.open_uploads(), Vec::<String>::new());
}

#[test]
fn recovery_stops_at_what_it_may_not_do() {
    let fixture = Fixture::new("no-right", &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    POSTGRES.sql("postgres", "CREATE ROLE nobody_much LOGIN PASSWORD 'nobody'");
    let commands = fixture.manifest().recovery.commands;
    let output = recovery(&fixture, &POSTGRES, &commands)
        .env("PGUSER", "nobody_much")
        .env("PGPASSWORD", "nobody")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("ERROR:  42501") && !said.contains("42710"), "{said}");
}

/// Differences, for a failure that can be read.
#[track_caller]
pub fn assert_same(restored: &[String], source: &[String]) {
    if restored == source {
        return;
    }
    let (found, wanted): (BTreeSet<_>, BTreeSet<_>) = (restored.iter().collect(), source.iter().collect());
    let (lost, gained): (Vec<_>, Vec<_>) =
        (wanted.difference(&found).collect(), found.difference(&wanted).collect());
    panic!("lost: {lost:#?}\ngained: {gained:#?}");
}

#[test]
fn password_hashes_are_stored_where_they_may_be_read_and_wanted() {
    POSTGRES.create_database("plain");
    POSTGRES.sql("plain", "CREATE ROLE plain_reader LOGIN PASSWORD 'plain-password'; CREATE TABLE t (); GRANT SELECT ON t TO plain_reader");
    let mut fixture = Fixture::new("passwords", &["plain"]);
    let admin = fixture.task.server.credentials.clone();
    let reader = fixture.secret("plain", &[("username", "plain_reader"), ("password", "plain-password")]);
    for (id, user, wanted, stored, warnings) in [
        ("20251107-010000", &admin, RolePasswords::Auto, true, 0),
        ("20251107-020000", &admin, RolePasswords::Never, false, 0),
        ("20251107-030000", &reader, RolePasswords::Auto, false, 1),
        ("20251107-040000", &reader, RolePasswords::Never, false, 0),
    ] {
        fixture.task.run.id = id.parse().unwrap();
        fixture.task.server.credentials = user.clone();
        fixture.task.role_passwords = wanted;
        let ended = fixture.run();
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        assert!(!ended.stderr.contains("plain-password"));
        assert_eq!(ended.report.backup.unwrap().warnings, warnings, "{id}");
        let globals = fixture.opened(&format!("clusters/test/database/{id}/1/globals.sql.zst.age"));
        assert!(globals.contains("CREATE ROLE plain_reader"));
        assert_eq!(globals.contains("SCRAM-SHA-256"), stored, "{id}");
    }
}
