//! A run that waits until fewer go on: it goes on in status, has no Job, and neither fails nor is missed by that.

use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::reasons;
use greenlang_backup_plan::backup_policy::Effect;
use greenlang_backup_plan::job_state::JobState;
use serde_json::{Value, json};

use super::world::{Cut, Fate, World, at, policy};
use super::{assert_made_once, backup, counts, is, probed};

/// At a slot, with so many places.
fn due(places: usize, schedule: &Value) -> World {
    let mut one = json!({"name": "often", "cron": "*/5 * * * *", "keepDays": 1});
    one.as_object_mut().unwrap().extend(schedule.as_object().unwrap().clone());
    let backups = json!([{"name": "database", "postgresDump": {}, "schedules": [one]}]);
    let mut world = probed(World::new(policy(json!({"spec": {"backups": backups}}))));
    world.places = places;
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    world
}

#[track_caller]
fn assert_waits(world: &World, id: &str) {
    let active = backup(world).active.unwrap();
    assert_eq!((active.run.id.as_str(), active.job_uid), (id, None));
    let status = world.status();
    assert!(status.progress.unwrap().ends_with(": waiting until fewer than 0 runs go on"));
    let told = conditions::find(&status.conditions, conditions::RECONCILING).unwrap();
    assert_eq!((&*told.status, &*told.reason), ("False", reasons::WAITING_FOR_CAPACITY));
    assert!(told.message.contains(&format!("run {id} waits until fewer than 0 runs")), "{}", told.message);
}

#[test]
fn it_waits_for_hours_and_then_begins_as_if_nothing_had_been() {
    let mut world = due(0, &json!({"startingDeadlineSeconds": 10, "activeDeadlineSeconds": 60}));
    for hour in 0..3 {
        assert_waits(&world, "20251107-000500");
        assert!(is(&world, conditions::BACKUPS_CURRENT, State::Unknown) || hour > 0);
        assert!(is(&world, conditions::READY, State::True) && is(&world, conditions::STALLED, State::False));
        // It is looked at again when something else is due, and not before.
        assert!(world.decide().wake.is_some_and(|wake| wake > world.now));
        world.later(3_600);
        world.settle();
        world.jobs_end(Fate::Succeeds);
        world.settle();
    }
    world.places = 1;
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    let daily = &backup(&world).schedules[0];
    assert_eq!(daily.history.last_success.as_ref().unwrap().id.as_str(), "20251107-000500");
    assert_eq!((daily.history.failed, daily.history.attempts), (0, 1));
    let told = conditions::find(&world.status().conditions, conditions::RECONCILING).unwrap().clone();
    assert_eq!(told.reason, reasons::IDLE);
    assert_made_once(&world);
}

#[test]
fn a_waiting_run_survives_every_cut() {
    for cut in 0..3 {
        let mut world = due(0, &json!({}));
        world.pass(Cut::AfterEffects(cut));
        world.places = 1;
        world.pass(Cut::AfterEffects(cut));
        world.settle();
        world.jobs_end(Fate::Succeeds);
        world.settle();
        assert_eq!(counts(&backup(&world).schedules[0].history), (1, 1, 0));
        assert_made_once(&world);
    }
}

#[test]
fn a_retry_gives_its_place_back_and_takes_one_anew() {
    let mut world = due(1, &json!({}));
    world.jobs_end(Fate::FailsForNow);
    world.settle();
    assert_eq!(world.decide().wanted.len(), 0, "not during its pause");
    world.places = 0;
    world.later(10);
    world.settle();
    assert_waits(&world, "20251107-000500");
    assert_eq!(backup(&world).active.unwrap().attempt, 2);
    world.places = 1;
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(counts(&backup(&world).schedules[0].history), (2, 1, 0));
}

#[test]
fn a_waiting_run_goes_on_for_the_slots_that_come() {
    // Forbid: the next slot waits for its end, and what lies between is passed over.
    let mut world = due(0, &json!({}));
    world.later(900);
    world.settle();
    assert_waits(&world, "20251107-000500");
    assert_eq!(backup(&world).alongside, vec![]);
    // Allow: four at most.
    let mut world = due(0, &json!({"concurrencyPolicy": "Allow"}));
    for _ in 0..6 {
        world.later(300);
        world.settle();
    }
    assert_eq!((backup(&world).runs().count(), world.decide().wanted.len()), (4, 4));
    // They begin in the order of their slots.
    world.places = 1;
    let [Effect::CreateJob(job)] = &world.decide().effects[..] else { panic!("one Job") };
    assert_eq!(job.metadata.labels.as_ref().unwrap()["backup.greenlang.io/id"], "20251107-000500");
    // Replace: the newer one waits in its place.
    let mut world = due(0, &json!({"concurrencyPolicy": "Replace"}));
    world.later(300);
    world.settle();
    assert_waits(&world, "20251107-001000");
    let history = &backup(&world).schedules[0].history;
    assert_eq!(
        (counts(history), &*history.last_failure.as_ref().unwrap().reason),
        ((1, 0, 1), reasons::REPLACED)
    );
}

#[test]
fn what_is_no_run_waits_for_no_place() {
    let mut world = due(1, &json!({}));
    world.jobs_end(Fate::IsKilled);
    world.settle();
    world.places = 0;
    world.later(3_600);
    world.settle();
    let running = world.jobs.iter().filter(|job| job.state == JobState::Running);
    let running: Vec<_> = running.map(|job| (job.name.as_str(), job.backup.as_ref())).collect();
    assert!(matches!(running[..], [(check, None)] if check.starts_with("p-probe")), "{running:?}");
    assert_waits(&world, "20251107-000500");
}

/// Ids of the runs of which a Job is known.
fn going_on(world: &World) -> Vec<String> {
    let status = backup(world);
    let begun = status.runs().filter(|run| run.job_uid.is_some());
    begun.map(|run| run.run.id.as_str().to_owned()).collect()
}

fn set(world: &mut World, name: &str, state: JobState) {
    world.jobs.iter_mut().find(|job| job.name == name).unwrap().state = state;
}

#[test]
fn a_job_that_does_not_start_holds_its_place_for_five_minutes() {
    for cut in [Cut::Nowhere, Cut::AfterEffects(0), Cut::AfterEffects(1)] {
        let mut world = due(1, &json!({"cron": "*/2 * * * *", "concurrencyPolicy": "Allow"}));
        let first = world.jobs.iter().find(|job| job.backup.is_some()).unwrap().name.clone();
        set(&mut world, &first, JobState::Pending(Some("Unschedulable: no node matches".into())));
        for passed in [60, 180, 299] {
            world.now = at("2025-11-07T00:05:00Z");
            world.later(passed);
            world.settle();
            assert_eq!(going_on(&world), ["20251107-000400"], "after {passed} s");
        }
        world.later(1);
        world.pass(cut);
        world.settle();
        assert_eq!(going_on(&world), ["20251107-000400", "20251107-000600"]);
        // It starts after all, so there are two, and the next one waits for both.
        set(&mut world, &first, JobState::Running);
        world.settle();
        let second = world.jobs.iter().rfind(|job| job.backup.is_some()).unwrap().name.clone();
        world.job_ends(&second, Fate::Succeeds);
        world.settle();
        assert_eq!(going_on(&world), ["20251107-000400"]);
        world.jobs_end(Fate::Succeeds);
        world.settle();
        assert_eq!(going_on(&world), ["20251107-000800"]);
        assert_eq!(counts(&backup(&world).schedules[0].history), (2, 2, 0));
        assert_made_once(&world);
    }
}

/// A Job that was made a moment ago, with a Pod that has not started.
fn just_made(busy: bool) -> World {
    let mut world = due(0, &json!({}));
    (world.places, world.busy) = (1, busy);
    while !world.jobs.iter().any(|job| job.backup.is_some()) {
        assert!(!world.pass(Cut::Nowhere), "no Job is made");
    }
    for job in world.jobs.iter_mut().filter(|job| job.backup.is_some()) {
        job.state = JobState::Pending(None);
    }
    world.settle();
    world
}

#[test]
fn the_uid_of_a_job_waits_for_others_ten_seconds_at_most() {
    let uid = |world: &World| backup(world).active.unwrap().job_uid;
    assert!(uid(&just_made(false)).is_some());

    let mut world = just_made(true);
    assert_eq!((uid(&world), world.decide().wake), (None, Some(at("2025-11-07T00:05:01Z"))));
    world.later(9);
    world.settle();
    assert_eq!(uid(&world), None);
    world.later(1);
    world.settle();
    assert!(uid(&world).is_some());

    // What there is to say of it is said at once.
    let mut world = just_made(true);
    world.jobs.iter_mut().for_each(|job| job.state = JobState::Running);
    world.settle();
    assert!(uid(&world).is_some());
}

#[test]
fn a_job_that_is_deleted_before_its_uid_is_stored_is_made_again_once_its_pod_is_gone() {
    let mut world = just_made(true);
    let job = world.jobs.iter().find(|job| job.backup.is_some()).unwrap().clone();
    world.jobs.retain(|other| other.name != job.name);
    world.ghosts.insert(job.uid, job.name);
    world.settle();
    assert_eq!((world.jobs.len(), world.decide().wake), (0, Some(at("2025-11-07T00:05:05Z"))));
    world.ghosts.clear();
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(counts(&backup(&world).schedules[0].history), (1, 1, 0));
}
