//! A bucket with backups that nobody made: manifests and objects put there by hand, and the tasks that look at them.

use greenlang_backup_api::manifest::{Content, Manifest, Object};
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::prune::{CataloguePath, CatalogueTask, PruneReport, PruneTask};
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::retention::{Retention, ScheduleRetention};
use greenlang_backup_api::task::Task;
use greenlang_backup_test_s3::FaultServer;
use serde_json::{Value, json};

use crate::fixture::{Ended, Fixture, Started};
use crate::servers::tasks::claim;

/// Bytes of each object.
pub const OBJECT_BYTES: u64 = 100;
/// When the prunes of these tests are decided.
pub const PRUNE: &str = "20251107-020500";

pub struct Shelf {
    pub fixture: Fixture,
    pub task: PruneTask,
}

/// A manifest of one object.
pub fn manifest(id: &str) -> Manifest {
    let parsed: BackupId = id.parse().unwrap();
    let slot = parsed.slot().unwrap();
    let key = format!("{}1/shop.dump.zst.age", directory(id));
    let json = json!({
        "schema_version": 1, "timestamp": id, "size_bytes": OBJECT_BYTES, "backup_type": "full",
        "compression": "zstd", "checksum": "", "kind": "postgresDump",
        "policy": {"namespace": "greenlang", "name": "greenlang", "uid": "0f5a"},
        "backup": "database", "path": "database", "attempt": 1, "trigger": "Schedule",
        "schedules": [{"name": "daily", "keep_days": 30}], "keep_days": 30,
        "slot": slot, "start_time": slot, "end_time": slot, "verified": "ReadBack", "tools": [],
        "server_version": "15", "warnings": [], "objects": [], "recovery": {"needs": [], "commands": []},
    });
    let mut manifest: Manifest = serde_json::from_value(json).unwrap();
    manifest.objects.push(Object {
        key,
        content: Content::PostgresArchive { database: "shop".to_owned() },
        source_bytes: 1_000,
        source_sha256: String::new(),
        stored_bytes: OBJECT_BYTES,
        stored_sha256: String::new(),
        stored_crc64nvme: None,
        compression: "zstd".to_owned(),
        recipients: vec![],
    });
    manifest
}

pub fn directory(id: &str) -> String {
    format!("clusters/test/database/{id}/")
}

impl Shelf {
    pub fn new(name: &str) -> Self {
        Self::on(Fixture::new(name, &[]))
    }

    pub fn on_faulty(server: &FaultServer) -> Self {
        Self::on(Fixture::on_faulty(server, &[]))
    }

    fn on(fixture: Fixture) -> Self {
        let daily = ScheduleRetention {
            name: "daily".to_owned(),
            keep_days: 30,
            keep_at_least: 1,
            newest_failed: false,
        };
        let task = PruneTask {
            claim: claim(),
            backup: "database".to_owned(),
            path: "database".to_owned(),
            id: PRUNE.parse().unwrap(),
            bucket: fixture.task.bucket.clone(),
            retention: Retention { schedules: vec![daily], manual_keep_days: 30, ..Retention::default() },
            busy: vec![],
            garbage_after_seconds: 86_400,
            shown: vec![],
            dry_run: false,
        };
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
        self.fixture.start_task(&Task::Prune(self.task.clone()), &[])
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
            backups: vec![CataloguePath { backup: "database".to_owned(), path: "database".to_owned() }],
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
