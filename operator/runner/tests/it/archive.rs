//! Archives that are not what they should be: each leaves no manifest, no object and no open upload, and says what is wrong.

use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use crate::faults::with_pg_dump;
use crate::fixture::{Fixture, kill};
use crate::happy::SEEDED;
use crate::servers::{POSTGRES, poll};

#[test]
fn an_archive_cut_in_the_middle_and_said_to_be_well() {
    let ended = with_pg_dump("cut", "$REAL/pg_dump \"$@\" | head --bytes=-1000; exit 0");
    ended.expect(Outcome::Retryable, reasons::ARCHIVE_DAMAGED);
    ended.expect_message(&["pg_dump of database greenlang", "the archive is cut off in "]);
}

#[test]
fn an_archive_cut_within_its_table_of_contents_and_said_to_be_well() {
    let ended = with_pg_dump("cut-early", "$REAL/pg_dump \"$@\" | head --bytes=3000; exit 0");
    ended.expect(Outcome::Retryable, reasons::ARCHIVE_DAMAGED);
    ended.expect_message(&["the archive is cut off in entry ", " of its table of contents"]);
}

#[test]
fn bytes_after_the_end() {
    let ended = with_pg_dump("more", "$REAL/pg_dump \"$@\"; echo; exit 0");
    ended.expect(Outcome::Retryable, reasons::ARCHIVE_DAMAGED);
    ended.expect_message(&["bytes follow the archive's end"]);
}

#[test]
fn bytes_after_the_end_without_end() {
    let ended = with_pg_dump("more-and-more", "$REAL/pg_dump \"$@\"; cat /dev/zero");
    ended.expect(Outcome::Retryable, reasons::ARCHIVE_DAMAGED);
    ended.expect_message(&["bytes follow the archive's end"]);
}

#[test]
fn an_exit_status_says_more_than_the_archive() {
    let script = "$REAL/pg_dump \"$@\" | head --bytes=-1000; echo 'pg_dump: error: no more' >&2; exit 1";
    let ended = with_pg_dump("cut-and-told", script);
    ended.expect(Outcome::Retryable, reasons::DUMP_FAILED);
    ended.expect_message(&["exit status: 1", "no more"]);
}

#[test]
fn a_compressed_archive() {
    let ended = with_pg_dump("compressed", "exec $REAL/pg_dump \"$@\" --compress=6");
    ended.expect(Outcome::Retryable, reasons::ARCHIVE_DAMAGED);
    ended.expect_message(&["--compress=0"]);
}

/// Turns what `pg_dump` writes into format 1.20.
const NEWER: &str = "$REAL/pg_dump \"$@\" | { head --bytes=6; printf '\\x14'; tail --bytes=+2; }; exit 0";

#[test]
fn a_newer_format_that_pg_restore_refuses() {
    let fixture = Fixture::new("newer-refused", &[*SEEDED]);
    let refuse = "cat > /dev/null; echo 'pg_restore: error: unsupported version' >&2; exit 1";
    let clients = fixture.fake_clients(&[("pg_dump", NEWER), ("pg_restore", refuse)]);
    let ended = fixture.run_with_clients(&clients);
    ended.expect(Outcome::Retryable, reasons::ARCHIVE_DAMAGED);
    ended.expect_message(&["1.20", "unsupported version"]);
    fixture.bucket.assert_empty();
}

#[test]
fn a_newer_format_that_pg_restore_reads() {
    let fixture = Fixture::new("newer", &[*SEEDED]);
    let clients = fixture.fake_clients(&[("pg_dump", NEWER), ("pg_restore", "cat > \"$0.input\"; exit 0")]);
    let ended = fixture.run_with_clients(&clients);
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    assert!(ended.stderr.contains("format 1.20, read by pg_restore"), "{}", ended.stderr);
    let read = std::fs::metadata(clients.join("pg_restore.input")).unwrap().len();
    let objects = fixture.manifest().objects;
    let archive = objects.iter().find(|object| object.key.ends_with(".dump.zst.age")).unwrap();
    assert_eq!(read, archive.source_bytes);
}

#[test]
fn the_server_ends_the_session_in_mid_copy() {
    let name = "terminated";
    POSTGRES.create_database(name);
    POSTGRES.sql(
        name,
        "CREATE UNLOGGED TABLE rows AS SELECT i, repeat(md5(i::text), 8) FROM generate_series(1, 400000) i",
    );
    let fixture = Fixture::new(name, &[name]);
    let mut started = fixture.start(&[]);
    let pid = started.stop_pg_dump_after(30 << 20);
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                     WHERE datname = 'terminated' AND query LIKE 'COPY %'";
    assert_eq!(POSTGRES.sql("postgres", terminate).trim(), "1");
    let gone = "SELECT FROM pg_stat_activity WHERE datname = 'terminated' AND query LIKE 'COPY %'";
    let ended = || POSTGRES.sql("postgres", gone).is_empty().then_some(());
    poll(Duration::from_secs(30), ended).unwrap();
    kill("CONT", pid);
    let ended = started.end();
    ended.expect(Outcome::Retryable, reasons::DUMP_FAILED);
    ended.expect_message(&["pg_dump of database terminated", "contents of table \"rows\" failed"]);
    fixture.bucket.assert_empty();
}
