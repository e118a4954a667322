//! A bucket with backups that nobody made: manifests and objects put there by hand, and the tasks that look at them.

use std::path::Path;

use greenlang_backup_api::manifest::Manifest;
use greenlang_backup_api::prune::{CataloguePath, CatalogueTask, PruneReport, PruneTask};
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::task::Task;
use greenlang_backup_test_s3::FaultServer;
use serde_json::Value;

use crate::bucket::TestBucket;
use crate::fixture::{Ended, Fixture, Started};
use crate::servers::shelf;
pub use crate::servers::shelf::OBJECT_BYTES;

/// When the prunes of these tests are decided.
pub const PRUNE: &str = "20251107-020500";

pub struct Shelf {
    pub fixture: Fixture,
    pub task: PruneTask,
}

pub fn manifest(id: &str) -> Manifest {
    shelf::manifest(&directory(id), id)
}

pub fn directory(id: &str) -> String {
    format!("clusters/test/database/{id}/")
}

impl Shelf {
    pub fn new(name: &str) -> Self {
        Self::of(Fixture::new(name, &[]))
    }

    pub fn on_faulty(server: &FaultServer) -> Self {
        Self::of(Fixture::on_faulty(server, &[]))
    }

    /// In a bucket that keeps versions and locks.
    pub fn with_versions(name: &str) -> Self {
        Self::of(Fixture::on(TestBucket::create_with_versions(name), &[]))
    }

    /// The bucket of a fixture.
    pub fn of(fixture: Fixture) -> Self {
        let task = shelf::prune_task(fixture.task.bucket.clone(), PRUNE.parse().unwrap());
        Self { fixture, task }
    }

    /// A whole backup.
    pub fn put(&self, id: &str) {
        self.put_with(id, |_| {});
    }

    /// One whose manifest is changed before it is stored.
    pub fn put_with(&self, id: &str, change: impl FnOnce(&mut Manifest)) {
        let mut manifest = manifest(id);
        let bytes = vec![b'x'; usize::try_from(OBJECT_BYTES).unwrap()];
        self.fixture.bucket.put(&manifest.objects[0].key, &bytes);
        change(&mut manifest);
        self.put_manifest(id, &serde_json::to_vec(&manifest).unwrap());
    }

    pub fn put_manifest(&self, id: &str, bytes: &[u8]) {
        self.fixture.bucket.put(&format!("{}manifest.json", directory(id)), bytes);
    }

    pub fn start(&self) -> Started {
        self.start_with(&[])
    }

    /// With these variables.
    pub fn start_with(&self, env: &[(&str, &Path)]) -> Started {
        self.fixture.start_task(&Task::Prune(self.task.clone()), env)
    }

    pub fn prune(&self) -> Ended {
        self.start().end()
    }

    /// A prune that succeeds.
    #[track_caller]
    pub fn pruned(&self) -> PruneReport {
        let ended = self.prune();
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        ended.report.prune.unwrap()
    }

    pub fn catalogue_task(&self) -> CatalogueTask {
        CatalogueTask {
            claim: self.task.claim.clone(),
            bucket: self.task.bucket.clone(),
            backups: vec![CataloguePath {
                backup: "database".to_owned(),
                path: "database".to_owned(),
                schedules: vec!["daily".to_owned()],
            }],
            limit: 100,
        }
    }

    /// Ids whose manifest is there.
    pub fn ids(&self) -> Vec<String> {
        let keys = self.fixture.bucket.keys();
        let ids = keys.iter().filter_map(|key| key.strip_suffix("/manifest.json")?.rsplit('/').next());
        ids.map(str::to_owned).collect()
    }

    /// The report of the prune in the bucket.
    pub fn stored_report(&self) -> Value {
        let key = format!("clusters/test/reports/prune/{}/database.json", self.task.id);
        serde_json::from_slice(&self.fixture.bucket.get(&key)).unwrap()
    }

    /// Verdict and reason of a backup, in the report.
    pub fn verdict(&self, id: &str) -> (String, String) {
        let report = self.stored_report();
        let line =
            report["backups"].as_array().unwrap().iter().find(|line| line["id"] == id).unwrap().clone();
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        (text("verdict"), text("reason"))
    }
}
