//! What others do meanwhile: other requests, people who scale, delete, or cancel too late.

use greenlang_backup_api::conditions;
use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{QuiesceState, RestorePhase, WorkloadKind};
use greenlang_backup_plan::restore_request::{Lock, WorkloadState, unserved};
use jiff::SignedDuration;
use serde_json::json;

use super::owners::{application, argo_cd, failure, keda, scaler, skipping};
use super::restore_world::{Blow, Fate, World};
use super::{AS_BEFORE, assert_back, assert_switched, assert_untouched, swap, ways, world};

fn api() -> (WorkloadKind, String) {
    (WorkloadKind::Deployment, "api".to_owned())
}

fn ledger_of(state: &WorkloadState) -> Option<&str> {
    state.ledger.as_ref().map(|ledger| ledger.request_uid.as_str())
}

#[test]
fn of_two_requests_that_stop_one_application_the_later_leaves_it_to_the_first() {
    let mut later = World::new(&json!({"metadata": {"name": "later", "uid": "u-2"}}));
    later.run_until(RestorePhase::Quiescing);
    while later.status().quiesced.is_empty() {
        later.turn();
    }
    let mut first = World::new(&swap());
    first.run_until(RestorePhase::Restoring);
    later.workloads.clone_from(&first.workloads);
    later.run_to_end();
    assert_eq!(later.phase(), RestorePhase::Failed);
    let failure = later.status().failure.unwrap();
    assert_eq!(failure.reason, "WorkloadTaken");
    for part in ["Deployment api", "RestoreRequest back"] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    assert_eq!(later.workloads, first.workloads, "nothing was touched");
    assert!(!later.done.keys().any(|what| what.starts_with("stop")), "{:?}", later.done);
    assert!(later.status().quiesced.iter().all(|entry| entry.state == QuiesceState::Taken));
    assert!(later.request.metadata.finalizers.is_none() && later.lock == Lock::Free);
    assert_eq!(later.condition(conditions::RESUMED), ("True".into(), "WorkloadTaken".into()));
    first.run_to_end();
    assert_eq!((first.phase(), first.counts()), (RestorePhase::Succeeded, AS_BEFORE));
}

#[test]
fn what_a_request_stopped_itself_comes_back_although_another_has_one_of_its_applications() {
    for phase in [RestorePhase::Quiescing, RestorePhase::Restoring, RestorePhase::Resuming] {
        let mut world = World::new(&swap());
        world.run_until(phase);
        while world.counts().0 != Some(0) {
            world.turn();
        }
        let state = world.workloads.get_mut(&api()).unwrap();
        state.ledger = Some(Ledger {
            request: "first".into(),
            request_uid: "u-0".into(),
            replicas: Some(9),
            suspend: None,
            annotation: None,
        });
        let theirs = state.clone();
        world.run_to_end();
        let state = &world.workloads[&api()];
        assert_eq!((state.replicas, ledger_of(state)), (Some(0), Some("u-0")), "{phase:?}");
        assert_eq!(state.resource_version, theirs.resource_version, "{phase:?}");
        assert_eq!((world.counts().1, world.counts().2), (AS_BEFORE.1, AS_BEFORE.2), "{phase:?}");
        assert!(world.events.contains(&"WorkloadTaken"), "{phase:?}");
        let end =
            if phase == RestorePhase::Resuming { RestorePhase::Succeeded } else { RestorePhase::Failed };
        assert_eq!(world.phase(), end);
    }
}

type Write = fn(&mut World, Ledger);

/// Whoever may annotate an application writes what they like; status has room for a sentence.
#[test]
fn what_others_write_to_annotations_is_cut_before_it_comes_into_status() {
    let long = "n".repeat(200_000);
    let forged = Ledger {
        request: long.clone(),
        request_uid: "u-9".into(),
        replicas: None,
        suspend: None,
        annotation: None,
    };
    let cases: [(&str, Write); 2] = [
        ("workload", |world, ledger| world.workloads.get_mut(&api()).unwrap().ledger = Some(ledger)),
        ("Application", |world, ledger| application(world).ledger = Some(ledger)),
    ];
    for phase in [RestorePhase::Pending, RestorePhase::Restoring] {
        for (what, write) in cases {
            let mut world = argo_cd(&skipping());
            world.run_until(phase);
            write(&mut world, forged.clone());
            world.run_to_end();
            assert_eq!(failure(&world).0, "WorkloadTaken", "{what} in {phase:?}");
            expect_short(&world);
        }
    }
    let mut world = keda();
    scaler(&mut world).paused_replicas = Some(long);
    world.keda_works = false;
    world.run_to_end();
    assert_eq!(failure(&world).0, "ScaledByKeda");
    expect_short(&world);
}

fn expect_short(world: &World) {
    let status = world.status();
    let refusals = status.plan.iter().flat_map(|plan| &plan.refusals).map(|refusal| &refusal.message);
    let workloads = status.quiesced.iter().filter_map(|entry| entry.message.as_ref());
    let applications = status.skipped_applications.iter().filter_map(|entry| entry.message.as_ref());
    let all: Vec<&String> = refusals.chain(workloads).chain(applications).collect();
    assert!(!all.is_empty() && all.iter().all(|message| message.len() <= 1_024), "{}", all.len());
    assert!(serde_json::to_string(&status).unwrap().len() < 30_000);
}

#[test]
fn jobs_that_a_person_deletes_are_made_again() {
    for (way, change) in ways() {
        for at in 0..super::blows::writes(way, &change) {
            let mut world = world(way, &change);
            world.blow = Some((at, Blow::JobsGone));
            world.run_to_end();
            let what = format!("{way}, Jobs deleted at {at}");
            assert_eq!(world.phase(), RestorePhase::Succeeded, "{what}: {:#?}", world.status());
            assert_switched(&world, way, &what);
        }
    }
}

#[test]
fn a_lease_that_a_person_deletes_is_taken_again() {
    for (way, change) in ways() {
        for at in 0..super::blows::writes(way, &change) {
            let mut world = world(way, &change);
            world.blow = Some((at, Blow::LeaseGone));
            world.run_to_end();
            let what = format!("{way}, Lease deleted at {at}");
            assert_eq!(world.phase(), RestorePhase::Succeeded, "{what}");
            assert_switched(&world, way, &what);
            assert_eq!(world.lock, Lock::Free, "{what}");
        }
    }
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Restoring);
    world.lock = Lock::Free;
    world.turn();
    assert_eq!(world.lock, Lock::Ours);
}

#[test]
fn whoever_loses_the_lease_to_another_turns_back_before_the_switch() {
    let mut ends = std::collections::BTreeSet::new();
    for (way, change) in ways() {
        for at in 3..super::blows::writes(way, &change) {
            let mut world = world(way, &change);
            world.run_until(RestorePhase::Planning);
            world.blow = Some((at, Blow::LeaseTaken));
            world.run_to_end();
            let what = format!("{way}, Lease taken at {at}");
            ends.insert(world.phase());
            if world.phase() == RestorePhase::Failed {
                let failure = world.status().failure.unwrap();
                assert_eq!(failure.reason, "LockLost", "{what}");
                assert!(failure.message.contains("greenlang/other"), "{}", failure.message);
                assert_untouched(&world, &what);
            } else {
                assert_switched(&world, way, &what);
            }
            assert_eq!(world.lock, Lock::Other("greenlang/other".into()), "{what}: it is not given away");
        }
    }
    assert_eq!(ends.len(), 2, "{ends:?}");
}

#[test]
fn whoever_starts_an_application_while_data_is_loaded_is_named_and_all_is_undone() {
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Restoring);
    let state = world.workloads.get_mut(&api()).unwrap();
    (state.replicas, state.managed_by) = (Some(1), Some("kubectl-scale".into()));
    world.run_to_end();
    let failure = world.status().failure.unwrap();
    assert_eq!(failure.reason, "ScaleContested");
    assert!(failure.message.contains("kubectl-scale"), "{}", failure.message);
    assert_untouched(&world, "scaled up");
}

/// Its time may be an hour, and nobody waits so long for a word.
#[test]
fn whoever_starts_an_application_while_it_drains_is_told_within_seconds() {
    let mut world = World::new(&json!({"spec": {"quiesce": {"drainSeconds": 3_600}}}));
    world.run_until(RestorePhase::Quiescing);
    while world.status().quiesced_time.is_none() {
        world.turn();
    }
    world.turn();
    let said = world.status().progress.unwrap();
    assert!(said.contains("drainSeconds last until"), "{said}");
    let next = world.decide().wake.unwrap();
    assert!(next.duration_since(world.now).as_secs() <= 10, "{next}, at {}", world.now);
    let state = world.workloads.get_mut(&api()).unwrap();
    (state.replicas, state.managed_by) = (Some(1), Some("kubectl-scale".into()));
    world.turn();
    assert_eq!(world.status().failure.unwrap().reason, "ScaleContested");
    world.run_to_end();
    assert_untouched(&world, "scaled up while it drained");
}

#[test]
fn an_application_that_is_made_anew_of_a_copy_of_itself_comes_back() {
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Restoring);
    world.workloads.get_mut(&api()).unwrap().uid = "anew".into();
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_back(&world, "made anew with its annotation");
}

#[test]
fn a_cancel_that_comes_too_late_is_said() {
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Switching);
    while world.status().switch_started_time.is_none() {
        world.turn();
    }
    world.cancel();
    world.turn();
    for type_ in [conditions::READY, conditions::RECONCILING] {
        assert_eq!(world.condition(type_).1, "TooLateToCancel", "{type_}");
    }
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Succeeded);
    assert_switched(&world, "swap", "too late");
    let told = |world: &World| world.events.iter().filter(|reason| **reason == "TooLateToCancel").count();
    assert_eq!(told(&world), 1);
    // After the end as well.
    let mut world = World::new(&swap());
    world.run_to_end();
    world.cancel();
    world.run_to_end();
    assert_eq!((told(&world), world.phase()), (1, RestorePhase::Succeeded));
}

#[test]
fn conditions_say_that_what_was_loaded_was_undone() {
    let mut world = World::new(&json!({"spec": {"quiesce": {"when": "BeforeSwitch"}}}));
    world.run_until(RestorePhase::Quiescing);
    assert_eq!(world.condition(conditions::RESTORED).0, "True");
    world.cancel();
    world.run_to_end();
    assert_eq!(world.phase(), RestorePhase::Cancelled);
    for type_ in [conditions::RESTORED, conditions::VERIFIED] {
        assert_eq!(world.condition(type_), ("False".into(), "Undone".into()), "{type_}");
    }
    assert_untouched(&world, "cancelled");
}

#[test]
fn what_could_not_be_dropped_is_told_to_the_end() {
    for cancelled in [false, true] {
        let mut world = World::new(&swap());
        world.fates = vec![("drop", Fate::Fails), ("load", Fate::Fails)];
        if cancelled {
            world.fates.pop();
            world.run_until(RestorePhase::Restoring);
            world.cancel();
        }
        world.run_to_end();
        let status = world.status();
        let finished = conditions::find(&status.conditions, conditions::FINISHED).unwrap();
        assert!(finished.message.contains("drop it by hand"), "{}", finished.message);
        assert_back(&world, "not dropped");
    }
}

#[test]
fn a_record_that_could_not_be_written_is_told_and_no_database_is_said_to_stay() {
    let ways = ways();
    for (of, fate) in [("swap", Fate::FailsToRecord), ("undo", Fate::FailsToRecord), ("undo", Fate::Fails)] {
        let (way, change) = ways.iter().find(|(way, _)| *way == of).unwrap();
        let mut world = world(way, change);
        let failing = if of == "undo" { "switch" } else { "load" };
        world.fates = vec![("drop", fate), (failing, Fate::Fails)];
        world.run_to_end();
        let message = world.status().failure.unwrap().message;
        assert!(!message.contains("drop it by hand") && message.contains("name"), "{of}: {message}");
        assert!(world.events.contains(&"RecordNotWritten"), "{of}: {:?}", world.events);
        assert!(!world.events.contains(&"DropFailed"), "{of}: {:?}", world.events);
        assert_untouched(&world, of);
    }
}

#[test]
fn an_application_that_the_api_server_refuses_to_bring_back_is_told_once_and_tried_on() {
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Resuming);
    world.refuses_workloads = true;
    for _ in 0..10 {
        world.turn();
    }
    assert_eq!(world.condition(conditions::RESUMED), ("False".into(), "WorkloadRefused".into()));
    let told = world.events.iter().filter(|reason| **reason == "ApplicationsDown").count();
    assert_eq!(told, 3, "once for each application");
    world.refuses_workloads = false;
    world.run_to_end();
    assert_switched(&world, "swap", "in the end");
}

/// The applications are stopped: a time of a clock that was ahead is not waited for.
#[test]
fn what_was_written_under_a_clock_that_was_ahead_is_not_waited_for() {
    let mut world = World::new(&swap());
    world.fates = vec![("switch", Fate::FailsForNow)];
    world.run_until(RestorePhase::Switching);
    while world.status().active.is_none_or(|active| active.attempt < 2) {
        world.turn();
    }
    let jobs = world.made.len();
    world.now -= SignedDuration::from_hours(24);
    world.turn();
    world.turn();
    assert_eq!(world.made.len(), jobs + 1, "the next Job follows at once");
    world.run_to_end();
    assert_switched(&world, "swap", "set right while it paused");

    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Quiescing);
    while world.status().quiesced_time.is_none() {
        world.turn();
    }
    let drains = world.now;
    world.now -= SignedDuration::from_hours(24);
    world.run_until(RestorePhase::Restoring);
    assert!(drains.duration_since(world.now) > SignedDuration::from_hours(23), "{}", world.now);
    world.run_to_end();
    assert_switched(&world, "swap", "set right while it drained");
}

#[test]
fn where_nobody_works_a_request_says_so_once_and_what_is_known_of_it_stays() {
    let mut world = World::new(&swap());
    world.run_until(RestorePhase::Restoring);
    let before = world.status();
    let after = unserved(&before, "n", 7, world.now);
    for (type_, state) in
        [(conditions::READY, "False"), (conditions::STALLED, "True"), (conditions::RECONCILING, "False")]
    {
        let said = conditions::find(&after.conditions, type_).unwrap();
        let expected = (state, "NamespaceNotServed", Some(7));
        assert_eq!((&*said.status, &*said.reason, said.observed_generation), expected, "{type_}");
    }
    assert_eq!((&after.quiesced, after.phase), (&before.quiesced, Some(RestorePhase::Restoring)));
    assert_eq!(unserved(&after, "n", 7, world.now + jiff::SignedDuration::from_hours(1)), after);
}
