//! Locks that keep a backup from going on: who has them is told, and what is only asked for the check refuses nothing.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use crate::fixture::Fixture;
use crate::servers::{POSTGRES, poll};

#[test]
fn a_dump_that_is_kept_from_a_lock_names_the_table_and_who_waits() {
    POSTGRES.create_database("locked");
    POSTGRES.sql(
        "locked",
        "CREATE TABLE quiet (); CREATE TABLE \"al'tered\" (); ALTER TABLE quiet ADD COLUMN i int",
    );
    let fixture = Fixture::new("locked", &["locked"]);
    // The run has its own locks by now: who asks for a stronger one waits for it, and pg_dump for them. A minute is long for a test.
    let script = "
        $REAL/psql -Xq -c \"ALTER TABLE \\\"al'tered\\\" ADD COLUMN i int\" >/dev/null 2>&1 &
        until [ \"$($REAL/psql -XAtqc \"SELECT count(*) FROM pg_locks WHERE NOT granted\")\" != 0 ]; do sleep 0.1; done
        [[ \" $* \" == *' --lock-wait-timeout=60000 '* ]] || exit 99
        exec $REAL/pg_dump \"${@/--lock-wait-timeout=60000/--lock-wait-timeout=1000}\"";
    let ended = fixture.run_with_clients(&fixture.fake_clients(&[("pg_dump", script)]));
    ended.expect(Outcome::Retryable, reasons::TABLE_LOCKED);
    ended.expect_message(&[
        "database locked",
        "waits for AccessExclusiveLock on public.\"al'tered\"",
        "try again when it has ended",
        "pg_locks",
    ]);
    assert!(!ended.report.message.contains("quiet"), "{}", ended.report.message);
    fixture.bucket.assert_empty();
}

#[test]
fn large_objects_that_cannot_be_looked_at_in_time_do_not_refuse_a_backup() {
    POSTGRES.create_database("busy");
    POSTGRES.sql("busy", "CREATE TABLE t (); SELECT lo_create(99)");
    let lock = "BEGIN; LOCK TABLE pg_largeobject_metadata IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(300)";
    let mut holder = POSTGRES
        .command("psql", "busy")
        .args(["-Xqc", lock])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let held = "SELECT 1 FROM pg_locks WHERE relation = 'pg_largeobject_metadata'::regclass AND granted
        AND mode = 'AccessExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    poll(Duration::from_secs(20), || (!POSTGRES.sql("busy", held).is_empty()).then_some(())).unwrap();

    let fixture = Fixture::new("busy", &["busy"]);
    let words = "whether user postgres may read all large objects was not found out within 8s";
    let ended = fixture.probe();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let finding = ended.report.probe.unwrap().database.unwrap();
    assert!(finding.ok && finding.message.contains(words), "{}", finding.message);

    let started = fixture.start(&[]);
    let log = fixture.directory.path().join("stderr");
    poll(Duration::from_mins(1), || fs::read_to_string(&log).unwrap().contains(words).then_some(())).unwrap();
    POSTGRES.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'busy' AND query LIKE '%pg_sleep(300)'",
    );
    holder.wait().unwrap();
    started.end().expect(Outcome::Done, reasons::SUCCEEDED);
    let warnings = fixture.manifest().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains(words), "{warnings:?}");
}
