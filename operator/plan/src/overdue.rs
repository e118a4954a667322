//! Decides what becomes of a Job whose Pod does not start or does not go: a lost node, a start that takes so long that nobody waits for it
//! any more, or that no waiting brings about. Pure.

use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::{conditions, reasons};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};

use crate::job_state::{Ended, JobState};

/// Seconds after which a Pod that is being deleted counts as lost with its node: five times what it is given to stop.
const LOST_SECONDS: i64 = 300;
/// Seconds after which a Job without a Pod asks why.
pub const NO_POD_SECONDS: i64 = 60;
/// Seconds after which a Pod that has not started is given up if it cannot, and else waited for by nobody.
const NOT_STARTED_SECONDS: i64 = 300;
/// What the kubelet says of containers that only a change by a person can start. An image that cannot be pulled is not among
/// them: registries come back.
const HOPELESS: [&str; 5] = [
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// What a state is by now. `told` is what events say of the Job or its Pod.
pub fn by_now(
    state: JobState,
    pod: Option<&Pod>,
    created: Timestamp,
    told: Option<&str>,
    now: Timestamp,
) -> JobState {
    if let (JobState::Pending(_) | JobState::Running, Some(pod)) = (&state, pod)
        && terminating_since(pod).is_some_and(|since| seconds(since, now) >= LOST_SECONDS)
    {
        return JobState::Ended(Box::new(lost(pod)));
    }
    let JobState::Pending(why) = state else { return state };
    let age = seconds(created, now);
    match (pod, why.or_else(|| told.map(str::to_owned))) {
        (None, Some(why)) if age >= NO_POD_SECONDS && is_refused(&why) => JobState::Stuck(why),
        (None, None) if age >= NO_POD_SECONDS => {
            JobState::Pending(Some("no Pod was made, and no event says why".to_owned()))
        }
        (Some(_), Some(why)) if age >= NOT_STARTED_SECONDS && is_hopeless(&why) => JobState::Stuck(why),
        (_, why) => JobState::Pending(why),
    }
}

/// Whether what was made then has had its time to start. What has not started takes nothing that there is little of: other runs need
/// not wait for its end, which may be days away.
pub fn has_had_its_time(created: Timestamp, now: Timestamp) -> bool {
    seconds(created, now) >= NOT_STARTED_SECONDS
}

/// Whether a Job has had its time to start and has no Pod that is ready, as far as it says itself.
pub fn is_late(job: &Job, now: Timestamp) -> bool {
    let ready = job.status.as_ref().and_then(|status| status.ready).unwrap_or_default();
    let created = job.metadata.creation_timestamp.as_ref();
    ready == 0 && created.is_some_and(|created| has_had_its_time(created.0, now))
}

/// The newest warning among events, as `reason: message`.
pub fn newest_warning(events: &[Event]) -> Option<String> {
    let time = |event: &Event| {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        let series = event.series.as_ref().and_then(|series| Some(series.last_observed_time.as_ref()?.0));
        series.max(last).max(event.event_time.as_ref().map(|time| time.0))
    };
    let warnings = events.iter().filter(|event| event.type_.as_deref() == Some("Warning"));
    let newest = warnings.max_by_key(|event| time(event))?;
    let what = format!("{}: {}", newest.reason.as_deref()?, newest.message.as_deref()?);
    Some(conditions::cut(&what).to_owned())
}

/// Whether the API server will never have this Pod. A quota may have room later.
fn is_refused(why: &str) -> bool {
    why.starts_with("FailedCreate: ")
        && !why.contains("exceeded quota")
        && ["is forbidden", "is invalid", "denied the request"].iter().any(|words| why.contains(words))
}

fn is_hopeless(why: &str) -> bool {
    why.split_once(':').is_some_and(|(reason, _)| HOPELESS.contains(&reason))
}

/// Since when a Pod is being deleted. Kubernetes writes down when its grace is over.
fn terminating_since(pod: &Pod) -> Option<Timestamp> {
    let over = pod.metadata.deletion_timestamp.as_ref()?.0;
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
    over.checked_sub(jiff::SignedDuration::from_secs(grace)).ok()
}

fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs()
}

/// Its container may live on where nobody hears of it, so nothing of its attempt is touched before the time limit.
fn lost(pod: &Pod) -> Ended {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let node = node.map(|node| format!(" on node {node}")).unwrap_or_default();
    let message =
        format!("Pod {name}{node} was told to stop and has not gone in {LOST_SECONDS} s: its node is lost");
    let report =
        RunReport { leftovers: true, ..RunReport::new(Outcome::Retryable, reasons::NODE_LOST, message) };
    Ended { report, container_ended: false, exit_code: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_762_480_800 + seconds).unwrap()
    }

    fn pod(metadata: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": metadata, "spec": {"containers": [], "nodeName": "n1"}}))
            .unwrap()
    }

    #[test]
    fn a_pod_that_does_not_go_in_five_minutes_is_lost_with_its_node() {
        // Deleted at 100 with 60 s of grace.
        let going = pod(
            &json!({"name": "p", "deletionTimestamp": at(160).to_string(), "deletionGracePeriodSeconds": 60}),
        );
        for state in [JobState::Running, JobState::Pending(None)] {
            assert_eq!(by_now(state.clone(), Some(&going), at(0), None, at(399)), state);
            let JobState::Ended(ended) = by_now(state, Some(&going), at(0), None, at(400)) else {
                panic!("not ended")
            };
            assert_eq!(
                (ended.report.outcome, ended.report.reason.as_str()),
                (Outcome::Retryable, "NodeLost")
            );
            assert!(
                ended.report.leftovers && !ended.container_ended && ended.report.message.contains("node n1")
            );
        }
        assert_eq!(
            by_now(JobState::Running, Some(&pod(&json!({}))), at(0), None, at(9_999)),
            JobState::Running
        );
    }

    #[test]
    fn what_does_not_start_says_why_and_is_given_up_where_no_waiting_helps() {
        let quota = r#"FailedCreate: Error creating: pods "x" is forbidden: exceeded quota: q"#;
        let class = r#"FailedCreate: Error creating: pods "x" is forbidden: no PriorityClass with name high was found"#;
        let room = "FailedScheduling: 0/3 nodes are available: 3 Insufficient memory.";
        let mount = "FailedMount: MountVolume.SetUp failed for volume";
        let never = "ErrImageNeverPull: Container image is not present with pull policy of Never";
        let pull = "ImagePullBackOff: Back-off pulling image";
        // Whether there is a Pod, what is said, after how many seconds; whether no waiting helps.
        for (has_pod, told, age, stuck) in [
            (false, Some(quota), 3_600, false),
            (false, Some(class), 59, false),
            (false, Some(class), 60, true),
            (true, Some(room), 3_600, false),
            (true, Some(mount), 3_600, false),
            (true, Some(never), 299, false),
            (true, Some(never), 300, true),
            (true, Some(pull), 3_600, false),
            (true, None, 3_600, false),
        ] {
            let pod = pod(&json!({}));
            let state = by_now(JobState::Pending(None), has_pod.then_some(&pod), at(0), told, at(age));
            let told = told.map(str::to_owned);
            let expected = if stuck { JobState::Stuck(told.unwrap()) } else { JobState::Pending(told) };
            assert_eq!(state, expected);
        }
        let silent = by_now(JobState::Pending(None), None, at(0), None, at(60));
        assert_eq!(silent, JobState::Pending(Some("no Pod was made, and no event says why".into())));
        assert_eq!(by_now(JobState::Pending(None), None, at(0), None, at(59)), JobState::Pending(None));
    }

    #[test]
    fn a_job_without_a_ready_pod_is_late_after_five_minutes() {
        for (ready, age, late) in [
            (json!(0), 299, false),
            (json!(0), 300, true),
            (json!(null), 300, true),
            (json!(1), 9_999, false),
        ] {
            let job: Job = serde_json::from_value(json!({
                "metadata": {"creationTimestamp": at(0).to_string()}, "status": {"active": 1, "ready": ready},
            }))
            .unwrap();
            assert_eq!(is_late(&job, at(age)), late, "{ready} {age}");
        }
        assert!(is_late(
            &serde_json::from_value(json!({"metadata": {"creationTimestamp": at(0).to_string()}})).unwrap(),
            at(300)
        ));
    }

    #[test]
    fn the_newest_warning_counts() {
        let event = |type_: &str, reason: &str, time: i64| -> Event {
            serde_json::from_value(
                json!({"metadata": {}, "involvedObject": {}, "type": type_, "reason": reason,
                "message": "m", "lastTimestamp": at(time).to_string()}),
            )
            .unwrap()
        };
        let events = [
            event("Warning", "Old", 1),
            event("Warning", "New", 3),
            event("Normal", "Pulled", 5),
            event("Warning", "Older", 0),
        ];
        assert_eq!(newest_warning(&events).as_deref(), Some("New: m"));
        assert_eq!(newest_warning(&events[2..3]), None);
    }
}
