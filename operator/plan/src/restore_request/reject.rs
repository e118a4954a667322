//! A request whose spec cannot be carried out: one that has touched nothing waits for a change; one that has is undone, and goes
//! forward past the point of no return. Pure.

use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::reasons;
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequest, RestoreRequestStatus};

use super::observe::{Lock, Observed};
use super::pass::Pass;
use super::step::{self, Effect, REFUSED_SECONDS, Step};
use super::validate::ValidatedRestore;
use super::{ledger, summary};
use crate::backup_policy::{Event, Invalid};
use crate::job::RunnerSettings;

pub use super::validate::leftover;

/// Decides for a request that [`super::validate`] refuses. `request` is [`leftover`] of it, which also says what is to be looked
/// at.
pub fn reject(
    request: &ValidatedRestore,
    seen: &Observed,
    before: &RestoreRequestStatus,
    runner: &RunnerSettings,
    invalid: &Invalid,
) -> Step {
    let mut pass = Pass::new(request, seen, before, runner);
    let works = !seen.namespace_deleting && !pass.phase().is_end();
    if !works || request.cancel || seen.deleting || pass.is_past_return() {
        return step::decide(pass);
    }
    if pass.phase() == RestorePhase::Pending && !ledger::carries_ours(&pass) {
        return wait(pass, invalid);
    }
    let message = invalid.to_string();
    if pass.step.status.failure.is_none() {
        pass.event(true, invalid.reason, message.clone());
    }
    pass.fail(invalid.reason, &message);
    step::decide(pass)
}

/// Nothing starts; a policy that is missing may come.
fn wait(mut pass: Pass<'_>, invalid: &Invalid) -> Step {
    // One whose status was lost keeps its finalizer, which says that it has begun.
    if !ledger::has_begun(&pass) && step::expires(&mut pass) {
        summary::summarise(&mut pass);
        return pass.step;
    }
    // Others may work meanwhile.
    if pass.seen.lock == Lock::Ours {
        pass.effect(Effect::ReleaseLock);
    }
    let message = invalid.to_string();
    let known = conditions::find(&pass.stored.conditions, conditions::STALLED).is_some_and(|condition| {
        condition.status == "True" && condition.message == conditions::cut(&message)
    });
    let (generation, now) = (pass.request.generation, pass.now());
    let status = pass.status();
    let mut set = |type_, state, message: &str| {
        conditions::set(&mut status.conditions, type_, state, invalid.reason, message, generation, now);
    };
    set(conditions::READY, State::False, &message);
    set(conditions::STALLED, State::True, &message);
    set(conditions::RECONCILING, State::False, "waiting for a change");
    set(conditions::FINISHED, State::False, &message);
    status.observed_generation = Some(generation);
    status.phase.get_or_insert(RestorePhase::Pending);
    if !known {
        pass.event(true, invalid.reason, message);
    }
    pass.wake_in(REFUSED_SECONDS);
    pass.step
}

/// What is to be said when a request is gone: the database that it replaced stays for its time.
pub fn farewell(request: &RestoreRequest) -> Option<Event> {
    let previous =
        request.status.as_ref()?.previous.as_ref().filter(|previous| previous.dropped_time.is_none())?;
    let fate = previous.message.clone().unwrap_or_else(|| {
        format!("the database {} that it replaced stays until {}", previous.name, previous.drop_after.0)
    });
    let message = format!("the request was deleted; {fate}");
    Some(Event { warning: false, reason: reasons::restore::PREVIOUS_KEPT, message })
}
