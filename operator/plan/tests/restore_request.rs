//! What the operator decides for a RestoreRequest, as stories in a model; among them every cut before a write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

#[path = "restore_request/argo_cd.rs"]
mod argo_cd;
#[path = "restore_request/blows.rs"]
mod blows;
#[path = "restore_request/cron_jobs.rs"]
mod cron_jobs;
#[path = "restore_request/dumps.rs"]
mod dumps;
#[path = "restore_request/invalid.rs"]
mod invalid;
#[path = "restore_request/jobs.rs"]
mod jobs;
#[path = "restore_request/keda.rs"]
mod keda;
#[path = "restore_request/kept.rs"]
mod kept;
#[path = "restore_request/lost.rs"]
mod lost;
#[path = "restore_request/missing.rs"]
mod missing;
#[path = "restore_request/others.rs"]
mod others;
#[path = "restore_request/owners.rs"]
mod owners;
#[path = "restore_request/past.rs"]
mod past;
#[path = "restore_request/phases.rs"]
mod phases;
#[path = "restore_request/refused.rs"]
mod refused;
mod restore_world;

use greenlang_backup_api::conditions;
use greenlang_backup_api::restore::RecordState;
use greenlang_backup_api::v1alpha1::{QuiesceState, RestorePhase, WorkloadKind};
use greenlang_backup_plan::restore_request::{Lock, validate};
use restore_world::{DATABASE, Database, Fate, OLD, World, runner};
use serde_json::{Value, json};

const AS_BEFORE: (Option<i32>, Option<i32>, Option<bool>) = (Some(6), Some(4), Some(false));

fn swap() -> Value {
    json!({})
}

/// Every way through the phases.
fn ways() -> Vec<(&'static str, Value)> {
    let checks = json!({"sql": [{"query": "SELECT 1", "expect": "1"}], "jobs": [{"name": "smoke", "image": "smoke:1"}]});
    vec![
        ("swap", swap()),
        ("swap, stopping late", json!({"spec": {"quiesce": {"when": "BeforeSwitch"}}})),
        ("swap with checks", json!({"spec": {"checks": checks}})),
        ("swap without applications", json!({"spec": {"quiesce": null}})),
        ("replace", json!({"spec": {"allowDataLossOnFailure": true, "database": {"strategy": "Replace"}}})),
        (
            "new database",
            json!({"spec": {"confirm": null, "database": {"strategy": "NewDatabase", "target": {"name": "look"}}}}),
        ),
        (
            "undo",
            json!({"spec": {"source": {"backup": null, "undoOf": {"name": "before"}}, "identitySecretRef": null}}),
        ),
        (
            "undo without applications",
            json!({"spec": {"source": {"backup": null, "undoOf": {"name": "before"}}, "identitySecretRef": null, "quiesce": null}}),
        ),
        ("swap beside KEDA", swap()),
        ("swap beside Argo CD", json!({"spec": {"quiesce": {"argoCD": "SkipReconcile"}}})),
        (
            "swap beside both, stopping late",
            json!({"spec": {"quiesce": {"argoCD": "SkipReconcile", "when": "BeforeSwitch"}}}),
        ),
    ]
}

fn world(way: &str, change: &Value) -> World {
    let mut world = World::new(change);
    if way.starts_with("undo") {
        let mark = "greenlang-backup restore u-0 greenlang/before".to_owned();
        let name = "greenlang_before_0000000000".to_owned();
        world.databases.insert(300, Database { name, mark: Some(mark) });
    }
    if way.contains("KEDA") || way.contains("both") {
        world.with_keda();
    }
    if way.contains("Argo CD") || way.contains("both") {
        world.with_argo_cd();
    }
    world
}

/// The target is what it was, nothing of ours is left on the server, and the applications run as before.
fn assert_untouched(world: &World, what: &str) {
    assert_eq!(world.named(DATABASE), Some(OLD), "{what}");
    let ours = world.databases.values().filter(|database| database.name.contains("_restore_"));
    assert_eq!(ours.count(), 0, "{what}: {:?}", world.databases);
    assert_back(world, what);
}

fn assert_back(world: &World, what: &str) {
    assert_eq!(world.counts(), AS_BEFORE, "{what}: {:#?}", world.status());
    assert!(world.carries_nothing(), "{what}");
    let paused = world.scaled_objects.values().find_map(|state| state.paused_replicas.as_ref());
    let skipped = world.applications.values().find_map(|state| state.skip_reconcile.as_ref());
    assert_eq!((paused, skipped), (None, None), "{what}");
}

/// The restored database has the name, and what it replaced is kept where the way keeps it.
fn assert_switched(world: &World, way: &str, what: &str) {
    let name = if way == "new database" { "look" } else { DATABASE };
    let serving = world.named(name);
    assert!(serving.is_some_and(|oid| oid != OLD), "{what}: {:?}", world.databases);
    assert_back(world, what);
    match way {
        "replace" => assert!(!world.databases.contains_key(&OLD), "{what}"),
        "new database" => assert_eq!(world.named(DATABASE), Some(OLD), "{what}"),
        _ => {
            let old = &world.databases[&OLD];
            assert!(old.name.starts_with("greenlang_before_") && old.mark.is_some(), "{what}: {old:?}");
            assert_eq!(world.kept.as_ref().unwrap().previous.oid, OLD, "{what}");
        }
    }
    assert_eq!(world.done["rename"], 1, "{what}");
}

#[test]
fn every_way_succeeds_and_tells_its_phases() {
    for (way, change) in ways() {
        let mut world = world(way, &change);
        world.run_to_end();
        assert_eq!(world.phase(), RestorePhase::Succeeded, "{way}: {:#?}", world.status());
        assert_switched(&world, way, way);
        assert_eq!(world.condition(conditions::FINISHED), ("True".into(), "Succeeded".into()), "{way}");
        assert_eq!(world.condition(conditions::READY).0, "True", "{way}");
        assert_eq!(world.condition(conditions::SWITCHED).0, "True", "{way}");
        let mut all: Vec<&str> = conditions::OF_RESTORES.to_vec();
        all.sort_unstable();
        let shown: Vec<String> = world.status().conditions.into_iter().map(|shown| shown.type_).collect();
        assert_eq!(shown, all, "{way}");
        assert_eq!(world.lock, Lock::Free, "{way}");
        assert!(world.request.metadata.finalizers.is_none(), "{way}");
        assert!(world.done.values().all(|times| *times == 1), "{way}: {:?}", world.done);
        assert!(world.events.contains(&"RestoreSucceeded"), "{way}: {:?}", world.events);
    }
}

#[test]
fn phases_come_in_their_order() {
    let mut world = World::new(&swap());
    world.run_to_end();
    let phases: Vec<&str> = world.status().phases.iter().map(|times| times.phase.as_str()).collect();
    let expected = ["Planning", "Quiescing", "Restoring", "Switching", "Resuming", "Checking", "Succeeded"];
    assert_eq!(phases, expected);
    assert!(world.status().phases.iter().all(|times| times.end_time.is_some()));
    let mut world = World::new(&json!({"spec": {"quiesce": {"when": "BeforeSwitch"}}}));
    world.run_to_end();
    let phases: Vec<&str> = world.status().phases.iter().map(|times| times.phase.as_str()).collect();
    assert_eq!(phases[1..4], ["Restoring", "Quiescing", "Switching"]);
}

#[test]
fn what_fails_before_the_switch_is_undone() {
    for (way, change) in ways().into_iter().filter(|(way, _)| *way != "replace") {
        for step in ["plan", "load", "switch"] {
            if way.starts_with("undo") && step == "load" {
                continue;
            }
            let mut world = world(way, &change);
            world.fates = vec![(step, Fate::Fails)];
            world.run_to_end();
            let what = format!("{way}, {step} fails");
            assert_eq!(world.phase(), RestorePhase::Failed, "{what}");
            assert_untouched(&world, &what);
            let failure = world.status().failure.unwrap();
            assert_eq!(
                (failure.reason.as_str(), failure.message.as_str()),
                ("PermissionDenied", "no"),
                "{what}"
            );
            assert_eq!(
                world.condition(conditions::FINISHED),
                ("True".into(), "RestoreFailed".into()),
                "{what}"
            );
            assert_eq!(world.condition(conditions::STALLED).0, "True", "{what}");
            assert_eq!(world.condition(conditions::SWITCHED).0, "False", "{what}");
            let record = world.record.as_ref().map(|(_, state)| *state);
            let expected = (step != "plan").then_some(RecordState::RolledBack);
            assert_eq!(record, expected, "{what}");
        }
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    for (way, change) in ways() {
        for step in ["plan", "load", "switch", "check"] {
            for fate in [Fate::FailsForNow, Fate::SucceedsUnheard, Fate::IsKilled] {
                let mut world = world(way, &change);
                world.fates = vec![(step, fate), (step, fate)];
                world.run_to_end();
                assert_eq!(
                    world.phase(),
                    RestorePhase::Succeeded,
                    "{way}, {step} {fate:?}: {:#?}",
                    world.status()
                );
                assert_switched(&world, way, way);
            }
        }
    }
}

#[test]
fn nobody_knows_whether_it_switched_until_a_job_has_looked() {
    let mut world = World::new(&swap());
    world.fates = vec![("switch", Fate::SucceedsUnheard)];
    world.fates.extend([("switch", Fate::FailsForNow); 9]);
    world.run_until(RestorePhase::Switching);
    while world.status().active.is_none_or(|active| active.attempt < 6) {
        let phase = world.phase();
        assert_eq!(phase, RestorePhase::Switching);
        world.turn();
    }
    assert_eq!(world.counts(), (Some(0), Some(0), Some(true)), "nobody may write meanwhile");
    assert_eq!(world.condition(conditions::READY), ("False".into(), "SwitchUncertain".into()));
    assert_eq!(world.condition(conditions::STALLED).0, "True");
    let told = world.events.iter().filter(|reason| **reason == "ApplicationsDown").count();
    assert_eq!(told, 1);
    let status = world.status();
    let ready = conditions::find(&status.conditions, conditions::READY).unwrap();
    assert!(ready.message.contains("give-up=u-1"), "{}", ready.message);
    world.run_to_end();
    assert_switched(&world, "swap", "in the end");
}

#[test]
fn a_person_ends_what_nobody_knows() {
    let mut world = World::new(&swap());
    world.fates = vec![("switch", Fate::IsKilled); 50];
    world.run_until(RestorePhase::Switching);
    while world.status().active.is_none_or(|active| active.attempt < 4) {
        world.turn();
    }
    let annotations = world.request.metadata.annotations.get_or_insert_default();
    annotations.insert("restore.backup.greenlang.io/give-up".into(), "another".into());
    world.turn();
    assert_eq!(world.phase(), RestorePhase::Switching, "the UID must be its own");
    let annotations = world.request.metadata.annotations.get_or_insert_default();
    annotations.insert("restore.backup.greenlang.io/give-up".into(), "u-1".into());
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Failed);
    assert_eq!(world.status().failure.unwrap().reason, "GivenUp");
    assert_eq!(world.condition(conditions::SWITCHED).0, "Unknown");
    assert_back(&world, "given up");
    assert_eq!(world.databases.len(), 2, "both databases stay");
}

#[test]
fn a_replacement_that_cannot_be_loaded_brings_the_applications_back() {
    let (way, change) = ways().into_iter().find(|(way, _)| *way == "replace").unwrap();
    let mut world = world(way, &change);
    world.fates = vec![("load", Fate::Fails)];
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Failed);
    assert_back(&world, way);
    assert!(world.status().switch_started_time.is_some());
    let message = world.status().failure.unwrap().message;
    assert!(message.contains("apply a new request"), "{message}");
}

#[test]
fn a_replacement_is_tried_for_longer_once_the_old_database_is_dropped() {
    for (way, attempts, end) in [("replace", 12, RestorePhase::Succeeded), ("swap", 2, RestorePhase::Failed)]
    {
        let (way, change) = ways().into_iter().find(|(name, _)| *name == way).unwrap();
        let mut world = world(way, &change);
        world.fates = vec![("load", Fate::FailsForNow); attempts + 1];
        world.run_to_end();
        assert_eq!(world.phase(), end, "{way}");
    }
}

#[test]
fn a_failed_check_undoes_nothing_and_names_the_undo() {
    let (way, change) = ways().into_iter().find(|(way, _)| *way == "swap with checks").unwrap();
    for step in ["check", "check-job"] {
        let mut world = world(way, &change);
        world.fates = vec![(step, Fate::Fails)];
        world.run_to_end();
        assert_eq!(world.phase(), RestorePhase::Failed, "{step}");
        assert_switched(&world, way, step);
        let failure = world.status().failure.unwrap();
        assert_eq!(failure.reason, "CheckFailed");
        assert!(failure.message.contains("spec.source.undoOf.name: back"), "{}", failure.message);
        assert_eq!(world.condition(conditions::SWITCHED).0, "True");
    }
}

#[test]
fn whoever_starts_an_application_before_the_switch_is_named_and_all_is_undone() {
    for when in ["BeforeRestore", "BeforeSwitch"] {
        let mut world = World::new(&json!({"spec": {"quiesce": {"when": when}}}));
        world.run_until(RestorePhase::Quiescing);
        while world.status().quiesced_time.is_none() {
            world.turn();
        }
        let api = world.workloads.get_mut(&(WorkloadKind::Deployment, "api".to_owned())).unwrap();
        api.replicas = Some(2);
        api.managed_by = Some("argocd-controller".into());
        world.run_to_end();
        let failure = world.status().failure.unwrap();
        assert_eq!(failure.reason, "ScaleContested", "{when}");
        assert!(failure.message.contains("argocd-controller"), "{}", failure.message);
        assert_untouched(&world, when);
    }
}

#[test]
fn a_workload_that_is_gone_is_said_and_the_others_come_back() {
    for anew in [false, true] {
        let mut world = World::new(&swap());
        world.run_until(RestorePhase::Restoring);
        let key = (WorkloadKind::StatefulSet, "worker".to_owned());
        let mut worker = world.workloads.remove(&key).unwrap();
        if anew {
            worker.uid = "another".into();
            worker.ledger = None;
            world.workloads.insert(key, worker);
        }
        world.run_to_end();
        assert_eq!(world.phase(), RestorePhase::Succeeded);
        assert_eq!((world.counts().0, world.counts().2), (Some(6), Some(false)));
        let entry = world.status().quiesced.into_iter().find(|entry| entry.name == "worker").unwrap();
        assert_eq!(entry.state, QuiesceState::Gone);
        assert!(entry.message.is_some());
        assert!(world.events.contains(&"WorkloadNotFound"));
    }
}

#[test]
fn a_request_waits_for_another_and_expires_untouched() {
    let mut world = World::new(&json!({"spec": {"startBefore": "2025-11-07T10:10:00Z"}}));
    world.lock = Lock::Other("greenlang/first".into());
    world.turn();
    assert_eq!(world.condition(conditions::READY).1, "WaitingForOther");
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Expired);
    assert_eq!(world.condition(conditions::FINISHED), ("True".into(), "Expired".into()));
    assert_untouched(&world, "expired");
    assert!(world.record.is_none() && world.done.is_empty());
}

#[test]
fn a_request_that_is_made_anew_does_not_run_again() {
    for fates in [vec![], vec![("load", Fate::Fails)]] {
        let mut first = World::new(&swap());
        first.fates = fates;
        first.run_to_end();
        let mut again = World::new(&json!({"metadata": {"uid": "u-2"}}));
        again.record.clone_from(&first.record);
        again.run_to_end();
        assert_eq!(again.phase(), RestorePhase::Failed);
        assert_eq!(again.status().failure.unwrap().reason, "AlreadyCarriedOut");
        assert_untouched(&again, "made anew");
    }
}

#[test]
fn a_dry_run_plans_and_touches_nothing() {
    let mut world = World::new(&json!({"spec": {"dryRun": true, "confirm": null}}));
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Planned);
    let plan = world.status().plan.unwrap();
    assert!(plan.feasible);
    assert_eq!(plan.workloads[0].replicas, Some(6));
    assert!(world.record.is_none() && world.lock == Lock::Free);
    assert_eq!(world.done.len(), 1, "{:?}", world.done);
    assert_untouched(&world, "dry run");
}

type Spoil = fn(&mut World, &(WorkloadKind, String));

#[test]
fn workloads_that_cannot_be_stopped_are_refused_in_the_plan() {
    let key = (WorkloadKind::StatefulSet, "worker".to_owned());
    let cases: [(&str, Spoil); 3] = [
        ("WorkloadNotFound", |world, key| drop(world.workloads.remove(key))),
        ("VolumesWouldGo", |world, key| world.workloads.get_mut(key).unwrap().volumes_would_go = true),
        ("WorkloadTaken", |world, key| {
            let other = r#"{"request":"other","requestUid":"u-9","replicas":4}"#;
            world.workloads.get_mut(key).unwrap().ledger =
                greenlang_backup_api::restore::Ledger::decode(other);
        }),
    ];
    for (reason, spoil) in cases {
        let mut world = World::new(&swap());
        spoil(&mut world, &key);
        world.run_to_end();
        assert_eq!(world.status().failure.unwrap().reason, reason);
        assert_eq!(world.named(DATABASE), Some(OLD), "{reason}");
        assert_eq!(world.counts().0, Some(6), "{reason}");
        assert!(!world.status().plan.unwrap().feasible, "{reason}");
        assert!(world.record.is_none(), "{reason}: the name is used up although nothing was done");
    }
}

#[test]
fn an_application_that_comes_while_the_plan_works_is_planned_for_again() {
    let mut world = World::new(&swap());
    let key = (WorkloadKind::StatefulSet, "worker".to_owned());
    let worker = world.workloads.remove(&key).unwrap();
    while world.made.is_empty() {
        world.turn();
    }
    assert!(world.record.is_none());
    world.workloads.insert(key, worker);
    world.run_to_end();
    assert_eq!(world.status().phase, Some(RestorePhase::Succeeded));
    assert_eq!(world.record.as_ref().map(|(_, state)| *state), Some(RecordState::Switched));
}

#[test]
fn a_namespace_that_is_deleted_is_not_held_up() {
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Restoring);
    let mut seen = world.observe();
    seen.namespace_deleting = true;
    let valid = validate(&world.request, world.policy.as_ref()).unwrap();
    let step = greenlang_backup_plan::restore_request::step(&valid, &seen, &world.status(), &runner());
    assert_eq!(step.effects, [greenlang_backup_plan::restore_request::Effect::RemoveFinalizer]);
}
