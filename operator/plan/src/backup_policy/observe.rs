//! What was seen of the cluster, as plain data. Pure; the controller's `gather` fills it.

use std::collections::BTreeSet;

use greenlang_backup_api::progress::Progress;
use jiff::Timestamp;

use crate::job_state::JobState;

/// What was seen in one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The time of the pass, in whole seconds.
    pub now: Timestamp,
    /// Whether the operator may make Jobs in the policy's namespace.
    pub served: bool,
    /// All Jobs that the policy owns.
    pub jobs: Vec<ObservedJob>,
    /// UIDs of Jobs that are gone while a Pod of theirs is still there.
    pub remains: BTreeSet<String>,
    /// Which of its runs may begin.
    pub places: Places,
}

/// What the queue of all policies' runs says to one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// How many runs may go on at once, of all policies together.
    pub limit: usize,
    /// Names of the Jobs that have a place.
    pub taken: BTreeSet<String>,
}

impl Observed {
    /// Names of the Jobs of runs that are there and have not ended.
    pub fn live_runs(&self) -> BTreeSet<String> {
        let is_live = |job: &&ObservedJob| job.backup.is_some() && !matches!(job.state, JobState::Ended(_));
        self.jobs.iter().filter(is_live).map(|job| job.name.clone()).collect()
    }
}

/// A Job that the policy owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedJob {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// When it was made.
    pub created: Timestamp,
    /// The backup that it is to make; none for a probe or a clean-up.
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

/// A Job that the API server would not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Name of the Job.
    pub job: String,
    /// Stable reason.
    pub reason: &'static str,
    /// What the API server said.
    pub message: String,
}
