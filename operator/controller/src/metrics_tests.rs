//! What `/metrics` shows for what status says, and whether Prometheus takes it as it is meant.

use std::collections::{BTreeMap, BTreeSet};

use kube::runtime::reflector::{self, store::Writer};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::fixture;

type Cache = Writer<DeserializeGuard<BackupPolicy>>;

/// A leader's metrics, and the cache that they are made from.
fn metrics() -> (Metrics, Reconciles, Cache) {
    let (metrics, reconciles) = Metrics::new().unwrap();
    let (store, mut cache) = reflector::store();
    cache.apply_watcher_event(&Event::Init);
    cache.apply_watcher_event(&Event::InitDone);
    let (places, _) = Places::new(7, &BTreeSet::new());
    metrics.lead(store, places, ["greenlang", "one", "two"].map(str::to_owned).into());
    (metrics, reconciles, cache)
}

fn policy(namespace: &str, name: &str, status: Value) -> Event<DeserializeGuard<BackupPolicy>> {
    Event::Apply(DeserializeGuard(Ok(BackupPolicy {
        status: serde_json::from_value(status).unwrap(),
        ..fixture::policy(namespace, name)
    })))
}

fn schedule(name: &str, more: &Value) -> Value {
    let mut entry =
        json!({"name": name, "accepted": "0 2 * * * Etc/UTC", "acceptedTime": "2025-11-07T00:00:00Z"});
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry
}

/// A policy that has seen much.
fn lived() -> Value {
    json!({"backups": [{
        "name": "database",
        "active": {"id": "20251107-020000", "trigger": "Schedule", "schedules": ["daily"], "startTime": "2025-11-07T02:00:00Z", "attempt": 2},
        "manual": {"attempts": 1, "succeeded": 1, "failed": 0, "lastSuccess":
            {"id": "20251106-101112", "time": "2025-11-06T10:12:00Z", "durationSeconds": 48, "bytes": 1000, "verified": "Stored"}},
        "schedules": [
            schedule("daily", &json!({"attempts": 9, "succeeded": 6, "failed": 1, "nextScheduleTime": "2025-11-08T02:00:00Z", "lastSuccess":
                {"id": "20251106-020000", "time": "2025-11-06T02:01:40Z", "durationSeconds": 100, "bytes": 123_456_789, "verified": "ReadBack"}})),
            schedule("weekly", &json!({})),
        ],
    }]})
}

/// Value of each series, by the series as the text has it.
fn series(metrics: &Metrics) -> BTreeMap<String, f64> {
    let text = metrics.encode().unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn of_backups(metrics: &Metrics) -> BTreeMap<String, f64> {
    series(metrics).into_iter().filter(|(series, _)| series.starts_with("gl_backup_")).collect()
}

#[test]
fn status_is_shown() {
    let (metrics, _, mut cache) = metrics();
    cache.apply_watcher_event(&policy("greenlang", "main", lived()));
    let shown = of_backups(&metrics);
    let value = |name: &str, schedule: &str| {
        let labels =
            format!(r#"{{backup="database",namespace="greenlang",policy="main",schedule="{schedule}"}}"#);
        shown.get(&format!("{name}{labels}")).copied()
    };
    for (name, daily, weekly, manual) in [
        ("gl_backup_attempts_total", Some(9.0), Some(0.0), Some(1.0)),
        ("gl_backup_success_total", Some(6.0), Some(0.0), Some(1.0)),
        ("gl_backup_failed_total", Some(1.0), Some(0.0), Some(0.0)),
        ("gl_backup_duration_seconds", Some(100.0), None, Some(48.0)),
        ("gl_backup_size_bytes", Some(123_456_789.0), None, Some(1000.0)),
        ("gl_backup_last_success_timestamp", Some(1_762_394_500.0), None, Some(1_762_423_920.0)),
        ("gl_backup_verified_level", Some(3.0), None, Some(2.0)),
        ("gl_backup_next_scheduled_timestamp", Some(1_762_567_200.0), None, None),
        ("gl_backup_active", Some(1.0), Some(0.0), Some(0.0)),
    ] {
        let found = (value(name, "daily"), value(name, "weekly"), value(name, "manual"));
        assert_eq!(found, (daily, weekly, manual), "{name}");
    }
    assert_eq!(shown.len(), 9 + 4 + 8, "{shown:#?}");
}

#[test]
fn an_accepted_schedule_counts_from_zero_and_a_series_goes_with_what_it_is_about() {
    let (metrics, _, mut cache) = metrics();
    cache.apply_watcher_event(&policy("one", "main", lived()));
    cache.apply_watcher_event(&policy("two", "main", lived()));
    let names = |part: &str| of_backups(&metrics).keys().filter(|series| series.contains(part)).count();
    let all = names("");
    assert_eq!(names(r#"namespace="one""#) * 2, all);

    // A schedule that was taken out of the spec is in status no more; one that was added counts from 0.
    let mut changed = lived();
    changed["backups"][0]["schedules"] = json!([schedule("hourly", &json!({}))]);
    cache.apply_watcher_event(&policy("one", "main", changed));
    assert_eq!(names(r#"namespace="one",policy="main",schedule="daily""#), 0);
    let fresh = of_backups(&metrics);
    for name in ["attempts_total", "success_total", "failed_total", "active"] {
        let series = format!(
            r#"gl_backup_{name}{{backup="database",namespace="one",policy="main",schedule="hourly"}}"#
        );
        assert_eq!(fresh.get(&series), Some(&0.0), "{series}");
    }

    let gone = DeserializeGuard(Ok(fixture::policy("two", "main")));
    cache.apply_watcher_event(&Event::Delete(gone));
    assert_eq!(names(r#"namespace="two""#), 0);
}

#[test]
fn conditions_of_policies_that_are_served_are_shown_and_go_with_their_policy() {
    let (metrics, _, mut cache) = metrics();
    let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "reason": "R", "message": "m", "lastTransitionTime": "2025-11-07T02:00:00Z"});
    let status = json!({"conditions": [condition("Ready", "False"), condition("Stalled", "Unknown"), condition("Of\"others", "True")]});
    cache.apply_watcher_event(&policy("one", "main", status.clone()));
    cache.apply_watcher_event(&policy("elsewhere", "main", status));
    let shown = || -> Vec<(String, f64)> {
        let all = of_backups(&metrics).into_iter();
        all.filter_map(|(series, value)| {
            Some((series.strip_prefix("gl_backup_policy_condition")?.to_owned(), value))
        })
        .collect()
    };
    let series = |status: &str, type_: &str, value: f64| {
        (format!(r#"{{namespace="one",policy="main",status="{status}",type="{type_}"}}"#), value)
    };
    let expected = [
        series("False", "Ready", 1.0),
        series("False", "Stalled", 0.0),
        series("True", "Ready", 0.0),
        series("True", "Stalled", 0.0),
        series("Unknown", "Ready", 0.0),
        series("Unknown", "Stalled", 1.0),
    ];
    assert_eq!(shown(), expected);
    cache.apply_watcher_event(&Event::Delete(DeserializeGuard(Ok(fixture::policy("one", "main")))));
    assert_eq!(shown(), []);
}

#[test]
fn one_that_does_not_lead_shows_nothing_of_backups() {
    let (metrics, _) = Metrics::new().unwrap();
    assert_eq!(of_backups(&metrics), BTreeMap::new());
    assert_eq!(series(&metrics).get("greenlang_backup_operator_leader"), Some(&0.0));
}

#[test]
fn places_are_shown_by_the_one_that_leads() {
    let shown = |metrics: &Metrics| {
        let of = |what: &str| format!("greenlang_backup_operator_runs_{what}");
        ["limit", "active", "waiting"].map(|what| series(metrics).get(&of(what)).copied())
    };
    assert_eq!(shown(&Metrics::new().unwrap().0), [None; 3]);
    assert_eq!(shown(&metrics().0), [Some(7.0), Some(0.0), Some(0.0)]);
}

#[test]
fn passes_are_counted_by_outcome() {
    let (metrics, reconciles, _) = metrics();
    let count = |outcome: &str| {
        let name = format!(r#"greenlang_backup_operator_reconciliations_total{{outcome="{outcome}"}}"#);
        series(&metrics).get(&name).copied()
    };
    assert_eq!((count("ok"), count("Conflict")), (Some(0.0), None));
    reconciles.observe("ok", Duration::from_millis(20));
    reconciles.observe("Conflict", Duration::from_millis(20));
    assert_eq!((count("ok"), count("Conflict")), (Some(1.0), Some(1.0)));
    let sum =
        series(&metrics)[r#"greenlang_backup_operator_reconcile_duration_seconds_sum{outcome="Conflict"}"#];
    assert!((sum - 0.02).abs() < 1e-9, "{sum}");
}

/// What `promtool check metrics` looks at.
#[test]
fn the_exposition_is_well_formed() {
    let (metrics, reconciles, mut cache) = metrics();
    cache.apply_watcher_event(&policy("greenlang", "main", lived()));
    let conditions = json!({"conditions": [
        {"type": "Ready", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2025-11-07T02:00:00Z"}]});
    cache.apply_watcher_event(&policy("greenlang", "other", lived()));
    cache.apply_watcher_event(&policy("greenlang", "third", conditions));
    reconciles.observe("ok", Duration::from_millis(20));
    let text = metrics.encode().unwrap();
    assert!(text.ends_with('\n'));

    let (mut family, mut families, mut samples) =
        ((String::new(), String::new()), BTreeSet::new(), BTreeSet::new());
    let mut help = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').unwrap();
            assert!(words.len() > 10 && words.ends_with('.'), "{line}");
            assert!(families.insert(name.to_owned()), "{name} stands there twice");
            name.clone_into(&mut help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, help, "HELP and TYPE stand together");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            family = (name.to_owned(), kind.to_owned());
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            let (of, kind) = (&family.0, &*family.1);
            let suffix = name.strip_prefix(of.as_str()).unwrap_or_else(|| panic!("{line} has no HELP"));
            let known: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(known.contains(&suffix), "{line}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
            assert!(["gl_backup_", "greenlang_backup_operator_"].iter().any(|ours| name.starts_with(ours)));
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(samples.insert(series.to_owned()), "{series} stands there twice");
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        }
    }
    let documented = include_str!("../../../docs/operations.md");
    for name in &families {
        assert!(documented.contains(&format!("`{name}`")), "{name} is not in docs/operations.md");
    }
    assert!(families.len() >= 16, "{families:?}");
}
