//! What no run has made: manifests of another policy, cut, of a release to come, with the id of another backup, of a time to come;
//! ten thousand of them; a directory without end. They are skipped with a warning and stay, and memory does not grow with them.

use std::path::Path;
use std::time::Duration;

use greenlang_backup_api::manifest::{Keeper, Manifest, Object};
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::task::Task;
use greenlang_backup_test_s3::FaultServer;
use jiff::{SignedDuration, Timestamp};

use crate::fixture::Ended;
use crate::shelf::{Shelf, directory, manifest};

const NEWEST: &str = "20251107-020000";
const OTHER: &str = "20251001-020000";
const MANY: usize = 10_000;
/// Of a process that holds no more than a few manifests at a time.
const MEMORY_KIB: u64 = 64 << 10;

/// What lies where the manifest of an id should, by turns.
fn wrong(id: &str, turn: usize) -> String {
    let other = serde_json::to_string(&manifest(OTHER)).unwrap();
    let own = other.replace(OTHER, id);
    match turn % 6 {
        0 => own.replace("\"greenlang\"", "\"another\""),
        1 => own[..own.len() / 2].to_owned(),
        2 => own.replace("\"schema_version\":1", "\"schema_version\":7"),
        3 => own.replace("\"path\":\"database\"", "\"path\":\"other\""),
        4 => "[]".to_owned(),
        _ => other,
    }
}

/// Ids of one each half hour of years ago.
fn id(turn: usize) -> String {
    id_from("2020-01-01T00:00:00Z", turn)
}

fn id_from(first: &str, turn: usize) -> String {
    let first: Timestamp = first.parse().unwrap();
    let time = first + SignedDuration::from_mins(30 * i64::try_from(turn).unwrap());
    BackupId::from_slot(time).to_string()
}

#[test]
fn each_kind_is_skipped_with_a_warning_and_stays() {
    let shelf = Shelf::new("hand-made");
    shelf.put(NEWEST);
    let words = ["it belongs to policy", "", "7", "other/", "", OTHER];
    for turn in 0..words.len() {
        shelf.put_manifest(&id(turn), wrong(&id(turn), turn).as_bytes());
    }
    let before = shelf.ids();
    let tasks = [Task::Prune(shelf.task.clone()), Task::Catalogue(shelf.catalogue_task())];
    for task in tasks {
        let ended = shelf.fixture.start_task(&task, &[]).end();
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        for (turn, words) in words.iter().enumerate() {
            let (id, log) = (id(turn), format!("{}{}", ended.stderr, ended.stdout));
            let warned = log.lines().any(|line| {
                line.contains("WARN")
                    && line.contains("skipped")
                    && line.contains(&id)
                    && line.contains(words)
            });
            assert!(warned, "{id}: {words:?} is not in {log}");
        }
        let skipped = [
            ended.report.prune.as_ref().map(|report| (report.skipped, report.kept, report.deleted)),
            ended.report.catalogue.as_ref().map(|report| (report.skipped, report.found, 0)),
        ];
        assert_eq!(skipped.into_iter().flatten().collect::<Vec<_>>(), [(6, 1, 0)]);
    }
    assert_eq!(shelf.ids(), before);
}

/// Runs a task to its end; the most memory that it had, in KiB.
fn measured(shelf: &Shelf, task: &Task) -> (Ended, u64) {
    // Without a log of each request.
    let started = shelf.fixture.start_task(task, &[("RUST_LOG", Path::new("error"))]);
    let mut peak = 0;
    while let Some(now) = started.peak_memory() {
        peak = peak.max(now);
        std::thread::sleep(Duration::from_millis(20));
    }
    (started.end(), peak)
}

#[test]
fn ten_thousand_of_them_need_no_more_memory_and_none_is_deleted_unread() {
    let server = FaultServer::start();
    let shelf = Shelf::on_faulty(&server);
    shelf.put(NEWEST);
    for turn in 0..MANY {
        let id = id(turn);
        // 80 MiB in all.
        let text = format!("{}{}", wrong(&id, turn), " ".repeat(8_000));
        server.plant(&format!("{}manifest.json", directory(&id)), text);
    }
    let before = server.objects().len();
    let (listed, peak) = measured(&shelf, &Task::Catalogue(shelf.catalogue_task()));
    listed.expect(Outcome::Done, reasons::SUCCEEDED);
    let report = listed.report.catalogue.unwrap();
    assert_eq!((usize::try_from(report.skipped).unwrap(), report.found), (MANY, 1));
    assert!(peak < MEMORY_KIB, "{peak} KiB");

    let (pruned, peak) = measured(&shelf, &Task::Prune(shelf.task.clone()));
    pruned.expect(Outcome::Done, reasons::SUCCEEDED);
    let report = pruned.report.prune.unwrap();
    assert_eq!((usize::try_from(report.skipped).unwrap(), report.kept, report.deleted), (MANY, 1, 0));
    assert!(peak < MEMORY_KIB, "{peak} KiB");
    // The owner's file and the report are new.
    assert_eq!(server.objects().len(), before + 2, "nothing is deleted unread");
}

/// A manifest with its object.
fn plant(server: &FaultServer, manifest: &Manifest) {
    let Object { key, stored_bytes, .. } = &manifest.objects[0];
    server.plant(key, vec![b'x'; usize::try_from(*stored_bytes).unwrap()]);
    let key = format!("{}manifest.json", directory(manifest.timestamp.as_str()));
    server.plant(&key, serde_json::to_vec(manifest).unwrap());
}

/// As many names and as long ones as a manifest may have, in each one others.
fn many_schedules(id: &str) -> Manifest {
    let mut manifest = manifest(id);
    let keeper = |turn| Keeper { name: format!("{id}-{turn:0237}"), keep_days: 100_000 };
    manifest.schedules.extend((1..64).map(keeper));
    manifest
}

#[test]
fn ten_thousand_that_name_many_schedules_need_no_more_memory() {
    let server = FaultServer::start();
    let shelf = Shelf::on_faulty(&server);
    shelf.put(NEWEST);
    for turn in 0..MANY {
        plant(&server, &many_schedules(&id(turn)));
    }
    let (listed, peak) = measured(&shelf, &Task::Catalogue(shelf.catalogue_task()));
    listed.expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!(usize::try_from(listed.report.catalogue.unwrap().found).unwrap(), MANY + 1);
    assert!(peak < MEMORY_KIB, "{peak} KiB");

    let (pruned, peak) = measured(&shelf, &Task::Prune(shelf.task.clone()));
    pruned.expect(Outcome::Done, reasons::SUCCEEDED);
    let report = pruned.report.prune.unwrap();
    assert_eq!((usize::try_from(report.kept).unwrap(), report.deleted, report.skipped), (MANY + 1, 0, 0));
    assert!(peak < MEMORY_KIB, "{peak} KiB");
}

#[test]
fn a_directory_without_end_is_neither_held_nor_touched_and_the_others_are_pruned() {
    let server = FaultServer::start();
    let shelf = Shelf::on_faulty(&server);
    let endless = "20250901-020000";
    for id in [NEWEST, OTHER, endless] {
        shelf.put(id);
    }
    let long = "x".repeat(900);
    for turn in 0..60_000 {
        server.plant(&format!("{}1/{turn}{long}", directory(endless)), "");
    }
    let below = |id: &str| server.objects().iter().filter(|key| key.starts_with(&directory(id))).count();
    let before = below(endless);
    for task in [Task::Catalogue(shelf.catalogue_task()), Task::Prune(shelf.task.clone())] {
        let (ended, peak) = measured(&shelf, &task);
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        assert!(peak < MEMORY_KIB, "{peak} KiB");
        let skipped = [
            ended.report.catalogue.as_ref().map(|report| (report.skipped, report.found)),
            ended.report.prune.as_ref().map(|report| (report.skipped, report.kept + report.deleted)),
        ];
        assert_eq!(skipped.into_iter().flatten().collect::<Vec<_>>(), [(1, 2)]);
    }
    assert_eq!((below(endless), below(OTHER), below(NEWEST)), (before, 0, 2));
    assert_eq!(shelf.verdict(endless), ("Skip".to_owned(), "TooMuch".to_owned()));
    let report = shelf.stored_report().to_string();
    assert!(report.contains("more lies in clusters/test/database/20250901-020000/ than"), "{report}");
}

#[test]
fn those_of_the_year_9999_hide_none_that_is_real() {
    let server = FaultServer::start();
    let shelf = Shelf::on_faulty(&server);
    shelf.put(NEWEST);
    shelf.put(OTHER);
    for turn in 0..1_500 {
        plant(&server, &manifest(&id_from("9999-01-01T00:00:00Z", turn)));
    }
    let ended = shelf.fixture.start_task(&Task::Catalogue(shelf.catalogue_task()), &[]).end();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let report = ended.report.catalogue.unwrap();
    assert_eq!(report.found, 1_502);
    let entries = report.entries(&ended.stdout).unwrap();
    let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!((ids.len(), &ids[..2]), (100, &[NEWEST, OTHER][..]));
    assert!(ids[2..].iter().all(|id| id.starts_with("9999")), "there is room: {ids:?}");
}
