//! What was seen of the cluster, as plain data. Pure; the controller's `gather` fills it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::restores::OngoingRestore;
use crate::job_state::JobState;
use crate::jobs::ObservedJob;
use crate::overdue::has_had_its_time;

/// What was seen in one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The time of the pass, in whole seconds.
    pub now: Timestamp,
    /// All Jobs that the policy owns.
    pub jobs: Vec<ObservedJob>,
    /// UIDs and names of Jobs that are gone while a Pod of theirs is still there.
    pub remains: BTreeSet<String>,
    /// The restores that go on in the policy's namespace, in any order.
    pub restores: Vec<OngoingRestore>,
    /// Which of its runs may begin.
    pub places: Granted,
    /// Whether so many passes go on that what can wait should.
    pub busy: bool,
}

/// What the queue of all policies' runs says to one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// How many runs may go on at once, of all policies together.
    pub limit: usize,
    /// Names of the Jobs that have a place.
    pub taken: BTreeSet<String>,
}

impl Observed {
    /// Names of the Jobs of runs that are there, have not ended, and have started or still have time to.
    pub fn live_runs(&self) -> BTreeSet<String> {
        let is_live = |job: &&ObservedJob| {
            job.backup.is_some()
                && match job.state {
                    JobState::Running => true,
                    JobState::Pending(_) | JobState::Stuck(_) => !has_had_its_time(job.created, self.now),
                    JobState::Ended(_) => false,
                }
        };
        self.jobs.iter().filter(is_live).map(|job| job.name.clone()).collect()
    }
}
