//! How a history comes back out of the bucket whose status was lost.

use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::reasons;
use greenlang_backup_api::v1alpha1::{BackupPolicyStatus, ScheduleStatus};
use greenlang_backup_plan::backup_policy::Effect;
use serde_json::json;

use super::retention::{annotate, made, run};
use super::world::{Fate, World, at, policy};
use super::{backup, is, probed};

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
