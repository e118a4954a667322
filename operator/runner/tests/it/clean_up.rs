//! What a runner left that was killed: a clean-up removes it, and nothing that a manifest names.

use std::time::Duration;

use greenlang_backup_api::manifest::Manifest;
use greenlang_backup_api::owner::Claim;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::task::{CleanUpTask, Task};
use greenlang_backup_test_s3::{
    ACCESS_KEY, BUCKET, Fault, FaultServer, Listing, Operation, SECRET_KEY, Switches,
};

use crate::bucket::stored;
use crate::faults::{BIG, MIDDLE};
use crate::fixture::{Ended, Fixture, ID, kill};
use crate::happy::SEEDED;
use crate::servers::tasks::claim;
use crate::shelf::Shelf;

impl Fixture {
    fn clean_up_task(&self, attempts: &[u32]) -> CleanUpTask {
        let run = &self.task.run;
        CleanUpTask {
            claim: self.task.claim.clone(),
            policy_uid: run.policy_uid.clone(),
            backup: run.backup.clone(),
            path: run.path.clone(),
            id: run.id.clone(),
            attempts: attempts.to_vec(),
            bucket: self.task.bucket.clone(),
        }
    }

    pub fn clean_up(&self, attempts: &[u32]) -> Ended {
        self.start_task(&Task::CleanUp(self.clean_up_task(attempts)), &[]).end()
    }

    /// Kills the runner after the first database is stored and parts of the second were sent: objects and an upload stay.
    fn kill_in_mid_dump(&self) {
        let mut started = self.start(&[]);
        let pid = started.stop_pg_dump_after(MIDDLE);
        started.signal("KILL");
        started.end_without_report();
        // A container takes it along; here nobody does.
        kill("KILL", pid);
    }
}

#[test]
fn all_that_a_killed_runner_left_goes() {
    let fixture = Fixture::new("clean-killed", &[*SEEDED, *BIG]);
    fixture.kill_in_mid_dump();
    assert!(!fixture.bucket.open_uploads().is_empty());
    // What is not of these attempts is none of its business.
    let others =
        ["20251107-020000/11/x", "20251107-020001/1/x"].map(|key| format!("clusters/test/database/{key}"));
    for key in &others {
        fixture.bucket.put(key, b"x");
    }
    let marker = format!("clusters/test/.probe/0f5a-database-{ID}-1/object");
    fixture.bucket.put(&marker, b"x");
    let ended = fixture.clean_up(&[1, 2]);
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    ended.expect_message(&["nothing is left of attempts [1, 2] at backup database/20251107-020000"]);
    assert_eq!(fixture.bucket.keys(), others);
    assert_eq!(fixture.bucket.open_uploads(), [""; 0]);
    fixture.clean_up(&[1, 2]).expect(Outcome::Done, reasons::SUCCEEDED);
}

/// MinIO lists the open uploads of a whole key only; the clean-up is another process and has none of the attempt's memory.
#[test]
fn a_killed_runners_uploads_are_found_where_they_are_listed_by_whole_key_only() {
    let server = FaultServer::with(Switches { lists_uploads: Listing::ByKey, ..Switches::default() });
    let fixture = Fixture::on_faulty(&server, &[*SEEDED, *BIG]);
    fixture.kill_in_mid_dump();
    assert_eq!(server.open_uploads().len(), 1);
    fixture.clean_up(&[1]).expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!((stored(&server), server.open_uploads()), (vec![], vec![]));
}

#[test]
fn the_attempt_that_made_the_backup_stays() {
    let mut fixture = Fixture::new("clean-named", &[*SEEDED, *BIG]);
    fixture.kill_in_mid_dump();
    fixture.task.run.attempt = 2;
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let ended = fixture.clean_up(&[1, 2]);
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    ended.expect_message(&["attempt 2 made backup database/20251107-020000 and stays"]);
    let mut named: Vec<_> = fixture.manifest().objects.into_iter().map(|object| object.key).collect();
    named.push(format!("clusters/test/database/{ID}/manifest.json"));
    named.sort();
    assert_eq!(fixture.bucket.keys(), named);
    assert_eq!(fixture.bucket.open_uploads(), [""; 0]);
}

#[test]
fn nothing_is_touched_where_the_manifest_is_another_policys_or_cannot_be_read() {
    let fixture = Fixture::new("clean-foreign", &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    fixture.bucket.put(&format!("clusters/test/database/{ID}/2/x"), b"x");
    let key = format!("clusters/test/database/{ID}/manifest.json");
    let ours: Manifest = fixture.manifest();
    let before = fixture.bucket.keys();
    let changes: [fn(&mut Manifest); 3] = [
        |manifest| manifest.policy.name = "another".into(),
        |manifest| manifest.policy.namespace = "another".into(),
        |manifest| manifest.backup = "another".into(),
    ];
    for change in changes {
        let mut theirs = ours.clone();
        change(&mut theirs);
        fixture.bucket.put(&key, &serde_json::to_vec(&theirs).unwrap());
        let ended = fixture.clean_up(&[1, 2]);
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        ended.expect_message(&["belongs to another policy or backup", "nothing was touched"]);
        assert_eq!(fixture.bucket.keys(), before);
    }
    fixture.bucket.put(&key, b"half a mani");
    let ended = fixture.clean_up(&[1, 2]);
    ended.expect(Outcome::Failed, reasons::STORAGE_ERROR);
    ended.expect_message(&["manifest.json", "is no manifest of ours"]);
    assert_eq!(fixture.bucket.keys(), before);
}

/// Another policy was told to adopt the prefix: what lies there is its own now, and its prune removes what nobody names.
#[test]
fn nothing_is_touched_below_a_prefix_that_is_anothers() {
    let mut fixture = Fixture::new("clean-owned", &[*SEEDED, *BIG]);
    fixture.kill_in_mid_dump();
    let (before, uploads) = (fixture.bucket.keys(), fixture.bucket.open_uploads());
    let marker = format!("clusters/test/.probe/0f5a-database-{ID}-1/object");
    let ours = fixture.task.claim.clone();
    fixture.task.claim.owner.policy = "another".into();
    fixture.task.claim.adopt = Some(ours.owner.id());
    assert!(fixture.probe().report.probe.unwrap().storage.ok);

    fixture.task.claim = ours;
    fixture.bucket.put(&marker, b"x");
    let ended = fixture.clean_up(&[1]);
    ended.expect(Outcome::Failed, reasons::OWNED_BY_OTHER);
    ended.expect_message(&["policy greenlang/another", "not policy greenlang/greenlang"]);
    assert_eq!((before.len() + 1, uploads), (fixture.bucket.keys().len(), fixture.bucket.open_uploads()));
    // A policy that takes the prefix back may.
    fixture.task.claim.adopt = Some(claim_of("another").owner.id());
    fixture.clean_up(&[1]).expect(Outcome::Done, reasons::SUCCEEDED);
    fixture.bucket.assert_empty();
}

fn claim_of(policy: &str) -> Claim {
    let mut claim = claim();
    claim.owner.policy = policy.into();
    claim
}

/// An entry that had no room in status is forgotten by the operator, and not by the bucket: what real attempts leave carries the
/// mark by which a prune knows it.
#[test]
fn what_no_clean_up_removes_goes_with_the_old_backups() {
    let fixture = Fixture::new("clean-dropped", &[*SEEDED, *BIG]);
    fixture.kill_in_mid_dump();
    assert!(!fixture.bucket.open_uploads().is_empty());
    let mut shelf = Shelf::of(fixture);
    std::thread::sleep(Duration::from_secs(3));
    shelf.task.garbage_after_seconds = 1;
    let report = shelf.pruned();
    assert_eq!((report.garbage, report.uploads), (1, 1));
    let keys = shelf.fixture.bucket.keys();
    assert!(keys.iter().all(|key| key.contains("/reports/")), "{keys:?}");
    assert_eq!(shelf.fixture.bucket.open_uploads(), [""; 0]);
}

#[test]
fn a_policy_that_was_made_again_removes_what_it_left_before() {
    let mut fixture = Fixture::new("clean-again", &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let made = fixture.bucket.keys();
    fixture.bucket.put(&format!("clusters/test/database/{ID}/2/x"), b"x");
    fixture.task.run.policy_uid = "another".into();
    fixture.clean_up(&[1, 2]).expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!(fixture.bucket.keys(), made);
}

#[test]
fn a_bucket_that_is_away_may_come_back() {
    let mut fixture = Fixture::new("clean-away", &[*SEEDED]);
    fixture.task.bucket.endpoint = Some("http://localhost:1".to_owned());
    let ended = fixture.clean_up(&[1]);
    ended.expect(Outcome::Retryable, reasons::CONNECTION_FAILED);
    ended.expect_message(&["http://localhost:1"]);
}

#[test]
fn a_bucket_that_refuses_says_so() {
    let mut fixture = Fixture::new("clean-denied", &[*SEEDED]);
    let keys = [("AWS_ACCESS_KEY_ID", crate::servers::S3_KEY), ("AWS_SECRET_ACCESS_KEY", "wrong")];
    fixture.task.bucket.credentials = Some(fixture.secret("s3-wrong", &keys));
    let ended = fixture.clean_up(&[1]);
    ended.expect(Outcome::Failed, reasons::ACCESS_DENIED);
    ended.expect_message(&["Secret s3-wrong"]);
}

/// The bucket goes away in mid-dump, so the attempt fails and cannot clean up: it says so, and a clean-up does it later.
#[test]
fn an_attempt_that_cannot_clean_up_says_so() {
    let server = FaultServer::start();
    let mut fixture = Fixture::new("clean-untidy", &[*SEEDED]);
    let keys = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    fixture.task.bucket.credentials = Some(fixture.secret("s3-own", &keys));
    fixture.task.bucket.name = BUCKET.to_owned();
    fixture.task.bucket.endpoint = Some(server.endpoint());
    server.inject(Fault::Answer(403, "AccessDenied").on(Operation::PutObject).where_key("manifest"));
    server.inject(Fault::Answer(403, "AccessDenied").on(Operation::DeleteObject).where_key("/1/"));
    let ended = fixture.run();
    ended.expect(Outcome::Failed, reasons::ACCESS_DENIED);
    ended.expect_message(&["clean-up failed, too"]);
    assert!(ended.report.leftovers);
    assert_ne!(stored(&server), [""; 0]);

    server.heal();
    fixture.clean_up(&[1]).expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!((stored(&server), server.open_uploads()), (vec![], vec![]));
}
