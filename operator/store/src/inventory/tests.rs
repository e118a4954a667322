//! Listings that lie, and directories that somebody fills.

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::owner::{Owner, OwnerFile};
use greenlang_backup_api::reasons;
use greenlang_backup_test_s3::{FaultServer, Operation, Pages as Paging, Switches};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{size, total};
use crate::fixture::Fixture;
use crate::seal::hex;
use crate::{Directory, Entry, Removal, RequestError, Store};

const PATH: &str = "database";

fn id(turn: i64) -> BackupId {
    BackupId::from_slot(Timestamp::from_second(1_700_000_000 + 60 * turn).unwrap())
}

fn key(id: &BackupId, name: &str) -> String {
    format!("p/{PATH}/{id}/{name}")
}

async fn directories(store: &Store, versions: bool) -> Result<Vec<Directory>, RequestError> {
    let mut walk = store.directories(PATH, versions);
    let mut all = Vec::new();
    while let Some(directory) = walk.next().await? {
        all.push(directory);
    }
    Ok(all)
}

#[test]
fn what_a_server_makes_up_is_summed_without_overflow() {
    let entry = |bytes| Entry {
        key: "key".into(),
        version: None,
        bytes,
        modified: Timestamp::MIN,
        current: true,
        marker: false,
    };
    assert_eq!(total(&[entry(2), entry(3)]), 5);
    assert_eq!(size(Some(-1)), 0);
    let most = size(Some(i64::MAX));
    assert_eq!(total(&[entry(most), entry(most), entry(most)]), most);
}

/// More than two pages of a list of objects.
const MANY: i64 = 2_100;

#[tokio::test]
async fn a_listing_that_lacks_or_repeats_something_is_an_error_and_not_a_list() {
    for (pages, versions, problem) in [
        (Paging::WithoutToken, false, "not where"),
        (Paging::InCircles, false, "shown before"),
        (Paging::Twice, false, "the same backup twice"),
        (Paging::WithoutToken, true, "not where"),
        (Paging::InCircles, true, "shown before"),
    ] {
        let server = FaultServer::with(Switches { pages, versions, ..Switches::default() });
        let many = if versions { MANY / 10 } else { MANY };
        // What is shown twice shows by manifests only.
        let name = if pages == Paging::Twice { "manifest.json" } else { "1/x" };
        (0..many).for_each(|turn| server.plant(&key(&id(turn), name), "{}"));
        let store = Fixture::new(server.endpoint()).await.store;
        let error = directories(&store, versions).await.unwrap_err();
        assert!(error.to_string().contains(problem), "{pages:?}: {error}");
        assert_eq!((error.reason(), error.is_retryable()), (reasons::STORAGE_ERROR, true));
        assert!(server.requests().len() < 20, "{pages:?} is asked for ever");
    }
    let server = FaultServer::start();
    (0..MANY).for_each(|turn| server.plant(&key(&id(turn), "manifest.json"), "{}"));
    let store = Fixture::new(server.endpoint()).await.store;
    assert_eq!(directories(&store, false).await.unwrap().len(), usize::try_from(MANY).unwrap());
}

#[tokio::test]
async fn clean_ups_and_lists_of_uploads_do_not_believe_such_a_listing_either() {
    let server = FaultServer::with(Switches { pages: Paging::WithoutToken, ..Switches::default() });
    let store = Fixture::new(server.endpoint()).await.store;
    (0..1_010).for_each(|turn| server.plant(&key(&id(0), &format!("1/{turn}")), "x"));
    let error = store.remove_attempt(&key(&id(0), "1/")).await.unwrap_err();
    assert!(error.to_string().contains("not where"), "{error}");
    assert_eq!((server.objects().len(), server.count(Operation::DeleteObject)), (1_010, 0));
    for turn in 0..1_010 {
        let upload = store.client.create_multipart_upload().bucket(store.bucket());
        upload.key(format!("p/u/{turn}")).send().await.unwrap();
    }
    let error = store.open_uploads("p/u/").await.err().unwrap();
    assert!(error.to_string().contains("not where"), "{error}");
}

/// Fills a directory with keys of nine hundred bytes: some fifteen megabytes for each 16,000.
fn fill(server: &FaultServer, id: &BackupId, count: usize) {
    let long = "x".repeat(900);
    (0..count).for_each(|turn| server.plant(&key(id, &format!("1/{turn:06}{long}")), ""));
}

#[tokio::test]
async fn a_directory_that_somebody_fills_is_not_held_and_not_judged() {
    let server = FaultServer::start();
    let store = Fixture::new(server.endpoint()).await.store;
    for turn in [0, 1, 2] {
        server.plant(&key(&id(turn), "manifest.json"), "{}");
    }
    fill(&server, &id(0), 15_000);
    fill(&server, &id(1), 20_000);
    let all = directories(&store, false).await.unwrap();
    let found: Vec<_> = all.iter().map(|directory| (directory.too_much, directory.entries.len())).collect();
    assert_eq!(found, [(false, 15_001), (true, 0), (false, 1)], "those beside it are whole");
    let alone = store.directory(PATH, &id(1), false).await.unwrap();
    assert!(alone.too_much && alone.entries.is_empty() && alone.held() == 0);
}

#[tokio::test]
async fn nothing_is_deleted_of_what_was_not_read_whole() {
    let server = FaultServer::start();
    let store = Fixture::new(server.endpoint()).await.store;
    let owner = Owner { cluster_uid: "c".into(), namespace: "n".into(), policy: "p".into() };
    let (owner, garbage) = (OwnerFile::new(owner), id(2));
    // A backup, one whose deletion was cut off, and what no manifest names.
    server.plant(&key(&id(0), "manifest.json"), "{}");
    server.plant(&key(&id(1), "deleted.json"), "{}");
    (0..3).for_each(|turn| fill(&server, &id(turn), 20_000));
    let before = server.objects().len();
    let sha256 = hex(&Sha256::digest("{}"));
    let removed = store.remove_backup(PATH, &id(0), Some(&sha256), false).await.unwrap();
    assert_eq!(removed, Removal::Changed);
    assert_eq!(store.remove_backup(PATH, &id(1), None, false).await.unwrap(), Removal::Changed);
    let removed = store.remove_garbage(PATH, &garbage, &owner, Timestamp::MAX, false).await.unwrap();
    assert_eq!(removed, None);
    assert_eq!((server.objects().len(), server.count(Operation::DeleteObject)), (before, 0));
}
