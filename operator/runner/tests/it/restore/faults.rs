//! Loads that fail: nothing half-made stays, nothing else is touched, and the reason says what happened.

use std::time::Duration;

use greenlang_backup_api::reasons::{self, restore};
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::restore::{DropAction, PlanAction, RestoreAction, RestoreReport, RestoreTask};
use greenlang_backup_api::task::Task;
use greenlang_backup_api::v1alpha1::VerifyRestored;
use greenlang_backup_test_s3::{Fault, FaultServer, Operation};

use super::load::TARGET;
use super::plan::{action, plan};
use super::world::{Request, databases};
use crate::fixture::{Ended, Fixture};
use crate::happy::SEEDED;
use crate::servers::{POSTGRES, Postgres, poll};

/// A backup of everything.
fn backup(name: &str) -> Fixture {
    let fixture = Fixture::new(name, &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    fixture
}

fn archive_key(fixture: &Fixture) -> String {
    let objects = fixture.manifest().objects;
    objects.into_iter().find(|object| object.key.ends_with(".dump.zst.age")).unwrap().key
}

#[test]
fn damaged_objects_end_a_load_with_nothing_left() {
    let fixture = backup("load-damage");
    let key = archive_key(&fixture);
    let good = fixture.bucket.get(&key);
    let request = Request::new(&fixture, &TARGET, *SEEDED, "u-damage");
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let cut = good[..good.len() - 1000].to_vec();
    for (what, bytes) in [("changed", changed), ("cut", cut)] {
        fixture.bucket.put(&key, &bytes);
        let ended = request.run();
        ended.expect(Outcome::Failed, reasons::OBJECT_DAMAGED);
        ended.expect_message(&[&key]);
        assert!(!request.is_there(), "{what}");
    }
    fixture.bucket.delete(&key);
    request.run().expect(Outcome::Failed, reasons::OBJECT_MISSING);
    assert!(!request.is_there());
    fixture.bucket.put(&key, &good);
    request.loaded();
    request.drop_database(&request.temporary(), None).expect(Outcome::Done, reasons::SUCCEEDED);
}

#[test]
fn what_cannot_be_opened_or_found_says_so() {
    let fixture = backup("load-refused");
    let other = age::x25519::Identity::generate();
    let mut request = Request::new(&fixture, &TARGET, *SEEDED, "u-refused");
    let key = request.load().keys.identity.clone();
    request.load().keys.identity =
        Some(fixture.secret(
            "other",
            &[("identity.txt", age::secrecy::ExposeSecret::expose_secret(&other.to_string()))],
        ));
    request.run().expect(Outcome::Failed, reasons::IDENTITY_MISMATCH);
    request.load().keys.identity = key;
    request.load().backup.manifest_sha256 = Some("0".repeat(64));
    request.run().expect(Outcome::Failed, reasons::OBJECT_REPLACED);
    request.load().backup.manifest_sha256 = None;
    request.load().backup.database = "another".into();
    let ended = request.run();
    ended.expect(Outcome::Failed, restore::DATABASE_NOT_IN_BACKUP);
    ended.expect_message(&["greenlang"]);
    request.load().backup.id = "20200101-000000".parse().unwrap();
    request.run().expect(Outcome::Failed, restore::BACKUP_NOT_FOUND);
    assert!(!request.is_there());
}

/// Programs that fail in ways that a server or a network makes them fail.
#[test]
fn a_pg_restore_that_fails_leaves_nothing() {
    let fixture = backup("load-fails");
    let mut request = Request::new(&fixture, &TARGET, *SEEDED, "u-fails");
    let halfway = "head -c 300000 | $REAL/pg_restore \"$@\" >/dev/null 2>&1; { echo 'pg_restore: error: %'; echo \"Command was: CREATE USER MAPPING FOR a SERVER b OPTIONS (password 'hush');\"; } >&2; exit 1";
    for jobs in [1, 2] {
        request.load().jobs = jobs;
        for (said, outcome, reason) in [
            ("could not execute query: ERROR:  no such thing", Outcome::Failed, restore::LOAD_FAILED),
            ("server closed the connection unexpectedly", Outcome::Retryable, restore::LOAD_FAILED),
            (
                "ERROR:  could not extend file: No space left on device",
                Outcome::Failed,
                restore::NOT_ENOUGH_SPACE,
            ),
        ] {
            let ended = request.run_with_clients(&[("pg_restore", &halfway.replace('%', said))]);
            ended.expect(outcome, reason);
            ended.expect_message(&[said]);
            assert!(!format!("{:?}{}{}", ended.report, ended.stdout, ended.stderr).contains("hush"));
            assert!(!request.is_there(), "{jobs} {said}");
        }
    }
}

#[test]
fn a_lost_connection_is_tried_again() {
    let fixture = backup("load-lost");
    let request = Request::new(&fixture, &TARGET, *SEEDED, "u-lost");
    // The first bytes go in, then the server ends the session.
    let end = format!(
        "{{ head -c 400000; sleep 1; PGPASSWORD={} $REAL/psql -h localhost -p {} -U postgres -d postgres -qAtc \"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'\" >/dev/null; cat; }} | $REAL/pg_restore \"$@\"; exit ${{PIPESTATUS[1]}}",
        TARGET.password,
        TARGET.port,
        request.temporary()
    );
    let ended = request.run_with_clients(&[("pg_restore", &end)]);
    ended.expect(Outcome::Retryable, restore::LOAD_FAILED);
    assert!(!request.is_there());
}

#[test]
fn a_load_that_is_told_to_stop_drops_what_it_made_and_one_that_is_killed_leaves_it_to_the_next() {
    let fixture = backup("load-stopped");
    let request = Request::new(&fixture, &TARGET, *SEEDED, "u-stopped");
    let slow = fixture
        .fake_clients(&[("pg_restore", "{ head -c 300000; sleep 600; } | exec $REAL/pg_restore \"$@\"")]);
    let start = || {
        let started = request.start(&[("GREENLANG_PG_BIN_DIR", &slow)]);
        poll(Duration::from_mins(2), || request.is_there().then_some(())).unwrap();
        started
    };
    let started = start();
    started.signal("TERM");
    started.end().expect(Outcome::Interrupted, reasons::INTERRUPTED);
    assert!(!request.is_there());

    let started = start();
    started.signal("KILL");
    started.end_without_report();
    assert!(request.is_there());
    request.loaded();
    request.expect_same(&POSTGRES);
    request.drop_database(&request.temporary(), None).expect(Outcome::Done, reasons::SUCCEEDED);
}

/// Whatever has the temporary name and not our mark is somebody else's, but for one that was made and never opened.
#[test]
fn a_database_in_the_way_is_left_alone_unless_it_is_ours() {
    let fixture = backup("load-in-the-way");
    let request = Request::new(&fixture, &TARGET, *SEEDED, "u-way");
    let name = request.temporary();
    TARGET.create_database(&name);
    TARGET.sql(&name, "CREATE TABLE precious ()");
    for comment in ["NULL", "'greenlang-backup restore u-other greenlang/back'"] {
        TARGET.sql("postgres", &format!("COMMENT ON DATABASE \"{name}\" IS {comment}"));
        request.run().expect(Outcome::Failed, restore::DATABASE_EXISTS);
        request.drop_database(&name, None).expect(Outcome::Failed, restore::DATABASE_EXISTS);
        assert_eq!(TARGET.sql(&name, "SELECT count(*) FROM precious").trim(), "0");
    }
    TARGET.sql("postgres", &format!("DROP DATABASE \"{name}\""));
    // Cut off between the making and the mark.
    TARGET.sql("postgres", &format!("CREATE DATABASE \"{name}\" ALLOW_CONNECTIONS false"));
    request.loaded();
    request.drop_database(&name, None).expect(Outcome::Done, reasons::SUCCEEDED);
}

#[test]
fn what_was_loaded_otherwise_is_found_and_dropped() {
    let fixture = backup("load-differs");
    let mut request = Request::new(&fixture, &TARGET, *SEEDED, "u-differs");
    let after = |sql: &str| {
        format!(
            "$REAL/pg_restore \"$@\" || exit 1; PGPASSWORD={} $REAL/psql -h localhost -p {} -U postgres -d {} -qc '{sql}'; exit 0",
            TARGET.password,
            TARGET.port,
            request.temporary()
        )
    };
    let cases = [
        (
            "DELETE FROM app.events_2024 WHERE what LIKE $$%1$$",
            VerifyRestored::Counts,
            "table app.events_2024 has",
        ),
        (
            "UPDATE app.events_2024 SET what = $$x$$ WHERE what = $$event 1$$",
            VerifyRestored::Full,
            "but others",
        ),
        ("ALTER SEQUENCE app.numbers RESTART WITH 5", VerifyRestored::Counts, "sequence app.numbers"),
        ("CREATE TABLE app.more ()", VerifyRestored::Counts, "app.more is not in the backup"),
        ("SELECT lo_put(424242, 0, $$\\\\x01$$)", VerifyRestored::Full, "the content of large objects"),
    ]
    .map(|(sql, how, found)| (after(sql), how, found));
    for (script, how, found) in cases {
        request.load().verify = how;
        let ended = request.run_with_clients(&[("pg_restore", &script)]);
        ended.expect(Outcome::Failed, restore::VERIFICATION_FAILED);
        ended.expect_message(&[found]);
        assert!(!request.is_there());
    }
}

/// The database is gone, and nobody may say that it stays; what failed is the record.
#[test]
fn a_drop_that_cannot_be_recorded_says_that_it_dropped() {
    let name = "dropped unrecorded";
    POSTGRES.create_database(name);
    let bucket = FaultServer::start();
    let fixture = Fixture::on_faulty(&bucket, &[name]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let request = Request::new(&fixture, &POSTGRES, name, "u-unrecorded");
    let claim = PlanAction { claim: true, ..action(&request) };
    plan(&request, claim).expect(Outcome::Done, reasons::SUCCEEDED);
    let loaded = request.loaded().database;
    let undo = RestoreAction::Drop(DropAction {
        name: loaded.name,
        oid: Some(loaded.oid),
        rolls_back: true,
        not_before: None,
    });
    let undo = Task::Restore(RestoreTask { action: undo, ..request.task.clone() });
    let undone = |dropped: bool, ended: &Ended| {
        let Some(RestoreReport::Drop(report)) = &ended.report.restore else { panic!("{:?}", ended.report) };
        assert_eq!(report.dropped, dropped);
        assert!(!request.is_there());
    };

    bucket.inject(Fault::Answer(403, "AccessDenied").on(Operation::PutObject).where_key("restores/"));
    let refused = fixture.start_task(&undo, &[]).end();
    refused.expect(Outcome::Failed, reasons::ACCESS_DENIED);
    refused.expect_message(&[
        "was dropped",
        "the record restores/greenlang/back.json in the bucket could not be written",
    ]);
    undone(true, &refused);
    bucket.heal();
    let again = fixture.start_task(&undo, &[]).end();
    again.expect(Outcome::Done, reasons::SUCCEEDED);
    undone(false, &again);
    let record = bucket.object("clusters/test/restores/greenlang/back.json").unwrap();
    assert!(String::from_utf8(record).unwrap().contains("RolledBack"));
}

#[test]
fn an_older_server_is_refused_before_anything_is_made() {
    let fixture = backup("load-older");
    let older = crate::servers::majors::start(14, "older-password");
    let request = Request::new(&fixture, &older, *SEEDED, "u-older");
    let ended = request.run_with_clients(&[]);
    ended.expect(Outcome::Failed, restore::SERVER_TOO_OLD);
    assert_eq!(databases(&older).len(), 3);
}

/// A user who is no superuser, as managed services give: what it may not set is left out and told.
#[test]
fn a_user_without_superuser_loads_what_it_may() {
    POSTGRES.sql("postgres", "CREATE ROLE limited_owner LOGIN BYPASSRLS; CREATE ROLE limited_reader");
    POSTGRES.sql("postgres", "CREATE DATABASE limited OWNER limited_owner");
    POSTGRES.sql(
        "limited",
        "SET ROLE limited_owner; CREATE TABLE t (id serial PRIMARY KEY, text text); INSERT INTO t (text) SELECT md5(i::text) FROM generate_series(1, 1000) i;
         CREATE EXTENSION hstore; GRANT SELECT ON t TO limited_reader; ALTER DATABASE limited SET work_mem = '8MB'",
    );
    // Nobody but superusers gets in, but the restore does until it is done.
    POSTGRES.sql("postgres", "ALTER DATABASE limited CONNECTION LIMIT 0");
    let fixture = Fixture::new("load-limited", &["limited"]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let server = Postgres::start("limited-server");
    server.sql("postgres", "CREATE ROLE admin LOGIN CREATEDB CREATEROLE PASSWORD 'admin-password'; GRANT pg_signal_backend TO admin");
    let mut request = Request::new(&fixture, &server, "limited", "u-limited");
    request.task.server.credentials =
        fixture.secret("limited", &[("username", "admin"), ("password", "admin-password")]);
    request.load().jobs = 2;
    let report = request.loaded();
    assert_eq!((report.data.tables, report.data.rows), (1, 1_000));
    let limit = format!("SELECT datconnlimit FROM pg_database WHERE oid = {}", report.database.oid);
    assert_eq!(server.sql("postgres", &limit).trim(), "0");
    assert!(report.data.warnings > 0, "BYPASSRLS is not its to give: {report:?}");
    let owner = server.sql(&request.temporary(), "SELECT tableowner FROM pg_tables WHERE tablename = 't'");
    assert_eq!(owner.trim(), "limited_owner");
}
