//! Applications that KEDA scales or that Argo CD heals: what of them is refused, what rights it takes; and what the tests of both share.

use greenlang_backup_api::conditions;
use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{RestorePhase, WorkloadKind};
use greenlang_backup_plan::restore_request::{ApplicationState, ScaledObjectState};
use serde_json::{Value, json};

use super::restore_world::{World, part_of_shop, shop};
use super::{AS_BEFORE, assert_back, swap};

pub const SCALER: &str = "worker-by-queue";

pub fn keda() -> World {
    let mut world = World::new(&swap());
    world.with_keda();
    world
}

pub fn skipping() -> Value {
    json!({"spec": {"quiesce": {"argoCD": "SkipReconcile"}}})
}

pub fn argo_cd(change: &Value) -> World {
    let mut world = World::new(change);
    world.with_argo_cd();
    world
}

pub fn scaler(world: &mut World) -> &mut ScaledObjectState {
    world.scaled_objects.get_mut(SCALER).unwrap()
}

pub fn application(world: &mut World) -> &mut ApplicationState {
    world.applications.get_mut(&shop()).unwrap()
}

pub fn worker_key() -> (WorkloadKind, String) {
    (WorkloadKind::StatefulSet, "worker".to_owned())
}

pub fn failure(world: &World) -> (String, String) {
    let failure = world.status().failure.unwrap_or_else(|| panic!("{:#?}", world.status()));
    (failure.reason, failure.message)
}

pub fn of_another() -> Option<Ledger> {
    Ledger::decode(r#"{"request": "other", "requestUid": "u-9"}"#)
}

type Spoil = fn(&mut World);

#[test]
fn what_keda_or_argo_cd_would_start_again_is_refused_in_the_plan() {
    let cases: [(&str, &[&str], Spoil); 6] = [
        ("ScaledByKeda", &["kept at 2 replicas", SCALER], |world| {
            world.with_keda();
            scaler(world).paused_replicas = Some("2".into());
        }),
        ("ScaledByKeda", &["scaledobjects.keda.sh in namespace greenlang", "quiesce.keda: true"], |world| {
            world.with_keda();
            world.reads_scaled_objects = false;
            world.workloads.get_mut(&worker_key()).unwrap().autoscaled_for = Some(SCALER.into());
        }),
        (
            "WorkloadTaken",
            &["StatefulSet worker", "RestoreRequest other", "ScaledObject worker-by-queue back"],
            |world| {
                world.with_keda();
                scaler(world).ledger = of_another();
            },
        ),
        (
            "HealedByArgoCD",
            &["argocd/shop", "spec.quiesce.argoCD: SkipReconcile", "/spec/replicas"],
            World::with_argo_cd,
        ),
        (
            "HealedByArgoCD",
            &[
                "applications.argoproj.io shop in namespace argocd",
                "get and patch",
                "quiesce.argoCD.applications",
            ],
            |world| {
                world.with_argo_cd();
                world.reads_applications = false;
            },
        ),
        ("WorkloadTaken", &["Application argocd/shop", "RestoreRequest other"], |world| {
            world.with_argo_cd();
            application(world).skip_reconcile = Some("true".into());
            application(world).ledger = of_another();
        }),
    ];
    for (reason, parts, spoil) in cases {
        let mut world = World::new(&swap());
        spoil(&mut world);
        let (scaled_objects, applications) = (world.scaled_objects.clone(), world.applications.clone());
        world.run_to_end();
        let (found, message) = failure(&world);
        assert_eq!(found, reason, "{message}");
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(!world.status().plan.unwrap().feasible);
        assert_eq!(world.applications, applications, "nothing was touched");
        let mut touched = world.scaled_objects.values().zip(scaled_objects.values());
        assert!(touched.all(|(now, before)| now.ledger == before.ledger));
        assert_eq!(world.done.len(), 1, "{:?}", world.done);
    }
}

/// What changed since the plan is found when the applications are to stop.
#[test]
fn what_came_after_the_plan_is_refused_before_anything_stops() {
    let late = json!({"spec": {"quiesce": {"when": "BeforeSwitch"}}});
    for (reason, spoil) in [
        ("HealedByArgoCD", World::with_argo_cd as Spoil),
        ("ScaledByKeda", |world| {
            world.with_keda();
            scaler(world).paused_replicas = Some("4".into());
        }),
    ] {
        let mut world = World::new(&late);
        world.run_until(RestorePhase::Restoring);
        spoil(&mut world);
        world.run_to_end();
        assert_eq!(failure(&world).0, reason);
        assert!(!world.done.keys().any(|what| what.starts_with("stop")), "{:?}", world.done);
        assert_eq!((world.counts(), world.carries_nothing()), (AS_BEFORE, true));
    }
}

/// A right that is lacking matters only where there is something to read.
#[test]
fn without_rights_what_nobody_else_scales_or_starts_is_stopped() {
    let mut world = World::new(&swap());
    (world.reads_scaled_objects, world.reads_applications) = (false, false);
    for state in world.workloads.values_mut() {
        let mut mark = part_of_shop();
        mark.by_annotation = false;
        state.part_of = Some(mark);
    }
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded, "{:#?}", world.status());
    assert_back(&world, "a label says little");
}

#[test]
fn what_cannot_be_read_any_more_is_told_once_and_waited_for() {
    for owner in ["ScaledObject", "Application"] {
        let mut world = if owner == "ScaledObject" { keda() } else { argo_cd(&skipping()) };
        world.run_until(RestorePhase::Resuming);
        (world.reads_scaled_objects, world.reads_applications) = (false, false);
        for _ in 0..10 {
            world.turn();
        }
        assert_eq!(world.phase(), RestorePhase::Resuming, "{owner}");
        let status = world.status();
        let resumed = conditions::find(&status.conditions, conditions::RESUMED).unwrap();
        assert_eq!((resumed.status.as_str(), resumed.reason.as_str()), ("False", "WorkloadRefused"));
        assert!(
            resumed.message.contains(owner) && resumed.message.contains("quiesce."),
            "{}",
            resumed.message
        );
        assert_eq!(world.events.iter().filter(|reason| **reason == "ApplicationsDown").count(), 1, "{owner}");
        (world.reads_scaled_objects, world.reads_applications) = (true, true);
        world.run_to_end();
        assert_eq!(world.phase(), RestorePhase::Succeeded, "{owner}");
        assert_back(&world, owner);
    }
}
