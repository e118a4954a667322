//! Applications that KEDA scales: KEDA stops them and brings them back.

use greenlang_backup_api::v1alpha1::{QuiescedWorkload, RestorePhase};
use greenlang_backup_plan::restore_request::ScaledObjectState;

use super::owners::{SCALER, failure, keda, scaler, worker_key};
use super::restore_world::World;
use super::{AS_BEFORE, assert_back, assert_untouched, swap};

fn entry(world: &World) -> QuiescedWorkload {
    world.status().quiesced.into_iter().find(|entry| entry.name == "worker").unwrap()
}

#[test]
fn what_keda_scales_is_stopped_and_brought_back_by_keda() {
    let mut world = keda();
    world.run_until(RestorePhase::Restoring);
    assert_eq!(world.counts(), (Some(0), Some(0), Some(true)));
    let worker = &world.workloads[&worker_key()];
    assert_eq!((worker.managed_by.as_deref(), &worker.ledger), (Some("keda"), &None));
    let paused = &world.scaled_objects[SCALER];
    assert_eq!(paused.paused_replicas.as_deref(), Some("0"));
    let ledger = paused.ledger.clone().unwrap();
    assert_eq!((ledger.request_uid.as_str(), ledger.replicas, ledger.annotation), ("u-1", Some(4), None));
    let recorded = entry(&world).scaled_object.unwrap();
    assert_eq!((recorded.name.as_str(), recorded.paused_replicas), (SCALER, None));
    let plan = world.status().plan.unwrap();
    assert_eq!(plan.workloads[1].scaled_object.as_deref(), Some(SCALER));
    assert_eq!((plan.workloads[0].scaled_object.as_deref(), plan.workloads[1].replicas), (None, Some(4)));
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_back(&world, "in the end");
    assert!(world.done.contains_key("stop ScaledObject worker-by-queue"), "{:?}", world.done);
    assert!(!world.done.contains_key("stop worker"), "{:?}", world.done);
}

#[test]
fn what_was_paused_at_0_before_is_so_again() {
    let mut world = keda();
    scaler(&mut world).paused_replicas = Some("0".into());
    world.keda_wants = 0;
    let worker = world.workloads.get_mut(&worker_key()).unwrap();
    (worker.replicas, worker.pods, worker.ready_replicas) = (Some(0), 0, 0);
    world.run_until(RestorePhase::Restoring);
    assert_eq!(entry(&world).scaled_object.unwrap().paused_replicas.as_deref(), Some("0"));
    assert_eq!(world.scaled_objects[SCALER].ledger.clone().unwrap().annotation.as_deref(), Some("0"));
    world.run_to_end();
    assert_eq!((world.phase(), world.counts().1), (RestorePhase::Succeeded, Some(0)));
    assert_eq!(world.scaled_objects[SCALER].paused_replicas.as_deref(), Some("0"));
    assert!(world.carries_nothing());
}

/// Whatever KEDA wants by then is right, 0 too; only that it says nothing is not.
#[test]
fn a_workload_comes_back_to_what_keda_wants_by_then() {
    for (wants, least) in [(0, 0), (2, 0), (4, 2), (9, 0)] {
        let mut world = keda();
        scaler(&mut world).least = least;
        world.run_until(RestorePhase::Restoring);
        world.keda_wants = wants;
        world.run_to_end();
        assert_eq!(world.phase(), RestorePhase::Succeeded, "{wants}: {:#?}", world.status());
        assert_eq!(world.counts(), (Some(6), Some(wants), Some(false)));
        assert!(world.carries_nothing());
    }
}

type Silence = fn(&mut ScaledObjectState);

#[test]
fn a_workload_that_keda_leaves_at_0_without_a_word_is_told() {
    let silences: [(&str, Silence); 4] = [
        ("it still says that it is paused", |_| {}),
        ("it is triggered", |scaler| (scaler.paused_at, scaler.active) = (None, Some(true))),
        ("nobody knows whether it is triggered", |scaler| (scaler.paused_at, scaler.active) = (None, None)),
        ("it has a least count", |scaler| {
            (scaler.paused_at, scaler.active, scaler.least) = (None, Some(false), 1);
        }),
    ];
    for (what, silence) in silences {
        let mut world = keda();
        world.run_until(RestorePhase::Resuming);
        world.keda_works = false;
        silence(scaler(&mut world));
        world.run_to_end();
        let (reason, message) = failure(&world);
        assert_eq!(reason, "WorkloadsNotReady", "{what}");
        assert!(message.contains("worker (KEDA is to scale it up)"), "{what}: {message}");
        assert!(world.carries_nothing(), "{what}");
        assert_eq!(world.scaled_objects[SCALER].paused_replicas, None, "{what}");
    }
}

/// An autoscaler goes on once there are replicas, and may want fewer.
#[test]
fn a_workload_with_an_autoscaler_comes_back_to_what_that_wants() {
    let mut world = World::new(&swap());
    world.workloads.get_mut(&worker_key()).unwrap().autoscaler = Some("by-load".into());
    world.run_until(RestorePhase::Resuming);
    while world.counts().1 != Some(4) {
        world.turn();
    }
    let worker = world.workloads.get_mut(&worker_key()).unwrap();
    (worker.replicas, worker.ready_replicas) = (Some(3), 3);
    world.run_to_end();
    assert_eq!((world.phase(), world.counts().1), (RestorePhase::Succeeded, Some(3)));
}

#[test]
fn whoever_unpauses_a_scaled_object_meanwhile_is_named_and_all_is_undone() {
    let by = |who: &str| Some((who.to_owned(), "2025-11-07T10:01:00Z".parse().unwrap()));
    for (says, who, named) in [
        (None, None, "by somebody (whoever removes an annotation leaves no name)"),
        (Some("5"), by("kubectl-annotate"), "by kubectl-annotate"),
    ] {
        for phase in [RestorePhase::Quiescing, RestorePhase::Restoring] {
            let mut world = keda();
            world.run_until(phase);
            while world.scaled_objects[SCALER].ledger.is_none() {
                world.turn();
            }
            let scaler = scaler(&mut world);
            (scaler.paused_replicas, scaler.paused_by) = (says.map(str::to_owned), who.clone());
            world.run_to_end();
            let (reason, message) = failure(&world);
            assert_eq!(reason, "ScaleContested", "{says:?} {phase:?}");
            assert!(message.contains(named) && message.contains(SCALER), "{message}");
            assert_untouched(&world, "unpaused");
        }
    }
}

/// Whoever took the ledger away and wrote a count has decided what it is to be.
#[test]
fn a_scaled_object_that_somebody_took_over_is_left_to_them() {
    let mut world = keda();
    world.run_until(RestorePhase::Restoring);
    let taken = scaler(&mut world);
    (taken.ledger, taken.paused_replicas) = (None, Some("3".into()));
    world.run_to_end();
    assert_eq!(failure(&world).0, "ScaleContested");
    assert_eq!(world.scaled_objects[SCALER].paused_replicas.as_deref(), Some("3"));
}

/// The workload carries the ledger itself: a ScaledObject that comes later has nothing to give back.
#[test]
fn a_workload_that_was_stopped_before_keda_came_is_brought_back_as_it_was_stopped() {
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Restoring);
    world.with_keda();
    world.keda_works = false;
    world.request.status = None;
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded, "{:#?}", world.status());
    assert_eq!(entry(&world).scaled_object, None);
    assert!(!world.done.contains_key("stop ScaledObject worker-by-queue"), "{:?}", world.done);
    assert_eq!((world.counts(), world.carries_nothing()), (AS_BEFORE, true));
}

#[test]
fn a_keda_that_does_not_act_is_told_before_long() {
    let mut world = keda();
    world.keda_works = false;
    let begin = world.now;
    world.run_to_end();
    let (reason, message) = failure(&world);
    assert_eq!(reason, "PauseIgnored");
    for part in ["StatefulSet worker at 4 replicas", SCALER, "autoscaling.keda.sh/paused-replicas=0"] {
        assert!(message.contains(part), "{message}");
    }
    let took = world.now.duration_since(begin).as_secs();
    assert!((180..300).contains(&took), "{took}");
    assert_untouched(&world, "ignored");
}

#[test]
fn a_keda_that_looks_seldom_has_more_time() {
    let mut world = keda();
    scaler(&mut world).polling_seconds = 240;
    world.keda_works = false;
    world.run_until(RestorePhase::Quiescing);
    let begin = world.now;
    while world.now.duration_since(begin).as_secs() < 400 {
        world.turn();
    }
    world.keda_works = true;
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded, "{:#?}", world.status());
    assert_back(&world, "late");
}

/// Whoever followed the advice of earlier releases has told KEDA to leave the workload as it is.
#[test]
fn a_workload_that_keda_leaves_alone_is_scaled_by_the_operator() {
    let mut world = keda();
    scaler(&mut world).paused = true;
    world.run_until(RestorePhase::Restoring);
    assert!(world.workloads[&worker_key()].ledger.is_some() && world.scaled_objects[SCALER].ledger.is_none());
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_back(&world, "left alone");
    assert!(world.scaled_objects[SCALER].paused);
}

#[test]
fn a_scaled_object_that_is_deleted_leaves_its_workload_to_the_operator() {
    let mut world = keda();
    world.run_until(RestorePhase::Restoring);
    world.scaled_objects.clear();
    world.run_to_end();
    assert_eq!((world.phase(), world.counts()), (RestorePhase::Succeeded, AS_BEFORE));
    assert!(world.carries_nothing());
}

/// Paused for ever, it would keep down whatever comes under that name.
#[test]
fn a_scaled_object_is_let_go_although_its_workload_is_gone() {
    for status_lost in [false, true] {
        let mut world = keda();
        world.run_until(RestorePhase::Restoring);
        world.workloads.remove(&worker_key());
        if status_lost {
            world.request.status = None;
            world.request.spec.cancel = true;
        }
        world.run_to_end();
        let end = if status_lost { RestorePhase::Cancelled } else { RestorePhase::Succeeded };
        assert_eq!(world.phase(), end, "{:#?}", world.status());
        assert_eq!(world.scaled_objects[SCALER].paused_replicas, None);
        assert!(world.carries_nothing());
        assert_eq!(world.counts(), (Some(6), None, Some(false)));
    }
}
