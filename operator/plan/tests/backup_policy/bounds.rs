//! Lists in status that would grow without end have bounds, and what is beyond a bound is not lost.

use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::v1alpha1::{
    BackupStatus, CleanUp, MAX_AVAILABLE, MAX_CLEAN_UPS, MAX_CLEAN_UPS_IN_ALL, MAX_REMOVED, MAX_WAITING,
};
use greenlang_backup_plan::backup_policy::validate;
use greenlang_backup_plan::job_state::{Ended, JobState};
use greenlang_backup_plan::jobs::ObservedJob;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::schedule::{ask, often, with};
use super::world::{Cut, Fate, World, at, policy};
use super::{backup, probed};

#[test]
fn tokens_beyond_those_that_may_wait_stay_in_the_annotation_until_there_is_room() {
    let mut world = with(often("Forbid"));
    world.now = at("2025-11-07T00:05:00Z");
    world.settle();
    for number in 0..=MAX_WAITING {
        ask(&mut world, &format!("token {number}"));
        world.later(1);
        world.settle();
        assert_eq!(backup(&world).waiting.len(), (number + 1).min(MAX_WAITING));
    }
    let full = format!("token {}", MAX_WAITING - 1);
    assert_eq!(backup(&world).manual_token, Some(full), "the last one is not taken note of");
    for _ in 0..=MAX_WAITING + 1 {
        world.jobs_end(Fate::Succeeds);
        world.settle();
    }
    let expected = u64::try_from(MAX_WAITING).unwrap() + 1;
    assert_eq!((backup(&world).manual.succeeded, backup(&world).waiting.len()), (expected, 0));
}

/// Backups that are made, and those that are found in the bucket.
#[test]
fn the_newest_hundred_backups_are_shown() {
    let mut world = with(often("Forbid"));
    let ids = |world: &World| -> Vec<String> {
        world.status().available.iter().map(|entry| entry.id.to_string()).collect()
    };
    for _ in 0..MAX_AVAILABLE + 5 {
        world.later(300);
        world.settle();
        world.jobs_end(Fate::Succeeds);
        world.settle();
    }
    let mut newest: Vec<_> = world.bucket.iter().map(ToString::to_string).collect();
    newest.sort();
    newest.reverse();
    newest.truncate(MAX_AVAILABLE);
    assert_eq!((world.bucket.len(), ids(&world)), (MAX_AVAILABLE + 5, newest.clone()));
    world.policy.status = None;
    world.later(1);
    world.settle();
    assert_eq!(ids(&world), newest);
}

#[test]
fn every_job_says_who_it_is_for_and_whose_place_it_may_take() {
    let mut world = World::new(policy(json!({})));
    let adopt = json!({"backup.greenlang.io/adopt": "0123456789ab"});
    world.policy.metadata.annotations = serde_json::from_value(adopt).unwrap();
    world.settle();
    world.jobs_end(Fate::Succeeds);
    for fate in [Fate::IsKilled, Fate::Succeeds] {
        world.later(300);
        world.settle();
        // One run is enough.
        world.policy.spec.suspend = true;
        world.jobs_end(fate);
        world.settle();
    }
    world.later(60);
    world.settle();
    let mut kinds: Vec<_> = world.claims.iter().map(|(kind, _)| *kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["backup", "catalogue", "clean-up", "probe", "prune"]);
    for (kind, claim) in &world.claims {
        let owner = &claim.owner;
        let named = (owner.cluster_uid.as_str(), owner.namespace.as_str(), owner.policy.as_str());
        assert_eq!((named, claim.adopt.as_deref()), (("c", "n", "p"), Some("0123456789ab")), "{kind}");
    }
}

#[test]
fn of_all_names_that_the_spec_no_longer_has_three_failed_jobs_are_kept() {
    let mut world = with(often("Forbid"));
    let report = RunReport::new(Outcome::Failed, "AccessDenied", "no");
    for number in 0..8 {
        let ended = Ended { report: report.clone(), container_ended: true, exit_code: None };
        let backup = if number < 4 { "database".to_owned() } else { format!("old-{number}") };
        world.jobs.push(ObservedJob {
            name: format!("p-{number}"),
            uid: number.to_string(),
            created: world.now,
            backup: Some(backup),
            deleting: false,
            state: JobState::Ended(Box::new(ended)),
            progress: None,
            details: String::new(),
        });
    }
    world.settle();
    let kept = |known: bool| {
        let names = world.jobs.iter().filter_map(|job| job.backup.as_deref());
        names.filter(|name| (*name == "database") == known).count()
    };
    assert_eq!((kept(true), kept(false)), (3, 3));
}

#[test]
fn a_check_of_more_databases_than_a_job_can_be_told_is_refused() {
    let backups = |each: usize| {
        let databases = |backup: usize| (0..each).map(move |number| format!("{backup:0>30}{number:0>30}"));
        let backup = |number| {
            let name = format!("b{number}");
            json!({"name": name, "path": name, "schedules": [],
                "postgresDump": {"databases": databases(number).collect::<Vec<_>>()}})
        };
        policy(json!({"spec": {"backups": (0..32).map(backup).collect::<Vec<_>>()}}))
    };
    assert!(validate(&backups(10)).is_ok());
    let refused = validate(&backups(100)).unwrap_err();
    assert_eq!((refused.reason, refused.field.as_str()), ("InvalidSpec", "spec.backups"));
}

/// A backup that the spec no longer has, with clean-ups that are due in so many seconds.
fn taken_out(world: &World, number: usize, due: &[i64]) -> BackupStatus {
    let time = |seconds| Time(world.now.checked_add(SignedDuration::from_secs(seconds)).unwrap());
    let clean_up = |(second, due): (usize, &i64)| CleanUp {
        id: format!("20251106-0000{second:02}").parse().unwrap(),
        path: format!("old-{number}"),
        attempts: vec![1],
        failures: 1,
        next_time: Some(time(*due)),
        last_error: None,
        active: None,
    };
    BackupStatus {
        name: format!("old-{number}"),
        clean_ups: due.iter().enumerate().map(clean_up).collect(),
        ..BackupStatus::default()
    }
}

/// Runs one pass with these backups behind those of the spec, and gives what is left of them.
fn after_a_pass(world: &mut World, removed: Vec<BackupStatus>) -> Vec<BackupStatus> {
    let mut status = world.status();
    status.backups.extend(removed);
    world.policy.status = Some(status);
    world.pass(Cut::Nowhere);
    world.status().backups.split_off(1)
}

#[test]
fn of_backups_that_were_taken_out_the_oldest_are_forgotten_and_it_is_said_what_stays_of_them() {
    let mut world = probed(World::new(policy(json!({}))));
    // What was taken out last stands first.
    let removed = (0..MAX_REMOVED + 2).map(|number| taken_out(&world, number, &[3_600])).collect();
    let left = after_a_pass(&mut world, removed);
    let names: Vec<_> = left.iter().map(|status| status.name.clone()).collect();
    assert_eq!(names, (0..MAX_REMOVED).map(|number| format!("old-{number}")).collect::<Vec<_>>());
    let told = |path: &str| {
        let part = format!("left below {path}/20251106-000000 in the bucket stays there");
        world.dropped.iter().any(|message| message.contains(&part))
    };
    assert_eq!(world.dropped.len(), 2, "{:?}", world.dropped);
    assert!(told(&format!("old-{MAX_REMOVED}")) && told(&format!("old-{}", MAX_REMOVED + 1)));
}

#[test]
fn of_clean_ups_of_all_backups_those_that_are_due_last_fall_out() {
    let mut world = probed(World::new(policy(json!({}))));
    let full = MAX_CLEAN_UPS_IN_ALL.div_ceil(MAX_CLEAN_UPS);
    let due = |number: usize| vec![i64::try_from(3_600 * (number + 1)).unwrap(); MAX_CLEAN_UPS];
    let removed = (0..full).map(|number| taken_out(&world, number, &due(number))).collect();
    let left = after_a_pass(&mut world, removed);
    let counts: Vec<_> = left.iter().map(|status| status.clean_ups.len()).collect();
    let over = full * MAX_CLEAN_UPS - MAX_CLEAN_UPS_IN_ALL;
    let mut expected = vec![MAX_CLEAN_UPS; full];
    expected[full - 1] -= over;
    assert!(over > 0 && over < MAX_CLEAN_UPS, "the last one loses some");
    assert_eq!((counts, world.dropped.len()), (expected, over));
    assert_eq!(left[full - 1].clean_ups_dropped, over as u64);
}
