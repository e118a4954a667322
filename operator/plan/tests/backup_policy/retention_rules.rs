//! What a prune was told, and what becomes of it when that is no longer so.

use greenlang_backup_api::conditions;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::prune::PruneTask;
use greenlang_backup_api::v1alpha1::{FailedRun, PruneStatus};
use jiff::SignedDuration;
use serde_json::json;

use super::world::{Fate, World, at, policy};
use super::{backup, probed};

/// A prune that follows the backup of the slot 00:05 and waits until a node has room for its Pod.
fn waiting(extra: serde_json::Value) -> World {
    let mut world = probed(World::new(policy(extra)));
    world.bucket_answers = false;
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!((world.prunes.len(), running(&world)), (1, 1));
    world
}

fn running(world: &World) -> usize {
    world.jobs.iter().filter(|job| job.name.starts_with("p-prune")).count()
}

fn prune(world: &World) -> PruneStatus {
    backup(world).prune.unwrap()
}

fn pin(world: &mut World, id: &str) {
    let pins = json!({format!("pin.backup.greenlang.io/database.{id}"): ""});
    world.policy.metadata.annotations = serde_json::from_value(pins).unwrap();
}

#[test]
fn a_prune_that_was_told_of_no_pin_is_stopped_and_made_anew() {
    let mut world = waiting(json!({}));
    let id = world.prunes[0].id.clone();
    pin(&mut world, "20251101-000000");
    // Also in the second in which it began.
    for seconds in [0, 3_600] {
        world.later(seconds);
        world.settle();
        assert_eq!((world.prunes.len(), running(&world)), (2, 1));
    }
    assert_eq!(world.prunes[1].retention.pins[0].as_str(), "20251101-000000");
    assert_eq!(world.prunes[1].id, id, "and has the report of the first one to go by");
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!((running(&world), prune(&world).active), (0, None));
    assert_eq!(prune(&world).after.unwrap().as_str(), "20251107-000500");
}

/// One of them may have had the path before.
#[test]
fn pins_under_the_names_of_other_backups_are_told_apart() {
    let mut world = waiting(json!({}));
    let mut other = world.policy.spec.backups[0].clone();
    (other.name, other.path) = ("other".into(), Some("other".into()));
    world.policy.spec.backups.push(other);
    let pins = json!({"pin.backup.greenlang.io/other.20251101-000000": ""});
    world.policy.metadata.annotations = serde_json::from_value(pins).unwrap();
    world.settle();
    assert_eq!((world.prunes.len(), running(&world)), (2, 1));
    let told = &world.prunes[1].retention;
    assert_eq!((told.pins.len(), told.former_pins.len()), (0, 1));
    assert_eq!(told.former_pins[0].as_str(), "20251101-000000");
}

#[test]
fn days_that_were_corrected_stop_a_prune() {
    let mut world = waiting(json!({}));
    world.policy.spec.backups[0].schedules[0].keep_days = 30;
    world.settle();
    assert_eq!((world.prunes.len(), running(&world)), (2, 1));
    assert_eq!(world.prunes[1].retention.schedules[0].keep_days, 30);
}

#[test]
fn a_run_that_fails_meanwhile_stops_a_prune_too() {
    let mut world = waiting(json!({}));
    let mut status = world.status();
    let schedule = &mut status.backups[0].schedules[0];
    let mut time = schedule.history.last_success.clone().unwrap().time;
    time.0 = at("2025-11-07T00:06:00Z");
    schedule.history.last_failure = Some(FailedRun {
        id: "20251107-000600".parse().unwrap(),
        time,
        reason: "DumpFailed".into(),
        message: String::new(),
    });
    world.policy.status = Some(status);
    world.later(120);
    world.settle();
    let failed: Vec<_> = world.prunes.iter().map(|task| task.retention.schedules[0].newest_failed).collect();
    assert_eq!((failed, running(&world)), (vec![false, true], 1));
}

#[test]
fn a_prune_is_stopped_when_retention_is_suspended_and_a_dry_run_is_not() {
    let mut world = waiting(json!({}));
    world.policy.spec.suspend_retention = true;
    world.settle();
    assert_eq!((world.prunes.len(), running(&world), prune(&world).active), (1, 0, None));
    let token = json!({"prune.backup.greenlang.io/dry-run": "a"});
    world.policy.metadata.annotations = serde_json::from_value(token).unwrap();
    world.later(1);
    world.settle();
    world.policy.spec.manual_keep_days = Some(99);
    world.later(1);
    world.settle();
    assert_eq!((world.prunes.len(), running(&world)), (2, 1));
    world.jobs_end(Fate::Succeeds);
    world.policy.spec.suspend_retention = false;
    world.settle();
    assert_eq!((world.prunes.len(), world.prunes[2].dry_run), (3, false), "it was never done");
}

#[test]
fn a_deletion_that_waits_for_a_dry_run_has_failed_with_it() {
    let annotate = |world: &mut World, annotations: serde_json::Value| {
        world.policy.metadata.annotations = serde_json::from_value(annotations).unwrap();
    };
    let active = |world: &World| {
        conditions::find(&world.status().conditions, conditions::RETENTION_ACTIVE).cloned().unwrap()
    };
    let mut world = probed(World::new(policy(json!({}))));
    world.bucket_answers = false;
    annotate(&mut world, json!({"prune.backup.greenlang.io/dry-run": "a"}));
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!((world.prunes.len(), world.prunes[0].dry_run), (1, true), "it goes first");
    assert_eq!(active(&world).status, "True");
    world.jobs_end(Fate::FailsForNow);
    let told = world.decide().events;
    assert!(told[0].message.starts_with("the dry run of a prune of database failed, and is tried again: "));
    world.settle();
    assert_eq!((active(&world).status.as_str(), active(&world).reason.as_str()), ("False", "PruneFailed"));
    annotate(&mut world, json!({}));
    world.later(30);
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!((world.prunes.len(), world.prunes[1].dry_run), (2, false));
    assert_eq!((active(&world).status.as_str(), prune(&world).failures), ("True", 0));
}

#[test]
fn tries_after_one_backup_have_the_plan_of_the_first_and_the_next_backup_has_its_own() {
    let mut world = waiting(json!({}));
    for pause in [30, 60] {
        world.jobs_end(Fate::IsKilled);
        world.settle();
        world.later(pause);
        world.settle();
    }
    let ids = |world: &World| -> Vec<_> {
        world.prunes.iter().map(|PruneTask { id, .. }| id.as_str().to_owned()).collect()
    };
    assert_eq!(ids(&world), ["20251107-000500"; 3]);
    world.jobs_end(Fate::IsKilled);
    world.settle();
    world.now = at("2025-11-07T00:10:00Z");
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(ids(&world)[3], "20251107-001000");
}

#[test]
fn pins_that_do_not_fit_into_a_job_are_said_and_nothing_is_deleted() {
    let mut world = probed(World::new(policy(json!({}))));
    let id = |minutes| BackupId::from_slot(at("2024-01-01T00:00:00Z") + SignedDuration::from_mins(minutes));
    let pins: serde_json::Map<_, _> = (0..6_000)
        .map(|number| (format!("pin.backup.greenlang.io/database.{}", id(number)), json!("")))
        .collect();
    world.policy.metadata.annotations = serde_json::from_value(pins.into()).unwrap();
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!((world.prunes.len(), prune(&world).failures, prune(&world).active), (0, 1, None));
    assert!(prune(&world).last_error.unwrap().contains("pins among it"));
}

#[test]
fn a_long_token_is_not_kept_as_a_whole_and_another_one_is_another_one() {
    let mut world = waiting(json!({"spec": {"suspendRetention": false}}));
    world.jobs_end(Fate::Succeeds);
    world.settle();
    for (number, end) in ["a", "a", "b"].into_iter().enumerate() {
        let token = json!({"prune.backup.greenlang.io/dry-run": format!("{}{end}", "é".repeat(50_000))});
        world.policy.metadata.annotations = serde_json::from_value(token).unwrap();
        world.later(1);
        world.settle();
        world.jobs_end(Fate::Succeeds);
        world.settle();
        let kept = prune(&world).dry_run_token.unwrap();
        assert!(kept.len() <= 128, "{} bytes", kept.len());
        assert_eq!(world.prunes.len(), [2, 2, 3][number]);
    }
}

/// A run on request under a clock that was years ahead, and none after it.
#[test]
fn a_success_in_the_future_does_not_end_all_prunes() {
    let mut world = probed(World::new(policy(json!({}))));
    let run = |world: &mut World, slot: &str| {
        world.now = at(slot);
        world.settle();
        world.jobs_end(Fate::Succeeds);
        world.settle();
    };
    run(&mut world, "2025-11-07T00:05:00Z");
    world.policy.spec.suspend = true;
    let token = json!({"run.backup.greenlang.io/database": "now"});
    world.policy.metadata.annotations = serde_json::from_value(token).unwrap();
    run(&mut world, "2030-01-01T00:00:00Z");
    assert_eq!(prune(&world).after.unwrap().as_str(), "20300101-000001");
    world.policy.spec.suspend = false;
    let before = world.prunes.len();
    run(&mut world, "2025-11-07T00:10:00Z");
    run(&mut world, "2025-11-07T00:15:00Z");
    assert!(world.prunes.len() > before + 1, "{:?}", prune(&world));
    assert_eq!(prune(&world).after.unwrap().as_str(), "20251107-001500");
}
