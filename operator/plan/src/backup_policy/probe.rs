//! Decides when bucket, database and keys are checked, and what the findings mean for conditions. Pure.

use greenlang_backup_api::conditions::{
    self, DATABASE_REACHABLE, ENCRYPTION_READY, STORAGE_REACHABLE, State,
};
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Finding, Outcome, RunReport};
use greenlang_backup_api::v1alpha1::{ActiveProbe, ProbeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::Pass;
use crate::job_state::JobState;
use crate::jobs::PROGRESS_SECONDS;
use crate::jobs::{ObservedJob, Refusal, cannot_start};
use crate::pause::{backoff_seconds, seconds_later, still_ahead};

/// Seconds between probes while all is well.
const PROBE_SECONDS: i64 = 3_600;
/// Seconds to the next probe after a first failure; doubled with each further one.
const RETRY_SECONDS: i64 = 30;
/// Longest pause between failing probes.
const MAX_RETRY_SECONDS: i64 = 600;
/// Seconds by which times of earlier probes may lie ahead: probes that share a second are named after the ones that follow.
pub(super) const CLOCK_MARGIN: i64 = 60;
/// Seconds that a Pod may take to start before conditions say why it does not.
const START_SECONDS: i64 = 30;

/// Starts, follows or ends the probe.
pub(super) fn advance(pass: &mut Pass<'_>) {
    let mut probe = pass.decision.status.probe.clone().unwrap_or_default();
    match probe.active.clone() {
        None => start_if_due(pass, &mut probe),
        Some(active) => follow(pass, &mut probe, active),
    }
    if probe.active.is_none() {
        pass.wake_at(probe.next_probe_time.as_ref().map_or(pass.now(), |time| time.0));
    }
    pass.decision.status.probe = Some(probe);
}

fn start_if_due(pass: &mut Pass<'_>, probe: &mut ProbeStatus) {
    let now = pass.now();
    let told = probe.adopt != pass.policy.adopt;
    let stale = probe.generation != Some(pass.policy.generation) || told;
    let next = probe.next_probe_time.as_ref();
    let next = next.and_then(|next| still_ahead(next.0, now, PROBE_SECONDS + CLOCK_MARGIN));
    if !stale && next.is_some() {
        return;
    }
    if told && let Some(catalogue) = &mut pass.decision.status.catalogue {
        // What was refused before may be allowed now.
        catalogue.next_time = None;
    }
    // The Job is named after the start, so no two probes may share a second.
    let last = probe.last_probe_time.as_ref().map(|last| last.0);
    let last = last.filter(|last| *last <= seconds_later(now, CLOCK_MARGIN));
    let start = last.map_or(now, |last| now.max(seconds_later(last, 1)));
    probe.active = Some(ActiveProbe {
        start_time: Time(start),
        generation: pass.policy.generation,
        adopt: pass.policy.adopt.clone(),
        job_uid: None,
    });
    pass.wake_now();
}

fn follow(pass: &mut Pass<'_>, probe: &mut ProbeStatus, mut active: ActiveProbe) {
    let now = pass.now();
    match pass.job(&pass.policy.probe_job_name(&active)).cloned() {
        None if active.job_uid.is_some() => {
            let message = "the Job of the probe was deleted before its findings could be read";
            finish(pass, probe, &active, &RunReport::new(Outcome::Retryable, reasons::JOB_DELETED, message));
        }
        None => {
            pass.create(pass.policy.probe_job(&active, pass.runner));
            pass.wake_at(seconds_later(now, PROGRESS_SECONDS));
        }
        Some(ObservedJob { state: JobState::Ended(ended), .. }) => {
            finish(pass, probe, &active, &ended.report);
        }
        Some(ObservedJob { name, state: JobState::Stuck(why), .. }) => {
            let message = cannot_start(&name, &why);
            let report = RunReport::new(Outcome::Retryable, reasons::POD_NOT_STARTED, message);
            finish(pass, probe, &active, &report);
        }
        Some(job) => {
            if let JobState::Pending(Some(why)) = &job.state
                && now >= seconds_later(job.created, START_SECONDS)
            {
                let message = format!("the Pod that checks bucket and database has not started: {why}");
                set_all(pass, State::Unknown, reasons::POD_NOT_STARTED, &message, active.generation);
            }
            active.job_uid = Some(job.uid);
            probe.active = Some(active);
            pass.wake_at(seconds_later(now, PROGRESS_SECONDS));
        }
    }
}

/// The API server refused a Job; if it was the probe's, that probe has ended.
pub(super) fn refused(pass: &mut Pass<'_>, refusal: &Refusal) {
    let Some(mut probe) = pass.decision.status.probe.clone() else {
        return;
    };
    if let Some(active) = probe.active.clone()
        && pass.policy.probe_job_name(&active) == refusal.job
    {
        finish(
            pass,
            &mut probe,
            &active,
            &RunReport::new(Outcome::Retryable, refusal.reason, refusal.message.clone()),
        );
        pass.wake_at(probe.next_probe_time.as_ref().map_or(pass.now(), |time| time.0));
        pass.decision.status.probe = Some(probe);
    }
}

fn finish(pass: &mut Pass<'_>, probe: &mut ProbeStatus, active: &ActiveProbe, report: &RunReport) {
    let now = pass.now();
    let healthy_before = probe.consecutive_failures == 0;
    let healthy = match &report.probe {
        Some(found) if report.outcome.is_success() => {
            set(pass, STORAGE_REACHABLE, &found.storage, active.generation);
            set(pass, ENCRYPTION_READY, &found.encryption, active.generation);
            // What could not be asked this time is most likely as it was.
            probe.largest_database_bytes = found.largest_database_bytes.or(probe.largest_database_bytes);
            match &found.database {
                Some(finding) => set(pass, DATABASE_REACHABLE, finding, active.generation),
                None => {
                    pass.decision.status.conditions.retain(|condition| condition.type_ != DATABASE_REACHABLE);
                }
            }
            [Some(&found.storage), Some(&found.encryption), found.database.as_ref()]
                .into_iter()
                .flatten()
                .all(|finding| finding.ok)
        }
        _ => {
            set_all(pass, State::Unknown, &report.reason, &report.message, active.generation);
            false
        }
    };
    probe.consecutive_failures = if healthy { 0 } else { probe.consecutive_failures.saturating_add(1) };
    let pause = match probe.consecutive_failures {
        0 => PROBE_SECONDS,
        failures => backoff_seconds(RETRY_SECONDS, failures, MAX_RETRY_SECONDS),
    };
    // A probe may start a second ahead of the clock; its end must not lie before its start.
    let end = now.max(active.start_time.0);
    probe.generation = Some(active.generation);
    probe.adopt.clone_from(&active.adopt);
    probe.last_probe_time = Some(Time(end));
    probe.next_probe_time = Some(Time(seconds_later(end, pause)));
    probe.active = None;
    tell(pass, healthy_before, healthy);
    // The Job's end is counted with this status; the next pass deletes it.
    pass.wake_now();
}

/// One event at each change between good and bad, not at each probe.
fn tell(pass: &mut Pass<'_>, healthy_before: bool, healthy: bool) {
    if healthy_before == healthy {
        return;
    }
    if healthy {
        pass.event(false, reasons::PROBE_RECOVERED, "bucket, database and keys can be used again".into());
        return;
    }
    let bad = pass.decision.status.conditions.iter().find(|condition| {
        [STORAGE_REACHABLE, DATABASE_REACHABLE, ENCRYPTION_READY].contains(&condition.type_.as_str())
            && condition.status != "True"
    });
    let message =
        bad.map(|condition| format!("{}: {}", condition.reason, condition.message)).unwrap_or_default();
    pass.event(true, reasons::PROBE_FAILED, message);
}

fn set(pass: &mut Pass<'_>, type_: &str, finding: &Finding, generation: i64) {
    let now = pass.now();
    let conditions = &mut pass.decision.status.conditions;
    conditions::set(conditions, type_, finding.ok.into(), &finding.reason, &finding.message, generation, now);
}

fn set_all(pass: &mut Pass<'_>, state: State, reason: &str, message: &str, generation: i64) {
    let now = pass.now();
    let database = pass.policy.server.is_some().then_some(DATABASE_REACHABLE);
    for type_ in [Some(STORAGE_REACHABLE), Some(ENCRYPTION_READY), database].into_iter().flatten() {
        conditions::set(&mut pass.decision.status.conditions, type_, state, reason, message, generation, now);
    }
}
