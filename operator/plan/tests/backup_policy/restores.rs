//! Restores in the namespace of a policy: what they read stays, and the dumps of what they replace wait for them.

use std::collections::BTreeSet;

use greenlang_backup_api::conditions;
use greenlang_backup_api::reasons;
use greenlang_backup_api::retention::NeededBackup;
use greenlang_backup_api::v1alpha1::{BackupPolicy, RestorePhase, RestoreRequest};
use greenlang_backup_plan::backup_policy::OngoingRestore;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::schedule::{at_time, ends, goes_on, made, missed, often, schedules, wind_up, with};
use super::world::{Cut, Fate, World, at, merge, policy};
use super::{assert_made_once, backup, counts, live, probed, step};

const PHASES: [RestorePhase; 14] = [
    RestorePhase::Pending,
    RestorePhase::Planning,
    RestorePhase::Planned,
    RestorePhase::Quiescing,
    RestorePhase::Restoring,
    RestorePhase::Verifying,
    RestorePhase::Switching,
    RestorePhase::Resuming,
    RestorePhase::Checking,
    RestorePhase::Undoing,
    RestorePhase::Succeeded,
    RestorePhase::Failed,
    RestorePhase::Cancelled,
    RestorePhase::Expired,
];

/// A request for the backup of 00:05, as people apply it.
fn request(change: &Value) -> RestoreRequest {
    let mut request = json!({
        "apiVersion": "backup.greenlang.io/v1alpha1", "kind": "RestoreRequest",
        "metadata": {"name": "back", "namespace": "n", "uid": "r"},
        "spec": {
            "policyRef": {"name": "p"},
            "source": {"backup": {"name": "database", "id": "20251107-000500"}},
            "database": {"credentialsSecretRef": {"name": "admin"}},
        },
    });
    merge(&mut request, change.clone());
    serde_json::from_value(request).unwrap()
}

/// What status says of one that has begun: where it reads, and what it replaces.
fn begun(phase: RestorePhase, phases: &[RestorePhase], host: &str, port: u16, database: &str) -> Value {
    let bucket = json!({"name": "backups", "prefix": "", "region": "us-east-1", "endpoint": null, "forcePathStyle": false,
        "ca": null, "credentials": null, "storageClass": null, "serverSideEncryption": null, "checksum": "Auto"});
    let server = json!({"host": host, "port": port, "maintenanceDatabase": "postgres", "sslMode": "Disable", "ca": null,
        "credentials": {"secret": "admin", "directory": "/d"}});
    let times = |phase: &RestorePhase| json!({"phase": phase, "startTime": "2025-11-07T00:00:00Z"});
    json!({"status": {
        "phase": phase, "phases": phases.iter().map(times).collect::<Vec<_>>(),
        "place": {"bucket": bucket, "path": "database", "server": server},
        "target": {"host": host, "port": port, "database": database},
        "backup": {"path": "database", "id": "20251107-001000", "database": "shop"},
    }})
}

/// One that stops the applications before it loads, in a phase.
fn ongoing(phase: RestorePhase) -> Option<OngoingRestore> {
    let taken = [RestorePhase::Quiescing, phase];
    OngoingRestore::of(&request(&begun(phase, &taken, "db", 5432, "shop")))
}

fn replacing() -> Vec<OngoingRestore> {
    ongoing(RestorePhase::Switching).into_iter().collect()
}

/// Ids that the next prune is told to keep for restores, with whom for.
fn kept(policy: BackupPolicy, restores: &[RestoreRequest]) -> Vec<(String, String)> {
    let mut world = probed(World::new(policy));
    world.restores = restores.iter().filter_map(OngoingRestore::of).collect();
    at_time(&mut world, "00:05:00");
    ends(&mut world, Fate::Succeeds);
    let needed = world.prunes.last().unwrap().retention.needed.clone();
    needed.into_iter().map(|NeededBackup { id, by }| (id.to_string(), by)).collect()
}

#[test]
fn what_a_restore_reads_is_needed_from_its_first_second_to_its_end() {
    let named = ("20251107-000500".to_owned(), "RestoreRequest back".to_owned());
    let chosen = ("20251107-001000".to_owned(), "RestoreRequest back".to_owned());
    // Before the operator has looked at it, the one that the spec names.
    assert_eq!(kept(policy(json!({})), &[request(&json!({}))]), std::slice::from_ref(&named));
    for phase in PHASES {
        // Of another server: the dump that the prune follows does not wait.
        let request = request(&begun(phase, &[], "other", 5432, "shop"));
        let expected = if phase.is_end() { vec![] } else { vec![chosen.clone()] };
        assert_eq!(kept(policy(json!({})), &[request]), expected, "{phase:?}");
    }
    let storage = json!({"s3": {"bucket": "backups"}});
    let own_bucket = |path: &str| {
        request(&json!({"spec": {"policyRef": null, "storage": storage,
            "source": {"backup": {"name": null, "path": path, "id": "20251107-000500"}}}}))
    };
    assert_eq!(kept(policy(json!({})), &[own_bucket("database")]), [named]);
    let none = vec![
        own_bucket("elsewhere"),
        request(&json!({"spec": {"policyRef": {"name": "another"}}})),
        request(&json!({"spec": {"source": {"backup": {"name": "another"}}}})),
        request(&json!({"spec": {"source": {"backup": null, "latest": {"backup": "database"}}}})),
        request(&json!({"spec": {"source": {"backup": null, "undoOf": {"name": "before"}}}})),
    ];
    assert_eq!(kept(policy(json!({})), &none), []);
}

#[test]
fn whatever_the_order_in_which_they_are_seen_the_prune_is_told_the_same() {
    let named = |name: &str| request(&json!({"metadata": {"name": name}}));
    let (one, two) = (named("one"), named("two"));
    let there = kept(policy(json!({})), &[one.clone(), two.clone()]);
    assert_eq!((there.len(), &there), (2, &kept(policy(json!({})), &[two, one])));
}

/// Its Pod may wait for hours for room on a node; what it was told before the request must not delete what that reads.
#[test]
fn a_restore_stops_a_prune_that_was_told_otherwise() {
    let mut world = with(often("Forbid"));
    world.bucket_answers = false;
    at_time(&mut world, "00:05:00");
    ends(&mut world, Fate::Succeeds);
    assert_eq!((world.prunes.len(), world.prunes[0].retention.needed.len()), (1, 0));
    world.restores = OngoingRestore::of(&request(&json!({}))).into_iter().collect();
    world.later(1);
    world.settle();
    assert_eq!((world.prunes.len(), world.prunes[1].retention.needed.len()), (2, 1));
    let prunes = world.jobs.iter().filter(|job| job.name.starts_with("p-prune")).count();
    assert_eq!(prunes, 1, "the Job that knew nothing of it is deleted");
    world.settle();
    assert_eq!(world.prunes.len(), 2, "once");
}

#[test]
fn a_dump_waits_from_the_stop_of_the_applications_until_they_are_back() {
    use RestorePhase::{Quiescing, Restoring, Resuming, Switching, Verifying};
    for phase in PHASES {
        let stopped_before = [RestorePhase::Planning, Quiescing, phase];
        let replaces = |taken: &[RestorePhase]| {
            let of = OngoingRestore::of(&request(&begun(phase, taken, "db", 5432, "shop")));
            of.and_then(|restore| restore.replaces).is_some()
        };
        let waits = matches!(phase, Quiescing | Restoring | Verifying | Switching | Resuming);
        assert_eq!(replaces(&stopped_before), waits, "{phase:?}");
        // Where they stop only before the switch, backups are made meanwhile.
        let waits = matches!(phase, Quiescing | Switching | Resuming);
        assert_eq!(replaces(&[RestorePhase::Planning, Restoring]), waits, "{phase:?}");
    }
}

#[test]
fn only_dumps_of_the_database_on_its_server_wait() {
    for (host, port, database, waits) in [
        ("db", 5432, "shop", true),
        ("DB", 5432, "shop", true),
        ("db2", 5432, "shop", false),
        ("db", 5433, "shop", false),
        ("db", 5432, "Shop", false),
        ("db", 5432, "other", false),
    ] {
        let mut world = with(often("Forbid"));
        let phase = RestorePhase::Switching;
        let request = request(&begun(phase, &[phase], host, port, database));
        world.restores = OngoingRestore::of(&request).into_iter().collect();
        at_time(&mut world, "00:05:00");
        assert_eq!(world.jobs.is_empty(), waits, "{host}:{port}/{database}");
        assert_eq!(goes_on(&world), ["20251107-000500"]);
    }
}

#[track_caller]
fn assert_waits(world: &World, id: &str) {
    let active = backup(world).active.unwrap();
    assert_eq!((active.run.id.as_str(), active.job_uid), (id, None));
    let status = world.status();
    let why = "RestoreRequest back is replacing database shop";
    assert_eq!(status.progress.unwrap(), format!("database {id}: waiting: {why}"));
    let told = conditions::find(&status.conditions, conditions::RECONCILING).unwrap();
    assert_eq!((&*told.status, &*told.reason), ("False", reasons::WAITING_FOR_RESTORE));
    assert_eq!(told.message, format!("the latest spec is in effect; run {id} waits: {why}"));
}

#[test]
fn a_run_that_waited_for_a_restore_begins_as_if_nothing_had_been() {
    let mut world = with(often("Forbid"));
    world.restores = replacing();
    at_time(&mut world, "00:05:00");
    for time in ["00:17:00", "02:17:00"] {
        assert_waits(&world, "20251107-000500");
        let decision = world.decide();
        assert_eq!(decision.wanted, BTreeSet::new(), "it takes no place from others");
        assert!(decision.wake.is_some_and(|wake| wake > world.now && wake <= world.now + THIRTY));
        at_time(&mut world, time);
        // The check of bucket and database, and not a run.
        world.jobs_end(Fate::Succeeds);
        world.settle();
    }
    world.restores.clear();
    world.settle();
    ends(&mut world, Fate::Succeeds);
    assert_eq!(goes_on(&world), ["20251107-021500"], "the newest slot of those that waited");
    ends(&mut world, Fate::Succeeds);
    assert_eq!(made(&world), ["20251107-000500", "20251107-021500"]);
    assert_eq!(missed(&backup(&world).schedules[0]), (25, Some("2025-11-07T02:10:00Z".into())));
    assert_eq!(counts(&backup(&world).schedules[0].history), (2, 2, 0));
    let told = conditions::find(&world.status().conditions, conditions::RECONCILING).unwrap().clone();
    assert_eq!(told.reason, reasons::IDLE);
    assert_made_once(&world);
}

const THIRTY: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

#[test]
fn a_dump_that_goes_on_is_not_stopped_and_its_next_attempt_waits() {
    let mut world = with(often("Forbid"));
    at_time(&mut world, "00:05:00");
    world.restores = replacing();
    world.later(1);
    world.settle();
    assert_eq!(world.jobs.len(), 1);
    let told = conditions::find(&world.status().conditions, conditions::RECONCILING).unwrap().clone();
    assert_eq!(told.reason, reasons::IDLE, "it does not wait");
    ends(&mut world, Fate::FailsForNow);
    world.later(60);
    world.settle();
    assert_waits(&world, "20251107-000500");
    world.restores.clear();
    world.settle();
    ends(&mut world, Fate::Succeeds);
    assert_eq!(counts(&backup(&world).schedules[0].history), (2, 1, 0));
}

#[test]
fn a_run_on_request_and_every_cut_survive_the_wait() {
    for cut in 0..3 {
        let mut world = with(often("Forbid"));
        world.restores = replacing();
        at_time(&mut world, "00:04:00");
        super::schedule::ask(&mut world, "a");
        world.settle();
        assert_waits(&world, "20251107-000400");
        world.pass(Cut::AfterEffects(cut));
        world.restores.clear();
        world.pass(Cut::AfterEffects(cut));
        world.settle();
        ends(&mut world, Fate::Succeeds);
        assert_eq!((made(&world), counts(&backup(&world).manual)), (vec!["20251107-000400"], (1, 1, 0)));
        assert_made_once(&world);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Restores come and go at any time, with the process dying anywhere and Jobs ending in any way: no dump begins while one goes on, and
    /// every slot had a run that ended, or is counted as missed.
    #[test]
    fn restores_lose_no_slot_and_no_dump_begins_beside_them(
        steps in prop::collection::vec((step(), any::<bool>()), 1..40),
        rule in prop::sample::select(vec!["Forbid", "Allow", "Replace"]),
    ) {
        let mut world = with(schedules(rule, 0));
        let runs = |world: &World| world.limits.keys().cloned().collect::<BTreeSet<_>>();
        for ((seconds, cut, fate), restores) in steps {
            world.restores = if restores { replacing() } else { vec![] };
            let before = runs(&world);
            live(&mut world, cut, fate);
            prop_assert!(!restores || runs(&world) == before, "a dump began");
            if seconds % 3 == 0 {
                world.ghosts_go();
            }
            world.later(seconds);
        }
        world.restores.clear();
        wind_up(&mut world);

        let (status, accepted) = (backup(&world), at("2025-11-07T00:00:30Z"));
        for (entry, minutes) in status.schedules.iter().zip([5, 10]) {
            let slots = |time: i64| time.div_euclid(minutes * 60);
            let newest = entry.last_schedule_time.as_ref().map_or(accepted, |time| time.0);
            let due = slots(newest.as_second()) - slots(accepted.as_second());
            let history = &entry.history;
            prop_assert_eq!(due.cast_unsigned(), history.succeeded + history.failed + entry.missed, "{:?}", entry);
            prop_assert_eq!(slots(world.now.as_second()), slots(newest.as_second()), "the newest is not lost");
        }
        prop_assert!(world.made.values().all(|times| *times == 1), "{:?}", world.made);
    }
}
