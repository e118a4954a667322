//! Backups that fail: each leaves no manifest, no object and no open upload, and says what to do.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::task::MountedSecret;

use crate::fixture::{Ended, Fixture, kill};
use crate::happy::SEEDED;
use crate::servers::{POSTGRES, poll};

/// A database big enough to be in the middle of.
pub static BIG: LazyLock<&str> = LazyLock::new(|| {
    let name = "big";
    POSTGRES.create_database(name);
    let rows = "SELECT i, md5(i::text) || md5((i + 1)::text) || md5((i * 7)::text) FROM generate_series(1, 1200000) i";
    POSTGRES.sql(name, &format!("CREATE UNLOGGED TABLE rows AS {rows}"));
    name
});
/// Enough for a part to be on its way.
pub const MIDDLE: u64 = 60 << 20;

#[test]
fn pg_dump_killed_in_mid_stream() {
    let fixture = Fixture::new("killed", &[*BIG]);
    let mut started = fixture.start(&[]);
    let pid = started.stop_pg_dump_after(MIDDLE);
    assert_eq!(fixture.bucket.open_uploads().len(), 1);
    kill("KILL", pid);
    let ended = started.end();
    ended.expect(Outcome::Retryable, reasons::DUMP_FAILED);
    ended.expect_message(&["pg_dump of database big", "SIGKILL"]);
    assert!(!ended.report.leftovers, "what cleaned up after itself needs no clean-up");
    fixture.bucket.assert_empty();

    let mut fixture = fixture;
    fixture.task.run.attempt = 2;
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!(fixture.manifest().attempt, 2);
}

#[test]
fn told_to_stop_in_mid_dump() {
    let fixture = Fixture::new("sigterm", &[*SEEDED, *BIG]);
    let mut started = fixture.start(&[]);
    let pid = started.stop_pg_dump_after(MIDDLE);
    assert!(!fixture.bucket.keys().is_empty(), "the first database is stored by now");
    started.signal("TERM");
    let ended = started.end();
    ended.expect(Outcome::Interrupted, reasons::INTERRUPTED);
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "pg_dump lives on");
    fixture.bucket.assert_empty();
}

/// Runs with a `pg_dump` that this script replaces or precedes.
pub fn with_pg_dump(name: &str, script: &str) -> Ended {
    let fixture = Fixture::new(name, &[*SEEDED]);
    let clients = fixture.fake_clients(&[("pg_dump", script)]);
    let ended = fixture.run_with_clients(&clients);
    fixture.bucket.assert_empty();
    ended
}

#[test]
fn an_error_after_full_output() {
    let ended =
        with_pg_dump("late-error", "$REAL/pg_dump \"$@\"; echo 'pg_dump: error: too late' >&2; exit 1");
    ended.expect(Outcome::Retryable, reasons::DUMP_FAILED);
    ended.expect_message(&["pg_dump of database greenlang", "exit status: 1", "too late"]);
}

#[test]
fn nothing_written_and_said_to_be_well() {
    let ended = with_pg_dump("empty", "exit 0");
    ended.expect(Outcome::Retryable, reasons::EMPTY_OUTPUT);
}

#[test]
fn something_else_written_and_said_to_be_well() {
    let ended = with_pg_dump("garbage", "echo hello; exit 0");
    ended.expect(Outcome::Retryable, reasons::ARCHIVE_DAMAGED);
}

#[test]
fn an_error_of_pg_dumpall() {
    let fixture = Fixture::new("dumpall", &[*SEEDED]);
    let clients = fixture.fake_clients(&[("pg_dumpall", "echo -- half; echo 'no right' >&2; exit 3")]);
    let ended = fixture.run_with_clients(&clients);
    ended.expect(Outcome::Retryable, reasons::DUMP_FAILED);
    ended.expect_message(&["pg_dumpall", "no right"]);
    fixture.bucket.assert_empty();
}

#[test]
fn warnings_of_pg_dump_are_kept_with_the_backup() {
    let fixture = Fixture::new("warnings", &[*SEEDED]);
    let clients = fixture.fake_clients(&[(
        "pg_dump",
        "echo 'pg_dump: warning: subscriptions not dumped because current user is not a superuser' >&2",
    )]);
    let ended = fixture.run_with_clients(&clients);
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!(
        fixture.manifest().warnings,
        [
            "pg_dump of database greenlang: subscriptions are not in the dump, because the user is no superuser (1 warnings; in full in contents.json)"
        ]
    );
    assert_eq!(ended.report.backup.unwrap().warnings, 1);
}

#[test]
fn no_client_of_the_servers_version() {
    let fixture = Fixture::new("no-client", &[*SEEDED]);
    let ended = fixture.run_with_clients(Path::new("/nonexistent/{major}/bin"));
    ended.expect(Outcome::Failed, reasons::UNSUPPORTED_SERVER_VERSION);
    ended.expect_message(&["PostgreSQL 15", "no version"]);
    fixture.bucket.assert_empty();
}

#[test]
fn a_table_that_may_not_be_read() {
    POSTGRES.sql("postgres", "CREATE ROLE stranger LOGIN PASSWORD 'stranger'");
    let mut fixture = Fixture::new("stranger", &[*SEEDED]);
    fixture.task.server.credentials =
        fixture.secret("stranger", &[("username", "stranger"), ("password", "stranger")]);
    fixture.task.globals = false;
    let ended = fixture.run();
    ended.expect(Outcome::Failed, reasons::PERMISSION_DENIED);
    ended.expect_message(&["cannot be read", "GRANT pg_read_all_data TO \"stranger\";"]);
    fixture.bucket.assert_empty();
}

#[test]
fn a_task_that_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    for task in ["", "nonsense!", "e30"] {
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_greenlang-backup-runner"))
            .env("GREENLANG_TASK", task)
            .env("GREENLANG_TERMINATION_LOG", &log)
            .output()
            .unwrap()
            .status;
        assert_eq!(status.code(), Some(Outcome::Failed.exit_code().into()));
        let report =
            greenlang_backup_api::report::RunReport::decode(&std::fs::read_to_string(&log).unwrap()).unwrap();
        assert_eq!(report.reason, reasons::INVALID_TASK);
    }
}

#[test]
fn told_to_stop_while_connecting() {
    let fixture = Fixture::new("sigterm-early", &[*SEEDED]);
    let clients = fixture.fake_clients(&[("pg_dumpall", "sleep 60")]);
    let started = fixture.start(&[("GREENLANG_PG_BIN_DIR", &clients)]);
    poll(Duration::from_secs(10), || (!fixture.bucket.open_uploads().is_empty()).then_some(())).unwrap();
    started.signal("TERM");
    started.end().expect(Outcome::Interrupted, reasons::INTERRUPTED);
    fixture.bucket.assert_empty();
}

/// What a wrong setting must lead to: the same by a backup and by a probe.
fn wrong(name: &str, change: impl FnOnce(&mut Fixture), outcome: Outcome, reason: &str, words: &[&str]) {
    let mut fixture = Fixture::new(name, &[*SEEDED]);
    change(&mut fixture);
    let ended = fixture.run();
    ended.expect(outcome, reason);
    ended.expect_message(words);
    fixture.bucket.assert_empty();

    let probe = fixture.probe();
    probe.expect(Outcome::Done, reasons::PROBE_FAILED);
    probe.expect_message(words);
    let found = probe.report.probe.unwrap();
    let findings = [Some(found.storage), found.database, Some(found.encryption)];
    let wrong: Vec<_> = findings.into_iter().flatten().filter(|finding| !finding.ok).collect();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert_eq!(wrong[0].reason, reason);
    fixture.bucket.assert_empty();
}

#[test]
fn wrong_password() {
    let change = |fixture: &mut Fixture| {
        fixture.task.server.credentials =
            fixture.secret("db-wrong", &[("username", "postgres"), ("password", "no")]);
    };
    wrong(
        "wrong-password",
        change,
        Outcome::Failed,
        reasons::AUTHENTICATION_FAILED,
        &["user postgres", "Secret db-wrong", "localhost"],
    );
}

#[test]
fn unknown_database_host() {
    let change = |fixture: &mut Fixture| fixture.task.server.host = "no-such-host.invalid".to_owned();
    wrong(
        "unknown-host",
        change,
        Outcome::Retryable,
        reasons::HOST_NOT_FOUND,
        &["no-such-host.invalid", "postgres.host"],
    );
}

#[test]
fn nothing_listens_for_the_database() {
    let change = |fixture: &mut Fixture| fixture.task.server.port = 1;
    wrong("db-refused", change, Outcome::Retryable, reasons::CONNECTION_FAILED, &["localhost:1"]);
}

#[test]
fn missing_database() {
    let change = |fixture: &mut Fixture| fixture.task.databases.push("nowhere".to_owned());
    wrong("missing-database", change, Outcome::Failed, reasons::DATABASE_NOT_FOUND, &["no database nowhere"]);
}

#[test]
fn missing_secret() {
    let change = |fixture: &mut Fixture| {
        fixture.task.server.credentials =
            MountedSecret { secret: "db-none".to_owned(), directory: "/nonexistent".to_owned() };
    };
    wrong(
        "missing-secret",
        change,
        Outcome::Failed,
        reasons::SECRET_MISSING,
        &["Secret db-none is not there"],
    );
}

#[test]
fn missing_key() {
    let change = |fixture: &mut Fixture| {
        fixture.task.bucket.credentials = Some(fixture.secret("s3-half", &[("AWS_ACCESS_KEY_ID", "id")]));
    };
    wrong(
        "missing-key",
        change,
        Outcome::Failed,
        reasons::SECRET_KEY_MISSING,
        &["Secret s3-half has no key AWS_SECRET_ACCESS_KEY"],
    );
}

#[test]
fn missing_bucket() {
    let change = |fixture: &mut Fixture| fixture.task.bucket.name = "no-such-bucket".to_owned();
    wrong(
        "missing-bucket",
        change,
        Outcome::Failed,
        reasons::BUCKET_NOT_FOUND,
        &["bucket no-such-bucket at http://localhost", "create it"],
    );
}

#[test]
fn wrong_keys() {
    let change = |fixture: &mut Fixture| {
        let keys = [("AWS_ACCESS_KEY_ID", crate::servers::S3_KEY), ("AWS_SECRET_ACCESS_KEY", "wrong")];
        fixture.task.bucket.credentials = Some(fixture.secret("s3-wrong", &keys));
    };
    wrong(
        "wrong-keys",
        change,
        Outcome::Failed,
        reasons::ACCESS_DENIED,
        &["Secret s3-wrong", "SignatureDoesNotMatch"],
    );
}

#[test]
fn unknown_storage_host() {
    let change =
        |fixture: &mut Fixture| fixture.task.bucket.endpoint = Some("http://no-such-host.invalid".to_owned());
    wrong(
        "s3-unknown-host",
        change,
        Outcome::Retryable,
        reasons::HOST_NOT_FOUND,
        &["no-such-host.invalid", "storage.s3.endpoint"],
    );
}

#[test]
fn nothing_listens_for_the_storage() {
    let change = |fixture: &mut Fixture| fixture.task.bucket.endpoint = Some("http://localhost:1".to_owned());
    wrong("s3-refused", change, Outcome::Retryable, reasons::CONNECTION_FAILED, &["http://localhost:1"]);
}

#[test]
fn a_private_key_as_recipient() {
    let change = |fixture: &mut Fixture| {
        let key = std::fs::read_to_string(&fixture.identity_file).unwrap();
        fixture.task.seal.recipients[1] = key.trim().to_owned();
    };
    wrong(
        "private-key",
        change,
        Outcome::Failed,
        reasons::INVALID_RECIPIENT,
        &["recipients[1] is a private key"],
    );
}
