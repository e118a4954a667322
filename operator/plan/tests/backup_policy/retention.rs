//! When old backups are deleted.

use greenlang_backup_api::conditions;
use greenlang_backup_api::reasons;
use greenlang_backup_api::v1alpha1::PruneStatus;
use serde_json::json;

use super::world::{Cut, Fate, World, at, policy};
use super::{backup, probed};

/// A world in which a backup of the slot 00:05 was just made.
pub(super) fn made(extra: serde_json::Value) -> World {
    let mut world = probed(World::new(policy(extra)));
    run(&mut world, "2025-11-07T00:05:00Z");
    world
}

pub(super) fn run(world: &mut World, slot: &str) {
    world.now = at(slot);
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
}

pub(super) fn annotate(world: &mut World, annotations: &serde_json::Value) {
    world.policy.metadata.annotations = serde_json::from_value(annotations.clone()).unwrap();
}

fn prune(world: &World) -> PruneStatus {
    backup(world).prune.unwrap()
}

#[test]
fn each_success_is_followed_by_one_prune_and_a_failure_by_none() {
    let mut world = made(json!({}));
    assert_eq!(world.prunes.len(), 1);
    let task = &world.prunes[0];
    let schedule = &task.retention.schedules[0];
    assert_eq!((task.path.as_str(), task.dry_run, task.busy.len()), ("database", false, 0));
    assert_eq!((schedule.name.as_str(), schedule.keep_days, schedule.keep_at_least), ("often", 1, 1));
    assert!(task.garbage_after_seconds > 86_400, "longer than an attempt may take");
    assert_eq!(task.shown[0].as_str(), "20251107-000500");
    assert_eq!((prune(&world).active, prune(&world).after.unwrap().as_str()), (None, "20251107-000500"));
    world.later(60);
    world.settle();
    assert_eq!(world.prunes.len(), 1, "once");

    world.now = at("2025-11-07T00:10:00Z");
    world.settle();
    world.jobs_end(Fate::Fails);
    world.settle();
    assert_eq!(world.prunes.len(), 1);
    run(&mut world, "2025-11-07T00:15:00Z");
    let rules = &world.prunes[1].retention.schedules;
    assert_eq!(rules.iter().map(|rule| rule.newest_failed).collect::<Vec<_>>(), [false, true]);
    assert_eq!(
        world.jobs.iter().filter(|job| job.name.starts_with("p-prune")).count(),
        0,
        "deleted once counted"
    );
}

#[test]
fn what_is_gone_is_no_longer_shown() {
    let mut world = made(json!({}));
    world.bucket.clear();
    run(&mut world, "2025-11-07T00:10:00Z");
    let shown: Vec<_> = world.status().available.iter().map(|entry| entry.id.to_string()).collect();
    assert_eq!(shown, ["20251107-001000"]);
}

#[test]
fn nothing_is_deleted_while_retention_is_suspended_but_dry_runs_are_made() {
    let mut world = made(json!({"spec": {"suspendRetention": true}}));
    assert_eq!(world.prunes.len(), 0);
    let ask = |world: &mut World, token: &str| {
        annotate(world, &json!({"prune.backup.greenlang.io/dry-run": token}));
        world.settle();
    };
    ask(&mut world, "a");
    ask(&mut world, "a");
    assert_eq!((world.prunes.len(), world.prunes[0].dry_run), (1, true));
    assert!(prune(&world).last_dry_run.is_some() && prune(&world).last.is_none());
    assert!(world.told.contains(&reasons::PRUNE_DRY_RUN));
    ask(&mut world, "b");
    assert_eq!(world.prunes.len(), 2);
    world.policy.spec.suspend_retention = false;
    world.settle();
    assert_eq!((world.prunes.len(), world.prunes[2].dry_run), (3, false), "what was put off is made up for");
}

#[test]
fn a_dry_run_that_fails_is_no_failure_of_retention() {
    let mut world = made(json!({}));
    world.bucket_answers = false;
    annotate(&mut world, &json!({"prune.backup.greenlang.io/dry-run": "a"}));
    for pause in [1, 30] {
        world.later(pause);
        world.settle();
        world.jobs_end(Fate::FailsForNow);
        world.settle();
        assert!(prune(&world).last_error.unwrap().contains("away"));
        assert_eq!(retention_active(&world).0, "True", "nothing is due");
    }
    assert_eq!((world.prunes.len(), prune(&world).failures), (3, 2), "it is tried again");
    annotate(&mut world, &json!({}));
    world.later(1);
    world.settle();
    let PruneStatus { failures, next_time, last_error, .. } = prune(&world);
    assert_eq!((failures, next_time, last_error), (0, None, None), "nobody asks for it any more");
    assert_eq!(retention_active(&world).0, "True");
}

#[test]
fn a_prune_that_fails_is_tried_again_and_waits_for_runs() {
    let mut world = probed(World::new(policy(json!({}))));
    world.bucket_answers = false;
    run(&mut world, "2025-11-07T00:05:00Z");
    for (at, pause) in [30, 60, 120].into_iter().enumerate() {
        assert_eq!(world.prunes.len(), at + 1);
        world.jobs_end(Fate::FailsForNow);
        world.settle();
        let next = prune(&world).next_time.unwrap().0;
        assert_eq!(next.duration_since(world.now).as_secs(), pause);
        if pause < 120 {
            world.later(pause);
            world.settle();
        }
    }
    assert_eq!(world.told.iter().filter(|told| **told == reasons::PRUNE_FAILED).count(), 1, "told once");
    // The next run goes first, and its success is what the next try follows.
    world.now = at("2025-11-07T00:10:00Z");
    world.settle();
    assert_eq!(world.prunes.len(), 3);
    world.jobs_end(Fate::Succeeds);
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!((world.prunes.len(), prune(&world).failures), (4, 0));
    assert_eq!(prune(&world).after.unwrap().as_str(), "20251107-001000");
}

/// Every run takes longer than its interval, so the next one begins in the second in which it ends.
#[test]
fn where_one_run_always_follows_the_other_prunes_go_beside_them() {
    let mut world = probed(World::new(policy(json!({}))));
    let mut made = 0;
    world.later(300);
    world.settle();
    for _ in 0..20 {
        world.later(600);
        world.settle();
        world.jobs_end(Fate::Succeeds);
        world.settle();
        assert!(backup(&world).active.is_some(), "the next run goes on");
        made += 1;
        if made < 6 {
            assert_eq!(world.prunes.len(), 0, "runs go first, for an hour");
        }
    }
    assert!((2..=4).contains(&world.prunes.len()), "{} prunes in three hours", world.prunes.len());
    for prune in &world.prunes {
        assert_eq!(prune.busy.len(), 1, "it is told of the run that goes on");
    }
    assert!(prune(&world).after.is_some());
}

#[test]
fn a_pass_that_is_cut_makes_no_second_prune() {
    let mut world = probed(World::new(policy(json!({}))));
    world.bucket_answers = false;
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    world.jobs_end(Fate::Succeeds);
    for cut in [Cut::AfterEffects(0), Cut::AfterEffects(1), Cut::AfterEffects(9)] {
        for _ in 0..3 {
            world.pass(cut);
            world.pass(Cut::Nowhere);
        }
    }
    world.settle();
    assert_eq!(world.prunes.len(), 1);
    assert!(world.made.values().all(|made| *made == 1), "{:?}", world.made);
}

#[test]
fn pins_reach_the_prune_and_one_that_says_nothing_holds_everything() {
    let mut world = probed(World::new(policy(json!({}))));
    annotate(&mut world, &json!({"pin.backup.greenlang.io/database.20251107-000500": ""}));
    run(&mut world, "2025-11-07T00:05:00Z");
    assert_eq!(world.prunes[0].retention.pins[0].as_str(), "20251107-000500");
    assert_eq!(world.prunes[0].retention.hold, None);
    for wrong in ["database.2025", "database", "other.20251107-000500"] {
        annotate(&mut world, &json!({format!("pin.backup.greenlang.io/{wrong}"): "x"}));
        let slot = world.now.checked_add(jiff::SignedDuration::from_mins(5)).unwrap().to_string();
        run(&mut world, &slot);
        let hold = world.prunes.last().unwrap().retention.hold.clone().unwrap();
        assert!(hold.contains(&format!("pin.backup.greenlang.io/{wrong} pins nothing")), "{hold}");
    }
}

fn retention_active(world: &World) -> (String, String, String) {
    let found = conditions::find(&world.status().conditions, conditions::RETENTION_ACTIVE).cloned().unwrap();
    (found.status, found.reason, found.message)
}

#[test]
fn a_pin_that_says_nothing_is_told_once_and_shown_until_it_is_mended() {
    let mut world = made(json!({}));
    assert_eq!(retention_active(&world).0, "True");
    let told = |world: &World| world.told.iter().filter(|told| **told == reasons::PIN_UNREADABLE).count();
    annotate(&mut world, &json!({"pin.backup.greenlang.io/database.2025": "x"}));
    for slot in ["2025-11-07T00:10:00Z", "2025-11-07T00:15:00Z"] {
        run(&mut world, slot);
        let (status, reason, message) = retention_active(&world);
        assert_eq!((status.as_str(), reason.as_str()), ("False", reasons::PIN_UNREADABLE));
        for part in [
            "annotation pin.backup.greenlang.io/database.2025 ",
            "write pin.backup.greenlang.io/<backup>.<id>",
            "kubectl annotate backuppolicy -n n p pin.backup.greenlang.io/database.2025-",
        ] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(told(&world), 1);
    }
    // Another one is news; a good one is not.
    annotate(&mut world, &json!({"pin.backup.greenlang.io/other.20251107-000500": "x"}));
    world.settle();
    assert_eq!(told(&world), 2);
    annotate(&mut world, &json!({"pin.backup.greenlang.io/database.20251107-000500": "x"}));
    world.settle();
    assert_eq!((retention_active(&world).0.as_str(), told(&world)), ("True", 2));
    world.policy.spec.suspend_retention = true;
    world.settle();
    assert_eq!(retention_active(&world).1, reasons::SUSPENDED);
}

#[test]
fn what_a_prune_leaves_because_it_is_more_than_half_is_told_with_the_way_out() {
    let mut world = probed(World::new(policy(json!({}))));
    world.held_back = 7;
    run(&mut world, "2025-11-07T00:05:00Z");
    assert_eq!(prune(&world).last.unwrap().held_back, 7);
    assert_eq!(world.told.iter().filter(|told| **told == reasons::PRUNE_HELD_BACK).count(), 1);
    world.held_back = 0;
    run(&mut world, "2025-11-07T00:10:00Z");
    assert_eq!(world.told.iter().filter(|told| **told == reasons::PRUNE_HELD_BACK).count(), 1);
}
