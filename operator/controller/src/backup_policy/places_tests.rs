//! What passes and watches say of runs, and who is woken.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use greenlang_backup_plan::job_state::JobState;
use greenlang_backup_plan::jobs::ObservedJob;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::fixture;

/// With policies `a` and `b`.
fn places(limit: usize, namespaces: &[&str]) -> (Arc<Places>, BoxStream<'static, PolicyRef>) {
    let (places, woken) = Places::new(limit, &namespaces.iter().map(|name| (*name).to_owned()).collect());
    there_are(&places, &["a", "b"]);
    (places, woken.boxed())
}

fn guarded(name: &str) -> DeserializeGuard<BackupPolicy> {
    DeserializeGuard(Ok(fixture::policy("served", name)))
}

fn there_are(places: &Places, names: &[&str]) {
    places.policies(&Event::InitDone, || names.iter().map(|name| Arc::new(guarded(name))).collect());
}

/// How a run comes to its end, in words and as it is told.
type End = (&'static str, fn(&Places));

/// Names of the policies that were woken.
fn woken(stream: &mut BoxStream<'static, PolicyRef>) -> Vec<String> {
    std::iter::from_fn(|| futures::FutureExt::now_or_never(stream.next()).flatten())
        .map(|policy| policy.name)
        .collect()
}

fn job(policy: &str, name: &str, conditions: &serde_json::Value) -> Job {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "served", "labels": {labels::POLICY: policy, labels::BACKUP: "database"},
            "ownerReferences": [{"apiVersion": "backup.greenlang.io/v1alpha1", "kind": "BackupPolicy", "name": policy, "uid": format!("uid-of-{policy}"), "controller": true}]},
        "status": {"conditions": conditions},
    }))
    .unwrap()
}

fn live(policy: &str, name: &str) -> Job {
    job(policy, name, &json!([]))
}

fn ended(policy: &str, name: &str) -> Job {
    job(policy, name, &json!([{"type": "Failed", "status": "True"}]))
}

/// A pass over a policy that sees these Jobs and wants another one.
fn asks(places: &Places, policy: &str, seen: &[&str], wanted: &str) -> bool {
    let observed = |name: &&str| ObservedJob {
        name: (*name).to_owned(),
        uid: String::new(),
        created: Timestamp::UNIX_EPOCH,
        backup: Some("database".into()),
        deleting: false,
        state: JobState::Running,
        progress: None,
        details: String::new(),
    };
    let seen = Observed {
        now: Timestamp::UNIX_EPOCH,
        jobs: seen.iter().map(observed).collect(),
        remains: BTreeSet::new(),
        restores: vec![],
        places: Granted::default(),
        busy: false,
    };
    let wanted = Wanted { id: "20251107-020000".parse().unwrap(), job: wanted.to_owned() };
    let granted = places.ask(&fixture::policy("served", policy), &seen, &[wanted.clone()].into());
    granted.taken.contains(&wanted.job)
}

fn news(places: &Places, news: &Event<Job>, all: Vec<Job>) {
    places.jobs("served", news, || all.into_iter().map(Arc::new).collect());
}

#[test]
fn nothing_begins_before_all_jobs_are_known() {
    let (places, mut stream) = places(1, &["served", "other"]);
    assert!(!asks(&places, "a", &[], "a-1"));
    let all = vec![live("b", "b-1"), ended("b", "b-0")];
    news(&places, &Event::InitDone, all);
    assert!(woken(&mut stream).is_empty() && !asks(&places, "a", &[], "a-1"));
    places.jobs("other", &Event::InitDone, Vec::new);
    assert!(woken(&mut stream).is_empty() && !asks(&places, "a", &[], "a-1"));
    assert_eq!(places.count(), [1, 1, 1]);
    news(&places, &Event::Apply(ended("b", "b-1")), vec![]);
    assert_eq!(woken(&mut stream), ["a"]);
    assert!(asks(&places, "a", &[], "a-1"));
    assert_eq!(places.count(), [1, 1, 0]);
}

#[test]
fn a_place_is_given_on_whatever_becomes_of_a_run() {
    let gone: [End; 7] = [
        ("its Job ends", |places| news(places, &Event::Apply(ended("a", "a-1")), vec![])),
        ("its Job is deleted", |places| news(places, &Event::Delete(live("a", "a-1")), vec![])),
        ("its Job went unseen", |places| news(places, &Event::InitDone, vec![])),
        ("its policy is deleted", |places| places.policies(&Event::Delete(guarded("a")), Vec::new)),
        ("its policy is being deleted", |places| {
            let mut going = guarded("a");
            going.meta_mut().deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            places.policies(&Event::Apply(going), Vec::new);
        }),
        ("its policy went unseen", |places| there_are(places, &["b"])),
        ("it counts as ended, as on a lost node", |places| assert!(!asks(places, "a", &[], "a-2"))),
    ];
    for (what, gone) in gone {
        let (places, mut stream) = places(1, &["served"]);
        news(&places, &Event::InitDone, vec![]);
        assert!(asks(&places, "a", &[], "a-1"));
        news(&places, &Event::Apply(live("a", "a-1")), vec![]);
        assert!(!asks(&places, "b", &[], "b-1"));
        // What is no run has no place.
        let mut check = live("b", "check");
        check.metadata.labels.as_mut().unwrap().remove(labels::BACKUP);
        news(&places, &Event::Apply(check), vec![]);
        assert_eq!((woken(&mut stream), places.count()), (vec![], [1, 1, 1]), "{what}");
        gone(&places);
        assert_eq!(woken(&mut stream), ["b"], "{what}");
        assert!(asks(&places, "b", &[], "b-1"), "{what}");
    }
}

/// One that was made so many seconds ago, and has so many Pods that are ready.
fn aged(name: &str, seconds: i64, ready: i32) -> Job {
    let mut job = live("a", name);
    job.metadata.creation_timestamp = Some(Time(now() - SignedDuration::from_secs(seconds)));
    job.status.as_mut().unwrap().ready = Some(ready);
    job
}

#[test]
fn a_job_that_has_not_started_for_long_is_told_of_by_passes_only() {
    let (places, _stream) = places(9, &["served"]);
    let all = vec![aged("a-1", 60, 0), aged("a-2", 400, 0), aged("a-3", 400, 1)];
    news(&places, &Event::InitDone, all.clone());
    assert_eq!(places.count(), [9, 2, 0]);
    for job in all {
        news(&places, &Event::Apply(job), vec![]);
    }
    assert_eq!(places.count(), [9, 2, 0]);
    // What passes know of it stays.
    assert!(asks(&places, "a", &["a-1", "a-2", "a-3"], "a-4"));
    news(&places, &Event::Apply(aged("a-2", 400, 0)), vec![]);
    assert_eq!(places.count(), [9, 4, 0]);
}

/// Whoever may make Jobs in a served namespace may give them any label and any owner.
#[test]
fn jobs_of_others_take_no_place_whatever_they_say_of_themselves() {
    let (places, _stream) = places(1, &["served"]);
    let stranger = |change: fn(&mut OwnerReference)| {
        let mut job = live("a", "x");
        change(&mut job.metadata.owner_references.as_mut().unwrap()[0]);
        job
    };
    let strangers = [
        stranger(|owner| owner.kind = "ConfigMap".into()),
        stranger(|owner| owner.api_version = "v1".into()),
        stranger(|owner| owner.api_version = "backup.greenlang.io.evil.example/v1alpha1".into()),
        stranger(|owner| owner.controller = None),
        stranger(|owner| owner.uid = "of-another".into()),
        live("of-no-policy", "x"),
    ];
    for job in &strangers {
        news(&places, &Event::Apply(job.clone()), vec![]);
        assert_eq!(places.count(), [1, 0, 0], "{:?}", job.metadata.owner_references);
    }
    news(&places, &Event::InitDone, strangers.to_vec());
    assert_eq!(places.count(), [1, 0, 0]);
    // Of another version of ours, which a newer or older operator has made.
    news(
        &places,
        &Event::Apply(stranger(|owner| owner.api_version = "backup.greenlang.io/v1".into())),
        vec![],
    );
    assert_eq!(places.count(), [1, 1, 0]);
}

#[test]
fn only_policies_of_served_namespaces_have_runs() {
    let (elsewhere, _stream) = places(1, &["other"]);
    elsewhere.jobs("other", &Event::InitDone, Vec::new);
    elsewhere.policies(&Event::Apply(guarded("c")), Vec::new);
    assert!(!asks(&elsewhere, "a", &[], "a-1") && !asks(&elsewhere, "c", &[], "c-1"));

    let (places, _stream) = places(1, &["served"]);
    news(&places, &Event::InitDone, vec![]);
    places.policies(&Event::Apply(guarded("c")), Vec::new);
    assert!(asks(&places, "c", &[], "c-1"));
    // A pass that began before its policy was deleted takes no place for ever.
    places.policies(&Event::Delete(guarded("c")), Vec::new);
    assert!(!asks(&places, "c", &[], "c-1"));
    assert_eq!(places.count(), [1, 0, 0]);
}

#[test]
fn a_place_whose_job_was_not_made_goes_to_who_waits() {
    let (places, mut stream) = places(1, &["served"]);
    news(&places, &Event::InitDone, vec![]);
    assert!(asks(&places, "a", &[], "a-1"));
    assert!(!asks(&places, "b", &[], "b-1"));
    // Perhaps it was made.
    places.failed(&fixture::policy("served", "a").metadata);
    assert_eq!(woken(&mut stream), [""; 0]);
    assert!(!asks(&places, "a", &[], "a-1"));
    assert_eq!(woken(&mut stream), ["b"]);
    // Its policy is going, and it will not be made at all.
    places.rest(&fixture::policy("served", "b").metadata);
    assert_eq!(woken(&mut stream), ["a"]);
}
