//! A node whose clock is wrong. The clock of the bucket's server is right.

use std::path::Path;

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::prune::PruneReport;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_test_s3::{FaultServer, Switches};
use jiff::{SignedDuration, Timestamp};

use crate::fixture::Fixture;
use crate::happy::SEEDED;
use crate::shelf::{Shelf, directory};

/// Of the Debian package `faketime`; the loader knows what `$LIB` is.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketime.so.1";
const DAY: i64 = 24;

/// What puts the clock of a runner forward or back.
pub fn wrong(offset: &str) -> [(&str, &Path); 3] {
    [
        ("LD_PRELOAD", Path::new(LIBRARY)),
        ("FAKETIME", Path::new(offset)),
        ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
    ]
}

#[test]
fn a_clock_that_is_wrong_by_a_day_is_said_and_nothing_is_written() {
    for (name, offset) in [("clock-ahead", "+1d"), ("clock-behind", "-1d")] {
        let fixture = Fixture::new(name, &[*SEEDED]);
        let ended = fixture.start(&wrong(offset)).end();
        ended.expect(Outcome::Failed, reasons::CLOCK_SKEWED);
        ended.expect_message(&["the clock of this node and that of the server differ too much", "NTP"]);
        fixture.bucket.assert_empty();
    }
}

fn hours_ago(hours: i64) -> String {
    BackupId::from_slot(Timestamp::now() - SignedDuration::from_hours(hours)).to_string()
}

/// Backups of which only the first may go: the days of the second are over in twelve hours. So few that no rule about half of them keeps
/// any, and a clock that is a year ahead would delete all but the newest.
fn stock(shelf: &Shelf) -> [String; 4] {
    let ids = [45 * DAY, 30 * DAY - 12, DAY, 1].map(hours_ago);
    for id in &ids {
        shelf.put(id);
    }
    ids
}

/// A server that looks at the time of a request will not have any of it.
#[test]
fn a_prune_under_a_wrong_clock_deletes_nothing_where_the_server_notices() {
    for (name, offset) in [("clock-day", "+1d"), ("clock-year", "+1y"), ("clock-hour", "-1h")] {
        let shelf = Shelf::new(name);
        let ids = stock(&shelf);
        let ended = shelf.start_with(&wrong(offset)).end();
        ended.expect(Outcome::Failed, reasons::CLOCK_SKEWED);
        assert_eq!(shelf.ids(), ids, "{offset}");
        // Once the clock is right, what is to go goes.
        assert_eq!(shelf.pruned().deleted, 1, "{offset}");
        assert_eq!(shelf.ids(), ids[1..], "{offset}");
    }
}

/// What an attempt has just stored, and its open upload.
fn begin(shelf: &Shelf) {
    let directory = directory(&hours_ago(2));
    let bucket = &shelf.fixture.bucket;
    bucket.put_marked(&format!("{directory}1/a"), b"x", "greenlang/greenlang");
    bucket.start_upload(&format!("{directory}1/b"));
}

/// Minutes, which no server minds: by the node's clock alone the days of one backup would be over, and what an attempt has begun old.
#[test]
fn a_prune_goes_by_the_servers_clock_where_the_nodes_is_some_minutes_ahead() {
    let mut shelf = Shelf::new("clock-minutes");
    shelf.task.garbage_after_seconds = 300;
    let near = Timestamp::now() - SignedDuration::from_hours(30 * DAY) + SignedDuration::from_mins(5);
    let near = BackupId::from_slot(near).to_string();
    shelf.put(&near);
    let [_, second, third, newest] = stock(&shelf);
    begin(&shelf);
    let ended = shelf.start_with(&wrong("+10m")).end();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let report = ended.report.prune.unwrap();
    assert_eq!((report.deleted, report.kept, report.garbage, report.uploads), (1, 4, 0, 0));
    assert_eq!(shelf.verdict(&near), ("Keep".into(), "WithinKeepDays".into()));
    assert_eq!(shelf.ids(), [near, second, third, newest]);
}

/// A prune that a server lets do what it wants, whatever time it is for the node.
fn unnoticed(offset: &str) -> (Shelf, FaultServer, PruneReport, [String; 4]) {
    let server = FaultServer::with(Switches { minds_clocks: false, ..Switches::default() });
    let shelf = Shelf::on_faulty(&server);
    let ids = stock(&shelf);
    begin(&shelf);
    let ended = shelf.start_with(&wrong(offset)).end();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    assert!(ended.stderr.contains("the earlier one counts"), "{offset}: {}", ended.stderr);
    let report = ended.report.prune.unwrap();
    (shelf, server, report, ids)
}

#[test]
fn a_prune_under_a_wrong_clock_deletes_what_it_would_under_the_right_one() {
    for offset in ["+1d", "+1y", "-1h"] {
        let (shelf, server, report, ids) = unnoticed(offset);
        assert_eq!((report.deleted, report.kept), (1, 3), "{offset}");
        assert_eq!((report.garbage, report.uploads), (0, 0), "{offset}: it is not a day old");
        assert_eq!(shelf.ids(), ids[1..], "{offset}");
        assert_eq!(server.open_uploads().len(), 1, "{offset}");
    }
}
