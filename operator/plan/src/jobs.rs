//! Jobs of policies and requests as they were seen: what is shown of one that goes on, and which are needed no more. Pure.

use std::collections::BTreeMap;

use greenlang_backup_api::progress::Progress;
use greenlang_backup_api::v1alpha1::RunProgress;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::job_state::JobState;
use crate::pause::seconds_later;

/// Seconds between two readings of an active Job's progress, and between two writes of it.
pub const PROGRESS_SECONDS: i64 = 10;
/// Failed Jobs of each group that are kept for their logs.
const FAILED_JOBS_KEPT: usize = 3;

/// A Job that a policy or request owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedJob {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// When it was made.
    pub created: Timestamp,
    /// The backup that its run makes; none for what is no run.
    pub backup: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What became of it.
    pub state: JobState,
    /// Its newest progress line, where one could be read.
    pub progress: Option<Progress>,
    /// The end of its log, where its report has details there; else empty.
    pub details: String,
}

/// What is said of a Job that is given up because its Pod cannot start. Once that is stored the Job is deleted: it has not ended,
/// and status names it no more.
pub(crate) fn cannot_start(job: &str, why: &str) -> String {
    format!("the Pod of Job {job} cannot start: {why}")
}

/// A Job that the API server would not have; of a restore also the ConfigMap that is to remember what is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub job: String,
    /// Stable reason.
    pub reason: &'static str,
    /// What the API server said.
    pub message: String,
}

/// The progress to show: the newest line, but a new one no more often than every [`PROGRESS_SECONDS`].
pub(crate) fn shown_progress(
    job: &ObservedJob,
    shown: Option<RunProgress>,
    now: Timestamp,
) -> Option<RunProgress> {
    let Some(newest) = &job.progress else { return shown };
    let fresh = shown.as_ref().is_some_and(|old| {
        old.progress.step == newest.step && now < seconds_later(old.time.0, PROGRESS_SECONDS)
    });
    if fresh || shown.as_ref().is_some_and(|old| old.progress == *newest) {
        return shown;
    }
    Some(RunProgress {
        progress: newest.clone(),
        percent: newest.percent(),
        seconds_left: newest.seconds_left(),
        time: Time(now),
    })
}

/// Jobs that nothing needs any more. The last failed ones of each group stay for their logs.
pub(crate) fn superfluous<'a>(
    jobs: &'a [ObservedJob],
    needed: &[String],
    group: impl Fn(&'a ObservedJob) -> Option<&'a str>,
) -> Vec<&'a ObservedJob> {
    let mut failed: BTreeMap<Option<&str>, Vec<&ObservedJob>> = BTreeMap::new();
    let mut doomed = Vec::new();
    for job in jobs.iter().filter(|job| !job.deleting && !needed.contains(&job.name)) {
        match &job.state {
            JobState::Ended(ended) if !ended.report.outcome.is_success() => {
                failed.entry(group(job)).or_default().push(job);
            }
            _ => doomed.push(job),
        }
    }
    for mut jobs in failed.into_values() {
        jobs.sort_by_key(|job| std::cmp::Reverse(job.created));
        doomed.extend(jobs.into_iter().skip(FAILED_JOBS_KEPT));
    }
    doomed
}
