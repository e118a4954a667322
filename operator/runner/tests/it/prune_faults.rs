//! Prunes on servers that list wrongly, or do not say what time it is: what cannot be known deletes nothing.

use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_test_s3::{FaultServer, Operation, Pages, Switches};
use serde_json::Value;

use crate::clock::wrong;
use crate::shelf::{Shelf, directory, manifest};

const NEWEST: &str = "20251107-020000";
/// Older than its 30 days.
const OLD: &str = "20251001-020000";
const BROKEN: &str = "20250901-020000";
const LOOSE: &str = "20251002-020000";

fn below(server: &FaultServer, id: &str) -> usize {
    server.objects().iter().filter(|key| key.starts_with(&directory(id))).count()
}

#[test]
fn by_a_list_that_lacks_or_repeats_something_nothing_goes() {
    for pages in [Pages::WithoutToken, Pages::InCircles, Pages::Twice] {
        let server = FaultServer::with(Switches { pages, ..Switches::default() });
        let shelf = Shelf::on_faulty(&server);
        // More than two pages, and the newest backup is on the last one.
        for id in [OLD, NEWEST] {
            shelf.put(id);
        }
        for turn in 0..2_000 {
            server.plant(&format!("{}1/{turn}", directory(LOOSE)), "x");
        }
        let ended = shelf.prune();
        ended.expect(Outcome::Retryable, reasons::STORAGE_ERROR);
        ended.expect_message(&["lists what it holds wrongly", "so nothing is done by that list"]);
        assert_eq!((below(&server, OLD), server.count(Operation::DeleteObject)), (2, 0), "{pages:?}");
    }
}

/// What was stored when is by the server's clock. By that of the node alone, which is ahead, what an attempt has just begun would be old.
#[test]
fn what_no_manifest_names_stays_where_the_server_does_not_say_what_time_it_is() {
    let server = FaultServer::with(Switches { says_time: false, minds_clocks: false, ..Switches::default() });
    let shelf = Shelf::on_faulty(&server);
    shelf.put(NEWEST);
    shelf.put(OLD);
    let bucket = &shelf.fixture.bucket;
    bucket.put_marked(&format!("{}1/a", directory(LOOSE)), b"xx", "greenlang/greenlang");
    bucket.start_upload(&format!("{}1/b", directory(LOOSE)));
    // A deletion that was cut off is known by its copy, not by its age.
    bucket
        .put(&format!("{}deleted.json", directory(BROKEN)), &serde_json::to_vec(&manifest(BROKEN)).unwrap());
    let report = "clusters/test/reports/prune/20250901-020500/database.json";
    server.plant(report, "{}");
    server.age("reports/", Duration::from_hours(60 * 24));
    let ended = shelf.start_with(&wrong("+2d")).end();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    ended.expect_message(&["what no manifest names stays", "does not say what time it is"]);
    let pruned = ended.report.prune.unwrap();
    assert_eq!((pruned.deleted, pruned.garbage, pruned.uploads, pruned.ages_unknown), (1, 1, 0, true));
    assert_eq!((below(&server, OLD), below(&server, BROKEN), below(&server, LOOSE)), (0, 0, 1));
    assert!(server.objects().contains(&report.to_owned()) && server.open_uploads().len() == 1);
    let stored = shelf.stored_report();
    assert_eq!(
        (&stored["summary"]["agesUnknown"], &stored["serverTime"]),
        (&Value::Bool(true), &Value::Null)
    );
}
