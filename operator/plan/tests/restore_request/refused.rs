//! Jobs that are not made, do not start, or are never heard of again: each phase ends, or says what keeps it.

use greenlang_backup_api::conditions;
use greenlang_backup_api::v1alpha1::RestorePhase;
use serde_json::json;

use super::restore_world::{Fate, World};
use super::{assert_back, assert_switched, assert_untouched, swap, ways, world};

fn way(of: &str) -> World {
    let (way, change) = ways().into_iter().find(|(way, _)| *way == of).unwrap();
    world(way, &change)
}

#[test]
fn a_request_whose_jobs_are_refused_ends_and_says_why() {
    for (of, action, reason) in [
        ("swap", "plan", "JobRefused"),
        ("swap", "load", "JobRefused"),
        ("replace", "load", "JobRefused"),
        ("swap with checks", "check", "CheckFailed"),
        ("swap with checks", "check-job", "CheckFailed"),
    ] {
        let mut world = way(of);
        world.refused = vec![action];
        world.run_to_end();
        let what = format!("{of}: {action} refused");
        assert_eq!(world.phase(), RestorePhase::Failed, "{what}");
        let failure = world.status().failure.unwrap();
        assert_eq!(failure.reason, reason, "{what}");
        assert!(failure.message.contains("exceeded quota"), "{what}: {}", failure.message);
        assert_back(&world, &what);
        assert!(world.request.metadata.finalizers.is_none(), "{what}");
        if of == "swap" {
            assert_untouched(&world, &what);
        }
    }
}

#[test]
fn an_undo_whose_job_is_refused_ends_and_names_what_stays() {
    let mut world = way("swap");
    world.fates = vec![("load", Fate::Fails)];
    world.refused = vec!["drop-temporary"];
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Failed);
    assert_back(&world, "refused");
    let failure = world.status().failure.unwrap();
    assert!(failure.message.starts_with("no; database greenlang_restore_"), "{}", failure.message);
    assert!(failure.message.contains("exceeded quota"), "{}", failure.message);
    assert!(world.events.contains(&"DropFailed"));
}

#[test]
fn a_switch_whose_job_is_refused_is_tried_until_it_is_made() {
    let mut world = way("swap");
    world.run_until(RestorePhase::Switching);
    world.refused = vec!["switch"];
    while world.status().active.is_none_or(|active| active.attempt < 10) {
        world.turn();
    }
    assert_eq!(world.condition(conditions::STALLED), ("True".into(), "SwitchUncertain".into()));
    let pauses: Vec<i64> =
        world.refusals.windows(2).map(|two| two[1].duration_since(two[0]).as_secs()).collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300], "growing to five minutes");
    let told = |reason: &str| world.events.iter().filter(|event| **event == reason).count();
    assert_eq!((told("RestoreRetrying"), told("ApplicationsDown")), (3, 1), "for hours it is told no more");
    world.refused = vec![];
    world.run_to_end();
    assert_switched(&world, "swap", "in the end");
}

#[test]
fn where_nothing_can_remember_what_is_replaced_nothing_is_replaced() {
    for of in ["swap", "swap, stopping late", "undo"] {
        let mut world = way(of);
        world.refuses_kept = true;
        world.run_to_end();
        let failure = world.status().failure.unwrap();
        assert_eq!((&*failure.reason, &*failure.message), ("ConfigMapRefused", "exceeded quota"), "{of}");
        assert!(world.status().switch_started_time.is_none(), "{of}");
        assert_untouched(&world, of);
    }
}

/// Somebody deleted it meanwhile, and it cannot be made again.
#[test]
fn past_the_point_of_no_return_it_is_tried_again_and_told_once() {
    let mut world = way("swap");
    world.run_until(RestorePhase::Switching);
    while world.status().switch_started_time.is_none() {
        world.turn();
    }
    (world.kept, world.refuses_kept) = (None, true);
    let began = world.now;
    for _ in 0..10 {
        world.turn();
    }
    assert!(world.now.duration_since(began).as_secs() >= 8 * 60, "each minute");
    assert_eq!(world.status().progress.as_deref(), Some("exceeded quota"));
    assert_eq!(world.events.iter().filter(|reason| **reason == "ApplicationsDown").count(), 1);
    assert!(!world.done.contains_key("rename"));
    world.refuses_kept = false;
    world.run_to_end();
    assert_switched(&world, "swap", "in the end");
}

#[test]
fn a_job_that_does_not_start_in_its_time_is_given_up() {
    let job = json!({"name": "smoke", "image": "smoke:1", "timeoutSeconds": 42});
    let mut world = World::new(&json!({"spec": {"checks": {"jobs": [job]}}}));
    world.fates = vec![("check-job", Fate::NeverStarts); 3];
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Failed);
    let failure = world.status().failure.unwrap();
    assert_eq!(failure.reason, "CheckFailed");
    assert!(failure.message.contains("no node has room"), "{}", failure.message);
    assert_eq!(world.made.len(), 6, "three attempts");
}

/// It may end well when it is told to stop, which is not to have passed.
#[test]
fn a_check_that_runs_into_its_time_limit_has_failed_and_its_limit_is_named() {
    let job = json!({"name": "smoke", "image": "smoke:1", "timeoutSeconds": 42});
    let mut world = World::new(&json!({"spec": {"checks": {"jobs": [job]}}}));
    world.fates = vec![("check-job", Fate::RunsOut)];
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Failed);
    let failure = world.status().failure.unwrap();
    assert_eq!(failure.reason, "CheckFailed");
    let said = &failure.message;
    assert!(said.contains("smoke: DeadlineExceeded: ") && said.contains("timeoutSeconds"), "{said}");
    assert!(!said.contains("schedule"), "{said}");
}

/// It may run for a week; it does not wait that long for a node, with the applications down.
#[test]
fn a_load_that_does_not_start_brings_the_applications_back_within_an_hour() {
    for (change, at_most) in [(swap(), 3_600), (json!({"spec": {"stallSeconds": 1_800}}), 3 * 3_600)] {
        let mut world = World::new(&change);
        world.fates = vec![("load", Fate::NeverStarts); 3];
        let began = world.now;
        for _ in 0..2_000 {
            if world.phase() == RestorePhase::Failed {
                break;
            }
            world.turn();
        }
        assert_eq!(world.phase(), RestorePhase::Failed);
        let failure = world.status().failure.unwrap();
        assert_eq!(failure.reason, "PodNotStarted");
        assert!(failure.message.contains("no node has room"), "{}", failure.message);
        let took = world.now.duration_since(began).as_secs();
        assert!((at_most / 2..at_most).contains(&took), "{took}");
        assert_untouched(&world, "not started");
        assert_eq!(world.events.iter().filter(|reason| **reason == "RestoreRetrying").count(), 2);
    }
}

#[test]
fn a_status_that_lacks_what_a_job_needs_ends_the_request() {
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Restoring);
    world.request.status.as_mut().unwrap().backup = None;
    world.run_to_end();
    assert_eq!(world.status().failure.unwrap().reason, "InvalidObject");
    assert_untouched(&world, "status was changed by hand");
}

#[test]
fn a_switch_on_a_lost_node_is_told_and_waited_for() {
    let mut world = way("swap");
    world.run_until(RestorePhase::Switching);
    world.fates = vec![("switch", Fate::IsLost)];
    for _ in 0..20 {
        world.turn();
    }
    assert_eq!(world.phase(), RestorePhase::Switching);
    assert_eq!(world.condition(conditions::STALLED), ("True".into(), "SwitchUncertain".into()));
    assert_eq!(world.events.iter().filter(|reason| **reason == "ApplicationsDown").count(), 1);
    // Who gives up is told what is still waited for.
    let annotations = world.request.metadata.annotations.get_or_insert_default();
    annotations.insert("restore.backup.greenlang.io/give-up".into(), "u-1".into());
    world.turn();
    let status = world.status();
    let ready = conditions::find(&status.conditions, conditions::READY).unwrap();
    assert!(ready.message.starts_with("given up: waiting until Job back-switch-"), "{}", ready.message);
    assert_eq!(world.counts().0, Some(0), "it could still rename");
    world.delete_jobs();
    world.run_to_end();
    assert_eq!(world.status().failure.unwrap().reason, "GivenUp");
    assert_back(&world, "given up");
}

#[test]
fn who_gives_up_is_told_what_stays_and_until_when() {
    for (of, parts) in [
        (
            "swap",
            vec![
                "greenlang_before_",
                "is dropped at",
                "unless ConfigMap back-kept-",
                "is as it was, but it may let nobody in",
                "ALTER DATABASE \"greenlang\" ALLOW_CONNECTIONS true",
                "it is for you to rename or drop the other",
            ],
        ),
        ("replace", vec!["nothing else is left", "database greenlang was dropped before"]),
        ("new database", vec!["there is no database look"]),
    ] {
        let mut world = way(of);
        world.run_until(RestorePhase::Switching);
        world.fates = vec![("switch", Fate::IsKilled)];
        let annotations = world.request.metadata.annotations.get_or_insert_default();
        annotations.insert("restore.backup.greenlang.io/give-up".into(), "u-1".into());
        world.run_to_end();
        let failure = world.status().failure.unwrap();
        assert_eq!(failure.reason, "GivenUp", "{of}");
        for part in parts {
            assert!(failure.message.contains(part), "{of}, {part}: {}", failure.message);
        }
        assert!(!failure.message.contains("both databases stay"));
    }
}

#[test]
fn a_replacement_that_was_loaded_and_cannot_be_renamed_is_named() {
    let mut world = way("replace");
    world.fates = vec![("switch", Fate::Fails)];
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Failed);
    let message = world.status().failure.unwrap().message;
    assert!(message.contains("what was restored stays as greenlang_restore_"), "{message}");
    assert_back(&world, "not renamed");
}
