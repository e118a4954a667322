//! What one pass over a request gathers while it decides: the step, and how phases begin and end in it. Pure.

use greenlang_backup_api::conditions;
use greenlang_backup_api::v1alpha1::{
    PhaseTimes, QuiesceState, RestoreFailure, RestorePhase, RestoreRequestStatus,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observe::Observed;
use super::step::{Effect, Step};
use super::validate::ValidatedRestore;
use crate::backup_policy::Event;
use crate::job::RunnerSettings;
use crate::jobs::ObservedJob;
use crate::pause::seconds_later;

/// Most entries of `status.phases`.
const MAX_PHASES: usize = 20;

/// What one pass gathers while it decides.
pub struct Pass<'a> {
    pub request: &'a ValidatedRestore,
    pub seen: &'a Observed,
    /// The status as it is stored: an intent counts only once it stands here.
    pub stored: &'a RestoreRequestStatus,
    pub runner: &'a RunnerSettings,
    pub step: Step,
}

impl<'a> Pass<'a> {
    pub fn new(
        request: &'a ValidatedRestore,
        seen: &'a Observed,
        stored: &'a RestoreRequestStatus,
        runner: &'a RunnerSettings,
    ) -> Self {
        let step = Step { status: stored.clone(), ..Step::default() };
        Self { request, seen, stored, runner, step }
    }

    pub fn now(&self) -> Timestamp {
        self.seen.now
    }

    pub fn status(&mut self) -> &mut RestoreRequestStatus {
        &mut self.step.status
    }

    pub fn phase(&self) -> RestorePhase {
        self.step.status.phase.unwrap_or_default()
    }

    pub fn job(&self, name: &str) -> Option<&ObservedJob> {
        self.seen.jobs.iter().find(|job| job.name == name)
    }

    pub fn effect(&mut self, effect: Effect) {
        self.step.effects.push(effect);
    }

    /// Looks again at `time`, or earlier when something else asks for it.
    pub fn wake_at(&mut self, time: Timestamp) {
        self.step.wake = Some(self.step.wake.map_or(time, |wake| wake.min(time)));
    }

    /// Looks again some seconds later.
    pub fn wake_in(&mut self, seconds: i64) {
        self.wake_at(seconds_later(self.now(), seconds));
    }

    /// Looks again as soon as status is written: what was decided now is carried out then.
    pub fn wake_now(&mut self) {
        self.wake_at(self.now());
    }

    pub fn event(&mut self, warning: bool, reason: &'static str, message: String) {
        self.step.events.push(Event { warning, reason, message });
    }

    /// Goes over to a phase, which is carried out by the next pass.
    pub fn enter(&mut self, phase: RestorePhase) {
        if self.phase() == phase && !self.step.status.phases.is_empty() {
            return;
        }
        let now = Time(self.now());
        let phases = &mut self.step.status.phases;
        if let Some(last) = phases.last_mut() {
            last.end_time.get_or_insert_with(|| now.clone());
        }
        if phases.len() < MAX_PHASES {
            let end_time = phase.is_end().then(|| now.clone());
            phases.push(PhaseTimes { phase, start_time: now, end_time });
        }
        self.step.status.phase = Some(phase);
        self.step.status.progress = None;
        self.wake_now();
    }

    /// Begins the phase once more: what it waited for has taken time that its limits do not count.
    pub fn begin_again(&mut self) {
        let (phase, now) = (self.phase(), Time(self.now()));
        let phases = &mut self.step.status.phases;
        if phases.len() < MAX_PHASES {
            if let Some(last) = phases.last_mut() {
                last.end_time.get_or_insert_with(|| now.clone());
            }
            phases.push(PhaseTimes { phase, start_time: now, end_time: None });
        }
        self.step.status.progress = None;
    }

    /// When the phase began.
    pub fn phase_start(&self) -> Timestamp {
        self.step.status.phases.last().map_or(self.now(), |times| times.start_time.0)
    }

    /// Whether the finalizer is there that keeps a request until what was done is undone, or done; else it is added. One that is being
    /// deleted gets none any more.
    pub fn is_held(&mut self) -> bool {
        if self.seen.has_finalizer || self.seen.deleting {
            return true;
        }
        self.effect(Effect::AddFinalizer);
        self.wake_in(1);
        false
    }

    /// Whether the databases may have been renamed, or the old one dropped, so that nothing can be undone.
    pub fn is_past_return(&self) -> bool {
        self.step.status.switch_started_time.is_some()
    }

    /// The request will not succeed. The first failure counts.
    pub fn note_failure(&mut self, end: RestorePhase, reason: &str, message: &str) {
        if self.step.status.failure.is_some() {
            return;
        }
        let (phase, time) = (self.phase(), Time(self.now()));
        let (reason, message) = (reason.to_owned(), conditions::cut(message).to_owned());
        self.step.status.failure = Some(RestoreFailure { phase, end, reason, message, time });
    }

    /// What else is to be known of a failure: events are forgotten.
    pub fn add_to_failure(&mut self, message: &str) {
        if let Some(failure) = &mut self.step.status.failure {
            let both = format!("{}; {message}", failure.message);
            conditions::cut(&both).clone_into(&mut failure.message);
        }
    }

    /// The request fails: before the point of no return everything is undone, after it the applications come back to what is
    /// there.
    pub fn fail(&mut self, reason: &str, message: &str) {
        self.note_failure(RestorePhase::Failed, reason, message);
        if self.is_past_return() {
            self.step.status.active = None;
            self.enter(RestorePhase::Resuming);
        } else {
            // A Job that still runs is stopped there.
            self.enter(RestorePhase::Undoing);
        }
    }

    /// The end.
    pub fn end(&mut self, phase: RestorePhase) {
        self.step.status.active = None;
        self.enter(phase);
    }

    /// Whether applications are recorded that have not been given back what they had.
    pub fn owes(&self) -> bool {
        owes(&self.step.status)
    }
}

/// Whether applications, or what would start them, are recorded that have not been given back what they had.
pub fn owes(status: &RestoreRequestStatus) -> bool {
    let mut workloads = status.quiesced.iter().map(|workload| workload.state);
    let mut applications = status.skipped_applications.iter().map(|application| application.state);
    let is_owed = |state| state == QuiesceState::Recorded;
    workloads.any(is_owed) || applications.any(is_owed)
}
