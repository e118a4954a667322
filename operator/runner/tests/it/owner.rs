//! Who may write below a prefix, and the history that its owner finds there.

use std::time::Duration;

use greenlang_backup_api::manifest::{Keeper, Manifest};
use greenlang_backup_api::owner::{Claim, OwnerFile};
use greenlang_backup_api::prune::CatalogueReport;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::task::Task;
use greenlang_backup_test_s3::{Fault, FaultServer, Operation};
use jiff::Timestamp;

use crate::fixture::{Ended, Fixture};
use crate::happy::SEEDED;
use crate::servers::poll;
use crate::servers::tasks::claim;
use crate::shelf::{Shelf, manifest};

const OWNER: &str = "clusters/test/.owner.json";

fn another() -> Claim {
    let mut claim = claim();
    claim.owner.cluster_uid = "c-2".into();
    claim.owner.policy = "another".into();
    claim
}

#[test]
fn another_policy_is_refused_with_both_names_and_adopts_when_told() {
    let mut fixture = Fixture::new("owner-adopt", &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let before = fixture.bucket.keys();
    assert!(fixture.bucket.is_owned());

    fixture.task.claim = another();
    fixture.task.run.policy = "another".into();
    fixture.task.run.id = "20251108-020000".parse().unwrap();
    let id = claim().owner.id();
    let names = ["greenlang/greenlang", "c-1", "greenlang/another", "c-2", &format!("adopt: {id}")];
    let ended = fixture.run();
    ended.expect(Outcome::Failed, reasons::OWNED_BY_OTHER);
    ended.expect_message(&names);
    let probed = fixture.probe().report.probe.unwrap().storage;
    assert_eq!(probed.reason, reasons::OWNED_BY_OTHER);
    assert!(names.iter().all(|name| probed.message.contains(name)), "{}", probed.message);
    // The id of anybody else does not help.
    fixture.task.claim.adopt = Some(another().owner.id());
    fixture.run().expect(Outcome::Failed, reasons::OWNED_BY_OTHER);
    assert_eq!(fixture.bucket.keys(), before, "nothing was written");

    fixture.task.claim.adopt = Some(id);
    assert!(fixture.probe().report.probe.unwrap().storage.ok);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let file: OwnerFile = serde_json::from_slice(&fixture.bucket.get(OWNER)).unwrap();
    assert_eq!((file.owner, file.adopted), (another().owner, vec![claim().owner]));
    // Now the first one is refused.
    fixture.task.claim = claim();
    fixture.run().expect(Outcome::Failed, reasons::OWNED_BY_OTHER);
}

/// Both have looked and found nobody; the second one is the faster.
#[test]
fn of_two_that_come_at_once_one_is_the_owner() {
    let server = FaultServer::start();
    let mut shelf = Shelf::on_faulty(&server);
    server.inject(Fault::Held.on(Operation::PutObject).where_key(".owner.json").times(1));
    let first = shelf.start();
    let claims = poll(Duration::from_secs(20), || {
        let mut requests = server.requests().into_iter();
        requests.find(|request| request.operation == Operation::PutObject && request.path.contains(OWNER))
    });
    assert!(claims.is_some());
    shelf.task.claim = another();
    shelf.pruned();
    server.heal();
    let ended = first.end();
    ended.expect(Outcome::Failed, reasons::OWNED_BY_OTHER);
    ended.expect_message(&["greenlang/greenlang", "c-1", "greenlang/another", "c-2"]);
    let file: OwnerFile = serde_json::from_slice(&shelf.fixture.bucket.get(OWNER)).unwrap();
    assert_eq!((file.owner, file.adopted), (another().owner, vec![]));
}

#[test]
fn a_policy_that_was_made_again_is_the_same_owner() {
    let mut fixture = Fixture::new("owner-again", &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    fixture.task.run.policy_uid = "another".to_owned();
    fixture.task.run.id = "20251108-020000".parse().unwrap();
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
}

#[test]
fn an_owner_that_cannot_be_read_stops_everybody() {
    let shelf = Shelf::new("owner-unreadable");
    for content in [
        "{\"version\": 1, \"own",
        "{\"version\":9,\"owner\":{\"clusterUid\":\"c-1\",\"namespace\":\"greenlang\",\"policy\":\"greenlang\"}}",
    ] {
        shelf.fixture.bucket.put(OWNER, content.as_bytes());
        let ended = shelf.prune();
        ended.expect(Outcome::Failed, reasons::OWNED_BY_OTHER);
        ended.expect_message(&[".owner.json", "cannot be read"]);
    }
}

#[test]
fn the_backups_of_a_former_owner_are_pruned_and_listed_by_the_new_one() {
    let mut shelf = Shelf::new("owner-former");
    shelf.put("20251107-020000");
    shelf.put("20251001-020000");
    shelf.pruned();
    shelf.put("20251001-020000");
    shelf.task.claim = another();
    shelf.prune().expect(Outcome::Failed, reasons::OWNED_BY_OTHER);
    catalogue(&shelf).expect(Outcome::Failed, reasons::OWNED_BY_OTHER);
    shelf.task.claim.adopt = Some(claim().owner.id());
    let (ended, entries) = listed(&shelf);
    assert_eq!((ended.skipped, entries.len()), (0, 2));
    assert_eq!(shelf.pruned().deleted, 1);
}

fn catalogue(shelf: &Shelf) -> Ended {
    shelf.fixture.start_task(&Task::Catalogue(shelf.catalogue_task()), &[]).end()
}

fn listed(shelf: &Shelf) -> (CatalogueReport, Vec<String>) {
    let ended = catalogue(shelf);
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let report = ended.report.catalogue.unwrap();
    // As the operator reads it: both streams are one log.
    let log = format!("{}{}", ended.stderr, ended.stdout);
    assert_eq!(report.entries(&log[..log.len() - 2]), None, "a log that is cut is noticed");
    let entries = report.entries(&log).unwrap();
    (report, entries.into_iter().map(|entry| entry.id.to_string()).collect())
}

#[test]
fn a_catalogue_lists_the_newest_and_the_newest_of_each_schedule() {
    let mut shelf = Shelf::new("catalogue");
    for day in 1..=9 {
        shelf.put(&format!("2025110{day}-020000"));
    }
    shelf.put_with("20240101-020000", |manifest| manifest.schedules[0].name = "yearly".into());
    shelf.put_with("20240102-020000", |manifest| manifest.policy.name = "foreign".into());
    shelf.put_manifest("20240103-020000", b"cut");
    // Nobody could restore these: they would be the newest, and no alarm would say that there are none.
    shelf.put_with("20251110-020000", |manifest| manifest.objects[0].stored_bytes += 1);
    shelf.put("20251111-020000");
    shelf.fixture.bucket.delete(&manifest("20251111-020000").objects[0].key);
    let (report, ids) = listed(&shelf);
    assert_eq!((report.found, report.skipped, report.details), (10, 4, 10));
    assert_eq!((ids[0].as_str(), ids[9].as_str()), ("20251109-020000", "20240101-020000"));
    assert!(!shelf.fixture.bucket.is_owned(), "listing claims nothing");
    shelf.task.bucket.prefix = "nothing/here".to_owned();
    assert_eq!(listed_nothing(&shelf), 0);
    for (schedules, listed) in [(vec!["daily", "yearly"], 4), (vec!["daily"], 3)] {
        let mut task = shelf.catalogue_task();
        (task.bucket.prefix, task.limit) = ("clusters/test".to_owned(), 3);
        task.backups[0].schedules = schedules.into_iter().map(str::to_owned).collect();
        let ended = shelf.fixture.start_task(&Task::Catalogue(task), &[]).end();
        let why = "three, and the newest yearly one while there is such a schedule";
        assert_eq!(ended.report.catalogue.unwrap().details, listed, "{why}");
    }
}

/// Else a backup that has the path of one that was taken out would seem to have succeeded before its first run.
#[test]
fn a_catalogue_lists_nothing_that_was_made_under_another_name() {
    let shelf = Shelf::new("catalogue-former");
    shelf.put("20251107-020000");
    shelf.put_with("20251108-020000", |manifest| manifest.backup = "orders".into());
    let ended = catalogue(&shelf);
    let report = ended.report.catalogue.as_ref().unwrap();
    assert_eq!((report.found, report.skipped), (1, 1));
    assert_eq!(report.entries(&ended.stdout).unwrap()[0].id.as_str(), "20251107-020000");
    let log = format!("{}{}", ended.stderr, ended.stdout);
    assert!(log.contains("it was made as backup orders, and not as database"), "{log}");
}

/// Whoever can write to the bucket can put a manifest there. `status` could not take these values, and then nothing any more.
#[test]
fn a_manifest_with_values_that_no_backup_has_is_skipped() {
    let shelf = Shelf::new("catalogue-hostile");
    let early: Timestamp = "-009999-01-02T01:59:59Z".parse().unwrap();
    let changes: [&dyn Fn(&mut Manifest); 9] = [
        &|manifest| manifest.size_bytes = u64::MAX,
        &|manifest| manifest.objects[0].stored_bytes = u64::MAX,
        &|manifest| manifest.objects[0].source_bytes = u64::MAX,
        &|manifest| {
            manifest.objects.push(manifest.objects[0].clone());
            manifest.objects.iter_mut().for_each(|object| object.source_bytes = u64::MAX / 2 + 1);
        },
        &|manifest| manifest.end_time = early,
        &|manifest| manifest.objects.clear(),
        &|manifest| manifest.schedules[0].name = "x".repeat(300_000),
        &|manifest| manifest.backup = "x".repeat(300_000),
        &|manifest| {
            let one = manifest.schedules[0].clone();
            manifest.schedules = (0..300).map(|at| Keeper { name: at.to_string(), ..one.clone() }).collect();
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        shelf.put_with(&format!("2026010{}-020000", at + 1), change);
    }
    let deep = format!("{{\"schema_version\": 1, \"objects\": {}", "[".repeat(100_000));
    shelf.put_manifest("20260201-020000", deep.as_bytes());
    let twice = serde_json::to_string(&manifest("20260202-020000")).unwrap();
    shelf.put_manifest("20260202-020000", twice.replacen('{', "{\"attempt\": 7,", 1).as_bytes());
    shelf.put("20251101-020000");
    let (report, ids) = listed(&shelf);
    assert_eq!((report.found, report.skipped, ids), (1, 11, vec!["20251101-020000".to_owned()]));
    // Nor is any of it touched.
    let before = shelf.ids();
    assert_eq!(shelf.pruned().skipped, 11);
    assert_eq!(shelf.ids(), before);
}

fn listed_nothing(shelf: &Shelf) -> u32 {
    let ended = catalogue(shelf);
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let report = ended.report.catalogue.unwrap();
    assert_eq!(report.entries(&ended.stdout), Some(vec![]));
    report.found
}
