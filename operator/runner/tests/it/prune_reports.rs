//! Reports of prunes go after thirty days, and nothing else that lies with them.

use std::time::Duration;

use greenlang_backup_api::names::BackupId;
use greenlang_backup_test_s3::{FaultServer, Switches};
use jiff::Timestamp;

use crate::shelf::Shelf;

/// A prune of two months before.
const LONG_AGO: &str = "20250901-020500";
const TWO_MONTHS: Duration = Duration::from_hours(60 * 24);

fn key(rest: &str) -> String {
    format!("clusters/test/reports/{rest}")
}

fn reports(server: &FaultServer) -> Vec<String> {
    server.objects().into_iter().filter(|key| key.contains("/reports/")).collect()
}

#[test]
fn those_of_the_path_go_after_thirty_days_by_both_times() {
    let server = FaultServer::start();
    let mut shelf = Shelf::on_faulty(&server);
    shelf.put("20251107-020000");
    let own = |id: &str| key(&format!("prune/{id}/database.json"));
    let others = [
        // Of another path, which the prune of that path deletes; of another kind; no report at all.
        key(&format!("prune/{LONG_AGO}/config.json")),
        key(&format!("verify/{LONG_AGO}/database.json")),
        key("prune/20259901-000000/database.json"),
        key("prune/notes.txt"),
    ];
    for key in others.iter().chain([&own(LONG_AGO), &own("20251020-020500")]) {
        server.plant(key, "{}");
    }
    server.age("reports/", TWO_MONTHS);
    // Its name says that it is old, and the bucket that it is new; and the other way round.
    server.plant(&own("20250902-020500"), "{}");
    shelf.task.dry_run = true;
    shelf.pruned();
    assert!(reports(&server).contains(&own(LONG_AGO)), "a dry run deletes nothing");

    shelf.task.dry_run = false;
    shelf.task.id = BackupId::from_slot(Timestamp::now());
    let now = shelf.task.id.to_string();
    shelf.pruned();
    let mut left = others.to_vec();
    left.extend([own("20250902-020500"), own(&now)]);
    // That of the dry run was just stored.
    left.push(own(crate::shelf::PRUNE));
    left.sort();
    assert_eq!(reports(&server), left);
}

#[test]
fn in_a_bucket_with_versions_every_version_goes_but_what_is_locked() {
    let server = FaultServer::with(Switches { versions: true, ..Switches::default() });
    let shelf = Shelf::on_faulty(&server);
    shelf.put("20251107-020000");
    let (gone, locked) =
        (key(&format!("prune/{LONG_AGO}/database.json")), key("prune/20250902-020500/database.json"));
    for key in [&gone, &gone, &locked] {
        server.plant(key, "{}");
    }
    shelf.fixture.bucket.delete(&gone);
    server.age("reports/", TWO_MONTHS);
    server.lock(&locked, Duration::from_hours(1));
    shelf.pruned();
    let left = server.versions();
    assert!(!left.contains(&gone) && left.contains(&locked), "{left:?}");
}
