//! Decides what to do next for one policy, from what was seen and what status says. Pure.

use std::collections::BTreeSet;

use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::reasons;
use greenlang_backup_api::task::TaskError;
use greenlang_backup_api::text;
use greenlang_backup_api::v1alpha1::{BackupPolicyStatus, MAX_FAILURE};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use super::observe::Observed;
use super::validate::{Invalid, ValidatedPolicy};
use super::{catalogue, clean_up, probe, prune, run, summary};
use crate::job::RunnerSettings;
use crate::jobs::{ObservedJob, Refusal, superfluous};
use crate::pause::seconds_later;
use crate::queue::Wanted;

/// What to do, and what status will then say.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The status to write, after the effects.
    pub status: BackupPolicyStatus,
    /// What to do in the cluster, in this order.
    pub effects: Vec<Effect>,
    /// What to tell people, once status is written.
    pub events: Vec<Event>,
    /// When to look again if nothing changes before.
    pub wake: Option<Timestamp>,
    /// Runs that are to begin now. The Jobs of those that have a place are among the effects; the others wait.
    pub wanted: BTreeSet<Wanted>,
}

/// Everything that the operator may do in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make a Job; one of the same name that is ours counts as made.
    CreateJob(Box<Job>),
    /// Delete a Job with its Pods, in the background.
    DeleteJob {
        /// Its name.
        name: String,
        /// Its UID, so that no namesake is deleted.
        uid: String,
    },
}

/// An event on the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Something that a person should look at.
    pub warning: bool,
    /// Stable reason.
    pub reason: &'static str,
    /// A full sentence.
    pub message: String,
}

/// Seconds by which a slot may lie ahead of the clock and still count. A clock that is set back by so much makes nothing twice;
/// one that was further ahead has told of slots that are still to come.
const CLOCK_MARGIN: i64 = 7_200;

/// What one pass gathers while it decides.
pub(super) struct Pass<'a> {
    pub policy: &'a ValidatedPolicy,
    pub seen: &'a Observed,
    pub runner: &'a RunnerSettings,
    pub decision: Decision,
}

impl Pass<'_> {
    pub fn now(&self) -> Timestamp {
        self.seen.now
    }

    /// The latest slot that can have passed. A later one was written under a clock far ahead, or somebody put it into the bucket.
    pub fn latest_slot(&self) -> Timestamp {
        seconds_later(self.now(), CLOCK_MARGIN)
    }

    pub fn job(&self, name: &str) -> Option<&ObservedJob> {
        self.seen.jobs.iter().find(|job| job.name == name)
    }

    /// Looks again at `time`, or earlier when something else asks for it.
    pub fn wake_at(&mut self, time: Timestamp) {
        self.decision.wake = Some(self.decision.wake.map_or(time, |wake| wake.min(time)));
    }

    /// Looks again as soon as status is written: what was decided now is carried out then.
    pub fn wake_now(&mut self) {
        self.wake_at(self.now());
    }

    /// Runs that are to begin and have no place.
    pub fn waiting_runs(&self) -> impl Iterator<Item = &Wanted> {
        self.decision.wanted.iter().filter(|wanted| !self.seen.places.taken.contains(&wanted.job))
    }

    pub fn event(&mut self, warning: bool, reason: &'static str, message: String) {
        self.decision.events.push(Event { warning, reason, message });
    }

    pub fn create(&mut self, job: Result<Job, TaskError>) {
        // Validation has measured the Tasks of runs and of the probe. What a clean-up or a catalogue is told besides is ids, names and
        // paths, of which the definition bounds number and length; a prune says itself what does not fit. So no error
        // comes here; without a Job the pass is simply repeated.
        if let Ok(job) = job {
            self.decision.effects.push(Effect::CreateJob(Box::new(job)));
        }
    }
}

/// Decides. `before` must be the status as the API server has it now, or something could be counted twice.
pub fn decide(
    policy: &ValidatedPolicy,
    seen: &Observed,
    before: &BackupPolicyStatus,
    runner: &RunnerSettings,
) -> Decision {
    let decision = Decision { status: before.clone(), ..Decision::default() };
    let mut pass = Pass { policy, seen, runner, decision };
    probe::advance(&mut pass);
    // Without the history it is not known what is due, nor which Jobs are still needed.
    if catalogue::advance(&mut pass) {
        run::advance_all(&mut pass);
        clean_up::advance_all(&mut pass);
        prune::advance_all(&mut pass);
        sweep(&mut pass, before);
    }
    summary::summarise(&mut pass);
    pass.decision
}

/// The status of a policy whose spec cannot be carried out. Nothing starts; what is known stays known.
pub fn reject(before: &BackupPolicyStatus, generation: i64, invalid: &Invalid, now: Timestamp) -> Decision {
    let mut status = before.clone();
    let message = invalid.to_string();
    let mut set = |type_, state, reason, message: &str| {
        conditions::set(&mut status.conditions, type_, state, reason, message, generation, now);
    };
    set(conditions::READY, State::False, invalid.reason, &message);
    set(conditions::STALLED, State::True, invalid.reason, &message);
    set(conditions::RECONCILING, State::False, invalid.reason, "waiting for a change of the spec");
    status.observed_generation = Some(generation);
    status.next_backup = None;
    let known = conditions::is(&before.conditions, conditions::STALLED, State::True)
        && before.observed_generation == Some(generation);
    let event = Event { warning: true, reason: invalid.reason, message };
    Decision { status, events: if known { vec![] } else { vec![event] }, ..Decision::default() }
}

/// The status of a policy in a namespace where the operator may make nothing. Its spec is not read; what is known stays known.
pub fn unserved(
    before: &BackupPolicyStatus,
    namespace: &str,
    generation: i64,
    now: Timestamp,
) -> BackupPolicyStatus {
    let mut status = before.clone();
    let (reason, message) = not_served(namespace);
    let verdicts = [
        (conditions::READY, State::False),
        (conditions::STALLED, State::True),
        (conditions::RECONCILING, State::False),
        (conditions::RETENTION_ACTIVE, State::False),
    ];
    for (type_, state) in verdicts {
        conditions::set(&mut status.conditions, type_, state, reason, &message, generation, now);
    }
    status.observed_generation = Some(generation);
    status
}

impl Decision {
    /// Takes in that the API server refused a Job, as a failed attempt of what the Job was for.
    #[must_use]
    pub fn refused(
        mut self,
        policy: &ValidatedPolicy,
        seen: &Observed,
        runner: &RunnerSettings,
        refusal: &Refusal,
    ) -> Self {
        let status = std::mem::take(&mut self.status);
        let decision = Decision { status, effects: vec![], ..self };
        let mut pass = Pass { policy, seen, runner, decision };
        run::refused(&mut pass, refusal);
        clean_up::refused(&mut pass, refusal);
        prune::refused(&mut pass, refusal);
        catalogue::refused(&mut pass, refusal);
        probe::refused(&mut pass, refusal);
        summary::summarise(&mut pass);
        pass.decision
    }
}

/// Deletes Jobs that nothing needs any more. A Job is needed while the status that is stored (`before`) names it, because its
/// end has not been counted for good before that; and when the status to be written does, which takes up again what a lost
/// status had forgotten. One that is stored as being stopped is needed no more, once its UID is stored too: by that its Pod is
/// waited for.
fn sweep(pass: &mut Pass<'_>, before: &BackupPolicyStatus) {
    let policy = pass.policy;
    let mut needed = Vec::new();
    for status in [before, &pass.decision.status] {
        let runs = status.backups.iter().flat_map(|backup| backup.runs().map(move |run| (&backup.name, run)));
        let runs = runs.filter(|(_, run)| run.stopping.is_none() || run.job_uid.is_none());
        needed.extend(runs.map(|(backup, run)| policy.run_job_name(backup, run)));
        let clean_ups = status
            .backups
            .iter()
            .flat_map(|backup| backup.clean_ups.iter().map(move |entry| (backup, entry)));
        needed.extend(clean_ups.filter_map(|(backup, entry)| {
            Some(policy.clean_up_job_name(&backup.name, entry, entry.active.as_ref()?))
        }));
        let probe = status.probe.as_ref().and_then(|probe| probe.active.as_ref());
        needed.extend(probe.map(|active| policy.probe_job_name(active)));
        let prunes = status
            .backups
            .iter()
            .filter_map(|backup| Some((&backup.name, backup.prune.as_ref()?.active.as_ref()?)));
        needed.extend(prunes.map(|(backup, active)| policy.prune_job_name(backup, active)));
        let catalogue = status.catalogue.as_ref().and_then(|catalogue| catalogue.active.as_ref());
        needed.extend(catalogue.map(|active| policy.catalogue_job_name(active)));
    }
    // Names that the spec no longer has count together, or each rename would leave some.
    let is_known = |name: &&str| policy.backups.iter().any(|backup| backup.name == *name);
    let doomed = superfluous(&pass.seen.jobs, &needed, |job| job.backup.as_deref().filter(is_known));
    let deletions =
        doomed.into_iter().map(|job| Effect::DeleteJob { name: job.name.clone(), uid: job.uid.clone() });
    pass.decision.effects.extend(deletions);
}

/// What failed and why, as long as status may have it: every schedule and every clean-up may hold such a text.
pub(super) fn failure(what: &str, why: &str) -> String {
    text::cut(&format!("{what}: {why}"), MAX_FAILURE).to_owned()
}

/// Reason and message for a namespace that the operator was not told to serve.
pub(crate) fn not_served(namespace: &str) -> (&'static str, String) {
    let message = format!(
        "the operator was not told to serve namespace {namespace}: add it to the chart's value \"namespaces\" and upgrade"
    );
    (reasons::NAMESPACE_NOT_SERVED, message)
}
