//! Prunes on a real server that keeps versions and locks objects, versitygw: what goes, what it frees, and what stays.

use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use crate::bucket::TestBucket;
use crate::fixture::{Fixture, ID};
use crate::happy::SEEDED;
use crate::shelf::{OBJECT_BYTES, Shelf, directory};

const NEWEST: &str = "20251107-020000";
/// Older than its 30 days.
const OLD: &str = "20251001-020000";
/// Objects with two versions each.
const MANY: usize = 40;

fn object(id: &str) -> String {
    format!("{}1/shop.dump.zst.age", directory(id))
}

/// Keys of versions and delete markers below the directory of a backup.
fn versions(shelf: &Shelf, id: &str) -> Vec<String> {
    let all = shelf.fixture.bucket.versions().into_iter();
    all.filter(|key| key.starts_with(&directory(id))).collect()
}

#[test]
fn all_versions_and_delete_markers_go_and_count() {
    let mut shelf = Shelf::with_versions("versions-go");
    shelf.put(NEWEST);
    shelf.put(OLD);
    let bucket = &shelf.fixture.bucket;
    bucket.put(&object(OLD), &[b'x'; 100]);
    bucket.put(&format!("{}2/x", directory(OLD)), b"xyz");
    bucket.delete(&format!("{}2/x", directory(OLD)));
    let manifest = bucket.get(&format!("{}manifest.json", directory(OLD))).len() as u64;
    // versitygw puts the version before in the place of a current one that goes, also of one that is being deleted itself.
    for number in (0..MANY).chain(0..MANY) {
        bucket.put(&format!("{}2/{number}", directory(OLD)), b"y");
    }
    // Only a version and a marker are left of this one.
    let garbage = "20250901-020000";
    bucket.put_marked(&format!("{}1/a", directory(garbage)), b"12345", "greenlang/greenlang");
    bucket.delete(&format!("{}1/a", directory(garbage)));
    assert_eq!((versions(&shelf, OLD).len(), versions(&shelf, garbage).len()), (5 + 2 * MANY, 2));
    shelf.task.garbage_after_seconds = 1;
    std::thread::sleep(Duration::from_secs(3));
    let report = shelf.pruned();
    assert_eq!((report.deleted, report.garbage, report.kept), (1, 1, 1));
    assert_eq!(report.freed_bytes, 2 * OBJECT_BYTES + manifest + 3 + 5 + 2 * MANY as u64);
    assert_eq!((versions(&shelf, OLD), versions(&shelf, garbage)), (vec![], vec![]));
    assert_eq!(versions(&shelf, NEWEST).len(), 2);
}

#[test]
fn what_is_locked_stays_whole_until_its_lock_ends() {
    let shelf = Shelf::with_versions("versions-locked");
    for id in [NEWEST, OLD, "20251002-020000"] {
        shelf.put(id);
    }
    let bucket = &shelf.fixture.bucket;
    bucket.lock(&object(OLD), Duration::from_hours(1));
    bucket.lock(&object("20251002-020000"), Duration::from_secs(2));
    std::thread::sleep(Duration::from_secs(4));
    let before = versions(&shelf, OLD);
    let ended = shelf.prune();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    ended.expect_message(&["1 are locked by the bucket and stay"]);
    let report = ended.report.prune.unwrap();
    assert_eq!((report.locked, report.deleted, report.kept), (1, 1, 2));
    assert_eq!(shelf.verdict(OLD), ("Keep".into(), "LockedUntil".into()));
    let lines = shelf.stored_report();
    let line = lines["backups"].as_array().unwrap().iter().find(|line| line["id"] == OLD).unwrap();
    assert!(line["lockedUntil"].is_string(), "{line}");
    assert_eq!((versions(&shelf, OLD), shelf.ids()), (before, vec![OLD.into(), NEWEST.into()]));
}

/// From a real backup to its end: what the runner stores in such a bucket, a prune removes to the last version.
#[test]
fn a_backup_that_the_runner_made_goes_to_its_last_version() {
    let bucket = TestBucket::create_with_versions("versions-made");
    let fixture = Fixture::on(bucket, &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    // As if it had been made at its slot: its days count from its end.
    let mut manifest = fixture.manifest();
    (manifest.start_time, manifest.end_time) = (manifest.slot, manifest.slot);
    let key = format!("{}manifest.json", directory(ID));
    fixture.bucket.delete_for_good(&key);
    fixture.bucket.put(&key, &serde_json::to_vec(&manifest).unwrap());
    let shelf = Shelf::of(fixture);
    let newer = "20260101-020000";
    shelf.put(newer);
    assert_eq!(shelf.pruned().deleted, 1);
    assert_eq!(versions(&shelf, ID), [""; 0]);
    assert_eq!(shelf.ids(), [newer]);
}
