//! What strikes a request before any of its writes, for every way through its phases: a crash, `cancel`, deletion, a lost status.

use greenlang_backup_api::conditions;
use greenlang_backup_api::v1alpha1::RestorePhase;
use greenlang_backup_plan::restore_request::Lock;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::restore_world::{Blow, Fate};
use super::{assert_back, assert_switched, assert_untouched, ways, world};

/// How many writes a way takes.
pub fn writes(way: &str, change: &Value) -> usize {
    let mut world = world(way, change);
    world.run_to_end();
    world.writes
}

#[test]
fn cut_before_any_write_it_comes_to_the_same_end_and_does_nothing_twice() {
    for (way, change) in ways() {
        for at in 0..writes(way, &change) {
            let mut world = world(way, &change);
            world.blow = Some((at, Blow::Cut));
            world.run_to_end();
            assert!(world.blow.is_none(), "{way}: nothing happened at {at}");
            let what = format!("{way}, cut before write {at}");
            assert_eq!(world.phase(), RestorePhase::Succeeded, "{what}");
            assert_switched(&world, way, &what);
            assert!(world.done.values().all(|times| *times == 1), "{what}: {:?}", world.done);
        }
    }
}

#[test]
fn a_policy_that_is_deleted_meanwhile_keeps_no_application_down() {
    for (way, change) in ways() {
        for at in 0..writes(way, &change) {
            let mut world = world(way, &change);
            world.run_until(RestorePhase::Planning);
            world.blow = Some((at, Blow::PolicyGone));
            world.run_to_end();
            assert_eq!(world.phase(), RestorePhase::Succeeded, "{way}, at {at}");
        }
    }
}

#[test]
fn cancelled_before_the_switch_it_is_undone_and_after_it_finished() {
    for (way, change) in ways() {
        for at in 0..writes(way, &change) {
            let mut world = world(way, &change);
            world.blow = Some((at, Blow::Cancel));
            world.run_to_end();
            assert!(world.blow.is_none(), "{way}: nothing happened at {at}");
            let what = format!("{way}, cancelled at {at}");
            match world.phase() {
                RestorePhase::Cancelled => {
                    assert_untouched(&world, &what);
                    assert!(world.status().switch_started_time.is_none(), "{what}");
                    for type_ in [conditions::FINISHED, conditions::STALLED] {
                        assert_eq!(world.condition(type_), ("True".into(), "Cancelled".into()), "{what}");
                    }
                }
                RestorePhase::Succeeded => {
                    assert_switched(&world, way, &what);
                    let told = world.events.iter().filter(|reason| **reason == "TooLateToCancel").count();
                    assert_eq!(told, 1, "{what}");
                }
                phase => panic!("{what}: {phase:?}: {:#?}", world.status()),
            }
            assert_eq!(world.lock, Lock::Free, "{what}");
        }
    }
}

#[test]
fn deleted_before_the_switch_it_is_undone_and_after_it_finished() {
    for (way, change) in ways() {
        for at in 0..writes(way, &change) {
            let mut world = world(way, &change);
            world.blow = Some((at, Blow::Delete));
            world.run_to_end();
            assert!(world.blow.is_none(), "{way}: nothing happened at {at}");
            let what = format!("{way}, deleted at {at}");
            assert!(world.gone || world.phase().is_end(), "{what}");
            if world.done.contains_key("rename") {
                assert_switched(&world, way, &what);
            } else {
                assert_untouched(&world, &what);
            }
        }
    }
}

#[test]
fn a_lost_status_is_taken_up_again() {
    for (way, change) in ways() {
        for at in 0..writes(way, &change) {
            let mut world = world(way, &change);
            world.blow = Some((at, Blow::Wipe));
            world.run_to_end();
            assert!(world.blow.is_none(), "{way}: nothing happened at {at}");
            let what = format!("{way}, status lost at {at}");
            assert_back(&world, &what);
            assert_eq!(world.phase(), RestorePhase::Succeeded, "{what}: {:#?}", world.status());
            assert_switched(&world, way, &what);
        }
    }
}

/// Without applications its finalizer is all that is left to know it by.
#[test]
fn one_whose_status_is_lost_does_not_expire_once_it_has_begun() {
    for of in ["swap without applications", "undo without applications", "swap, stopping late"] {
        let (way, mut change) = ways().into_iter().find(|(way, _)| *way == of).unwrap();
        change["spec"]["startBefore"] = json!("2025-11-08T00:00:00Z");
        let mut ends = [0, 0];
        for at in 0..writes(way, &change) {
            let mut world = world(way, &change);
            world.blow = Some((at, Blow::Wipe));
            while world.blow.is_some() {
                world.turn();
            }
            let has_begun = world.request.metadata.finalizers.is_some();
            ends[usize::from(has_begun)] += 1;
            world.now += SignedDuration::from_hours(24);
            world.run_to_end();
            let what = format!("{way}, status lost at {at}");
            if has_begun {
                assert_eq!(world.phase(), RestorePhase::Succeeded, "{what}: {:#?}", world.status());
                assert_switched(&world, way, &what);
            } else {
                assert_eq!(world.phase(), RestorePhase::Expired, "{what}");
                assert_untouched(&world, &what);
            }
        }
        assert!(ends[0] > 3 && ends[1] > 3, "{way}: {ends:?}");
    }
}

/// What they carry is all that is left to know it by.
#[test]
fn applications_come_back_although_status_is_lost_and_the_request_then_fails_or_is_cancelled() {
    for cancelled in [false, true] {
        let (way, change) = ways().remove(0);
        let mut world = world(way, &change);
        world.run_until(RestorePhase::Restoring);
        world.request.status = None;
        world.request.spec.cancel = cancelled;
        world.fates = vec![("plan", Fate::Fails)];
        world.run_to_end();
        let end = if cancelled { RestorePhase::Cancelled } else { RestorePhase::Failed };
        assert_eq!(world.phase(), end);
        assert_untouched(&world, "status lost");
        let message = world.status().failure.unwrap().message;
        assert!(message.contains("restores/greenlang/back.json in the bucket"), "{message}");
    }
}
