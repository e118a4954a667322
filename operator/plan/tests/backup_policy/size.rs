//! How large a status can become, whatever Jobs and Kubernetes say: the API server takes no object beyond 1.5 MiB, with the spec and its own notes
//! of who wrote which field.

use greenlang_backup_api::conditions;
use greenlang_backup_api::progress::Progress;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::v1alpha1::{
    ActiveCatalogue, ActiveCleanUp, ActiveProbe, ActivePrune, ActiveRun, AvailableBackup, BackupPolicy,
    BackupPolicyStatus, BackupStatus, CatalogueStatus, CleanUp, FailedRun, MAX_ALONGSIDE, MAX_AVAILABLE,
    MAX_CLEAN_UPS, MAX_CLEAN_UPS_IN_ALL, MAX_FAILURE, MAX_REMOVED, MAX_SCHEDULES, MAX_WAITING, ProbeStatus,
    PrunePlan, PruneResult, PruneStatus, Run, RunHistory, RunProgress, ScheduleStatus, Stopping,
    SucceededRun, Trigger, Verification,
};
use greenlang_backup_plan::backup_policy::validate;
use greenlang_backup_plan::job_state::{Ended, JobState};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use super::world::{Cut, World, at, policy};

/// Leaves a MiB for the spec and for what the API server notes.
const MOST: usize = 512 * 1_024;
/// Backups of a policy, as the definition has it.
const BACKUPS: usize = 32;
/// More than will ever be counted, in attempts or in bytes.
const MANY: u64 = 1_000_000_000_000_000;

fn name(kind: char, number: usize) -> String {
    format!("{kind}{number:0>39}")
}

fn path(number: usize) -> String {
    format!("{number:0>63}")
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn time() -> Time {
    Time(at("2025-11-07T00:05:00Z"))
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(second: usize) -> T {
    format!("20251107-0003{second:02}").parse().unwrap()
}

/// The longest expression that the definition allows.
fn cron() -> String {
    let minutes: Vec<_> = (0..=42).map(|minute| minute.to_string()).collect();
    format!("{} * * * *", minutes.join(","))
}

/// As many backups and schedules as may be.
fn greatest_policy() -> BackupPolicy {
    let schedule = |number| json!({"name": name('s', number), "cron": cron(), "keepDays": 1, "concurrencyPolicy": "Allow", "backoffLimit": 10});
    let backup = |number| {
        json!({"name": name('b', number), "path": path(number), "postgresDump": {},
            "schedules": (0..MAX_SCHEDULES / BACKUPS).map(schedule).collect::<Vec<_>>()})
    };
    policy(json!({"spec": {"timeZone": "America/Argentina/ComodRivadavia",
        "backups": (0..BACKUPS).map(backup).collect::<Vec<_>>()}}))
}

fn history() -> RunHistory {
    RunHistory {
        attempts: MANY,
        succeeded: MANY,
        failed: MANY,
        last_success: Some(SucceededRun {
            id: id(0),
            time: time(),
            duration_seconds: MANY,
            bytes: MANY,
            verified: Verification::ReadBack,
        }),
        last_failure: Some(FailedRun {
            id: id(0),
            time: time(),
            reason: text(64),
            message: text(MAX_FAILURE),
        }),
    }
}

/// A run that serves all schedules of its backup; with a Job, everything is known of it.
fn run(number: usize, second: usize, job: Option<&String>) -> ActiveRun {
    ActiveRun {
        run: Run {
            id: id(second),
            trigger: Trigger::Schedule,
            schedules: (0..MAX_SCHEDULES / BACKUPS).map(|number| name('s', number)).collect(),
        },
        start_time: time(),
        attempt: 10,
        job_uid: job.cloned(),
        not_before: Some(time()),
        last_error: Some(text(MAX_FAILURE)),
        progress: job.map(|_| RunProgress {
            progress: Progress {
                step: text(96),
                bytes_done: MANY,
                bytes_expected: Some(MANY),
                bytes_per_second: MANY,
            },
            percent: Some(99),
            seconds_left: Some(MANY),
            time: time(),
        }),
        path: Some(path(number)),
        stopping: None,
    }
}

fn prune(job: Option<&String>) -> PruneStatus {
    let result = PruneResult {
        time: time(),
        deleted: u32::MAX,
        kept: u32::MAX,
        locked: u32::MAX,
        held_back: u32::MAX,
        skipped: u32::MAX,
        garbage: u32::MAX,
        freed_bytes: MANY,
        report: text(400),
    };
    PruneStatus {
        after: Some(id(0)),
        dry_run_token: Some(text(128)),
        plan: Some(PrunePlan { after: id(0), time: time() }),
        waits_since: Some(time()),
        active: job.map(|job| ActivePrune {
            start_time: time(),
            rules: Some(text(64)),
            after: Some(id(0)),
            dry_run_token: Some(text(128)),
            job_uid: Some(job.clone()),
        }),
        failures: u32::MAX,
        next_time: Some(time()),
        last_error: Some(text(MAX_FAILURE)),
        last: Some(result.clone()),
        last_dry_run: Some(result),
    }
}

fn clean_up(number: usize, second: usize, job: Option<&String>) -> CleanUp {
    CleanUp {
        id: id(second),
        path: path(number),
        attempts: (1..=11).collect(),
        failures: u32::MAX,
        next_time: Some(time()),
        last_error: Some(text(MAX_FAILURE)),
        active: job.map(|job| ActiveCleanUp { start_time: time(), job_uid: Some(job.clone()) }),
    }
}

fn backup(policy: &BackupPolicy, number: usize, job: Option<&String>) -> BackupStatus {
    let zone = policy.spec.time_zone.as_deref().unwrap();
    let schedule = |number| ScheduleStatus {
        last_schedule_time: Some(time()),
        next_schedule_time: Some(time()),
        last_missed_time: Some(time()),
        missed: MANY,
        resumed_time: Some(time()),
        history: history(),
        ..ScheduleStatus::new(&name('s', number), &format!("{} {zone}", cron()), time())
    };
    // One clean-up and one prune of a policy at a time.
    let only = job.filter(|_| number == 0);
    let clean_ups = MAX_CLEAN_UPS.min(MAX_CLEAN_UPS_IN_ALL.saturating_sub(number * MAX_CLEAN_UPS));
    BackupStatus {
        name: name('b', number),
        active: Some(run(number, 0, job)),
        alongside: (1..=MAX_ALONGSIDE).map(|second| run(number, second, job)).collect(),
        waiting: (10..10 + MAX_WAITING)
            .map(|second| Run { id: id(second), trigger: Trigger::Manual, schedules: vec![] })
            .collect(),
        schedules: (0..MAX_SCHEDULES / BACKUPS).map(schedule).collect(),
        manual: history(),
        manual_token: Some(text(128)),
        last_id: Some(id(0)),
        clean_ups: (0..clean_ups)
            .map(|second| clean_up(number, 20 + second, only.filter(|_| second == 0)))
            .collect(),
        clean_ups_dropped: MANY,
        prune: Some(prune(only)),
    }
}

/// One that the spec no longer has: its four runs are being stopped.
fn removed(number: usize, job: Option<&String>) -> BackupStatus {
    let stopping = |second| ActiveRun {
        stopping: Some(Stopping::BackupRemoved),
        last_error: None,
        progress: None,
        ..run(number, second, job)
    };
    BackupStatus {
        name: name('r', number),
        active: Some(stopping(0)),
        alongside: (1..=MAX_ALONGSIDE).map(stopping).collect(),
        manual: history(),
        manual_token: Some(text(128)),
        last_id: Some(id(0)),
        clean_ups_dropped: MANY,
        ..BackupStatus::default()
    }
}

/// All that status can hold at once; with a Job of everything that goes on, or before any of them.
fn greatest(policy: &BackupPolicy, job: Option<&String>) -> BackupPolicyStatus {
    let condition = |type_: &&str| Condition {
        type_: (*type_).to_owned(),
        status: "Unknown".into(),
        reason: text(64),
        message: text(1_024),
        observed_generation: Some(i64::MAX),
        last_transition_time: time(),
    };
    let available = |number: usize| AvailableBackup {
        backup: name('b', number % BACKUPS),
        id: id(number % 60),
        time: time(),
        bytes: MANY,
        verified: Verification::ReadBack,
    };
    let backups = (0..BACKUPS).map(|number| backup(policy, number, job));
    let removed = (0..MAX_REMOVED).map(|number| removed(number, job));
    BackupPolicyStatus {
        observed_generation: Some(i64::MAX),
        conditions: conditions::OF_POLICIES.iter().map(condition).collect(),
        probe: Some(ProbeStatus {
            generation: Some(1),
            adopt: None,
            last_probe_time: Some(time()),
            next_probe_time: Some(Time(at("2025-11-07T00:35:00Z"))),
            consecutive_failures: 3,
            largest_database_bytes: Some(MANY),
            active: job.map(|job| ActiveProbe {
                start_time: time(),
                generation: i64::MAX,
                adopt: Some(text(128)),
                job_uid: Some(job.clone()),
            }),
        }),
        catalogue: Some(CatalogueStatus {
            completed_time: Some(time()),
            found: u32::MAX,
            failures: u32::MAX,
            next_time: Some(time()),
            last_error: Some(text(MAX_FAILURE)),
            active: job.map(|job| ActiveCatalogue { start_time: time(), job_uid: Some(job.clone()) }),
        }),
        backups: backups.chain(removed).collect(),
        available: (0..MAX_AVAILABLE).map(available).collect(),
        progress: Some(text(256)),
        last_backup_time: Some(time()),
        last_size: Some(text(16)),
        next_backup: Some(time()),
    }
}

fn size(status: &BackupPolicyStatus) -> usize {
    serde_json::to_string(status).unwrap().len()
}

/// The longest text about a failure, as JSON has it.
fn longest_failure(value: &Value) -> usize {
    let own = |(key, value): (&String, &Value)| match (key.as_str(), value) {
        ("lastError", Value::String(_)) => value.to_string().len() - 2,
        ("lastFailure", failure) => failure["message"].to_string().len() - 2,
        _ => longest_failure(value),
    };
    match value {
        Value::Object(fields) => fields.iter().map(own).max().unwrap_or_default(),
        Value::Array(items) => items.iter().map(longest_failure).max().unwrap_or_default(),
        _ => 0,
    }
}

#[test]
fn the_greatest_status_leaves_room_for_the_spec() {
    let policy = greatest_policy();
    validate(&policy).unwrap();
    let size = size(&greatest(&policy, Some(&text(36))));
    assert!(size < MOST, "{size} bytes");
    assert!(size > MOST / 2, "{size} bytes: something is left out");
}

#[test]
fn a_policy_has_no_more_schedules_than_status_can_remember() {
    let mut policy = greatest_policy();
    let more = policy.spec.backups[0].schedules[0].clone();
    policy.spec.backups[0]
        .schedules
        .push(greenlang_backup_api::v1alpha1::Schedule { name: "more".into(), ..more });
    let refused = validate(&policy).unwrap_err();
    assert_eq!((refused.reason, refused.field.as_str()), ("InvalidSpec", "spec.backups"));
}

/// Everything that goes on fails, or does not start, with as many words as fit into a termination message, each of them an escape.
#[test]
fn whatever_is_said_of_failures_status_has_a_part_of_it_and_stays_small() {
    let long = "\u{1}".repeat(4_000);
    let failed = RunReport::new(Outcome::Failed, &text(4_000), long.clone());
    let retried = RunReport::new(Outcome::Retryable, "StorageError", long.clone());
    let ended = |report| JobState::Ended(Box::new(Ended { report, container_ended: true, exit_code: None }));
    for state in [ended(failed), ended(retried), JobState::Stuck(long.clone()), JobState::Pending(Some(long))]
    {
        let policy = greatest_policy();
        let mut world = World::new(policy.clone());
        world.now = at("2025-11-07T00:06:00Z");
        let mut status = greatest(&policy, None);
        status.backups[0].prune = Some(PruneStatus { after: None, ..PruneStatus::default() });
        world.policy.status = Some(status);
        world.bucket_answers = false;
        for _ in 0..3 {
            world.pass(Cut::Nowhere);
        }
        assert!(world.jobs.len() > BACKUPS * (1 + MAX_ALONGSIDE), "{} Jobs", world.jobs.len());
        for job in &mut world.jobs {
            job.state = state.clone();
        }
        world.pass(Cut::Nowhere);
        let status = world.status();
        assert!(size(&status) < MOST, "{} bytes", size(&status));
        let longest = longest_failure(&serde_json::to_value(&status).unwrap());
        assert!((200..=MAX_FAILURE).contains(&longest), "{longest} bytes: {state:?}");
    }
}

/// Nothing but this measures their Tasks.
#[test]
fn catalogues_and_clean_ups_of_the_greatest_policy_fit_into_their_jobs() {
    let policy = greatest_policy();
    for (status, job) in [(None, "p-catalogue"), (Some(greatest(&policy, None)), "p-clean-up")] {
        let mut world = World::new(policy.clone());
        world.now = at("2025-11-07T00:06:00Z");
        world.policy.status = status;
        world.bucket_answers = false;
        for _ in 0..3 {
            world.pass(Cut::Nowhere);
        }
        assert!(world.jobs.iter().any(|made| made.name.starts_with(job)), "no {job}");
    }
}

#[test]
fn tokens_are_remembered_in_a_few_bytes() {
    let mut policy = greatest_policy();
    let backup = name('b', 0);
    let annotations = json!({format!("run.backup.greenlang.io/{backup}"): text(100_000),
        "backup.greenlang.io/adopt": "\u{1}".repeat(100_000), "prune.backup.greenlang.io/dry-run": text(100_000)});
    policy.metadata.annotations = serde_json::from_value(annotations).unwrap();
    let valid = validate(&policy).unwrap();
    for token in
        [&valid.run_tokens[&backup], valid.adopt.as_ref().unwrap(), valid.prune_token.as_ref().unwrap()]
    {
        assert!(serde_json::to_string(token).unwrap().len() <= 130, "{token}");
    }
}
