//! Backups that nobody made: manifests of one object to put into a bucket by hand, and the task that looks at them. Pure.

use greenlang_backup_api::manifest::{Content, Manifest, Object};
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::prune::PruneTask;
use greenlang_backup_api::retention::{Retention, ScheduleRetention};
use greenlang_backup_api::task::Bucket;
use serde_json::json;

use crate::tasks::claim;

/// Bytes of the object.
pub const OBJECT_BYTES: u64 = 100;
/// Days that the backups are kept.
pub const KEEP_DAYS: u32 = 30;

/// A manifest whose object lies below a directory, which ends in a slash.
pub fn manifest(directory: &str, id: &str) -> Manifest {
    let parsed: BackupId = id.parse().unwrap();
    let slot = parsed.slot().unwrap();
    let json = json!({
        "schema_version": 1, "timestamp": id, "size_bytes": OBJECT_BYTES, "backup_type": "full",
        "compression": "zstd", "checksum": "", "kind": "postgresDump",
        "policy": {"namespace": "greenlang", "name": "greenlang", "uid": "0f5a"},
        "backup": "database", "path": "database", "attempt": 1, "trigger": "Schedule",
        "schedules": [{"name": "daily", "keep_days": KEEP_DAYS}], "keep_days": KEEP_DAYS,
        "slot": slot, "start_time": slot, "end_time": slot, "verified": "ReadBack", "tools": [],
        "server_version": "15", "warnings": [], "objects": [], "recovery": {"needs": [], "commands": []},
    });
    let mut manifest: Manifest = serde_json::from_value(json).unwrap();
    manifest.objects.push(Object {
        key: format!("{directory}1/shop.dump.zst.age"),
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

/// Deletes what is older than [`KEEP_DAYS`].
pub fn prune_task(bucket: Bucket, id: BackupId) -> PruneTask {
    let daily = ScheduleRetention {
        name: "daily".to_owned(),
        keep_days: KEEP_DAYS,
        keep_at_least: 1,
        newest_failed: false,
    };
    PruneTask {
        claim: claim(),
        backup: "database".to_owned(),
        path: "database".to_owned(),
        id,
        bucket,
        retention: Retention { schedules: vec![daily], manual_keep_days: KEEP_DAYS, ..Retention::default() },
        busy: vec![],
        garbage_after_seconds: 86_400,
        shown: vec![],
        dry_run: false,
    }
}
