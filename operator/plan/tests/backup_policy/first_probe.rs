//! A run waits for the probe that tells how much memory its Job needs, but not for long, whatever is cut when.

use greenlang_backup_plan::jobs::PROGRESS_SECONDS;
use serde_json::json;

use super::world::{Cut, Fate, World, at, policy};
use super::{assert_made_once, backup, counts, probed};

/// With a quarter more, 5 TiB: parts of 656 MiB.
const LARGE: u64 = 4 << 40;
const LIMIT_OF_LARGE: &str = "1544Mi";
/// What is assumed while nothing is known.
const ASSUMED: &str = "616Mi";

/// A new policy that wants its first run at once; its probe will find a large database.
fn new() -> World {
    let mut world = World::new(policy(json!({"spec": {"firstRun": "Immediately"}})));
    world.findings.largest_database_bytes = Some(LARGE);
    world
}

/// The same, while nothing is found of the database.
fn without_database() -> World {
    let mut world = new();
    world.findings.largest_database_bytes = None;
    let database = world.findings.database.as_mut().unwrap();
    (database.ok, database.reason) = (false, "ConnectionFailed".into());
    world
}

/// Memory limits of all runs' Jobs that were made.
fn limits(world: &World) -> Vec<&str> {
    world.limits.values().map(String::as_str).collect()
}

#[track_caller]
fn assert_waits(world: &World) {
    assert_eq!(limits(world), [""; 0]);
    let progress = world.status().progress.unwrap();
    assert!(progress.ends_with(": waiting for the probe to tell the size of the database"), "{progress}");
}

/// Lets so many seconds pass in steps, as the operator looks again at least that often while a probe goes on.
fn pass_time(world: &mut World, seconds: i64) {
    for _ in 0..seconds / PROGRESS_SECONDS {
        world.later(PROGRESS_SECONDS);
        world.settle();
    }
    world.later(seconds % PROGRESS_SECONDS);
    world.settle();
}

#[test]
fn it_waits_for_the_probe_and_goes_by_what_that_found() {
    let mut world = new();
    world.settle();
    assert_waits(&world);
    world.later(5);
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(limits(&world), [LIMIT_OF_LARGE]);
    assert_eq!(world.status().progress.unwrap(), "database 20251107-000030: starting");
}

#[test]
fn whatever_asks_for_the_first_run_it_waits() {
    for (now, annotation) in [("2025-11-07T00:05:00Z", json!({})), ("2025-11-07T00:01:00Z", json!("a"))] {
        let mut world = World::new(policy(json!({})));
        world.findings.largest_database_bytes = Some(LARGE);
        if annotation.is_string() {
            let annotations = json!({"run.backup.greenlang.io/database": annotation});
            world.policy.metadata.annotations = serde_json::from_value(annotations).unwrap();
        }
        world.now = at(now);
        world.settle();
        assert!(backup(&world).active.is_some(), "{now}");
        assert_waits(&world);
        world.jobs_end(Fate::Succeeds);
        world.settle();
        assert_eq!(limits(&world), [LIMIT_OF_LARGE], "{now}");
    }
}

#[test]
fn a_probe_that_does_not_end_is_waited_for_two_minutes() {
    let mut world = new();
    world.settle();
    pass_time(&mut world, 119);
    assert_waits(&world);
    pass_time(&mut world, 1);
    assert_eq!(limits(&world), [ASSUMED]);
}

#[test]
fn a_probe_that_fails_is_waited_for_once_more() {
    for (mends, limit) in [(false, ASSUMED), (true, LIMIT_OF_LARGE)] {
        let mut world = without_database();
        world.settle();
        world.jobs_end(Fate::Succeeds);
        world.settle();
        pass_time(&mut world, 29);
        assert_waits(&world);
        if mends {
            world.findings = new().findings;
        }
        pass_time(&mut world, 1);
        assert_waits(&world);
        world.jobs_end(Fate::Succeeds);
        world.settle();
        assert_eq!(limits(&world), [limit], "mends: {mends}");
    }
}

#[test]
fn what_is_known_from_before_serves_while_probes_fail_but_a_changed_spec_is_probed_first() {
    let mut world = World::new(policy(json!({})));
    world.findings.largest_database_bytes = Some(LARGE);
    let mut world = probed(world);
    world.findings = without_database().findings;
    world.now = at("2025-11-07T01:01:00Z");
    // What was due meanwhile goes first.
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(world.status().probe.unwrap().consecutive_failures, 1);
    world.now = at("2025-11-07T01:05:00Z");
    world.settle();
    assert_eq!(limits(&world), [LIMIT_OF_LARGE; 2], "the newest size that is known");
    world.jobs_end(Fate::Succeeds);
    world.settle();

    world.policy.metadata.generation = Some(2);
    world.findings = new().findings;
    world.findings.largest_database_bytes = Some(1);
    world.now = at("2025-11-07T01:10:00Z");
    world.settle();
    assert_eq!(limits(&world).len(), 2, "it waits for the probe of the new spec");
    world.jobs_end(Fate::Succeeds);
    world.settle();
    let last = backup(&world).active.unwrap();
    assert_eq!(last.run.id.as_str(), "20251107-011000");
    assert!(limits(&world).contains(&"512Mi"), "{:?}", world.limits);
}

#[test]
fn a_clock_that_was_ahead_when_the_run_was_decided_holds_up_nothing() {
    let mut world = new();
    world.settle();
    world.now = at("2025-11-06T00:00:00Z");
    world.settle();
    assert_eq!(limits(&world), [ASSUMED]);
}

/// One story, cut at one of its passes after so many effects; the process starts again at once.
fn cut_at(place: usize, effects: usize, probe_ends: bool) -> World {
    let mut world = new();
    for pass in 0..12 {
        if pass == place {
            world.pass(Cut::AfterEffects(effects));
        }
        world.pass(Cut::Nowhere);
        if pass == 5 {
            assert_waits(&world);
            if probe_ends {
                world.jobs_end(Fate::Succeeds);
            } else {
                world.later(120);
            }
        }
    }
    world
}

#[test]
fn a_crash_at_any_point_neither_forgets_the_wait_nor_makes_two_jobs() {
    for (probe_ends, limit) in [(true, LIMIT_OF_LARGE), (false, ASSUMED)] {
        for (place, effects) in (0..12).flat_map(|place| (0..3).map(move |effects| (place, effects))) {
            let mut world = cut_at(place, effects, probe_ends);
            let here = format!("cut at pass {place} after {effects} effects, the probe ends: {probe_ends}");
            assert_eq!(limits(&world), [limit], "{here}");
            assert_made_once(&world);
            world.jobs_end(Fate::Succeeds);
            world.settle();
            assert_eq!(counts(&backup(&world).manual), (1, 1, 0), "{here}");
        }
    }
}
