//! How long a restore is expected to take, by what an earlier one of the same database took.

use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequest};
use greenlang_backup_plan::restore_request::PastLoad;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::restore_world::{Fate, World};
use super::swap;

/// A request that has loaded, and how long that took.
fn loaded() -> (RestoreRequest, u64) {
    let mut world = World::new(&swap());
    world.run_to_end();
    let status = world.status();
    let loading = status.phases.iter().find(|times| times.phase == RestorePhase::Restoring).unwrap();
    let took = loading.end_time.as_ref().unwrap().0.duration_since(loading.start_time.0).as_secs();
    assert!(took >= 5, "{took}");
    (world.request, took.unsigned_abs())
}

/// What a plan made after these says.
fn expected(change: &Value, past: &[&RestoreRequest]) -> Option<u64> {
    let mut world = World::new(change);
    world.past = past.iter().filter_map(|request| PastLoad::of(request)).collect();
    world.run_to_end();
    world.status().plan.unwrap().expected_seconds
}

fn archive(request: &mut RestoreRequest) -> &mut u64 {
    let plan = request.status.as_mut().unwrap().plan.as_mut().unwrap();
    &mut plan.backup.as_mut().unwrap().source_bytes
}

#[test]
fn what_loading_takes_follows_from_the_latest_load_and_the_bytes() {
    let dry_run = json!({"spec": {"dryRun": true, "confirm": null}});
    let (past, took) = loaded();
    assert_eq!(expected(&dry_run, &[]), None, "nothing is known");
    assert_eq!(expected(&dry_run, &[&past]), Some(took));
    assert_eq!(expected(&swap(), &[&past]), Some(took));
    let mut larger = past.clone();
    *archive(&mut larger) *= 5;
    assert_eq!(expected(&dry_run, &[&larger]), Some(took / 5));
    for times in &mut larger.status.as_mut().unwrap().phases {
        times.start_time.0 -= SignedDuration::from_hours(1);
        times.end_time.as_mut().unwrap().0 -= SignedDuration::from_hours(1);
    }
    assert_eq!(expected(&dry_run, &[&larger, &past, &larger]), Some(took), "the latest counts");
}

#[test]
fn what_was_another_load_says_nothing() {
    let (past, _) = loaded();
    for change in [
        json!({"spec": {"database": {"verify": "Counts"}}}),
        json!({"spec": {"database": {"target": {"host": "another"}}}}),
        json!({"spec": {"database": {"target": {"host": "db", "port": 5433}}}}),
        json!({"spec": {"source": {"backup": null, "undoOf": {"name": "before"}}, "identitySecretRef": null, "dryRun": true, "confirm": null}}),
    ] {
        assert_eq!(expected(&change, &[&past]), None, "{change}");
    }
    // The same, spelt otherwise.
    let same = json!({"spec": {"database": {"verify": "Full", "target": {"host": "DB"}}}});
    assert!(expected(&same, &[&past]).is_some());

    let mut other = past.clone();
    other.status.as_mut().unwrap().backup.as_mut().unwrap().database = "shop".into();
    assert_eq!(expected(&swap(), &[&other]), None);
    let mut empty = past;
    *archive(&mut empty) = 0;
    assert_eq!(PastLoad::of(&empty), None);
}

#[test]
fn a_request_that_loaded_nothing_tells_nothing() {
    for fates in [vec![("plan", Fate::Fails)], vec![("load", Fate::Fails)]] {
        let mut world = World::new(&swap());
        world.fates = fates;
        world.run_to_end();
        assert_eq!(PastLoad::of(&world.request), None);
    }
    // What came after the load changes nothing about it.
    let mut world = World::new(&swap());
    world.fates = vec![("switch", Fate::Fails)];
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Failed);
    assert!(PastLoad::of(&world.request).is_some());
}
