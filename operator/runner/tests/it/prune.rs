//! Deletion of old backups: what goes, what stays and why, and what is left when it is cut off.

use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::retention::NeededBackup;
use greenlang_backup_test_s3::{Fault, FaultServer, Operation, Switches};

use crate::servers::poll;
use crate::shelf::{OBJECT_BYTES, Shelf, directory, manifest};

const NEWEST: &str = "20251107-020000";
/// Older than its 30 days.
const OLD: &str = "20251001-020000";

fn both(shelf: &Shelf) {
    shelf.put(NEWEST);
    shelf.put(OLD);
}

fn is_below(keys: &[String], id: &str) -> bool {
    keys.iter().any(|key| key.starts_with(&directory(id)))
}

#[test]
fn each_backup_stays_or_goes_for_its_reason() {
    let mut shelf = Shelf::new("prune-reasons");
    let bucket = &shelf.fixture.bucket;
    for id in [
        NEWEST,
        "20251020-020000",
        "20251005-020000",
        "20251004-020000",
        "20251003-020000",
        "20251002-020000",
    ] {
        shelf.put(id);
    }
    bucket.put(&format!("{}pinned.txt", directory("20251003-020000")), b"the year's end");
    shelf.put_with(OLD, |manifest| manifest.objects[0].stored_bytes += 1);
    // Nothing of these is ours, or none of it can be understood.
    let foreign =
        ["20250901-020000", "20250902-020000", "20250903-020000", "20250904-020000", "20250905-020000"];
    shelf.put_with(foreign[0], |manifest| manifest.policy.name = "another".into());
    shelf.put_manifest(foreign[1], b"{\"schema_version\": 1, \"timest");
    shelf.put_with(foreign[2], |manifest| manifest.schema_version = 99);
    shelf.put_with(foreign[3], |manifest| manifest.timestamp = NEWEST.parse().unwrap());
    shelf.put_with(foreign[4], |manifest| manifest.path = "other".into());
    bucket.put("clusters/test/database/greenlang_20240101.sql.gz", b"of the old scripts");
    bucket.put("clusters/test/database/20240101-000000/greenlang.sql.gz", b"of the old scripts");
    shelf.task.garbage_after_seconds = 0;
    shelf.task.retention.pins = vec!["20251004-020000".parse().unwrap()];
    shelf.task.retention.needed =
        vec![NeededBackup { id: "20251005-020000".parse().unwrap(), by: "restore n/r".into() }];
    shelf.task.shown = [NEWEST, "20251002-020000", "20250801-000000"].map(|id| id.parse().unwrap()).into();

    let before = bucket.keys().len();
    let ended = shelf.prune();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let report = ended.report.prune.unwrap();
    assert_eq!((report.kept, report.deleted, report.skipped, report.garbage), (5, 2, 5, 0));
    let gone: Vec<_> = report.gone.iter().map(ToString::to_string).collect();
    assert_eq!(gone, ["20251002-020000", "20250801-000000"], "what status shows and is not there");
    assert!(report.freed_bytes > 2 * OBJECT_BYTES, "{}", report.freed_bytes);
    for (id, verdict, reason) in [
        (NEWEST, "Keep", "WithinKeepDays"),
        ("20251020-020000", "Keep", "WithinKeepDays"),
        ("20251005-020000", "Keep", "Needed"),
        ("20251004-020000", "Keep", "Pinned"),
        ("20251003-020000", "Keep", "Pinned"),
        ("20251002-020000", "Delete", "Expired"),
        (OLD, "Delete", "Expired"),
        (foreign[0], "Skip", "NotOurs"),
        (foreign[1], "Skip", "NotOurs"),
    ] {
        assert_eq!(shelf.verdict(id), (verdict.to_owned(), reason.to_owned()), "{id}");
        let line =
            format!("{{\"detail\":{{\"id\":\"{id}\",\"verdict\":\"{verdict}\",\"reason\":\"{reason}\"");
        assert!(ended.stdout.contains(&line), "{line} is not in {}", ended.stdout);
    }
    let keys = shelf.fixture.bucket.keys();
    assert!(!is_below(&keys, OLD) && !is_below(&keys, "20251002-020000"));
    // Two objects and two manifests less, the report more.
    assert_eq!(keys.len(), before - 4 + 1);
    assert!(shelf.stored_report()["finished"].as_bool().unwrap());
}

/// A backup that has taken the path of others, or had another name: nobody can tell.
#[test]
fn what_was_made_under_another_name_goes_no_earlier_than_it_was_promised() {
    let mut shelf = Shelf::new("prune-former");
    shelf.task.backup = "billing".into();
    let put = |id: &str, name: &str, days: u32| {
        shelf.put_with(id, |manifest| {
            manifest.backup = name.into();
            (manifest.keep_days, manifest.schedules[0].keep_days) = (days, days);
        });
    };
    put(NEWEST, "billing", 30);
    put("20250702-020000", "billing", 365);
    put(OLD, "orders", 365);
    put("20250801-020000", "orders", 60);
    put("20250701-020000", "orders", 7);
    put("20250602-020000", "stock", 7);
    put("20250601-020000", "stock", 7);
    shelf.task.retention.former_pins =
        ["20250701-020000", "20250702-020000"].map(|id| id.parse().unwrap()).into();
    let report = shelf.pruned();
    assert_eq!((report.deleted, report.kept), (3, 4));
    for (id, reason) in [
        (NEWEST, "WithinKeepDays"),
        // Of the backup itself, so the days of its spec count, and nobody has pinned it.
        ("20250702-020000", "Expired"),
        (OLD, "WithinKeepDays"),
        ("20250801-020000", "Expired"),
        ("20250701-020000", "Pinned"),
        ("20250602-020000", "KeepAtLeast"),
        ("20250601-020000", "Expired"),
    ] {
        assert_eq!(shelf.verdict(id).1, reason, "{id}");
    }
}

#[test]
fn a_dry_run_says_the_same_and_deletes_nothing() {
    let mut shelf = Shelf::new("prune-dry");
    both(&shelf);
    shelf.task.dry_run = true;
    let before = shelf.ids();
    let report = shelf.pruned();
    assert_eq!((report.dry_run, report.deleted, report.kept), (true, 1, 1));
    assert_eq!((shelf.ids(), shelf.verdict(OLD).0), (before, "Delete".to_owned()));
    shelf.task.dry_run = false;
    assert_eq!(shelf.pruned().deleted, 1);
    assert_eq!(shelf.ids(), [NEWEST]);
}

#[test]
fn nothing_goes_while_the_newest_run_failed_or_something_is_held() {
    let mut shelf = Shelf::new("prune-held");
    both(&shelf);
    shelf.task.retention.schedules[0].newest_failed = true;
    assert_eq!((shelf.pruned().deleted, shelf.verdict(OLD).1.as_str()), (0, "NewestRunFailed"));
    shelf.task.retention.schedules[0].newest_failed = false;
    shelf.task.retention.hold = Some("because".into());
    assert_eq!((shelf.pruned().deleted, shelf.verdict(OLD).1.as_str()), (0, "Held"));
    assert_eq!(shelf.ids(), [OLD, NEWEST]);
}

#[test]
fn no_more_than_half_goes_at_once_and_the_report_says_what_is_left_for_the_next_time() {
    let mut shelf = Shelf::new("prune-half");
    shelf.put(NEWEST);
    let old: Vec<String> = (1..=6).map(|day| format!("2025090{day}-020000")).collect();
    for id in &old {
        shelf.put(id);
    }
    let ended = shelf.prune();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    ended.expect_message(&["3 stay because no more than half of a schedule's backups go at once"]);
    let report = ended.report.prune.unwrap();
    assert_eq!((report.deleted, report.kept, report.held_back), (3, 4, 3));
    assert_eq!(shelf.verdict(&old[2]).1, "Expired");
    assert_eq!(shelf.verdict(&old[3]), ("Keep".to_owned(), "HalfAtMost".to_owned()));
    shelf.task.id = "20251107-030500".parse().unwrap();
    // Four are left, and of so few all may go that nothing else keeps.
    assert_eq!((shelf.pruned().deleted, shelf.ids()), (3, vec![NEWEST.to_owned()]));
}

/// Wherever it is killed: what has a manifest has its objects, and the next prune does the rest.
#[test]
fn what_a_kill_leaves_never_looks_like_a_backup_and_goes_next_time() {
    for (operation, key, manifest_stays) in [
        (Operation::PutObject, "deleted.json", true),
        (Operation::DeleteObject, "manifest.json", true),
        (Operation::DeleteObject, "/1/", false),
        (Operation::DeleteObject, "deleted.json", false),
    ] {
        let server = FaultServer::start();
        let shelf = Shelf::on_faulty(&server);
        both(&shelf);
        server.inject(Fault::BlackHole.on(operation).where_key(key));
        let started = shelf.start();
        let reached = poll(Duration::from_secs(20), || {
            let mut requests = server.requests().into_iter();
            requests.find(|request| request.operation == operation && request.path.contains(key))
        });
        assert!(reached.is_some(), "{operation:?} {key}");
        started.signal("KILL");
        started.end_without_report();
        server.heal();
        let keys = server.objects();
        let object = format!("{}1/shop.dump.zst.age", directory(OLD));
        assert_eq!(shelf.ids().contains(&OLD.to_owned()), manifest_stays, "{operation:?} {key}");
        assert!(!manifest_stays || keys.contains(&object), "{operation:?} {key}: {keys:?}");
        assert_eq!(shelf.stored_report()["finished"], false);
        shelf.pruned();
        assert!(!is_below(&server.objects(), OLD), "{operation:?} {key}: {:?}", server.objects());
        assert!(is_below(&server.objects(), NEWEST));
    }
}

#[test]
fn an_unfinished_deletion_is_left_alone_where_a_run_may_be_or_the_copy_is_not_ours() {
    let mut shelf = Shelf::new("prune-unfinished");
    shelf.put(NEWEST);
    let copy = |id: &str, bytes: &[u8]| {
        let bucket = &shelf.fixture.bucket;
        bucket.put(&format!("{}deleted.json", directory(id)), bytes);
        bucket.put(&format!("{}1/x", directory(id)), b"x");
    };
    copy(OLD, &serde_json::to_vec(&manifest(OLD)).unwrap());
    copy("20250901-020000", b"cut");
    let mut theirs = manifest("20250902-020000");
    theirs.policy.namespace = "another".into();
    copy("20250902-020000", &serde_json::to_vec(&theirs).unwrap());
    let before = shelf.fixture.bucket.keys().len();
    shelf.task.busy = vec![OLD.parse().unwrap()];
    assert_eq!(shelf.pruned().garbage, 0);
    shelf.task.busy = vec![];
    assert_eq!(shelf.pruned().garbage, 1);
    assert_eq!(shelf.fixture.bucket.keys().len(), before - 2 + 1);
}

#[test]
fn garbage_goes_after_its_time_if_all_of_it_is_ours() {
    let mut shelf = Shelf::new("prune-garbage");
    shelf.put(NEWEST);
    let bucket = &shelf.fixture.bucket;
    let (ours, mixed, busy, theirs) = (OLD, "20251002-020000", "20251003-020000", "20251004-020000");
    for id in [ours, mixed, busy] {
        bucket.put_marked(&format!("{}1/a", directory(id)), b"xx", "greenlang/greenlang");
        bucket.put_marked(&format!("{}2/b", directory(id)), b"x", "greenlang/greenlang");
    }
    bucket.put(&format!("{}notes.txt", directory(mixed)), b"somebody's");
    bucket.put_marked(&format!("{}1/a", directory(theirs)), b"x", "greenlang/another");
    bucket.start_upload(&format!("{}1/c", directory(NEWEST)));
    bucket.start_upload(&format!("{}1/c", directory(busy)));
    bucket.start_upload("clusters/test/database/greenlang_20251101.sql.gz");
    shelf.task.busy = vec![busy.parse().unwrap()];
    let young = shelf.pruned();
    assert_eq!((young.garbage, young.uploads), (0, 0), "a day is not over");

    shelf.task.garbage_after_seconds = 1;
    std::thread::sleep(Duration::from_secs(3));
    shelf.task.dry_run = true;
    assert_eq!((shelf.pruned().garbage, shelf.fixture.bucket.open_uploads().len()), (1, 3));
    shelf.task.dry_run = false;
    let report = shelf.pruned();
    assert_eq!((report.garbage, report.uploads, report.freed_bytes), (1, 1, 3));
    let keys = shelf.fixture.bucket.keys();
    assert!(!is_below(&keys, ours) && [mixed, busy, theirs].iter().all(|id| is_below(&keys, id)), "{keys:?}");
    assert_eq!(shelf.fixture.bucket.open_uploads().len(), 2);
}

#[test]
fn in_a_bucket_with_versions_all_of_them_go_and_count() {
    let server = FaultServer::with(Switches { versions: true, ..Switches::default() });
    let mut shelf = Shelf::on_faulty(&server);
    both(&shelf);
    let bucket = &shelf.fixture.bucket;
    bucket.put(&format!("{}1/shop.dump.zst.age", directory(OLD)), &[b'x'; 100]);
    bucket.put(&format!("{}2/x", directory(OLD)), b"xyz");
    bucket.delete(&format!("{}2/x", directory(OLD)));
    let manifest = bucket.get(&format!("{}manifest.json", directory(OLD))).len() as u64;
    // Only versions and markers are left of this one.
    bucket.put_marked(&format!("{}1/a", directory("20250901-020000")), b"12345", "greenlang/greenlang");
    bucket.delete(&format!("{}1/a", directory("20250901-020000")));
    shelf.task.garbage_after_seconds = 1;
    std::thread::sleep(Duration::from_secs(3));
    let report = shelf.pruned();
    assert_eq!((report.deleted, report.garbage), (1, 1));
    assert_eq!(report.freed_bytes, 2 * OBJECT_BYTES + manifest + 3 + 5);
    let versions = server.versions();
    assert!(!is_below(&versions, OLD) && !is_below(&versions, "20250901-020000"), "{versions:?}");
}

#[test]
fn a_backup_that_somebody_deleted_can_still_be_had_back_from_its_versions() {
    let server = FaultServer::with(Switches { versions: true, ..Switches::default() });
    let mut shelf = Shelf::on_faulty(&server);
    shelf.put(NEWEST);
    for name in ["manifest.json", "1/shop.dump.zst.age"] {
        let key = format!("{}{name}", directory(OLD));
        shelf.fixture.bucket.put_marked(&key, b"x", "greenlang/greenlang");
        shelf.fixture.bucket.delete(&key);
    }
    shelf.task.garbage_after_seconds = 1;
    std::thread::sleep(Duration::from_secs(3));
    let of_old = || server.versions().into_iter().filter(|key| key.starts_with(&directory(OLD))).count();
    let before = of_old();
    assert!(before >= 2);
    let report = shelf.pruned();
    assert_eq!((report.garbage, report.skipped, of_old()), (0, 1, before));
    assert_eq!(shelf.verdict(OLD).0, "Skip");
    // Whoever deleted it can have written this, too.
    let copy = format!("{}deleted.json", directory(OLD));
    shelf.fixture.bucket.put(&copy, &serde_json::to_vec(&manifest(OLD)).unwrap());
    let report = shelf.pruned();
    assert_eq!((report.garbage, report.skipped, of_old()), (0, 1, before + 1));
}

/// Where versions are kept, who may put objects and delete none can spoil no backup; nor may a prune do it for him.
#[test]
fn a_backup_whose_manifest_was_overwritten_stays_with_its_versions() {
    let server = FaultServer::with(Switches { versions: true, ..Switches::default() });
    let shelf = Shelf::on_faulty(&server);
    both(&shelf);
    let young = "20251020-020000";
    shelf.put(young);
    shelf.put_with(young, |manifest| {
        manifest.schedules.iter_mut().for_each(|schedule| schedule.name = "gone".into());
        manifest.schedules.iter_mut().for_each(|schedule| schedule.keep_days = 0);
    });
    let report = shelf.pruned();
    assert_eq!((report.deleted, report.skipped, report.kept), (1, 1, 1));
    let versions = server.versions();
    assert_eq!(versions.iter().filter(|key| key.starts_with(&directory(young))).count(), 4);
    assert_eq!(shelf.verdict(young).0, "Skip");
}

#[test]
fn what_the_bucket_has_locked_stays_whole() {
    let server = FaultServer::with(Switches { versions: true, ..Switches::default() });
    let mut shelf = Shelf::on_faulty(&server);
    both(&shelf);
    server.lock(&format!("{OLD}/1/"), Duration::from_hours(1));
    let before = shelf.ids();
    shelf.task.dry_run = true;
    assert_eq!((shelf.pruned().deleted, shelf.verdict(OLD).1.as_str()), (0, "LockedUntil"));
    shelf.task.dry_run = false;
    let report = shelf.pruned();
    assert_eq!((report.locked, report.deleted, report.kept), (1, 0, 2));
    assert_eq!((shelf.ids(), shelf.verdict(OLD).1.as_str()), (before, "LockedUntil"));
    assert!(!server.objects().iter().any(|key| key.ends_with("deleted.json")));
    // A lock that is over is none.
    server.lock(OLD, Duration::ZERO);
    assert_eq!(shelf.pruned().deleted, 1);
}

/// As by the default retention of a bucket with Object Lock: the copy of a manifest is locked when it is made.
#[test]
fn what_the_bucket_locks_as_it_is_put_does_not_fail_a_prune() {
    let hour = Some(Duration::from_hours(1));
    let server = FaultServer::with(Switches { versions: true, locks_puts: hour, ..Switches::default() });
    let mut shelf = Shelf::on_faulty(&server);
    both(&shelf);
    let copy = format!("{}deleted.json", directory(OLD));
    let of_old = || server.versions().into_iter().filter(|key| key.starts_with(&directory(OLD)));
    assert_eq!((shelf.pruned().locked, of_old().count()), (1, 2), "its own lock goes on");
    server.lock(OLD, Duration::ZERO);
    shelf.task.id = "20251107-030500".parse().unwrap();
    let report = shelf.pruned();
    assert_eq!((report.deleted, report.locked, report.kept), (1, 0, 1));
    assert_eq!(of_old().collect::<Vec<_>>(), [copy.as_str()]);
    shelf.task.id = "20251107-040500".parse().unwrap();
    let report = shelf.pruned();
    assert_eq!((report.deleted, report.garbage, report.locked), (0, 0, 1));
    assert_eq!(shelf.verdict(OLD), ("Keep".to_owned(), "LockedUntil".to_owned()));
    server.lock(&copy, Duration::ZERO);
    shelf.task.id = "20251107-050500".parse().unwrap();
    let report = shelf.pruned();
    assert_eq!((report.garbage, report.locked, of_old().count()), (1, 0, 0));
}

#[test]
fn a_deletion_that_deletes_nothing_is_an_error() {
    let hidden = Switches { versions: true, shows_versions: false, ..Switches::default() };
    let ignored = Switches { ignores_deletes: true, ..Switches::default() };
    for (switches, words) in [(hidden, "keeps versions"), (ignored, "still has it")] {
        let server = FaultServer::with(switches);
        let shelf = Shelf::on_faulty(&server);
        both(&shelf);
        let ended = shelf.prune();
        ended.expect(Outcome::Failed, reasons::NOT_DELETED);
        ended.expect_message(&[words, "manifest.json"]);
        let keys = server.objects();
        for name in ["1/shop.dump.zst.age", "manifest.json"] {
            assert!(keys.contains(&format!("{}{name}", directory(OLD))), "{name}: {keys:?}");
        }
    }
}

/// What failed, or was killed, after it had deleted its half.
#[test]
fn a_prune_that_is_tried_again_deletes_no_second_half() {
    let server = FaultServer::start();
    let mut shelf = Shelf::on_faulty(&server);
    shelf.put(NEWEST);
    let old: Vec<String> = (1..=8).map(|day| format!("2025090{day}-020000")).collect();
    for id in &old {
        shelf.put(id);
    }
    server.inject(Fault::Answer(403, "AccessDenied").on(Operation::ListMultipartUploads));
    for _ in 0..3 {
        shelf.prune().expect(Outcome::Failed, reasons::ACCESS_DENIED);
        assert_eq!(shelf.ids().len(), 5);
    }
    server.heal();
    let report = shelf.pruned();
    assert_eq!((report.deleted, report.kept, report.held_back, shelf.ids().len()), (0, 5, 4, 5));
    // What the tries before it did is still on record.
    let stored = shelf.stored_report();
    let earlier = stored["earlier"].as_array().unwrap();
    assert_eq!(earlier.iter().map(|line| line["id"].as_str().unwrap()).collect::<Vec<_>>(), old[..4]);
    // One that cannot be read lets nothing go; that of another prune does not matter.
    shelf.fixture.bucket.put(&format!("clusters/test/reports/prune/{}/database.json", shelf.task.id), b"{");
    assert_eq!((shelf.pruned().deleted, shelf.ids().len()), (0, 5));
    shelf.task.id = "20251108-020500".parse().unwrap();
    assert_eq!(shelf.pruned().deleted, 2);
}

/// A change between the reading of a backup and its deletion: while the report is written.
fn changed_in_between(change: impl FnOnce(&Shelf)) {
    let server = FaultServer::start();
    let shelf = Shelf::on_faulty(&server);
    both(&shelf);
    server.inject(Fault::BlackHole.on(Operation::PutObject).where_key("reports/").times(1));
    let started = shelf.start();
    let reached = poll(Duration::from_secs(20), || {
        let mut requests = server.requests().into_iter();
        requests.find(|request| request.path.contains("reports/prune"))
    });
    assert!(reached.is_some());
    change(&shelf);
    started.end().expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!((shelf.ids(), shelf.verdict(OLD).1.as_str()), (vec![OLD.into(), NEWEST.into()], "Changed"));
}

#[test]
fn a_manifest_that_changes_in_between_is_not_deleted_unread() {
    changed_in_between(|shelf| shelf.put_with(OLD, |manifest| manifest.keep_days = 31));
}

#[test]
fn a_backup_that_is_pinned_in_between_stays() {
    changed_in_between(|shelf| shelf.fixture.bucket.put(&format!("{}pinned", directory(OLD)), b""));
}
