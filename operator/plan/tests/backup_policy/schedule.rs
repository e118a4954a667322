//! Slots, and what they do while another run goes on: no slot is lost, none is made twice, no token is forgotten.

use std::collections::BTreeSet;

use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::v1alpha1::{ScheduleStatus, Stopping};
use greenlang_backup_plan::job_state::JobState;
use proptest::prelude::*;
use serde_json::json;

use super::world::{Cut, Fate, World, at, policy};
use super::{backup, counts, is, live, probed, step};

/// A world with these schedules, probed, at 00:00:31.
pub fn with(schedules: serde_json::Value) -> World {
    let mut policy = policy(json!({}));
    policy.spec.backups[0].schedules = serde_json::from_value(schedules).unwrap();
    probed(World::new(policy))
}

pub fn often(concurrency: &str) -> serde_json::Value {
    json!([{"name": "often", "cron": "*/5 * * * *", "keepDays": 1, "concurrencyPolicy": concurrency}])
}

pub fn ask(world: &mut World, token: &str) {
    let annotation = json!({"run.backup.greenlang.io/database": token});
    world.policy.metadata.annotations = serde_json::from_value(annotation).unwrap();
}

pub fn goes_on(world: &World) -> Vec<String> {
    backup(world).runs().map(|active| active.run.id.to_string()).collect()
}

pub fn made(world: &World) -> Vec<&str> {
    world.bucket.iter().map(greenlang_backup_api::names::BackupId::as_str).collect()
}

pub fn at_time(world: &mut World, time: &str) {
    world.now = at(&format!("2025-11-07T{time}Z"));
    world.settle();
}

pub fn ends(world: &mut World, fate: Fate) {
    world.jobs_end(fate);
    world.settle();
}

pub fn missed(entry: &ScheduleStatus) -> (u64, Option<String>) {
    (entry.missed, entry.last_missed_time.as_ref().map(|time| time.0.to_string()))
}

#[test]
fn forbid_waits_and_makes_the_newest_of_what_waited() {
    let mut world = with(often("Forbid"));
    at_time(&mut world, "00:05:00");
    at_time(&mut world, "00:17:00");
    assert_eq!(goes_on(&world), ["20251107-000500"]);
    ends(&mut world, Fate::Succeeds);
    assert_eq!(goes_on(&world), ["20251107-001500"]);
    assert_eq!(missed(&backup(&world).schedules[0]), (1, Some("2025-11-07T00:10:00Z".into())));
    assert_eq!(world.told.iter().filter(|told| **told == "BackupMissed").count(), 1);
    ends(&mut world, Fate::Succeeds);
    assert_eq!(made(&world), ["20251107-000500", "20251107-001500"]);
    assert!(is(&world, conditions::BACKUPS_CURRENT, State::True), "the newest slot has its backup");
}

#[test]
fn allow_lets_four_runs_go_on_at_once_and_the_next_one_waits() {
    let mut world = with(often("Allow"));
    for time in ["00:05:00", "00:10:00", "00:15:00", "00:20:00", "00:25:00"] {
        at_time(&mut world, time);
    }
    let four = ["20251107-000500", "20251107-001000", "20251107-001500", "20251107-002000"];
    assert_eq!(goes_on(&world), four);
    assert_eq!(world.jobs.len(), 4);
    ends(&mut world, Fate::Succeeds);
    assert_eq!(goes_on(&world), ["20251107-002500"], "it waited for a place");
    assert_eq!(made(&world), four);
    ends(&mut world, Fate::Succeeds);
    assert_eq!(counts(&backup(&world).schedules[0].history), (5, 5, 0));
    assert_eq!((backup(&world).active, world.jobs.len()), (None, 0));
}

#[test]
fn each_of_several_runs_is_retried_and_counted_by_itself() {
    let mut world = with(often("Allow"));
    at_time(&mut world, "00:05:00");
    at_time(&mut world, "00:10:00");
    ends(&mut world, Fate::FailsForNow);
    let attempts: Vec<_> = backup(&world).runs().map(|run| (run.run.id.to_string(), run.attempt)).collect();
    assert_eq!(attempts, [("20251107-000500".to_owned(), 2), ("20251107-001000".to_owned(), 2)]);
    world.later(10);
    world.settle();
    ends(&mut world, Fate::Succeeds);
    assert_eq!(counts(&backup(&world).schedules[0].history), (4, 2, 0));
}

#[test]
fn replace_stops_the_run_and_starts_once_no_pod_is_left() {
    let mut world = with(often("Replace"));
    at_time(&mut world, "00:05:00");
    at_time(&mut world, "00:10:00");
    assert_eq!(world.jobs.len(), 0, "its Job is deleted");
    assert_eq!(backup(&world).active.unwrap().stopping, Some(Stopping::Replaced));
    assert_eq!(goes_on(&world), ["20251107-000500"], "its Pod is still there");
    world.later(30);
    world.settle();
    assert_eq!(goes_on(&world), ["20251107-000500"]);
    world.ghosts_go();
    world.settle();
    assert_eq!(goes_on(&world), ["20251107-001000"]);
    let status = backup(&world);
    assert_eq!(counts(&status.schedules[0].history), (1, 0, 1));
    assert_eq!(status.schedules[0].history.last_failure.as_ref().unwrap().reason, "Replaced");
    assert_eq!(status.clean_ups[0].id.as_str(), "20251107-000500", "what it left is not forgotten");
    ends(&mut world, Fate::Succeeds);
    assert_eq!(counts(&backup(&world).schedules[0].history), (2, 1, 1));
}

#[test]
fn a_run_that_ends_while_it_is_replaced_counts_as_what_it_is() {
    let mut world = with(often("Replace"));
    at_time(&mut world, "00:05:00");
    world.now = at("2025-11-07T00:10:00Z");
    world.pass(Cut::Nowhere);
    assert_eq!(backup(&world).active.unwrap().stopping, Some(Stopping::Replaced));
    ends(&mut world, Fate::Succeeds);
    assert_eq!(goes_on(&world), ["20251107-001000"]);
    assert_eq!(counts(&backup(&world).schedules[0].history), (1, 1, 0));
}

#[test]
fn a_pause_between_attempts_is_replaced_at_once() {
    let mut world = with(often("Replace"));
    at_time(&mut world, "00:09:55");
    ends(&mut world, Fate::FailsForNow);
    at_time(&mut world, "00:10:00");
    assert_eq!(goes_on(&world), ["20251107-001000"]);
}

/// Whatever the rule and however many tokens come while a run goes on: each is one run in the end.
#[test]
fn tokens_that_come_while_a_run_goes_on_are_runs_too() {
    for (rule, at_once) in [("Forbid", 1), ("Allow", 3), ("Replace", 1)] {
        let mut world = with(often(rule));
        at_time(&mut world, "00:05:00");
        for token in ["a", "b"] {
            world.later(1);
            ask(&mut world, token);
            world.settle();
        }
        assert_eq!(goes_on(&world).len(), at_once, "{rule}");
        for _ in 0..6 {
            world.ghosts_go();
            world.settle();
            ends(&mut world, Fate::Succeeds);
        }
        let status = backup(&world);
        let (replaced, manual) = (status.schedules[0].history.failed, &status.manual);
        assert_eq!(manual.succeeded + manual.failed, 2, "{rule}: {manual:?}");
        assert_eq!(replaced, u64::from(rule == "Replace"));
        assert_eq!((status.active, status.waiting.len()), (None, 0));
    }
}

#[test]
fn a_token_in_the_second_of_a_slot_takes_nothing_from_the_slot() {
    let mut world = with(often("Forbid"));
    ask(&mut world, "a");
    at_time(&mut world, "00:05:00");
    assert_eq!(goes_on(&world), ["20251107-000501"]);
    ends(&mut world, Fate::Succeeds);
    ends(&mut world, Fate::Succeeds);
    assert_eq!(made(&world), ["20251107-000501", "20251107-000500"]);
    assert_eq!(counts(&backup(&world).schedules[0].history), (1, 1, 0));
}

#[test]
fn a_slot_that_waited_beyond_its_deadline_is_missed_and_said_so() {
    let schedule =
        json!([{"name": "often", "cron": "*/20 * * * *", "keepDays": 1, "startingDeadlineSeconds": 60}]);
    let mut world = with(schedule);
    at_time(&mut world, "00:20:00");
    at_time(&mut world, "00:40:00");
    assert_eq!(
        world.decide().wake,
        Some(at("2025-11-07T00:40:10Z")),
        "a run goes on, so it looks again soon"
    );
    at_time(&mut world, "00:41:01");
    assert_eq!(missed(&backup(&world).schedules[0]), (1, Some("2025-11-07T00:40:00Z".into())));
    ends(&mut world, Fate::Succeeds);
    assert_eq!(backup(&world).active, None);
    let current = conditions::find(&world.status().conditions, conditions::BACKUPS_CURRENT).cloned().unwrap();
    assert_eq!((current.status.as_str(), current.reason.as_str()), ("False", "BackupMissed"));
    at_time(&mut world, "01:00:00");
    ends(&mut world, Fate::Succeeds);
    assert!(is(&world, conditions::BACKUPS_CURRENT, State::True));
    assert_eq!(made(&world), ["20251107-002000", "20251107-010000"]);
}

#[test]
fn a_suspension_misses_nothing_and_its_end_makes_one_backup() {
    let mut world = with(often("Forbid"));
    world.policy.spec.suspend = true;
    at_time(&mut world, "00:04:00");
    at_time(&mut world, "02:02:00");
    world.policy.spec.suspend = false;
    world.settle();
    assert_eq!(goes_on(&world), ["20251107-020000"]);
    assert_eq!(missed(&backup(&world).schedules[0]), (0, None));
}

#[test]
fn a_run_that_goes_on_is_not_stopped_by_a_suspension() {
    let mut world = with(often("Forbid"));
    at_time(&mut world, "00:05:00");
    world.policy.spec.suspend = true;
    world.settle();
    ends(&mut world, Fate::FailsForNow);
    world.later(10);
    world.settle();
    ends(&mut world, Fate::Succeeds);
    assert_eq!(counts(&backup(&world).schedules[0].history), (2, 1, 0));
}

/// Its backup would otherwise be the one of the other schedule, and be kept as long as that one says.
#[test]
fn a_schedule_that_makes_up_for_a_slot_of_another_makes_a_backup_of_its_own() {
    let mut world = with(json!([
        {"name": "short", "cron": "*/10 * * * *", "keepDays": 1},
        {"name": "long", "cron": "*/10 * * * *", "keepDays": 365, "suspend": true}]));
    at_time(&mut world, "00:10:00");
    ends(&mut world, Fate::Succeeds);
    world.policy.spec.backups[0].schedules[1].suspend = false;
    at_time(&mut world, "00:12:00");
    assert_eq!(goes_on(&world), ["20251107-001001"]);
    ends(&mut world, Fate::Succeeds);
    assert_eq!(made(&world), ["20251107-001000", "20251107-001001"]);
    assert!(backup(&world).schedules.iter().all(|entry| counts(&entry.history) == (1, 1, 0)));
}

#[test]
fn a_removed_schedule_lets_its_run_end_and_is_then_forgotten() {
    let mut world = with(often("Forbid"));
    at_time(&mut world, "00:05:00");
    world.policy.spec.backups[0].schedules.clear();
    world.settle();
    ends(&mut world, Fate::FailsForNow);
    world.later(10);
    world.settle();
    ends(&mut world, Fate::Succeeds);
    let status = backup(&world);
    assert_eq!((made(&world), status.active), (vec!["20251107-000500"], None));
    assert_eq!((status.schedules.len(), counts(&status.manual)), (0, (2, 1, 0)));
}

#[test]
fn a_renamed_backup_is_stopped_cleaned_up_and_forgotten() {
    let mut world = with(often("Forbid"));
    at_time(&mut world, "00:05:00");
    world.policy.spec.backups[0].name = "renamed".into();
    world.policy.spec.suspend = true;
    world.settle();
    let names =
        |world: &World| world.status().backups.iter().map(|backup| backup.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&world), ["renamed", "database"], "its Pod is still there");
    assert_eq!(world.jobs, vec![]);
    world.ghosts_go();
    world.settle();
    let old = world.status().backups[1].clone();
    assert_eq!((old.active, old.clean_ups[0].path.as_str()), (None, "database"));
    assert_eq!(world.leftovers().len(), 1);
    // Nobody saw its Pod end, so a week goes by: the longest time limit.
    world.later(8 * 86_400);
    for _ in 0..3 {
        world.settle();
        ends(&mut world, Fate::Succeeds);
    }
    assert_eq!((names(&world), world.leftovers()), (vec!["renamed".to_owned()], vec![]));
    assert!(world.told.contains(&"BackupFailed"));
}

#[test]
fn a_removed_backup_that_ends_well_before_it_is_stopped_is_counted() {
    let mut world = with(often("Forbid"));
    at_time(&mut world, "00:05:00");
    world.jobs_end(Fate::Succeeds);
    world.policy.spec.backups[0].name = "renamed".into();
    world.pass(Cut::AfterEffects(0));
    world.settle();
    assert_eq!(world.status().available.len(), 1);
    assert_eq!((world.jobs.len(), world.status().backups.len()), (0, 1));
}

/// One pass makes the Job of a second attempt and stops the run for the next slot; the operator dies in the pass after it.
#[test]
fn a_run_that_is_replaced_in_the_pass_that_makes_its_job_is_waited_for() {
    let mut world = with(often("Replace"));
    at_time(&mut world, "00:05:00");
    world.jobs_end(Fate::IsKilled);
    world.settle();
    world.now = at("2025-11-07T00:10:00Z");
    world.pass(Cut::Nowhere);
    let run = backup(&world).active.unwrap();
    assert_eq!((run.attempt, run.stopping, run.job_uid), (2, Some(Stopping::Replaced), None));
    world.pass(Cut::AfterEffects(1));
    world.settle();
    assert_eq!(backup(&world).active.unwrap().run.id, run.run.id, "its Pod goes on");
    world.ghosts_go();
    world.settle();
    assert_eq!(backup(&world).active.unwrap().run.id.as_str(), "20251107-001000");
}

/// The operator dies after it made the Job, and again in the pass that finds the backup renamed: status never had the Job's UID.
#[test]
fn a_removed_backup_is_waited_for_though_its_job_was_never_stored() {
    let mut world = with(often("Forbid"));
    world.now = at("2025-11-07T00:05:00Z");
    world.pass(Cut::Nowhere);
    world.pass(Cut::AfterEffects(1));
    assert_eq!((world.jobs.len(), backup(&world).active.unwrap().job_uid), (1, None));
    world.policy.spec.backups[0].name = "renamed".into();
    world.pass(Cut::AfterEffects(1));
    world.settle();
    let known: Vec<_> = world.status().backups.iter().map(|backup| backup.name.clone()).collect();
    assert_eq!(known, ["renamed", "database"], "its Pod goes on");
    world.ghosts_go();
    world.settle();
    let status = world.status().backups[1].clone();
    assert_eq!((status.active, status.clean_ups.len()), (None, 1), "what it left will be removed");
}

#[test]
fn a_path_that_changes_in_mid_run_is_cleaned_up_where_it_was() {
    let mut world = with(often("Forbid"));
    at_time(&mut world, "00:05:00");
    world.policy.spec.backups[0].path = Some("elsewhere".into());
    world.settle();
    ends(&mut world, Fate::IsKilled);
    let status = backup(&world);
    assert_eq!(status.clean_ups[0].path, "database");
    assert_eq!(status.active.unwrap().path.as_deref(), Some("elsewhere"), "the next attempt");
}

#[test]
fn a_job_that_can_never_start_is_a_failed_attempt_and_is_deleted() {
    let mut world = with(often("Forbid"));
    at_time(&mut world, "00:05:00");
    world.jobs[0].state = JobState::Stuck("FailedCreate: no PriorityClass".into());
    world.settle();
    let active = backup(&world).active.unwrap();
    assert_eq!((active.attempt, world.jobs.len()), (2, 0));
    assert!(active.last_error.unwrap().starts_with("PodNotStarted: "));
    world.later(10);
    world.settle();
    ends(&mut world, Fate::Succeeds);
    assert_eq!(counts(&backup(&world).schedules[0].history), (2, 1, 0));
}

/// Minutes of a five-minute and a ten-minute schedule.
pub fn schedules(concurrency: &str, jitter: u32) -> serde_json::Value {
    json!([
        {"name": "often", "cron": "*/5 * * * *", "keepDays": 1, "concurrencyPolicy": concurrency, "jitterSeconds": jitter},
        {"name": "seldom", "cron": "*/10 * * * *", "keepDays": 9, "concurrencyPolicy": concurrency, "jitterSeconds": jitter}])
}

/// Lets everything end that goes on.
pub fn wind_up(world: &mut World) {
    for _ in 0..40 {
        world.ghosts_go();
        world.settle();
        world.jobs_end(Fate::Succeeds);
        world.settle();
        if backup(world).active.is_none() {
            return;
        }
        world.later(10);
    }
    panic!("a run never ends: {:#?}", backup(world));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Under any rule and jitter, with the process dying anywhere and Jobs ending in any way: every slot had a run that ended,
    /// or is counted as missed, and no two backups are of one slot.
    #[test]
    fn every_slot_is_made_or_missed_and_counted_once(
        steps in prop::collection::vec(step(), 1..40),
        rule in prop::sample::select(vec!["Forbid", "Allow", "Replace"]),
        jitter in prop::sample::select(vec![0_u32, 250]),
        tokens in prop::collection::btree_set(0_usize..40, 0..4),
    ) {
        let mut world = with(schedules(rule, jitter));
        let accepted = at("2025-11-07T00:00:30Z");
        let mut asked = 0;
        for (place, (seconds, cut, fate)) in steps.into_iter().enumerate() {
            if tokens.contains(&place) {
                ask(&mut world, &format!("token {place}"));
                asked += 1;
            }
            live(&mut world, cut, fate);
            if seconds % 3 == 0 {
                world.ghosts_go();
            }
            world.later(seconds);
        }
        wind_up(&mut world);

        let status = backup(&world);
        for (entry, minutes) in status.schedules.iter().zip([5, 10]) {
            let slots = |time: i64| time.div_euclid(minutes * 60);
            let newest = entry.last_schedule_time.as_ref().map_or(accepted, |time| time.0);
            let due = slots(newest.as_second()) - slots(accepted.as_second());
            let history = &entry.history;
            prop_assert_eq!(due.cast_unsigned(), history.succeeded + history.failed + entry.missed, "{:?}", entry);
            let now = slots(world.now.as_second());
            // With jitter the newest slot may not have begun.
            prop_assert!(now - slots(newest.as_second()) <= i64::from(jitter > 0), "{} is not lost", now);
        }
        prop_assert_eq!(status.manual.succeeded + status.manual.failed, asked);
        for (name, times) in &world.made {
            prop_assert_eq!(*times, 1, "Job {} was made more than once", name);
        }
    }

    /// The clock is set back by an hour and forward by a day at will, and is right again in the end: the newest slot has its
    /// run, nothing is made twice, and there is no flood.
    #[test]
    fn a_wrong_clock_loses_no_slot_and_makes_none_twice(
        steps in prop::collection::vec((step(), prop::option::weighted(0.2, prop::sample::select(vec![-3_600_i64, 86_400, 3_600, -86_400]))), 1..40),
        rule in prop::sample::select(vec!["Forbid", "Allow"]),
    ) {
        let mut world = with(schedules(rule, 0));
        let (mut wrong, mut passes) = (0, 0_usize);
        for ((seconds, cut, fate), jump) in steps {
            let fate = fate.map(|fate| if fate == Fate::Fails { Fate::Fails } else { Fate::Succeeds });
            live(&mut world, cut, fate);
            // Never before the policy was made.
            let jump = jump.filter(|jump| wrong + jump >= -3_600 && world.now.as_second() + jump > at("2025-11-07T00:00:31Z").as_second());
            wrong += jump.unwrap_or(0);
            world.later(seconds + jump.unwrap_or(0));
            passes += 2;
        }
        world.later(-wrong);
        wind_up(&mut world);
        // A slot beyond all that still counts though a clock that was ahead told of it: two hours, to the second.
        world.later(7_200 + 600);
        wind_up(&mut world);

        let status = backup(&world);
        for (entry, minutes) in status.schedules.iter().zip([5, 10]) {
            let newest = world.now.as_second().div_euclid(minutes * 60) * minutes * 60;
            prop_assert_eq!(entry.last_schedule_time.as_ref().unwrap().0.as_second(), newest, "{}", entry.name);
        }
        let distinct: BTreeSet<_> = world.bucket.iter().collect();
        prop_assert_eq!(distinct.len(), world.bucket.len());
        prop_assert!(world.told.iter().filter(|told| **told == "BackupSucceeded").count() == world.bucket.len(), "no run found its backup made already");
        prop_assert!(world.bucket.len() <= passes + 4, "no flood");
    }
}
