//! What was replaced: how long it stays, and how it goes.

use greenlang_backup_api::conditions;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::restore::{DropReport, KeptDatabase, RestoreAction, RestoreReport};
use greenlang_backup_api::v1alpha1::RestorePhase;
use greenlang_backup_plan::job_state::{Ended, JobState};
use greenlang_backup_plan::jobs::{ObservedJob, Refusal};
use greenlang_backup_plan::restore_request::{
    Kept, KeptStep, holds, kept_config_map, kept_step, read_kept, without_previous,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::jobs::task;
use super::restore_world::{Fate, World, request, runner};
use super::swap;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn config_map(kept: &KeptDatabase) -> ConfigMap {
    let mut config_map = kept_config_map(kept);
    config_map.metadata.uid = Some("cm".into());
    config_map
}

/// What a Swap has left, once it has ended.
fn replaced() -> (World, KeptDatabase) {
    let mut world = World::new(&swap());
    world.run_to_end();
    let kept = world.kept.clone().unwrap();
    (world, kept)
}

fn at(kept: &KeptDatabase, jobs: &[ObservedJob], now: Timestamp) -> KeptStep {
    kept_step(&config_map(kept), jobs, false, now, &runner())
}

/// The Job of a step, as it is seen later.
fn seen(step: &KeptStep, created: Timestamp, state: JobState) -> ObservedJob {
    let name = step.create.as_ref().unwrap().metadata.name.clone().unwrap();
    ObservedJob {
        uid: format!("{name}-uid"),
        name,
        created,
        backup: None,
        deleting: false,
        state,
        progress: None,
        details: String::new(),
    }
}

fn ended(outcome: Outcome, restore: Option<RestoreReport>) -> JobState {
    let report = RunReport { restore, ..RunReport::new(outcome, "Reason", "why") };
    JobState::Ended(Box::new(Ended { report, container_ended: true, exit_code: Some(0) }))
}

#[test]
fn it_is_dropped_when_its_time_is_over() {
    let (mut world, kept) = replaced();
    let config_map = config_map(&kept);
    assert_eq!(read_kept(&config_map), Some(kept.clone()));
    assert_eq!(Kept::of(Some(&config_map)), Kept::Until(kept.drop_after));
    let text = config_map.data.as_ref().unwrap()["kept.json"].replace("Z\"", "\"");
    let mistyped = ConfigMap { data: Some([("kept.json".to_owned(), text)].into()), ..ConfigMap::default() };
    assert_eq!([Kept::of(Some(&mistyped)), Kept::of(None)], [Kept::Unreadable, Kept::Absent]);
    assert!(config_map.metadata.owner_references.is_none(), "it outlives the request");
    let early = at(&kept, &[], world.now);
    assert!(early.create.is_none() && early.wake == Some(kept.drop_after));
    let name = |step: KeptStep| step.create.unwrap().metadata.name.unwrap();
    let first = name(at(&kept, &[], kept.drop_after));
    let later = at(&kept, &[], kept.drop_after + SignedDuration::from_secs(3_599));
    assert_eq!(first, name(later), "one attempt an hour");
    assert_ne!(first, name(at(&kept, &[], kept.drop_after + HOUR)));
    let RestoreAction::Drop(drop) = task(&at(&kept, &[], kept.drop_after).create.unwrap()).action else {
        panic!("no drop");
    };
    assert_eq!((drop.oid, drop.not_before), (Some(kept.previous.oid), Some(kept.drop_after)));
    // The request is told before the ConfigMap goes.
    world.now = kept.drop_after;
    world.drop_kept();
    let events = world.events.len();
    world.turn();
    let previous = world.status().previous.unwrap();
    assert_eq!((previous.dropped_time.map(|time| time.0), previous.message), (Some(kept.drop_after), None));
    assert_eq!((world.kept, world.events.len()), (None, events), "nothing more is to be said");
}

#[test]
fn it_is_told_as_dropped_only_if_it_was() {
    let (_, kept) = replaced();
    let due = at(&kept, &[], kept.drop_after);
    for (dropped, reason) in [(true, "PreviousDropped"), (false, "PreviousGone")] {
        let report = RestoreReport::Drop(DropReport { dropped, freed_bytes: 0 });
        let job = seen(&due, kept.drop_after, ended(Outcome::Done, Some(report)));
        let step = at(&kept, &[job], kept.drop_after);
        assert!(step.forget && step.create.is_none());
        let event = step.event.unwrap();
        assert_eq!(event.reason, reason);
        assert_eq!(event.message.contains("nothing was dropped"), !dropped, "{}", event.message);
    }
}

#[test]
fn an_attempt_that_fails_is_told_and_followed_by_another() {
    let (_, kept) = replaced();
    let failed = seen(&at(&kept, &[], kept.drop_after), kept.drop_after, ended(Outcome::Retryable, None));
    let told = at(&kept, std::slice::from_ref(&failed), kept.drop_after);
    assert_eq!(told.event.as_ref().unwrap().reason, "DropFailed");
    assert!(told.create.is_none() && told.delete.is_empty() && !told.forget);
    assert_eq!(told.wake, Some(kept.drop_after + HOUR));
    let next = at(&kept, std::slice::from_ref(&failed), kept.drop_after + HOUR);
    assert!(next.create.is_some());
    assert_eq!(next.delete, [(failed.name, failed.uid)]);
}

#[test]
fn an_attempt_that_does_not_start_is_told_and_makes_room_for_the_next() {
    let (_, kept) = replaced();
    let due = at(&kept, &[], kept.drop_after);
    let why = || "ImagePullBackOff: no such image".to_owned();
    for state in [JobState::Pending(Some(why())), JobState::Stuck(why())] {
        let job = seen(&due, kept.drop_after, state);
        let told = at(&kept, std::slice::from_ref(&job), kept.drop_after);
        let event = told.event.unwrap();
        assert_eq!(event.reason, "DropFailed");
        assert!(event.message.contains("no such image"), "{}", event.message);
        assert!(told.wake.unwrap() > kept.drop_after + SignedDuration::from_secs(60), "not told each moment");
        // An hour later it is removed, and only then followed by another.
        let later = kept.drop_after + HOUR;
        let step = at(&kept, std::slice::from_ref(&job), later);
        assert_eq!(step.delete, [(job.name.clone(), job.uid.clone())]);
        assert!(step.create.is_none() && step.wake.is_some());
        let going = ObservedJob { deleting: true, ..job };
        let step = at(&kept, &[going], later);
        assert!(step.delete.is_empty() && step.create.is_none());
        assert!(at(&kept, &[], later).create.is_some());
    }
}

/// What refuses a Job now refuses it ten seconds later, too.
#[test]
fn an_attempt_whose_job_is_refused_is_told_once_and_followed_by_that_of_the_next_hour() {
    let (_, kept) = replaced();
    for seconds in [0, 3_000] {
        let now = kept.drop_after + SignedDuration::from_secs(seconds);
        let step = at(&kept, &[], now);
        let name = step.create.as_ref().unwrap().metadata.name.clone();
        let refusal =
            Refusal { job: name.clone().unwrap(), reason: "JobRefused", message: "exceeded quota".into() };
        let told = step.refused(&config_map(&kept), &refusal, now);
        let event = told.event.unwrap();
        assert_eq!((event.reason, event.warning), ("DropFailed", true));
        assert!(event.message.contains("exceeded quota; it is tried again each hour"), "{}", event.message);
        assert!(told.create.is_none() && !told.forget);
        assert_eq!(told.wake, Some(kept.drop_after + HOUR));
        let next = at(&kept, &[], kept.drop_after + HOUR).create.unwrap();
        assert_ne!(next.metadata.name, name);
    }
}

#[test]
fn an_attempt_that_works_is_waited_for_but_not_for_ever() {
    let (_, kept) = replaced();
    let job = seen(&at(&kept, &[], kept.drop_after), kept.drop_after, JobState::Running);
    let step = at(&kept, std::slice::from_ref(&job), kept.drop_after + HOUR);
    assert!(step.create.is_none() && step.delete.is_empty() && step.wake.is_some());
    let step = at(&kept, &[job], kept.drop_after + HOUR * 2);
    assert_eq!(step.delete.len(), 1, "its node is away");
}

#[test]
fn a_request_that_goes_on_holds_it_and_so_does_its_undo() {
    let (world, kept) = replaced();
    assert!(!holds(&world.request, &kept), "it has ended");
    let undo = |change| {
        let mut undo = json!({"metadata": {"name": "undo", "uid": "u-2"}, "spec": {"source": {"backup": null, "undoOf": {"name": "back"}}}});
        super::restore_world::merge(&mut undo, &change);
        request(&undo)
    };
    assert!(holds(&undo(json!({})), &kept));
    for other in [
        json!({"spec": {"dryRun": true}}),
        json!({"metadata": {"namespace": "other"}}),
        json!({"spec": {"source": {"undoOf": {"name": "another"}}}}),
        json!({"status": {"phase": "Failed"}}),
    ] {
        assert!(!holds(&undo(other.clone()), &kept), "{other}");
    }
    let step = kept_step(&config_map(&kept), &[], true, kept.drop_after, &runner());
    assert!(step.create.is_none() && step.wake.is_some());
}

/// It was made a moment before somebody asked for an undo, or gave the database more time.
#[test]
fn an_attempt_that_is_not_wanted_any_more_is_stopped() {
    let (_, kept) = replaced();
    let due = at(&kept, &[], kept.drop_after);
    let later = KeptDatabase { drop_after: kept.drop_after + HOUR, ..kept.clone() };
    for state in [JobState::Running, JobState::Pending(None), JobState::Stuck("no image".into())] {
        let job = seen(&due, kept.drop_after, state);
        let expected = [(job.name.clone(), job.uid.clone())];
        let held =
            kept_step(&config_map(&kept), std::slice::from_ref(&job), true, kept.drop_after, &runner());
        let moved = at(&later, std::slice::from_ref(&job), kept.drop_after);
        for step in [held, moved] {
            assert_eq!(step.delete, expected);
            assert!(step.create.is_none() && step.wake.is_some() && !step.forget);
        }
        let going = ObservedJob { deleting: true, ..job };
        assert!(at(&later, &[going], kept.drop_after).delete.is_empty());
    }
    let failed = seen(&due, kept.drop_after, ended(Outcome::Retryable, None));
    assert!(kept_step(&config_map(&kept), &[failed], true, kept.drop_after, &runner()).delete.is_empty());
}

#[test]
fn with_no_hours_it_goes_once_the_request_has_ended_and_not_before() {
    for check_fails in [false, true] {
        let checks = json!({"sql": [{"query": "SELECT 1", "expect": "1"}]});
        let mut world =
            World::new(&json!({"spec": {"database": {"keepPreviousHours": 0}, "checks": checks}}));
        if check_fails {
            world.fates = vec![("check", Fate::Fails)];
        }
        let mut looked = 0;
        while !world.phase().is_end() {
            if let Some(kept) = &world.kept {
                let held = holds(&world.request, kept);
                let step = kept_step(&config_map(kept), &[], held, world.now, &runner());
                assert!(step.create.is_none(), "in {:?}", world.phase());
                looked += 1;
            }
            world.turn();
        }
        assert!(looked > 3, "{looked}");
        let kept = world.kept.clone().unwrap();
        let held = holds(&world.request, &kept);
        assert!(kept_step(&config_map(&kept), &[], held, world.now, &runner()).create.is_some());
        let said = ready(&world);
        assert!(said.contains("is dropped once the request has ended"), "{said}");
        assert!(!said.contains("undoOf"), "there is nothing to go back to: {said}");
        world.drop_kept();
        world.turn();
        assert!(world.status().previous.unwrap().dropped_time.is_some());
        if !check_fails {
            assert_eq!(ready(&world), "all was done");
        }
    }
}

#[test]
fn its_time_stays_the_same_although_status_is_lost() {
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Switching);
    while world.kept.is_none() {
        world.turn();
    }
    let kept = world.kept.clone().unwrap();
    while !world.done.contains_key("rename") {
        world.turn();
    }
    world.request.status = None;
    world.now += HOUR;
    world.run_until(RestorePhase::Resuming);
    assert_eq!(world.status().previous.unwrap().drop_after.0, kept.drop_after, "as soon as it is told");
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_eq!(world.status().previous.unwrap().drop_after.0, kept.drop_after);
    assert_eq!(world.kept, Some(kept));
}

#[test]
fn a_later_time_in_its_config_map_counts() {
    let (mut world, kept) = replaced();
    let later = kept.drop_after + HOUR;
    world.kept = Some(KeptDatabase { drop_after: later, ..kept.clone() });
    world.now = kept.drop_after;
    world.turn();
    let previous = world.status().previous.unwrap();
    assert_eq!((previous.drop_after.0, previous.dropped_time), (later, None));
}

/// As the manual says: whoever deletes it has the database left alone.
#[test]
fn whoever_deletes_its_config_map_keeps_the_database() {
    for status_lost in [false, true] {
        let (mut world, kept) = replaced();
        world.kept = None;
        if status_lost {
            world.request.status = None;
            world.run_to_end();
        }
        for now in [world.now, kept.drop_after, kept.drop_after + HOUR * 100] {
            world.now = now;
            world.turn();
            assert_eq!(world.kept, None, "it is not made again");
            let previous = world.status().previous.unwrap();
            assert_eq!(previous.dropped_time, None);
            let message = previous.message.unwrap();
            assert!(message.contains("was deleted") && message.contains(&kept.previous.name), "{message}");
        }
        assert!(ready(&world).contains("it stays until you drop it"), "{}", ready(&world));
        assert_eq!(told(&world, "PreviousKept"), 1, "once");
    }
}

#[test]
fn a_config_map_that_cannot_be_read_is_told_once_and_left_as_it_is() {
    let (mut world, kept) = replaced();
    world.kept_is_unreadable = true;
    for now in [world.now, kept.drop_after, kept.drop_after + HOUR * 100] {
        world.now = now;
        world.turn();
        assert!(world.kept_is_unreadable, "the time that a person wanted would be lost");
        let previous = world.status().previous.unwrap();
        assert_eq!(previous.dropped_time, None);
        assert!(previous.message.unwrap().contains("cannot be read"));
    }
    assert_eq!(told(&world, "DropFailed"), 1);
    // Corrected it counts again.
    world.kept_is_unreadable = false;
    world.turn();
    let previous = world.status().previous.unwrap();
    assert_eq!((previous.drop_after.0, previous.message), (kept.drop_after, None));
}

/// Before the switch one of its name is in the way, and after the point of no return a person has written to it.
#[test]
fn what_cannot_be_read_is_replaced_before_the_point_of_no_return_only() {
    for past in [false, true] {
        let mut world = World::new(&swap());
        world.run_until(RestorePhase::Switching);
        while past && world.status().switch_started_time.is_none() {
            world.turn();
        }
        world.kept_is_unreadable = true;
        world.run_to_end();
        assert_eq!(world.phase(), RestorePhase::Succeeded);
        assert_eq!(world.kept_is_unreadable, past);
        assert_eq!(world.status().previous.unwrap().message.is_some(), past);
    }
}

#[test]
fn a_request_is_told_of_its_own_database_only() {
    let (world, kept) = replaced();
    let gone = without_previous(&world.request, &kept, world.now).unwrap();
    assert_eq!(gone.previous.unwrap().dropped_time.unwrap().0, world.now);
    let mut others = [kept.clone(), kept.clone(), kept];
    others[0].request.uid = "u-2".into();
    others[1].previous.oid += 1;
    others[2].previous.name.push('x');
    for other in others {
        assert_eq!(without_previous(&world.request, &other, world.now), None, "{other:?}");
    }
}

fn ready(world: &World) -> String {
    let status = world.status();
    conditions::find(&status.conditions, conditions::READY).unwrap().message.clone()
}

fn told(world: &World, reason: &str) -> usize {
    world.events.iter().filter(|event| **event == reason).count()
}
