//! The table of (schedule, now, history) and what is then to be done.

use greenlang_backup_api::v1alpha1::BackupPolicy;
use serde_json::json;

use super::super::super::validate::validate;
use super::*;
use crate::schedule::Cadence;

/// A policy with these schedules; two of them may share slots.
fn policy(schedules: &serde_json::Value, zone: &str) -> ValidatedPolicy {
    let policy = json!({
        "apiVersion": "backup.greenlang.io/v1alpha1", "kind": "BackupPolicy",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "creationTimestamp": "2025-01-01T00:00:00Z"},
        "spec": {
            "timeZone": zone,
            "storage": {"s3": {"bucket": "b"}},
            "encryption": {"age": {"recipients": ["age1a", "age1b"]}},
            "postgres": {"host": "db", "database": "d", "credentialsSecretRef": {"name": "s"}},
            "backups": [{"name": "database", "postgresDump": {}, "schedules": schedules}]}});
    validate(&serde_json::from_value::<BackupPolicy>(policy).unwrap()).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The history of a schedule: accepted, newest run, newest missed, resumed.
fn history(times: [&str; 4]) -> ScheduleStatus {
    let time = |text: &str| (!text.is_empty()).then(|| Time(at(text)));
    let [accepted, run, missed, resumed] = times;
    ScheduleStatus {
        name: "s".into(),
        accepted: String::new(),
        accepted_time: Time(at(accepted)),
        last_schedule_time: time(run),
        next_schedule_time: None,
        last_missed_time: time(missed),
        missed: 0,
        resumed_time: time(resumed),
        history: RunHistory::default(),
    }
}

fn asks(
    policy: &ValidatedPolicy,
    entry: &ScheduleStatus,
    now: &str,
) -> (Option<String>, Option<(u64, String)>) {
    let backup = &policy.backups[0];
    let due = due(policy, backup, &backup.schedules[0], entry, at(now));
    (
        due.slot.map(|slot| slot.to_string()),
        due.missed.map(|missed| (count(&backup.schedules[0], missed), missed.newest.to_string())),
    )
}

#[test]
fn what_a_schedule_asks_for() {
    let new = ["2025-11-07T00:30:00Z", "", "", ""];
    let ran = |slot| ["2025-11-07T00:30:00Z", slot, "", ""];
    // Schedule, history, now; the slot to run, and how many are missed up to which.
    #[rustfmt::skip]
    let cases = [
        // Nothing is due before the first slot, one second before a slot, or once it has its run.
        (json!({}), new, "2025-11-07T00:59:59Z", None, None),
        (json!({}), new, "2025-11-07T01:00:00Z", Some("2025-11-07T01:00:00Z"), None),
        (json!({}), ran("2025-11-07T01:00:00Z"), "2025-11-07T01:59:59Z", None, None),
        (json!({}), ran("2025-11-07T01:00:00Z"), "2025-11-07T02:00:00Z", Some("2025-11-07T02:00:00Z"), None),
        // After a pause the newest slot is made up for and the others are counted.
        (json!({}), ran("2025-11-07T01:00:00Z"), "2025-11-07T06:10:00Z", Some("2025-11-07T06:00:00Z"), Some((4, "2025-11-07T05:00:00Z"))),
        (json!({}), ["2020-01-01T00:00:00Z", "", "", ""], "2025-11-07T06:10:00Z", Some("2025-11-07T06:00:00Z"), Some((1_000, "2025-11-07T05:00:00Z"))),
        // Missed slots are not counted again.
        (json!({}), ["2025-11-07T00:30:00Z", "2025-11-07T01:00:00Z", "2025-11-07T04:00:00Z", ""], "2025-11-07T06:10:00Z", Some("2025-11-07T06:00:00Z"), Some((1, "2025-11-07T05:00:00Z"))),
        // A deadline: in time, in its last second, too late.
        (json!({"startingDeadlineSeconds": 600}), ran("2025-11-07T01:00:00Z"), "2025-11-07T02:05:00Z", Some("2025-11-07T02:00:00Z"), None),
        (json!({"startingDeadlineSeconds": 600}), ran("2025-11-07T01:00:00Z"), "2025-11-07T02:10:00Z", Some("2025-11-07T02:00:00Z"), None),
        (json!({"startingDeadlineSeconds": 600}), ran("2025-11-07T01:00:00Z"), "2025-11-07T02:10:01Z", None, Some((1, "2025-11-07T02:00:00Z"))),
        (json!({"startingDeadlineSeconds": 600}), ran("2025-11-07T01:00:00Z"), "2025-11-07T05:30:00Z", None, Some((4, "2025-11-07T05:00:00Z"))),
        // No catching up: 300 seconds stand for "in time".
        (json!({"catchUp": "None"}), ran("2025-11-07T01:00:00Z"), "2025-11-07T02:05:00Z", Some("2025-11-07T02:00:00Z"), None),
        (json!({"catchUp": "None"}), ran("2025-11-07T01:00:00Z"), "2025-11-07T02:05:01Z", None, Some((1, "2025-11-07T02:00:00Z"))),
        (json!({"catchUp": "Latest"}), ran("2025-11-07T01:00:00Z"), "2025-11-07T02:59:59Z", Some("2025-11-07T02:00:00Z"), None),
        // Suspended: nothing; afterwards the newest, and what passed meanwhile was not missed.
        (json!({"suspend": true}), ran("2025-11-07T01:00:00Z"), "2025-11-07T06:10:00Z", None, None),
        (json!({}), ["2025-11-07T00:30:00Z", "2025-11-07T01:00:00Z", "", "2025-11-07T06:05:00Z"], "2025-11-07T06:10:00Z", Some("2025-11-07T06:00:00Z"), None),
        (json!({}), ["2025-11-07T00:30:00Z", "2025-11-07T01:00:00Z", "", "2025-11-07T04:00:00Z"], "2025-11-07T06:10:00Z", Some("2025-11-07T06:00:00Z"), Some((2, "2025-11-07T05:00:00Z"))),
        (json!({"catchUp": "None"}), ["2025-11-07T00:30:00Z", "2025-11-07T01:00:00Z", "", "2025-11-07T06:09:00Z"], "2025-11-07T06:10:00Z", None, None),
        // A clock that was set back: what has run is not run again.
        (json!({}), ran("2025-11-07T03:00:00Z"), "2025-11-07T02:05:00Z", None, None),
    ];
    for (change, times, now, slot, missed) in cases {
        let mut schedule = json!({"name": "s", "cron": "0 * * * *", "keepDays": 1});
        schedule.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let policy = policy(&json!([schedule]), "Etc/UTC");
        let expected =
            (slot.map(str::to_owned), missed.map(|(count, newest): (u64, &str)| (count, newest.to_owned())));
        assert_eq!(asks(&policy, &history(times), now), expected, "{change} {times:?} at {now}");
    }
}

/// The rule of daylight saving: what is skipped is due right after the gap, what is repeated is due once, and an expression
/// for every hour is due in both of the repeated hours.
#[test]
fn daylight_saving() {
    #[rustfmt::skip]
    let cases = [
        ("30 2 * * *", "2025-03-29T12:00:00Z", "2025-03-30T00:59:59Z", None, None),
        ("30 2 * * *", "2025-03-29T12:00:00Z", "2025-03-30T01:00:00Z", Some("2025-03-30T01:00:00Z"), None),
        ("30 2 * * *", "2025-03-30T01:00:00Z", "2025-03-31T00:29:59Z", None, None),
        ("30 2 * * *", "2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z", Some("2025-03-31T00:30:00Z"), None),
        ("30 2 * * *", "2025-10-25T12:00:00Z", "2025-10-26T00:30:00Z", Some("2025-10-26T00:30:00Z"), None),
        ("30 2 * * *", "2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z", None, None),
        ("30 2 * * *", "2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z", Some("2025-10-27T01:30:00Z"), None),
        ("0 * * * *", "2025-10-26T00:00:00Z", "2025-10-26T01:00:00Z", Some("2025-10-26T01:00:00Z"), None),
        // 02:00 twice, 03:00, 04:00 in local time: three between midnight UTC and the newest.
        ("0 * * * *", "2025-10-25T23:00:00Z", "2025-10-26T03:00:00Z", Some("2025-10-26T03:00:00Z"), Some((3, "2025-10-26T02:00:00Z"))),
    ];
    for (cron, ran, now, slot, missed) in cases {
        let policy = policy(&json!([{"name": "s", "cron": cron, "keepDays": 1}]), "Europe/Berlin");
        let expected =
            (slot.map(str::to_owned), missed.map(|(count, newest): (u64, &str)| (count, newest.to_owned())));
        assert_eq!(
            asks(&policy, &history(["2025-01-01T00:00:00Z", ran, "", ""]), now),
            expected,
            "{cron} at {now}"
        );
    }
}

#[test]
fn jitter_is_the_same_each_time_and_ends_before_the_next_slot() {
    let jittered = |name: &str, seconds: u32| json!({"name": name, "cron": "0 * * * *", "keepDays": 1, "jitterSeconds": seconds});
    let alone = policy(&json!([jittered("s", 7_200)]), "Etc/UTC");
    let backup = &alone.backups[0];
    let mut delays = std::collections::BTreeSet::new();
    let mut slot = at("2025-11-07T00:00:00Z");
    for _ in 0..200 {
        let delay = delay_seconds(&alone, backup, &backup.schedules[0], slot);
        assert!((0..3_600).contains(&delay), "{delay} s is not before the next slot");
        assert_eq!(delay, delay_seconds(&alone, backup, &backup.schedules[0], slot));
        // Due from its delayed start on, and not a second before; the id stays the slot's.
        let entry = history([&seconds_later(slot, -1).to_string(), "", "", ""]);
        let start = seconds_later(slot, delay);
        let ask = |now| due(&alone, backup, &backup.schedules[0], &entry, now).slot;
        assert_eq!((ask(seconds_later(start, -1)), ask(start)), (None, Some(slot)));
        delays.insert(delay);
        slot = seconds_later(slot, 3_600);
    }
    assert!(delays.len() > 150, "only {} different delays", delays.len());
    // Another backup, schedule or policy has other delays, or all of them would start in one second after all.
    let mut other = policy(&json!([jittered("s", 7_200)]), "Etc/UTC");
    other.identity.uid = "v".into();
    let first = at("2025-11-07T00:00:00Z");
    assert_ne!(
        delay_seconds(&alone, backup, &backup.schedules[0], first),
        delay_seconds(&other, &other.backups[0], &other.backups[0].schedules[0], first)
    );
}

#[test]
fn schedules_that_share_a_slot_share_the_least_delay() {
    let both = json!([
        {"name": "s", "cron": "0 * * * *", "keepDays": 1, "jitterSeconds": 3_000},
        {"name": "t", "cron": "0 */2 * * *", "keepDays": 1}]);
    let policy = policy(&both, "Etc/UTC");
    let backup = &policy.backups[0];
    let delays = ["2025-11-07T02:00:00Z", "2025-11-07T03:00:00Z"]
        .map(|slot| delay_seconds(&policy, backup, &backup.schedules[0], at(slot)));
    assert_eq!(delays[0], 0, "the slot that both have");
    assert!(delays[1] > 0, "the slot that only one has: {delays:?}");
}

/// While a run goes on every pass asks anew what is due after it, so that must not grow with what was missed.
#[test]
fn what_was_missed_is_counted_when_it_is_noted_and_not_in_each_pass() {
    let policy = policy(&json!([{"name": "s", "cron": "0 * * * *", "keepDays": 1}]), "Etc/UTC");
    let (backup, entry) = (&policy.backups[0], history(["2020-01-01T00:00:00Z", "", "", ""]));
    let before = Cadence::evaluations();
    let due = due(&policy, backup, &backup.schedules[0], &entry, at("2025-11-07T06:10:00Z"));
    let asked = Cadence::evaluations() - before;
    assert!(asked <= 4, "a pass looks for {asked} slots");
    assert_eq!(count(&backup.schedules[0], due.missed.unwrap()), 1_000);
    assert!(Cadence::evaluations() - before >= 1_000, "evaluations are counted");
}
