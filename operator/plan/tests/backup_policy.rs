//! What the operator decides, as stories in a model cluster; among them every cut between two writes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

#[path = "backup_policy/bounds.rs"]
mod bounds;
#[path = "backup_policy/change.rs"]
mod change;
#[path = "backup_policy/clean_up.rs"]
mod clean_up;
#[path = "backup_policy/clock.rs"]
mod clock;
#[path = "backup_policy/first_probe.rs"]
mod first_probe;
#[path = "backup_policy/history.rs"]
mod history;
#[path = "backup_policy/places.rs"]
mod places;
#[path = "backup_policy/restores.rs"]
mod restores;
#[path = "backup_policy/retention.rs"]
mod retention;
#[path = "backup_policy/retention_rules.rs"]
mod retention_rules;
#[path = "backup_policy/schedule.rs"]
mod schedule;
#[path = "backup_policy/size.rs"]
mod size;
#[path = "backup_policy/stuck.rs"]
mod stuck;
mod world;

use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::v1alpha1::{BackupStatus, RunHistory, Stopping, Verification};
use greenlang_backup_plan::backup_policy::{Effect, Invalid, validate};
use greenlang_backup_plan::job_state::JobState;
use proptest::prelude::*;
use serde_json::json;
use world::{Cut, Fate, World, at, policy};

fn backup(world: &World) -> BackupStatus {
    world.status().backups[0].clone()
}

fn counts(history: &RunHistory) -> (u64, u64, u64) {
    (history.attempts, history.succeeded, history.failed)
}

fn is(world: &World, type_: &str, state: State) -> bool {
    conditions::is(&world.status().conditions, type_, state)
}

fn probed(mut world: World) -> World {
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    world
}

#[test]
fn a_new_policy_is_probed_and_waits_for_its_slot() {
    let mut world = World::new(policy(json!({})));
    world.settle();
    assert!(
        is(&world, conditions::READY, State::Unknown) && is(&world, conditions::RECONCILING, State::True)
    );
    assert_eq!(world.jobs.len(), 1, "only the probe");
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert!(is(&world, conditions::READY, State::True) && is(&world, conditions::RECONCILING, State::False));
    assert!(is(&world, conditions::BACKUPS_CURRENT, State::Unknown));
    assert_eq!(world.jobs, vec![], "the probe's Job is deleted once counted");
    assert_eq!(world.status().next_backup.unwrap().0, at("2025-11-07T00:05:00Z"));
}

#[test]
fn coinciding_schedules_make_one_run_that_both_count() {
    let mut world = probed(World::new(policy(json!({}))));
    world.now = at("2025-11-07T00:10:02Z");
    world.settle();
    let active = backup(&world).active.unwrap();
    assert_eq!((active.run.id.as_str(), active.run.schedules.len()), ("20251107-001000", 2));
    world.jobs_end(Fate::Succeeds);
    world.settle();
    let status = backup(&world);
    assert!(status.schedules.iter().all(|entry| counts(&entry.history) == (1, 1, 0)));
    assert_eq!(world.status().available.len(), 1);
    assert_eq!(world.status().available[0].verified, Verification::Streamed);
    let history = &status.schedules[0].history;
    assert_eq!(history.last_success.as_ref().unwrap().verified, Verification::Streamed);
    assert_eq!(world.status().last_size.as_deref(), Some("10 B"));
    assert!(is(&world, conditions::BACKUPS_CURRENT, State::True));
    assert_eq!(world.jobs, vec![]);
}

#[test]
fn first_run_immediately_makes_one_run_however_often_it_is_looked_at() {
    let mut world = World::new(policy(json!({"spec": {"firstRun": "Immediately"}})));
    world.settle();
    assert_eq!(backup(&world).active.unwrap().run.id.as_str(), "20251107-000030");
    let mut world = probed(world);
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(counts(&backup(&world).manual), (1, 1, 0));
    world.later(60);
    world.settle();
    assert_eq!(world.bucket.len(), 1);
}

#[test]
fn each_new_token_is_one_run_even_while_suspended() {
    let mut world = probed(World::new(policy(json!({"spec": {"suspend": true}}))));
    for (token, made) in [("a", 1), ("a", 1), ("b", 2), ("", 2)] {
        let annotation = json!({"run.backup.greenlang.io/database": token});
        world.policy.metadata.annotations = serde_json::from_value(annotation).unwrap();
        world.settle();
        world.jobs_end(Fate::Succeeds);
        world.settle();
        assert_eq!(world.bucket.len(), made, "after token {token:?}");
    }
    assert_eq!(counts(&backup(&world).manual), (2, 2, 0));
    world.now = at("2025-11-07T03:00:00Z");
    world.settle();
    assert_eq!(backup(&world).active, None, "no scheduled run while suspended");
    assert_eq!(world.status().next_backup, None);
}

#[test]
fn a_failed_attempt_is_retried_with_a_growing_pause_then_counted_as_failed_once() {
    let mut world = probed(World::new(policy(json!({}))));
    world.now = at("2025-11-07T00:05:00Z");
    for (attempt, pause) in [(1, 10), (2, 20)] {
        world.settle();
        assert_eq!(backup(&world).active.unwrap().attempt, attempt);
        world.jobs_end(Fate::FailsForNow);
        world.settle();
        let active = backup(&world).active.unwrap();
        assert_eq!(active.not_before.unwrap().0.duration_since(world.now).as_secs(), pause);
        assert!(active.last_error.unwrap().contains("for now"));
        world.later(pause);
    }
    world.settle();
    world.jobs_end(Fate::FailsForNow);
    world.settle();
    let often = &backup(&world).schedules[0];
    assert_eq!(counts(&often.history), (3, 0, 1));
    assert_eq!(often.history.last_failure.as_ref().unwrap().reason, "DumpFailed");
    assert!(is(&world, conditions::BACKUPS_CURRENT, State::False));
    assert_eq!(world.jobs.len(), 3, "failed Jobs stay for their logs");
    world.now = at("2025-11-07T00:10:00Z");
    world.settle();
    world.jobs_end(Fate::Fails);
    world.settle();
    assert_eq!(
        counts(&backup(&world).schedules[0].history),
        (4, 0, 2),
        "what cannot be mended is not retried"
    );
    assert_eq!(world.jobs.len(), 3, "but no more than three");
}

#[test]
fn a_lost_report_ends_in_one_success() {
    let mut world = probed(World::new(policy(json!({}))));
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    world.jobs_end(Fate::SucceedsUnheard);
    world.settle();
    world.later(10);
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(counts(&backup(&world).schedules[0].history), (2, 1, 0));
    assert_eq!(world.status().available.len(), 1);
}

#[test]
fn a_new_or_changed_schedule_does_not_run_at_once() {
    let mut world = probed(World::new(policy(json!({}))));
    world.now = at("2025-11-07T02:30:00Z");
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    let made = world.bucket.len();
    world.later(60);
    let schedules = &mut world.policy.spec.backups[0].schedules;
    schedules[0].cron = "0 2 * * *".into();
    schedules
        .push(serde_json::from_value(json!({"name": "new", "cron": "0 1 * * *", "keepDays": 1})).unwrap());
    world.settle();
    assert_eq!((world.bucket.len(), backup(&world).active), (made, None));
    assert_eq!(counts(&backup(&world).schedules[0].history).1, 1, "its history stays");
}

#[test]
fn a_long_pause_ends_in_one_run_not_in_a_flood() {
    let mut world = probed(World::new(policy(json!({}))));
    world.now = at("2025-11-17T12:34:00Z");
    for _ in 0..5 {
        world.settle();
        world.jobs_end(Fate::Succeeds);
    }
    world.settle();
    // The two schedules' newest missed slots differ only in minutes here; both are 12:30.
    assert_eq!(
        world.bucket.iter().map(greenlang_backup_api::names::BackupId::as_str).collect::<Vec<_>>(),
        ["20251117-123000"]
    );
}

#[test]
fn failing_probes_grow_rare_and_a_change_is_probed_at_once() {
    let mut world = World::new(policy(json!({})));
    world.findings.storage.ok = false;
    world.findings.storage.reason = "BucketNotFound".into();
    let mut pauses = Vec::new();
    for _ in 0..7 {
        world.settle();
        world.jobs_end(Fate::Succeeds);
        world.settle();
        let next = world.status().probe.unwrap().next_probe_time.unwrap().0;
        pauses.push(next.duration_since(world.now).as_secs());
        world.policy.spec.suspend = true;
        world.now = next;
    }
    assert_eq!(pauses, [30, 60, 120, 240, 480, 600, 600]);
    let ready = world.status().conditions.iter().find(|c| c.type_ == "Ready").cloned().unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "BucketNotFound"));
    world.settle();
    world.findings.storage.ok = true;
    world.jobs_end(Fate::Succeeds);
    world.policy.metadata.generation = Some(2);
    world.settle();
    assert!(
        is(&world, conditions::READY, State::Unknown),
        "the new generation is not proved by the old probe"
    );
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert!(is(&world, conditions::READY, State::True));
}

#[test]
fn a_removed_backup_is_stopped_and_foreign_jobs_are_let_alone() {
    let mut world = probed(World::new(policy(json!({}))));
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    let job = world.jobs[0].clone();
    assert_eq!(job.state, JobState::Running);
    world.policy.spec.backups[0].name = "renamed".into();
    // First it is stored that the run is stopped, and what its Pod is known by; then its Job is deleted, and nothing else.
    world.pass(Cut::Nowhere);
    let stopped = world.status().backups.iter().find_map(|backup| backup.active.clone()).unwrap();
    assert_eq!((stopped.stopping, stopped.job_uid.as_ref()), (Some(Stopping::BackupRemoved), Some(&job.uid)));
    assert_eq!(world.decide().effects, [Effect::DeleteJob { name: job.name, uid: job.uid }]);
}

#[test]
fn a_lost_status_takes_up_the_job_that_runs() {
    let mut world = probed(World::new(policy(json!({}))));
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    let running = world.jobs.clone();
    world.policy.status = None;
    world.settle();
    assert!(running.iter().all(|job| world.jobs.iter().any(|now| now.uid == job.uid)), "{:?}", world.jobs);
    world.jobs_end(Fate::Succeeds);
    world.settle();
    assert_eq!(counts(&backup(&world).schedules[0].history), (1, 1, 0));
}

#[test]
fn a_clock_that_was_years_ahead_stops_no_schedule_and_no_probe() {
    let mut world = probed(World::new(policy(json!({}))));
    world.now = at("2031-01-01T00:00:00Z");
    world.settle();
    world.jobs_end(Fate::Succeeds);
    world.settle();
    world.now = at("2025-11-07T00:20:00Z");
    for _ in 0..3 {
        world.settle();
        world.jobs_end(Fate::Succeeds);
    }
    world.settle();
    let status = world.status();
    assert!(
        status.backups[0]
            .schedules
            .iter()
            .all(|entry| entry.last_schedule_time.as_ref().unwrap().0 <= world.now)
    );
    assert!(world.bucket.iter().any(|id| id.as_str() == "20251107-002000"));
    assert!(status.probe.unwrap().next_probe_time.unwrap().0 <= at("2025-11-07T01:20:05Z"));
}

#[test]
fn invalid_specs_are_named_by_field_and_mending_is_enough() {
    for (change, reason, field) in [
        (json!({"spec": {"timeZone": "Mars/Olympus"}}), "InvalidTimeZone", "spec.timeZone"),
        (
            json!({"spec": {"encryption": {"age": {"recipients": ["age1a", "AGE-SECRET-KEY-1X"]}}}}),
            "InvalidRecipient",
            "spec.encryption.age.recipients[1]",
        ),
    ] {
        let Invalid { reason: found, field: at, message } = validate(&policy(change)).unwrap_err();
        assert_eq!((found, at.as_str()), (reason, field));
        assert!(!message.contains("SECRET-KEY"));
    }
    // What the definition refuses as well: a definition of before may be in use.
    let mut reserved = policy(json!({}));
    reserved.spec.backups[0].schedules[0].name = "manual".into();
    let Invalid { reason, field, message } = validate(&reserved).unwrap_err();
    assert_eq!((reason, field.as_str()), ("InvalidSpec", "spec.backups[database].schedules[manual].name"));
    assert!(message.contains("use another one"), "{message}");
    for cron in ["0 0 2 * * *", "0 0 30 2 *", "nonsense"] {
        let mut world = World::new(policy(json!({})));
        world.policy.spec.backups[0].schedules[1].cron = cron.into();
        world.settle();
        let ready = world.status().conditions.iter().find(|c| c.type_ == "Ready").cloned().unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "InvalidSchedule"));
        assert!(
            ready.message.starts_with("spec.backups[database].schedules[seldom].cron: "),
            "{}",
            ready.message
        );
        assert!(is(&world, conditions::STALLED, State::True));
        assert_eq!(world.jobs, vec![], "nothing runs");
        world.policy.spec.backups[0].schedules[1].cron = "*/10 * * * *".into();
        let world = probed(world);
        assert!(is(&world, conditions::READY, State::True) && is(&world, conditions::STALLED, State::False));
    }
    let mut twice = policy(json!({}));
    let mut second = twice.spec.backups[0].clone();
    second.name = "second".into();
    twice.spec.backups.push(second);
    assert_eq!(validate(&twice).unwrap_err().field, "spec.backups[second].path");
}

#[test]
fn a_prefix_inside_of_a_backup_is_refused() {
    let with = |prefix: &str| validate(&policy(json!({"spec": {"storage": {"s3": {"prefix": prefix}}}})));
    for prefix in ["database/20251107-020000", "database/20251107-020000/1", "20251107-020000/team"] {
        let Invalid { reason, field, message } = with(prefix).unwrap_err();
        assert_eq!((reason, field.as_str()), ("InvalidSpec", "spec.storage.s3.prefix"));
        assert!(message.contains("\"20251107-020000\" has the form of a backup's directory"), "{message}");
    }
    for prefix in ["", "database", "clusters/2025", "20251107", "v1-20251107-020000"] {
        assert_eq!(with(prefix).unwrap().bucket.prefix, prefix);
    }
}

#[test]
fn a_server_of_ones_own_has_buckets_in_the_path_unless_said_otherwise() {
    for (s3, path_style) in [
        (json!({}), false),
        (json!({"forcePathStyle": true}), true),
        (json!({"endpoint": "http://s3.test"}), true),
        (json!({"endpoint": "http://s3.test", "forcePathStyle": false}), false),
    ] {
        let valid = validate(&policy(json!({"spec": {"storage": {"s3": s3}}}))).unwrap();
        assert_eq!(valid.bucket.force_path_style, path_style, "{s3}");
    }
}

#[test]
fn a_task_too_long_for_the_environment_is_refused_at_validation() {
    let mut long = policy(json!({}));
    let names = (0..100).map(|at| format!("{at:0>63}")).collect::<Vec<_>>();
    long.spec.backups[0].postgres_dump.as_mut().unwrap().databases = names;
    validate(&long).unwrap();
    long.spec.encryption.age.recipients = (0..20).map(|at| format!("{at:0>4096}")).collect();
    assert!(validate(&long).unwrap_err().message.contains("98304"));
}

/// A step of a life: the seconds that pass after it, the effects after which the process dies (4: it does not), and how Jobs end.
type Step = (i64, usize, Option<Fate>);

fn step() -> impl Strategy<Value = Step> {
    let fate = prop::sample::select(Fate::ALL.to_vec());
    (0_i64..400, 0_usize..5, prop::option::of(fate))
}

/// A pass that is cut, a whole one, and the end of Jobs in a pass that is cut.
fn live(world: &mut World, cut: usize, fate: Option<Fate>) {
    world.pass(if cut == 4 { Cut::Nowhere } else { Cut::AfterEffects(cut) });
    world.pass(Cut::Nowhere);
    if let Some(fate) = fate {
        world.jobs_end(fate);
        world.pass(Cut::AfterEffects(cut));
    }
}

/// A world in which all that has happened; half of the time no run could begin, because others had all places.
fn lived(steps: Vec<Step>) -> World {
    let mut world = World::new(policy(json!({})));
    for (seconds, cut, fate) in steps {
        live(&mut world, cut, fate);
        world.later(seconds);
        world.places = usize::from(seconds % 2 == 0);
    }
    world.places = usize::MAX;
    world
}

#[track_caller]
fn assert_made_once(world: &World) {
    let again: Vec<_> = world.made.iter().filter(|(_, times)| **times != 1).collect();
    assert!(again.is_empty(), "made more than once: {again:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// The process dies at any point of any pass, time jumps, Jobs end in any way: every attempt's Job is made at most once
    /// while it matters, every backup is counted exactly once, every run ends, and the newest due slot is never lost.
    #[test]
    fn no_slot_is_lost_and_none_counts_twice(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = lived(steps);
        for _ in 0..20 {
            world.settle();
            world.jobs_end(Fate::Succeeds);
            world.settle();
            if backup(&world).active.is_none() {
                break;
            }
            world.later(10);
        }

        let status = backup(&world);
        prop_assert_eq!(&status.active, &None);
        assert_made_once(&world);
        for entry in &status.schedules {
            let minutes = if entry.name == "often" { 5 } else { 10 };
            let newest = world.now.as_second() / (minutes * 60) * (minutes * 60);
            if newest > at("2025-11-07T00:00:30Z").as_second() {
                prop_assert_eq!(entry.last_schedule_time.as_ref().unwrap().0.as_second(), newest);
let ended = entry.history.last_success.as_ref().map(|run| &run.id).into_iter()
                    .chain(entry.history.last_failure.as_ref().map(|run| &run.id));
                prop_assert_eq!(ended.map(|id| id.slot().unwrap().as_second()).max(), Some(newest));
            }
        }
        // Every end is told with the status that counts it: the counters must agree with what was told, and both with the Jobs.
        let told = |reason| world.told.iter().filter(|told| **told == reason).count();
        let (succeeded, failed, retried) = (told("BackupSucceeded"), told("BackupFailed"), told("BackupRetrying"));
        let runs = world.made.keys().filter(|name| name.starts_with("p-database")).count();
        prop_assert_eq!(runs, succeeded + failed + retried, "every attempt ends once");
        prop_assert_eq!(told("BackupStarted"), succeeded + failed, "every run ends once");
        prop_assert_eq!(world.status().available.len(), succeeded.min(100));
        prop_assert!(succeeded <= world.bucket.len());
        for entry in &status.schedules {
            prop_assert!(entry.history.succeeded <= succeeded as u64 && entry.history.failed <= failed as u64);
            prop_assert!(entry.history.attempts >= entry.history.succeeded + entry.history.failed);
        }
        let (runs, others): (Vec<_>, Vec<_>) = world.jobs.iter().partition(|job| job.backup.is_some());
        prop_assert!(runs.len() <= 3, "only failed Jobs stay: {runs:?}");
        // A clean-up may go on beside them.
        prop_assert!(others.len() <= 4, "only failed Jobs stay: {others:?}");
    }
}

#[test]
fn the_memory_limit_of_a_job_follows_the_largest_database() {
    const GIB: u64 = 1 << 30;
    for (bytes, streams, template, limit) in [
        // Not known: taken for 1 TiB.
        (None, 1, json!({}), "616Mi"),
        (None, 4, json!({}), "2176Mi"),
        (Some(100 * GIB), 1, json!({}), "512Mi"),
        // A quarter more are 1,280 GiB in parts of 164 MiB, of which two are held; of 128 MiB it were three: 96 + 384 + 8 + 128.
        (Some(1024 * GIB), 1, json!({}), "616Mi"),
        // 5 TiB, with what it may have grown, cut into 8,000 are 656 MiB, of which two are in memory: 96 + 2 × 656 + 8 + 128.
        (Some(4096 * GIB), 1, json!({}), "1544Mi"),
        (Some(GIB), 4, json!({}), "832Mi"),
        (Some(4096 * GIB), 1, json!({"resources": {"limits": {"memory": "1Gi"}}}), "1Gi"),
    ] {
        let mut world = World::new(policy(json!({"spec": {"jobTemplate": template}})));
        world.policy.spec.backups[0].postgres_dump.as_mut().unwrap().streams = Some(streams);
        world.findings.largest_database_bytes = bytes;
        let mut world = probed(world);
        assert_eq!(world.status().probe.unwrap().largest_database_bytes, bytes);
        world.now = at("2025-11-07T00:10:02Z");
        world.settle();
        assert_eq!(world.limits.values().collect::<Vec<_>>(), [limit], "{bytes:?} in {streams} streams");
    }
}
