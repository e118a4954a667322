//! A dump of the database that goes on already: it is waited for before anything stops, and not for ever.

use greenlang_backup_api::task::{TASK_ENV, Task};
use greenlang_backup_api::v1alpha1::{PhaseTimes, RestorePhase};
use greenlang_backup_plan::restore_request::OngoingDump;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::restore_world::{DATABASE, World};
use super::{AS_BEFORE, assert_switched, swap, ways, world};

/// A Job that dumps a database.
fn job(host: &str, database: &str, condition: Option<&str>) -> Job {
    job_of("main", host, database, condition)
}

fn job_of(policy: &str, host: &str, database: &str, condition: Option<&str>) -> Job {
    let secret = json!({"secret": "s", "directory": "/d"});
    let task: Task = serde_json::from_value(json!({
        "kind": "PostgresDump",
        "run": {"namespace": "greenlang", "policy": policy, "policyUid": "p-1", "backup": "database", "path": "database",
            "id": "20251107-093000", "attempt": 1, "slot": "2025-11-07T09:30:00Z", "trigger": "Schedule", "schedules": [], "keepDays": 30},
        "claim": {"owner": {"clusterUid": "c", "namespace": "greenlang", "policy": "main"}, "adopt": null},
        "bucket": {"name": "b", "prefix": "", "region": "r", "endpoint": null, "forcePathStyle": false, "ca": null, "credentials": null,
            "storageClass": null, "serverSideEncryption": null, "checksum": "Auto"},
        "seal": {"recipients": [], "compressionLevel": 1},
        "server": {"host": host, "port": 5432, "maintenanceDatabase": "postgres", "sslMode": "Disable", "ca": null, "credentials": secret},
        "databases": ["other", database], "globals": true, "rolePasswords": "Auto", "settings": true, "streams": 1,
        "readBackLimit": 1, "stallSeconds": 600,
    }))
    .unwrap();
    let conditions: Vec<Value> =
        condition.iter().map(|type_| json!({"type": type_, "status": "True"})).collect();
    let env = json!([{"name": "OTHER", "value": "x"}, {"name": TASK_ENV, "value": task.encode().unwrap()}]);
    serde_json::from_value(json!({
        "metadata": {"name": "main-database-1"},
        "spec": {"template": {"spec": {"containers": [{"name": "runner", "env": env}]}}},
        "status": {"conditions": conditions},
    }))
    .unwrap()
}

fn dump() -> OngoingDump {
    OngoingDump::of(&job("DB", DATABASE, None)).unwrap()
}

fn told(world: &World) -> usize {
    world.events.iter().filter(|reason| **reason == "WaitingForBackup").count()
}

/// The wait is one of its own.
fn quiescing(world: &World) -> Vec<PhaseTimes> {
    let mut phases = world.status().phases;
    phases.retain(|times| times.phase == RestorePhase::Quiescing);
    phases
}

#[test]
fn a_dump_that_goes_on_is_waited_for_before_anything_stops() {
    for (way, change) in ways().into_iter().filter(|(way, _)| *way != "new database") {
        let mut world = world(way, &change);
        world.dumps = vec![dump()];
        world.run_until(RestorePhase::Quiescing);
        let began = world.now;
        for _ in 0..20 {
            world.turn();
        }
        let what = format!("{way}: {:#?}", world.status());
        assert!(world.now > began && world.now < began + SignedDuration::from_mins(15), "{what}");
        assert_eq!((world.phase(), world.counts()), (RestorePhase::Quiescing, AS_BEFORE), "{what}");
        for condition in ["Ready", "Reconciling"] {
            assert_eq!(world.condition(condition).1, "WaitingForBackup", "{what}");
        }
        let progress = world.status().progress.unwrap();
        for part in [
            "backup database 20251107-093000 of BackupPolicy main",
            "kubectl delete job main-database-1 -n greenlang",
        ] {
            assert!(progress.contains(part), "{progress}");
        }
        world.dumps.clear();
        world.run_to_end();
        assert_switched(&world, way, way);
        assert_eq!(told(&world), 0, "{way}");
    }
}

/// What was waited for takes nothing from the time in which Pods must be gone.
#[test]
fn a_dump_that_does_not_end_is_cut_off_later_and_that_is_told_once() {
    for (way, change) in
        ways().into_iter().filter(|(way, _)| ["swap", "swap without applications"].contains(way))
    {
        let mut world = world(way, &change);
        world.dumps = vec![dump()];
        world.run_until(RestorePhase::Quiescing);
        let began = world.now;
        while world.status().quiesced_time.is_none() {
            world.turn();
        }
        let waited = world.now.duration_since(began).as_secs();
        assert!((900..1_000).contains(&waited), "{way}: {waited}");
        world.run_to_end();
        assert_switched(&world, way, way);
        assert_eq!(told(&world), 1, "{way}");
        let quiescing = quiescing(&world);
        assert_eq!(quiescing.len(), 2, "{way}: the wait, and the stop");
        assert_eq!(quiescing[0].end_time.as_ref(), Some(&quiescing[1].start_time), "{way}");
    }
}

#[test]
fn nothing_else_is_waited_for() {
    for job in [job("elsewhere", DATABASE, None), job("db", "another", None)] {
        let mut world = World::new(&swap());
        world.dumps = OngoingDump::of(&job).into_iter().collect();
        assert_eq!(world.dumps.len(), 1);
        world.run_to_end();
        assert_switched(&world, "swap", "of another database");
        assert_eq!(quiescing(&world).len(), 1, "{:#?}", world.status().phases);
    }
    for ended in ["Complete", "Failed"] {
        assert_eq!(OngoingDump::of(&job("db", DATABASE, Some(ended))), None, "{ended}");
    }
    let mut without_task = job("db", DATABASE, None);
    without_task.spec = None;
    assert_eq!(OngoingDump::of(&without_task), None);
    let (way, change) = ways().into_iter().find(|(way, _)| *way == "new database").unwrap();
    let mut world = world(way, &change);
    world.dumps = OngoingDump::of(&job("db", "look", None)).into_iter().collect();
    world.run_to_end();
    assert_switched(&world, way, "it replaces nothing");
    assert_eq!(told(&world), 0);
}

#[test]
fn a_request_that_waits_can_be_cancelled() {
    let mut world = World::new(&swap());
    world.dumps = vec![dump()];
    world.run_until(RestorePhase::Quiescing);
    world.turn();
    world.cancel();
    world.run_to_end();
    assert_eq!((world.phase(), world.counts()), (RestorePhase::Cancelled, AS_BEFORE));
}

/// Its status was lost while the applications were stopped: they are not kept waiting.
#[test]
fn who_has_stopped_applications_waits_no_more() {
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Restoring);
    world.request.status = None;
    world.dumps = vec![dump()];
    world.run_to_end();
    assert_switched(&world, "swap", "status was lost");
    assert_eq!(quiescing(&world).len(), 1, "{:#?}", world.status().phases);
}

/// What a Job says of itself is told in status, and whoever may make Jobs decides what that is.
#[test]
fn a_job_with_names_that_no_object_can_have_is_no_dump_of_ours() {
    let is_dump = |length| OngoingDump::of(&job_of(&"x".repeat(length), "db", DATABASE, None)).is_some();
    assert_eq!([253, 254].map(is_dump), [true, false]);
}
