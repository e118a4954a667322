//! Reads what became of a Job: still pending, running, or ended and how. Pure.

use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::v1alpha1::RestoreJobKind;
use greenlang_backup_api::{conditions, labels, reasons};
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, Pod};

use crate::job::CONTAINER;

/// `status.reason` of a Pod that was stopped at its time limit.
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// What became of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Its container has not started; why, as far as Kubernetes says.
    Pending(Option<String>),
    /// Its container cannot start, and no waiting helps; why.
    Stuck(String),
    /// Its container runs.
    Running,
    /// It ended.
    Ended(Box<Ended>),
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What the runner reported, or what can be said without a report.
    pub report: RunReport,
    /// Whether the container is known to have ended. Otherwise it may still run on a node that nobody hears of.
    pub container_ended: bool,
    /// Exit code of the container, where it is known; of programs that write no report.
    pub exit_code: Option<i32>,
}

/// Reads a Job and its Pod.
pub fn job_state(job: &Job, pod: Option<&Pod>) -> JobState {
    let Some(ending) = ending(job) else {
        if let Some(done) = pod.and_then(succeeded) {
            return JobState::Ended(Box::new(done));
        }
        return match pod.map(started) {
            Some(Ok(())) => JobState::Running,
            Some(Err(why)) => JobState::Pending(why),
            None => JobState::Pending(None),
        };
    };
    let report = match pod.and_then(reported) {
        // At its time limit the Pod is told to stop as at any eviction; the runner cannot know why, Kubernetes does.
        Some(said) if said.outcome == Outcome::Interrupted && pod_reason(pod) == Some(DEADLINE_EXCEEDED) => {
            RunReport { leftovers: said.leftovers, ..unreported(job, pod, ending.message.as_deref()) }
        }
        Some(said) => said,
        None => unreported(job, pod, ending.message.as_deref()),
    };
    let container = pod.and_then(terminated);
    let exit_code = container.map(|state| state.exit_code);
    JobState::Ended(Box::new(Ended { report, container_ended: container.is_some(), exit_code }))
}

/// A success that the Pod tells of. The Job controller says it a second or two later, in which applications may be waited for; nothing
/// that comes between can make it a failure, while of a failure only the Job knows whether it was its time limit.
fn succeeded(pod: &Pod) -> Option<Ended> {
    let container = terminated(pod)?;
    let is_so = |report: &RunReport| {
        report.outcome.is_success() && Outcome::from_exit_code(container.exit_code) == Some(report.outcome)
    };
    let report = reported(pod).filter(is_so)?;
    Some(Ended { report, container_ended: true, exit_code: Some(container.exit_code) })
}

/// Whether the Job controller has seen the end of a Job, well or not.
pub fn has_ended(job: &Job) -> bool {
    ending(job).is_some()
}

fn ending(job: &Job) -> Option<&JobCondition> {
    let mut conditions = job.status.as_ref()?.conditions.as_ref()?.iter();
    conditions.find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")
}

fn state(pod: &Pod) -> Option<&ContainerState> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == CONTAINER)?.state.as_ref()
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    state(pod)?.terminated.as_ref()
}

fn pod_reason(pod: Option<&Pod>) -> Option<&str> {
    pod?.status.as_ref()?.reason.as_deref()
}

/// Whether the container has started, or why not.
fn started(pod: &Pod) -> Result<(), Option<String>> {
    let waiting = match state(pod) {
        Some(ContainerState { waiting: Some(waiting), .. }) => waiting,
        Some(_) => return Ok(()),
        None => return Err(unscheduled(pod)),
    };
    let reason = waiting.reason.clone().unwrap_or_default();
    // The ordinary way to a start is not worth a word.
    if matches!(reason.as_str(), "" | "ContainerCreating" | "PodInitializing") && waiting.message.is_none() {
        return Err(None);
    }
    let what = format!("{reason}: {}", waiting.message.as_deref().unwrap_or("no further word"));
    Err(Some(conditions::cut(&what).to_owned()))
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    Some(format!("{}: {}", condition.reason.as_deref()?, condition.message.as_deref()?))
}

fn reported(pod: &Pod) -> Option<RunReport> {
    RunReport::decode(terminated(pod)?.message.as_deref()?)
}

/// What can be said of a Job that left no report. Nobody knows what it left in the bucket, unless it never started.
fn unreported(job: &Job, pod: Option<&Pod>, ending: Option<&str>) -> RunReport {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let container = pod.and_then(terminated);
    let container_reason = container.and_then(|state| state.reason.as_deref());
    if pod_reason(pod) == Some(DEADLINE_EXCEEDED) {
        let message = format!("Job {name} was stopped at its time limit: {}", more_time(job));
        return silent(Outcome::Failed, reasons::DEADLINE_EXCEEDED, message);
    }
    if container_reason == Some("OOMKilled") {
        let message =
            format!("Job {name} was killed for its memory: raise spec.jobTemplate.resources.limits.memory");
        return silent(Outcome::Retryable, reasons::OUT_OF_MEMORY, message);
    }
    if let Some(waiting) = pod.and_then(|pod| started(pod).err()).flatten() {
        return RunReport::new(
            Outcome::Retryable,
            reasons::POD_NOT_STARTED,
            format!("the Pod of Job {name} did not start: {waiting}"),
        );
    }
    let outcome = match container.and_then(|state| Outcome::from_exit_code(state.exit_code)) {
        // A success that nobody can read is not counted: the next attempt finds the backup, if there is one.
        None | Some(Outcome::Done | Outcome::Unchanged) => Outcome::Retryable,
        Some(outcome) => outcome,
    };
    let end = match (container, ending) {
        (Some(state), _) => format!("its container ended with code {}", state.exit_code),
        (None, Some(message)) => format!("its Pod was deleted, as by a drain ({message})"),
        (None, None) => "its Pod was deleted, as by a drain".to_owned(),
    };
    silent(outcome, reasons::REPORT_LOST, format!("Job {name} left no report: {end}"))
}

/// What gives a Job of this kind more time.
fn more_time(job: &Job) -> &'static str {
    let labels = job.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map_or("", String::as_str);
    match (label(labels::TASK), label(labels::ACTION)) {
        (labels::TASK_BACKUP, _) => "raise activeDeadlineSeconds of the schedule, or find out why it is slow",
        (labels::TASK_RESTORE, action) if action == RestoreJobKind::CheckJob.as_str() => {
            "raise its timeoutSeconds in spec.checks.jobs, or find out why it is slow"
        }
        _ => "nothing raises that, so find out why it is slow",
    }
}

fn silent(outcome: Outcome, reason: &str, message: String) -> RunReport {
    RunReport { leftovers: true, ..RunReport::new(outcome, reason, message) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(conditions: &serde_json::Value) -> Job {
        serde_json::from_value(json!({"metadata": {"name": "j"}, "status": {"conditions": conditions}}))
            .unwrap()
    }

    fn pod(reason: Option<&str>, state: &serde_json::Value) -> Pod {
        let mut status = json!({"containerStatuses": [
            {"name": CONTAINER, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]});
        if let Some(reason) = reason {
            status["reason"] = json!(reason);
        }
        serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap()
    }

    fn read(job: &Job, pod: Option<&Pod>) -> JobState {
        job_state(job, pod)
    }

    #[test]
    fn before_the_end() {
        let active = job(&json!([{"type": "FailureTarget", "status": "True"}]));
        assert_eq!(read(&active, None), JobState::Pending(None));
        assert_eq!(
            read(&active, Some(&pod(None, &json!({"waiting": {"reason": "ContainerCreating"}})))),
            JobState::Pending(None)
        );
        let refused = pod(None, &json!({"waiting": {"reason": "ErrImageNeverPull", "message": "no image"}}));
        assert_eq!(
            read(&active, Some(&refused)),
            JobState::Pending(Some("ErrImageNeverPull: no image".into()))
        );
        assert_eq!(read(&active, Some(&pod(None, &json!({"running": {}})))), JobState::Running);
        let endless =
            pod(None, &json!({"waiting": {"reason": "ImagePullBackOff", "message": "x".repeat(100_000)}}));
        let JobState::Pending(Some(why)) = read(&active, Some(&endless)) else { panic!("not pending") };
        assert_eq!(why.len(), 1_024);
    }

    #[test]
    fn a_success_is_read_from_the_pod_before_its_job_tells_of_it_and_a_failure_is_not() {
        let active = job(&json!([{"type": "SuccessCriteriaMet", "status": "True"}]));
        let ended = |code: i32, report: Option<&RunReport>| {
            let state = json!({"exitCode": code, "message": report.map(RunReport::encode)});
            read(&active, Some(&pod(None, &json!({"terminated": state}))))
        };
        for outcome in [Outcome::Done, Outcome::Unchanged] {
            let report = RunReport::new(outcome, "Done", "all of it");
            let code = i32::from(outcome.exit_code());
            let JobState::Ended(seen) = ended(code, Some(&report)) else { panic!("{outcome:?}: not ended") };
            assert_eq!((seen.report, seen.exit_code), (report, Some(code)));
            assert!(seen.container_ended);
        }
        let success = RunReport::new(Outcome::Done, "Done", "all of it");
        let failures = [Outcome::Failed, Outcome::Retryable, Outcome::Interrupted]
            .map(|outcome| RunReport::new(outcome, "Why", "not all of it"));
        for report in &failures {
            let code = i32::from(report.outcome.exit_code());
            assert_eq!(ended(code, Some(report)), JobState::Running, "{:?}", report.outcome);
        }
        assert_eq!(ended(137, Some(&success)), JobState::Running, "killed after it had reported");
        assert_eq!(ended(0, None), JobState::Running, "it says nothing");
    }

    #[test]
    fn a_time_limit_is_told_with_what_raises_it() {
        let stopped = pod(Some("DeadlineExceeded"), &json!({"terminated": {"exitCode": 137}}));
        for (task, action, expected) in [
            ("backup", "", Some("activeDeadlineSeconds of the schedule")),
            ("restore", "check-job", Some("timeoutSeconds in spec.checks.jobs")),
            ("restore", "load", None),
            ("probe", "", None),
        ] {
            let mut failed = job(&json!([{"type": "Failed", "status": "True"}]));
            let made = [(labels::TASK, task), (labels::ACTION, action)];
            failed.metadata.labels = Some(made.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
            let JobState::Ended(ended) = read(&failed, Some(&stopped)) else { panic!("not ended") };
            let said = &ended.report.message;
            assert_eq!(said.contains("Seconds"), expected.is_some(), "{said}");
            assert!(expected.is_none_or(|expected| said.contains(expected)), "{said}");
        }
    }

    #[test]
    fn after_the_end() {
        let failed = job(&json!([{"type": "Failed", "status": "True", "message": "has failed"}]));
        let report = RunReport::new(Outcome::Failed, reasons::ACCESS_DENIED, "no");
        let stopped = RunReport::new(Outcome::Interrupted, reasons::INTERRUPTED, "SIGTERM");
        let untidy = RunReport { leftovers: true, ..stopped.clone() };
        let [stopped, untidy] = [stopped, untidy]
            .map(|report| json!({"terminated": {"exitCode": 30, "message": report.encode()}}));
        // Pod, outcome, reason; whether it may have left something, and whether it has ended for sure.
        let cases = vec![
            (
                Some(pod(None, &json!({"terminated": {"exitCode": 10, "message": report.encode()}}))),
                (Outcome::Failed, "AccessDenied"),
                (false, true),
            ),
            (
                Some(pod(None, &json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}))),
                (Outcome::Retryable, "OutOfMemory"),
                (true, true),
            ),
            (Some(pod(None, &stopped)), (Outcome::Interrupted, "Interrupted"), (false, true)),
            (Some(pod(None, &untidy)), (Outcome::Interrupted, "Interrupted"), (true, true)),
            (
                Some(pod(Some("DeadlineExceeded"), &stopped)),
                (Outcome::Failed, "DeadlineExceeded"),
                (false, true),
            ),
            (
                Some(pod(Some("DeadlineExceeded"), &untidy)),
                (Outcome::Failed, "DeadlineExceeded"),
                (true, true),
            ),
            (
                Some(pod(Some("DeadlineExceeded"), &json!({"terminated": {"exitCode": 143}}))),
                (Outcome::Failed, "DeadlineExceeded"),
                (true, true),
            ),
            (
                Some(pod(None, &json!({"waiting": {"reason": "ErrImagePull", "message": "x"}}))),
                (Outcome::Retryable, "PodNotStarted"),
                (false, false),
            ),
            (
                Some(pod(None, &json!({"terminated": {"exitCode": 30}}))),
                (Outcome::Interrupted, "ReportLost"),
                (true, true),
            ),
            (
                Some(pod(None, &json!({"terminated": {"exitCode": 0}}))),
                (Outcome::Retryable, "ReportLost"),
                (true, true),
            ),
            (Some(pod(None, &json!({"running": {}}))), (Outcome::Retryable, "ReportLost"), (true, false)),
            (None, (Outcome::Retryable, "ReportLost"), (true, false)),
        ];
        for (pod, (outcome, reason), left) in cases {
            let JobState::Ended(ended) = read(&failed, pod.as_ref()) else { panic!("not ended") };
            assert_eq!((ended.report.outcome, ended.report.reason.as_str()), (outcome, reason));
            assert_eq!((ended.report.leftovers, ended.container_ended), left, "{reason}");
        }
    }
}
