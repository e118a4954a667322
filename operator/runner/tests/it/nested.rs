//! A policy whose prefix lies where another one keeps its backups, in the same bucket. Both work, and neither touches what is the other's.

use std::time::Duration;

use greenlang_backup_api::owner::Claim;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::task::Task;

use crate::servers::shelf::manifest;
use crate::servers::tasks::claim;
use crate::shelf::{OBJECT_BYTES, Shelf, directory};

const NEWEST: &str = "20251107-020000";
/// Older than its 30 days.
const OLD: &str = "20251001-020000";

fn another() -> Claim {
    let mut claim = claim();
    claim.owner.policy = "another".into();
    claim
}

/// The same bucket as the other policy has it: below the directory of the first one's backups, in a directory of this name.
struct Inner<'a> {
    shelf: &'a Shelf,
    path: &'static str,
}

impl Inner<'_> {
    fn directory(&self, id: &str) -> String {
        format!("clusters/test/database/{}/{id}/", self.path)
    }

    fn put(&self, id: &str) {
        let mut manifest = manifest(&self.directory(id), id);
        manifest.policy.name = "another".into();
        manifest.path = self.path.into();
        let bucket = &self.shelf.fixture.bucket;
        bucket.put_marked(
            &manifest.objects[0].key,
            &vec![b'x'; usize::try_from(OBJECT_BYTES).unwrap()],
            "greenlang/another",
        );
        bucket.put(&format!("{}manifest.json", self.directory(id)), &serde_json::to_vec(&manifest).unwrap());
    }

    fn keys(&self) -> Vec<String> {
        let keys = self.shelf.fixture.bucket.keys().into_iter();
        keys.filter(|key| key.starts_with(&format!("clusters/test/database/{}/2", self.path))).collect()
    }

    /// A prune of the other policy; how many it deleted and kept.
    fn pruned(&self) -> (u32, u32, u32) {
        let mut task = self.shelf.task.clone();
        task.claim = another();
        task.bucket.prefix += "/database";
        task.path = self.path.into();
        let ended = self.shelf.fixture.start_task(&Task::Prune(task), &[]).end();
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        let report = ended.report.prune.unwrap();
        (report.deleted, report.kept, report.skipped)
    }
}

/// In a directory of an ordinary name, and in one that is named as a backup which the first policy deletes.
#[test]
fn neither_deletes_what_is_the_others() {
    for (name, path) in [("nested-plain", "database"), ("nested-odd", OLD)] {
        let mut shelf = Shelf::new(name);
        shelf.put(NEWEST);
        shelf.put(OLD);
        shelf.task.garbage_after_seconds = 1;
        let inner = Inner { shelf: &shelf, path };
        for id in [NEWEST, OLD] {
            inner.put(id);
        }
        // What an attempt of the other one has just begun.
        let begun = format!("{}1/a", inner.directory("20251108-020000"));
        shelf.fixture.bucket.put_marked(&begun, b"x", "greenlang/another");
        shelf.fixture.bucket.start_upload(&format!("{}1/b", inner.directory("20251108-020000")));
        std::thread::sleep(Duration::from_secs(3));

        let before = inner.keys();
        assert_eq!(before.len(), 5, "{before:?}");
        let report = shelf.pruned();
        assert_eq!((report.deleted, report.kept, report.garbage, report.uploads), (1, 1, 0, 0), "{name}");
        assert_eq!(inner.keys(), before, "{name}");
        assert_eq!(shelf.fixture.bucket.open_uploads().len(), 1, "{name}");

        assert_eq!(inner.pruned(), (1, 1, 0), "{name}");
        let left = inner.keys();
        assert!(left.iter().all(|key| key.starts_with(&inner.directory(NEWEST))), "{name}: {left:?}");
        let keys = shelf.fixture.bucket.keys();
        assert!(keys.contains(&format!("{}manifest.json", directory(NEWEST))), "{name}: {keys:?}");
    }
}
