//! A Job whose Pod can never start ends what it was for with a clear failure, whatever that is, and is tried again.

use greenlang_backup_api::conditions;
use greenlang_backup_plan::job_state::JobState;
use serde_json::json;

use super::backup;
use super::world::{Fate, World, at, policy};

const WHY: &str = "FailedCreate: no PriorityClass with name high was found";

/// The only Job of a kind that runs can never start.
fn gets_stuck(world: &mut World, kind: &str) -> String {
    let mut jobs = world.jobs.iter_mut().filter(|job| job.name.starts_with(&format!("p-{kind}-")));
    let job = jobs.find(|job| job.state == JobState::Running).unwrap();
    job.state = JobState::Stuck(WHY.into());
    let name = job.name.clone();
    world.settle();
    name
}

fn is_gone(world: &World, name: &str) {
    assert!(world.jobs.iter().all(|job| job.name != name), "{:?}", world.jobs);
}

/// After so many seconds another Job of the kind is made, which can start.
fn is_tried_again(world: &mut World, kind: &str, stuck: &str, seconds: i64) {
    let again = |world: &World| {
        let mut names = world.jobs.iter().map(|job| job.name.as_str());
        names.any(|name| name.starts_with(&format!("p-{kind}-")) && name != stuck)
    };
    world.later(seconds - 1);
    world.settle();
    assert!(!again(world), "{kind}: too early");
    world.later(1);
    world.settle();
    assert!(again(world), "{kind}: not tried again");
    assert_eq!(world.made[stuck], 1);
    world.jobs_end(Fate::Succeeds);
    world.settle();
    is_gone(world, stuck);
}

fn says_why(error: Option<String>, name: &str) {
    assert_eq!(error.unwrap(), format!("PodNotStarted: the Pod of Job {name} cannot start: {WHY}"));
}

#[test]
fn of_the_history() {
    // Its Job goes once the history is known: until then nobody knows which Jobs are needed.
    let mut world = World::new(policy(json!({})));
    world.bucket_answers = false;
    world.settle();
    let stuck = gets_stuck(&mut world, "catalogue");
    says_why(world.status().catalogue.unwrap().last_error, &stuck);
    is_tried_again(&mut world, "catalogue", &stuck, 10);
    assert!(world.status().catalogue.unwrap().completed_time.is_some());
}

#[test]
fn of_a_check() {
    let mut world = World::new(policy(json!({})));
    world.settle();
    let stuck = gets_stuck(&mut world, "probe");
    is_gone(&world, &stuck);
    let found = world.status().conditions;
    let found = conditions::find(&found, conditions::DATABASE_REACHABLE).unwrap();
    assert_eq!((found.status.as_str(), found.reason.as_str()), ("Unknown", "PodNotStarted"));
    assert!(found.message.contains(WHY), "{}", found.message);
    is_tried_again(&mut world, "probe", &stuck, 30);
    assert!(conditions::is(&world.status().conditions, conditions::READY, conditions::State::True));
}

/// A world in which the slot of 00:05 had its run, whose last attempt ended so.
fn ran(bucket_answers: bool, fate: Fate) -> World {
    let mut world = super::probed(World::new(policy(json!({}))));
    world.bucket_answers = bucket_answers;
    world.policy.spec.backups[0].schedules.iter_mut().for_each(|schedule| schedule.backoff_limit = Some(0));
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    world.jobs_end(fate);
    world.settle();
    world
}

#[test]
fn of_a_prune() {
    let mut world = ran(false, Fate::Succeeds);
    let stuck = gets_stuck(&mut world, "prune");
    is_gone(&world, &stuck);
    says_why(backup(&world).prune.unwrap().last_error, &stuck);
    let retention =
        conditions::find(&world.status().conditions, conditions::RETENTION_ACTIVE).cloned().unwrap();
    assert_eq!((retention.status.as_str(), retention.reason.as_str()), ("False", "PruneFailed"));
    is_tried_again(&mut world, "prune", &stuck, 30);
    assert_eq!(backup(&world).prune.unwrap().failures, 0);
    assert!(conditions::is(
        &world.status().conditions,
        conditions::RETENTION_ACTIVE,
        conditions::State::True
    ));
}

#[test]
fn of_a_clean_up() {
    let mut world = ran(true, Fate::IsKilled);
    world.later(60);
    world.settle();
    let stuck = gets_stuck(&mut world, "clean-up");
    is_gone(&world, &stuck);
    says_why(backup(&world).clean_ups[0].last_error.clone(), &stuck);
    is_tried_again(&mut world, "clean-up", &stuck, 30);
    assert_eq!((backup(&world).clean_ups, world.leftovers()), (vec![], vec![]));
}
