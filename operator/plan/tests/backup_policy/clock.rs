//! A clock that is set forward and back within what is documented as harmless.

use greenlang_backup_api::conditions::{BACKUPS_CURRENT, State};
use greenlang_backup_api::v1alpha1::ScheduleStatus;
use greenlang_backup_plan::job_state::JobState;
use jiff::SignedDuration;
use proptest::prelude::*;

use super::schedule::{at_time, ends, goes_on, made, missed, often, schedules, wind_up, with};
use super::world::{Cut, Fate, World, at};
use super::{backup, is, live, step};

/// When the policy was made.
const CREATED: &str = "2025-11-07T00:00:30Z";

/// Slots from the making of the policy to the newest one that had its run, and how many of them are accounted for.
fn slots(entry: &ScheduleStatus, minutes: i64) -> (u64, u64) {
    let number = |time: jiff::Timestamp| time.as_second().div_euclid(minutes * 60);
    let newest = entry.last_schedule_time.as_ref().map_or(at(CREATED), |time| time.0);
    let due = number(newest) - number(at(CREATED));
    (due.cast_unsigned(), entry.history.succeeded + entry.history.failed + entry.missed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// However often the clock is set an hour ahead or behind, with the process dying anywhere and Jobs ending in any way: each slot
    /// has one run, or is missed and counted once; no second run is made for one that had its own, under whatever id.
    #[test]
    fn an_hour_more_or_less_makes_no_slot_twice_and_loses_none(
        steps in prop::collection::vec((step(), prop::option::weighted(0.3, prop::sample::select(vec![-3_600_i64, 3_600]))), 1..40),
        rule in prop::sample::select(vec!["Forbid", "Allow", "Replace"]),
    ) {
        let mut world = with(schedules(rule, 0));
        let mut wrong = 0_i64;
        for ((seconds, cut, fate), jump) in steps {
            live(&mut world, cut, fate);
            if seconds % 3 == 0 {
                world.ghosts_go();
            }
            // Never before the policy was made.
            let earliest = at(CREATED).as_second() + 1;
            let jump = jump.filter(|jump| (wrong + jump).abs() <= 3_600 && world.now.as_second() + jump > earliest);
            wrong += jump.unwrap_or(0);
            world.later(seconds + jump.unwrap_or(0));
        }
        world.later(-wrong);
        wind_up(&mut world);
        // Past what a clock that was ahead has told of.
        world.later(7_200);
        wind_up(&mut world);

        for (entry, minutes) in backup(&world).schedules.iter().zip([5, 10]) {
            let (due, accounted) = slots(entry, minutes);
            prop_assert_eq!(due, accounted, "{:?}", entry);
            let newest = world.now.as_second().div_euclid(minutes * 60) * minutes * 60;
            prop_assert_eq!(entry.last_schedule_time.as_ref().unwrap().0.as_second(), newest);
        }
        for (name, times) in world.made.iter().filter(|(name, _)| name.starts_with("p-database")) {
            prop_assert_eq!(*times, 1, "Job {} was made more than once", name);
        }
    }
}

#[test]
fn a_clock_that_is_set_back_by_an_hour_makes_nothing_again() {
    let mut world = with(often("Forbid"));
    for minutes in 1..=13 {
        world.now = at("2025-11-07T00:00:00Z").checked_add(SignedDuration::from_mins(minutes * 5)).unwrap();
        world.settle();
        ends(&mut world, Fate::Succeeds);
    }
    assert_eq!(made(&world).len(), 13);
    for minutes in 2..=13 {
        world.now = at("2025-11-07T00:01:00Z").checked_add(SignedDuration::from_mins(minutes * 5)).unwrap();
        world.settle();
        assert_eq!(goes_on(&world), [""; 0], "at {}", world.now);
    }
    at_time(&mut world, "01:10:00");
    ends(&mut world, Fate::Succeeds);
    assert_eq!(made(&world).last(), Some(&"20251107-011000"));
    assert_eq!((made(&world).len(), missed(&backup(&world).schedules[0]).0), (14, 0));
}

/// What was made under the wrong clock stands for no slot of the true time; that slot gets a backup of its own.
#[test]
fn a_clock_that_was_a_day_ahead_makes_one_run_then_and_every_slot_of_the_true_time() {
    let mut world = with(often("Forbid"));
    at_time(&mut world, "00:05:00");
    ends(&mut world, Fate::Succeeds);
    world.now = at("2025-11-08T00:10:00Z");
    world.settle();
    ends(&mut world, Fate::Succeeds);
    for time in ["00:09:00", "00:10:00", "00:15:00"] {
        at_time(&mut world, time);
        ends(&mut world, Fate::Succeeds);
    }
    assert_eq!(made(&world), ["20251107-000500", "20251108-001000", "20251107-001000", "20251107-001500"]);
    world.now = at("2025-11-08T00:10:00Z");
    world.settle();
    assert_eq!(goes_on(&world), ["20251108-001001"]);
}

/// Two schedules share a slot, of which under a clock that is ahead only one makes a run, that is replaced. When the time has really
/// come the other one makes its own: under an id of its own, or a Job of the first one's name would be made again.
#[test]
fn a_slot_that_another_schedule_had_under_a_wrong_clock_is_a_run_of_its_own() {
    let mut world = with(schedules("Replace", 0));
    let set = |world: &mut World, time: &str| world.now = at(&format!("2025-11-07T{time}Z"));
    // Ahead: the run of 01:00 is replaced, then that of 01:10, which only the seldom one has since the other is at 01:15 already.
    for time in ["01:04:00", "01:08:00", "01:16:00"] {
        set(&mut world, time);
        world.settle();
        if time != "01:04:00" {
            world.ghosts_go();
        }
    }
    // That of 01:20 begins, and its failure is the last that is known of the schedule.
    set(&mut world, "01:26:00");
    world.pass(Cut::Nowhere);
    set(&mut world, "00:30:00");
    world.settle();
    world.now = at("2025-11-07T01:10:00Z");
    wind_up(&mut world);
    let ids: Vec<_> = world.bucket.iter().map(ToString::to_string).collect();
    assert!(ids.contains(&"20251107-011001".to_owned()), "{ids:?}");
    super::assert_made_once(&world);
}

/// A run that ends well on a node whose clock is so many hours ahead.
fn succeeds_ahead(world: &mut World, hours: i64) {
    world.later(300);
    world.settle();
    world.jobs_end(Fate::Succeeds);
    for job in &mut world.jobs {
        if let JobState::Ended(ended) = &mut job.state
            && let Some(made) = &mut ended.report.backup
        {
            made.end_time += SignedDuration::from_hours(hours);
        }
    }
    world.settle();
}

#[test]
fn a_node_with_a_wrong_clock_hides_neither_a_failure_nor_a_success() {
    let mut world = with(often("Forbid"));
    succeeds_ahead(&mut world, 24);
    let success = backup(&world).schedules[0].history.last_success.clone().unwrap();
    assert_eq!(success.time.0, world.now);
    world.later(300);
    world.settle();
    world.jobs_end(Fate::Fails);
    world.settle();
    assert!(is(&world, BACKUPS_CURRENT, State::False));
    succeeds_ahead(&mut world, -24);
    assert!(is(&world, BACKUPS_CURRENT, State::True));
}
