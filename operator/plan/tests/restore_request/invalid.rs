//! Specs that cannot be carried out: from the beginning, or only once the request has begun.

use greenlang_backup_api::conditions;
use greenlang_backup_api::v1alpha1::RestorePhase;
use greenlang_backup_plan::restore_request::{Lock, validate};
use serde_json::{Value, json};

use super::restore_world::{Blow, World, request};
use super::{assert_back, assert_switched, assert_untouched, swap, ways, world};

/// A request of part of a database.
fn part(include: &Value) -> Value {
    let database = json!({"strategy": "NewDatabase", "target": {"name": "look"}, "include": include});
    json!({"spec": {"confirm": null, "database": database}})
}

#[test]
fn a_spec_that_cannot_be_carried_out_says_which_field() {
    let cases = [
        (json!({"spec": {"confirm": "other"}}), "ConfirmMismatch", "spec.confirm"),
        (
            json!({"spec": {"source": {"backup": {"name": "packs"}}}}),
            "BackupNotInPolicy",
            "spec.source.backup.name",
        ),
        (
            json!({"spec": {"confirm": null, "database": {"strategy": "NewDatabase", "target": {"name": "ä".repeat(40)}}}}),
            "InvalidSpec",
            "spec.database.target.name",
        ),
        (
            json!({"spec": {"confirm": "template1", "database": {"target": {"name": "template1"}}}}),
            "InvalidSpec",
            "spec.database.target.name",
        ),
        (
            json!({"spec": {"database": {"include": {"schemas": ["app"]}}}}),
            "InvalidSpec",
            "spec.database.include",
        ),
        (part(&json!({})), "InvalidSpec", "spec.database.include"),
        (part(&json!({"schemas": ["ä".repeat(32)]})), "InvalidSpec", "spec.database.include"),
        (
            part(&json!({"tables": [{"schema": "app", "name": "ä".repeat(32)}]})),
            "InvalidSpec",
            "spec.database.include",
        ),
    ];
    for (change, reason, field) in cases {
        let mut world = World::new(&change);
        let invalid = validate(&world.request, world.policy.as_ref()).unwrap_err();
        assert_eq!((invalid.reason, invalid.field.as_str()), (reason, field));
        world.turn();
        assert_eq!(world.condition(conditions::READY), ("False".into(), reason.into()));
        assert_eq!(world.condition(conditions::FINISHED).0, "False");
    }
    let invalid = validate(&request(&swap()), None).unwrap_err();
    assert_eq!(invalid.reason, "PolicyNotFound");
}

#[test]
fn one_that_has_begun_gives_everything_back_and_goes_forward_past_the_switch() {
    for (way, change) in ways().into_iter().filter(|(way, _)| *way != "new database") {
        for at in 0..super::blows::writes(way, &change) {
            let mut world = world(way, &change);
            world.run_until(RestorePhase::Planning);
            world.blow = Some((at, Blow::Refuse));
            world.run_to_end();
            let what = format!("{way}, refused at {at}");
            assert!(world.request.metadata.finalizers.is_none(), "{what}");
            assert_eq!(world.lock, Lock::Free, "{what}");
            if world.phase() == RestorePhase::Succeeded {
                assert_switched(&world, way, &what);
                continue;
            }
            assert_eq!(world.status().failure.unwrap().reason, "ConfirmMismatch", "{what}");
            assert!(world.status().switch_started_time.is_none(), "{what}");
            assert_untouched(&world, &what);
            assert_eq!(
                world.events.iter().filter(|reason| **reason == "ConfirmMismatch").count(),
                1,
                "{what}"
            );
        }
    }
}

/// Nothing says where bucket and server were, but the applications say whose they are.
#[test]
fn one_whose_status_and_policy_are_lost_gives_the_applications_back() {
    for (way, change) in ways() {
        for at in 0..super::blows::writes(way, &change) {
            let mut world = world(way, &change);
            world.blow = Some((at, Blow::WipeAndPolicyGone));
            for _ in 0..150 {
                world.turn();
            }
            let what = format!("{way}, status and policy lost at {at}");
            assert!(world.blow.is_none(), "{what}");
            assert_back(&world, &what);
            assert_ne!(world.lock, Lock::Ours, "{what}");
            if world.phase() == RestorePhase::Failed {
                assert!(world.request.metadata.finalizers.is_none(), "{what}");
                continue;
            }
            assert_eq!(world.phase(), RestorePhase::Pending, "{what}");
            assert_eq!(world.condition(conditions::STALLED).1, "PolicyNotFound");
            // Once there is a policy again it goes on.
            world.policy = World::new(&change).policy;
            world.run_to_end();
            assert_eq!(world.phase(), RestorePhase::Succeeded, "{what}");
            assert_switched(&world, way, &what);
        }
    }
}

/// Its finalizer says that it has begun: something may be there that it made.
#[test]
fn one_that_has_begun_does_not_expire_while_it_waits_for_a_policy() {
    let (way, mut change) = ways().into_iter().find(|(way, _)| *way == "swap without applications").unwrap();
    change["spec"]["startBefore"] = json!("2025-11-08T00:00:00Z");
    let mut world = world(way, &change);
    world.run_until(RestorePhase::Switching);
    (world.request.status, world.policy) = (None, None);
    world.now += jiff::SignedDuration::from_hours(24);
    for _ in 0..10 {
        world.turn();
    }
    assert_eq!(world.phase(), RestorePhase::Pending);
    world.policy = World::new(&change).policy;
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_switched(&world, way, "a policy came back");
}

#[test]
fn one_that_waits_for_a_change_can_be_cancelled_deleted_and_expires() {
    let waits = || {
        let mut world = World::new(&json!({"spec": {"startBefore": "2025-11-07T10:10:00Z"}}));
        world.policy = None;
        world.turn();
        assert_eq!(world.phase(), RestorePhase::Pending);
        assert_eq!(world.condition(conditions::READY), ("False".into(), "PolicyNotFound".into()));
        world
    };
    let mut cancelled = waits();
    cancelled.cancel();
    cancelled.run_to_end();
    assert_eq!(cancelled.phase(), RestorePhase::Cancelled);
    let mut late = waits();
    late.run_to_end();
    assert_eq!(late.phase(), RestorePhase::Expired);
    assert_eq!(late.condition(conditions::FINISHED), ("True".into(), "Expired".into()));
    let mut deleted = World::new(&swap());
    deleted.run_until(RestorePhase::Restoring);
    (deleted.request.status, deleted.policy) = (None, None);
    let _ = deleted.strike(Blow::Delete);
    deleted.run_to_end();
    assert!(deleted.gone);
    assert_back(&deleted, "deleted");
}
