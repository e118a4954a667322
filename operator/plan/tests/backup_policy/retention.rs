//! When old backups are deleted, and how a status that was lost comes back.

use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::reasons;
use greenlang_backup_api::v1alpha1::{BackupPolicyStatus, PruneStatus, ScheduleStatus};
use greenlang_backup_plan::backup_policy::Effect;
use serde_json::json;

use super::world::{Cut, Fate, World, at, policy};
use super::{backup, is, probed};

/// A world in which a backup of the slot 00:05 was just made.
fn made(extra: serde_json::Value) -> World {
    let mut world = probed(World::new(policy(extra)));
    run(&mut world, "2025-11-07T00:05:00Z");
    world
}

fn run(world: &mut World, slot: &str) {
    world.now = at(slot);
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
}

fn annotate(world: &mut World, annotations: &serde_json::Value) {
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

/// A policy that was deleted and made again: no status, new UID, created just now.
fn made_again(mut world: World, at_time: &str) -> World {
    world.policy.status = None;
    world.policy.metadata.uid = Some("u2".into());
    world.now = at(at_time);
    world.policy.metadata.creation_timestamp = Some(serde_json::from_value(json!(at_time)).unwrap());
    world.jobs.clear();
    world.prunes.clear();
    world.told.clear();
    world
}

fn history(status: &BackupPolicyStatus) -> serde_json::Value {
    let schedules = status.backups[0].schedules.iter().map(|entry| {
        let last = entry.history.last_success.as_ref().map(|run| run.id.to_string());
        json!({"name": entry.name, "last": last, "slot": entry.last_schedule_time})
    });
    let available: Vec<_> = status.available.iter().map(|entry| entry.id.to_string()).collect();
    json!({"schedules": schedules.collect::<Vec<_>>(), "available": available, "size": status.last_size})
}

#[test]
fn a_policy_that_is_made_again_shows_the_same_history_and_raises_no_alarm() {
    let mut world = probed(World::new(policy(json!({"spec": {"firstRun": "Immediately"}}))));
    annotate(&mut world, &json!({"run.backup.greenlang.io/database": "token"}));
    for slot in ["2025-11-07T00:05:00Z", "2025-11-07T00:10:00Z", "2025-11-07T00:15:00Z"] {
        run(&mut world, slot);
        world.jobs_end(Fate::Succeeds);
        world.settle();
    }
    let (before, bucket) = (history(&world.status()), world.bucket.len());
    let mut world = made_again(world, "2025-11-07T00:17:00Z");
    world.settle();
    assert_eq!(history(&world.status()), before);
    assert!(is(&world, conditions::BACKUPS_CURRENT, State::True), "{:?}", world.status().conditions);
    assert_eq!(world.told, [reasons::HISTORY_RESTORED]);
    assert_eq!((world.bucket.len(), backup(&world).active), (bucket, None), "nothing is run again");
    assert_eq!(world.prunes.len(), 0, "and nothing deleted because of what was forgotten");
    world.jobs_end(Fate::Succeeds);
    run(&mut world, "2025-11-07T00:20:00Z");
    assert_eq!((world.bucket.len(), world.prunes.len()), (bucket + 1, 1));
}

#[test]
fn no_run_is_decided_and_no_job_swept_before_the_history_is_known() {
    let mut world = made(json!({}));
    world.now = at("2025-11-07T00:10:00Z");
    world.settle();
    let running: Vec<_> = world.jobs.iter().map(|job| job.name.clone()).collect();
    assert_eq!(running.len(), 1);
    // The status is lost; the policy and its Job are not.
    world.bucket_answers = false;
    world.policy.status = None;
    world.later(60);
    world.settle();
    assert!(world.jobs.iter().any(|job| job.name == running[0]), "its Job goes on");
    assert_eq!(world.status().backups, vec![], "so no series is exported");
    let unknown = conditions::find(&world.status().conditions, conditions::BACKUPS_CURRENT).cloned().unwrap();
    assert_eq!((unknown.status.as_str(), unknown.reason.as_str()), ("Unknown", reasons::HISTORY_UNKNOWN));
    world.bucket_answers = true;
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(world.made[&running[0]], 1, "the run that was going on is taken up again, not made again");
    let last = backup(&world).schedules[0].history.last_success.clone().unwrap();
    assert_eq!((last.id.as_str(), world.bucket.len()), ("20251107-001000", 2));
}

#[test]
fn a_slot_missed_while_the_status_was_lost_is_made_up_for_once() {
    let mut world = made(json!({}));
    world.policy.status = None;
    world.now = at("2025-11-07T05:01:00Z");
    world.settle();
    let run = backup(&world).active.unwrap().run;
    assert_eq!(run.id.as_str(), "20251107-050000");
    // The probe, and then the run.
    for _ in 0..2 {
        world.jobs_end(Fate::Succeeds);
        world.settle();
    }
    assert_eq!(world.bucket.len(), 2, "no flood");
}

#[test]
fn a_history_that_cannot_be_read_holds_up_backups_for_some_minutes_only() {
    let mut world = World::new(policy(json!({})));
    world.bucket_answers = false;
    world.settle();
    for pause in [10, 20, 40, 80, 160] {
        assert_eq!(world.status().backups, vec![]);
        world.jobs_end(Fate::FailsForNow);
        world.settle();
        let next = world.status().catalogue.unwrap().next_time.unwrap().0;
        assert_eq!(next.duration_since(world.now).as_secs(), pause);
        world.later(pause);
        world.settle();
    }
    assert_eq!(world.told.iter().filter(|told| **told == reasons::HISTORY_UNKNOWN).count(), 2);
    world.now = at("2025-11-07T00:10:00Z");
    world.settle();
    assert!(backup(&world).active.is_some(), "the next backup does not wait for ever");
    // Once it can be read it is taken over, and what is newer stays.
    world.bucket.push("20251106-000000".parse().unwrap());
    world.served.insert("20251106-000000".parse().unwrap(), vec!["seldom".into()]);
    for _ in 0..3 {
        world.jobs_end(Fate::Succeeds);
        world.settle();
        world.later(600);
        world.settle();
    }
    assert!(world.status().catalogue.unwrap().completed_time.is_some());
    assert!(world.status().available.iter().any(|entry| entry.id.as_str() == "20251106-000000"));
    let last = backup(&world).schedules[1].history.last_success.clone().unwrap();
    assert!(last.id.as_str() > "20251106-000000", "{last:?}");
}

/// As of a very large bucket, or of a Job whose Pod has no place.
#[test]
fn a_history_that_is_read_slowly_holds_up_backups_for_ten_minutes_only() {
    let mut world = World::new(policy(json!({})));
    world.bucket_answers = false;
    world.settle();
    let told = |world: &World| world.told.iter().filter(|told| **told == reasons::HISTORY_UNKNOWN).count();
    world.later(599);
    world.settle();
    assert_eq!((world.status().backups, told(&world)), (vec![], 0));
    world.later(1);
    world.settle();
    assert_eq!((world.status().backups.len(), told(&world)), (1, 1));
    assert_eq!(backup(&world).active.unwrap().run.id.as_str(), "20251107-001000");
    // Tries that fail change nothing of that, nor do the next ones, which are younger.
    for (pause, attempt) in [(10, 1), (20, 2)] {
        world.jobs_end(Fate::FailsForNow);
        world.settle();
        world.later(pause);
        world.settle();
        assert!(world.status().catalogue.unwrap().active.is_some());
        assert_eq!((backup(&world).active.unwrap().attempt, told(&world)), (attempt, 2), "it is followed");
    }
    let older: BackupId = "20251106-000000".parse().unwrap();
    world.bucket.push(older.clone());
    world.served.insert(older.clone(), vec!["seldom".into()]);
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert!(world.status().catalogue.unwrap().completed_time.is_some());
    assert!(world.status().available.iter().any(|entry| entry.id == older));
    let last = backup(&world).schedules[1].history.last_success.clone().unwrap();
    assert_eq!(last.id.as_str(), "20251107-001000", "what is newer stays");
}

/// As of a node whose clock was years ahead, or of somebody who can write to the bucket.
#[test]
fn a_backup_from_the_future_is_no_history() {
    let mut world = made(json!({}));
    // Counters begin anew.
    let history = |world: &World| {
        let backup = backup(world);
        let of =
            |entry: &ScheduleStatus| (entry.last_schedule_time.clone(), entry.history.last_success.clone());
        (backup.last_id, backup.schedules.iter().map(of).collect::<Vec<_>>())
    };
    let before = history(&world);
    let future: BackupId = "20300101-000000".parse().unwrap();
    world.bucket.push(future.clone());
    world.served.insert(future.clone(), vec!["often".into()]);
    world.policy.status = None;
    world.later(60);
    world.settle();
    assert_eq!(history(&world), before);
    assert_eq!(world.status().available.last().unwrap().id, future, "it can be restored all the same");
    annotate(&mut world, &json!({"run.backup.greenlang.io/database": "now"}));
    world.settle();
    // The probe comes first.
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(backup(&world).active.unwrap().run.id.as_str(), "20251107-000600");
}

/// They are shown as far as there is room, and never in the place of a real one.
#[test]
fn backups_of_the_year_9999_hide_none_that_is_real() {
    let mut world = made(json!({}));
    for minute in 0..150 {
        world.bucket.push(format!("99990101-{:02}{:02}00", minute / 60, minute % 60).parse().unwrap());
    }
    world.policy.status = None;
    world.later(60);
    world.settle();
    let shown = |world: &World| -> Vec<String> {
        world.status().available.iter().map(|entry| entry.id.to_string()).collect()
    };
    assert_eq!((shown(&world).len(), shown(&world)[0].as_str()), (100, "20251107-000500"));
    assert_eq!(shown(&world)[1], "99990101-022900");
    // The probe comes first.
    world.jobs_end(Fate::Succeeds);
    for slot in ["2025-11-07T00:10:00Z", "2025-11-07T00:15:00Z"] {
        run(&mut world, slot);
    }
    assert_eq!(shown(&world)[..3], ["20251107-001500", "20251107-001000", "20251107-000500"]);
    assert_eq!(shown(&world).len(), 100);
}

/// A run under a clock that was ahead names the runs after it no longer once the clock is right.
#[test]
fn a_run_on_request_has_the_time_of_its_request_whatever_the_last_one_was_called() {
    let mut world = made(json!({}));
    let mut status = world.status();
    status.backups[0].last_id = Some("20300101-000000".parse().unwrap());
    world.policy.status = Some(status);
    annotate(&mut world, &json!({"run.backup.greenlang.io/database": "now"}));
    world.later(60);
    world.settle();
    assert_eq!(backup(&world).active.unwrap().run.id.as_str(), "20251107-000600");
}

#[test]
fn a_log_that_is_not_what_the_report_says_is_read_again() {
    let mut world = made(json!({}));
    world.policy.status = None;
    world.bucket_answers = false;
    world.settle();
    world.jobs_end(Fate::Succeeds);
    let job = world.jobs.iter_mut().find(|job| job.name.starts_with("p-catalogue")).unwrap();
    job.details.truncate(job.details.len() - 5);
    world.settle();
    let catalogue = world.status().catalogue.unwrap();
    assert_eq!((catalogue.completed_time, catalogue.failures), (None, 1));
    assert!(catalogue.last_error.unwrap().contains("its log is not what its report says"));
}

#[test]
fn a_status_of_an_older_release_needs_no_catalogue() {
    let mut world = made(json!({}));
    let mut status = world.status();
    status.catalogue = None;
    status.backups[0].prune = None;
    world.policy.status = Some(status);
    world.prunes.clear();
    world.bucket_answers = false;
    world.later(1);
    world.settle();
    assert_eq!((world.jobs.len(), world.status().catalogue), (0, None));
    assert_eq!(world.prunes.len(), 0, "the next success is the first that deletes");
}

/// There the bucket is another cluster's until the policy is told to adopt it.
#[test]
fn on_a_new_cluster_the_same_history_is_there_once_the_bucket_is_adopted() {
    let mut world = made(json!({}));
    run(&mut world, "2025-11-07T00:10:00Z");
    let before = history(&world.status());
    let mut world = made_again(world, "2025-11-07T00:12:00Z");
    world.bucket_answers = false;
    world.settle();
    world.jobs_end(Fate::Fails);
    world.settle();
    assert!(world.status().catalogue.unwrap().next_time.is_some(), "refused");
    annotate(&mut world, &json!({"backup.greenlang.io/adopt": "0123456789ab"}));
    world.bucket_answers = true;
    world.later(1);
    world.settle();
    assert_eq!(history(&world.status()), before);
    assert_eq!((world.bucket.len(), backup(&world).active), (2, None), "nothing is run again");
}

#[test]
fn an_adoption_is_tried_at_once() {
    let mut world = made(json!({}));
    annotate(&mut world, &json!({"backup.greenlang.io/adopt": "0123456789ab"}));
    world.later(1);
    world.settle();
    let probes = |world: &World| world.jobs.iter().filter(|job| job.name.starts_with("p-probe")).count();
    assert_eq!(probes(&world), 1);
    let tasks = world.decide().effects;
    assert!(tasks.iter().all(|effect| !matches!(effect, Effect::CreateJob(_))));
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!((probes(&world), world.status().probe.unwrap().adopt.as_deref()), (0, Some("0123456789ab")));
}
