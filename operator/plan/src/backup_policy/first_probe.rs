//! Decides how long a run waits for the probe that tells how large the databases are, and so how much memory its Job needs. Pure.

use greenlang_backup_api::v1alpha1::ActiveRun;
use jiff::Timestamp;

use super::decide::Pass;
use super::probe::CLOCK_MARGIN;
use crate::pause::{seconds_later, still_ahead};

/// Longest wait in seconds, from the decision on the run. A probe takes some seconds; one that does not end must not
/// hold up a backup.
const WAIT_SECONDS: i64 = 120;
/// Failed probes in a row after which a run goes on: what fails twice will hardly tell soon, and the run says itself what is wrong.
const FAILURES: u32 = 2;

/// Until when a run whose Job does not exist yet is to wait; none if it may go on. Only what follows from status decides, so a
/// crash neither lengthens the wait nor forgets it.
pub(super) fn wait_until(pass: &Pass<'_>, active: &ActiveRun) -> Option<Timestamp> {
    if active.job_uid.is_some() || is_told(pass) {
        return None;
    }
    let until = seconds_later(active.start_time.0, WAIT_SECONDS);
    still_ahead(until, pass.now(), WAIT_SECONDS + CLOCK_MARGIN)
}

/// Whether a probe of the latest spec has ended, and found all well, or at least knows a size of before, or was not the first
/// in a row to fail. Another spec may name other databases, so its probe is waited for, too.
fn is_told(pass: &Pass<'_>) -> bool {
    pass.decision.status.probe.as_ref().is_some_and(|probe| {
        let failures = probe.consecutive_failures;
        let ended = probe.generation == Some(pass.policy.generation);
        ended && (failures == 0 || failures >= FAILURES || probe.largest_database_bytes.is_some())
    })
}
