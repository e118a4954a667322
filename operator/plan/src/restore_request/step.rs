//! Decides the next step of one request, from what was seen and what status says. Pure.

use greenlang_backup_api::reasons;
use greenlang_backup_api::restore::KeptDatabase;
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequestStatus};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::kept::kept_name;
use super::observe::{Kept, Lock, Observed, PatchRefusal, Patched};
use super::pass::{Pass, owes};
use super::validate::ValidatedRestore;
use super::{check, dumps, follow, ledger, load, plan, quiesce, resume, skipped, summary, switch, undo};
use crate::backup_policy::Event;
use crate::job::RunnerSettings;
use crate::jobs::Refusal;
use crate::pause::seconds_later;

/// Seconds after which a request that is refused, for it has no policy, is looked at again.
pub(super) const REFUSED_SECONDS: i64 = 60;
/// Seconds between two looks at who holds the lock.
const LOCK_SECONDS: i64 = 10;
/// Seconds between two looks at what remembers a replaced database.
const DROPPED_SECONDS: i64 = 600;

/// What to do, and what status will then say.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The status to write, after the effects.
    pub status: RestoreRequestStatus,
    /// What to do in the cluster, in this order. If one of them fails the pass ends and the status is not written.
    pub effects: Vec<Effect>,
    /// What to tell people, once status is written.
    pub events: Vec<Event>,
    /// When to look again if nothing changes before.
    pub wake: Option<Timestamp>,
}

/// Everything that a request may do in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make a Job; one of the same name that the request owns counts as made.
    CreateJob(Box<Job>),
    /// Delete a Job with its Pods, in the background.
    DeleteJob {
        /// Its name.
        name: String,
        /// Its UID, so that no namesake is deleted.
        uid: String,
    },
    /// Add our finalizer ([`greenlang_backup_api::labels::RESUME_FINALIZER`]) to the request.
    AddFinalizer,
    /// Remove it.
    RemoveFinalizer,
    /// Take the Lease of the target database for this request; a conflict means that another was faster.
    AcquireLock,
    /// Give it back; one that another holds is left alone.
    ReleaseLock,
    /// Patch a workload, or what scales it or would start it: stop it and write the ledger, or give back what it had and remove the
    /// ledger.
    Patch {
        /// What.
        target: Patched,
        /// A JSON merge patch, with UID and resourceVersion: a conflict means that it changed, and the next pass decides anew.
        patch: Value,
    },
    /// Make the ConfigMap that remembers the replaced database, in place of one that cannot be read; it has no owner.
    KeepDatabase(Box<KeptDatabase>),
}

/// Decides. `before` must be the status as the API server has it now, or something could be done twice.
pub fn step(
    request: &ValidatedRestore,
    seen: &Observed,
    before: &RestoreRequestStatus,
    runner: &RunnerSettings,
) -> Step {
    decide(Pass::new(request, seen, before, runner))
}

pub(super) fn decide(mut pass: Pass<'_>) -> Step {
    if pass.seen.namespace_deleting {
        // Everything goes with the namespace; a finalizer would hold it for ever, for nothing can be made there any more. Applications of
        // Argo CD are elsewhere, and stay.
        if pass.seen.has_finalizer {
            skipped::let_go_at_once(&mut pass);
            pass.effect(Effect::RemoveFinalizer);
        }
    } else {
        advance(&mut pass);
        follow::sweep(&mut pass);
    }
    summary::summarise(&mut pass);
    pass.step
}

fn advance(pass: &mut Pass<'_>) {
    tell_too_late(pass);
    if pass.phase().is_end() {
        rest(pass);
        return;
    }
    turn_back(pass);
    if !keeps_lock(pass) {
        return;
    }
    match pass.phase() {
        RestorePhase::Pending => begin(pass),
        RestorePhase::Planning => plan::advance(pass),
        RestorePhase::Quiescing => {
            if !dumps::hold_up(pass) {
                quiesce::advance(pass);
            }
        }
        RestorePhase::Restoring | RestorePhase::Verifying => load::advance(pass),
        RestorePhase::Switching => switch::advance(pass),
        RestorePhase::Resuming => resume::advance(pass),
        RestorePhase::Checking => check::advance(pass),
        RestorePhase::Undoing => undo::advance(pass),
        RestorePhase::Planned
        | RestorePhase::Succeeded
        | RestorePhase::Failed
        | RestorePhase::Cancelled
        | RestorePhase::Expired => {}
    }
}

/// Cancelled, or deleted: before the point of no return everything is undone.
fn turn_back(pass: &mut Pass<'_>) {
    let (end, reason, message) = if pass.request.cancel {
        (
            RestorePhase::Cancelled,
            reasons::restore::CANCELLED,
            "spec.cancel is true: what was done was undone",
        )
    } else if pass.seen.deleting {
        (RestorePhase::Failed, reasons::restore::DELETED, "the request was deleted")
    } else {
        return;
    };
    let goes_back =
        matches!(pass.phase(), RestorePhase::Undoing | RestorePhase::Resuming | RestorePhase::Checking);
    if goes_back || pass.is_past_return() {
        return;
    }
    if pass.phase() == RestorePhase::Pending && !ledger::carries_ours(pass) {
        pass.note_failure(end, reason, message);
        pass.end(end);
        return;
    }
    pass.note_failure(end, reason, message);
    pass.enter(RestorePhase::Undoing);
}

/// Whether `spec.cancel` changes nothing any more.
pub(super) fn too_late(pass: &Pass<'_>) -> bool {
    pass.request.cancel && pass.is_past_return() && pass.step.status.failure.is_none()
}

/// Once: nothing but `cancel` can change in a spec.
fn tell_too_late(pass: &mut Pass<'_>) {
    if too_late(pass) && pass.stored.observed_generation != Some(pass.request.generation) {
        let message = summary::why_too_late(pass);
        pass.event(true, reasons::restore::TOO_LATE_TO_CANCEL, message);
    }
}

/// Whether nobody else works on the database, as far as the Lease tells. One that was deleted is taken again. What is past the
/// point of no return goes forward: a switch looks at OIDs itself.
fn keeps_lock(pass: &mut Pass<'_>) -> bool {
    use RestorePhase::{Planning, Quiescing, Restoring, Switching, Verifying};
    let works = matches!(pass.phase(), Planning | Quiescing | Restoring | Verifying | Switching);
    if !works || pass.request.dry_run {
        return true;
    }
    match &pass.seen.lock {
        Lock::Ours => true,
        Lock::Free => {
            pass.effect(Effect::AcquireLock);
            pass.wake_in(1);
            pass.is_past_return()
        }
        Lock::Other(_) if pass.is_past_return() => true,
        Lock::Other(other) => {
            let message = format!(
                "RestoreRequest {other} took the Lease of database {}: apply a new request once it has ended",
                pass.request.database
            );
            pass.fail(reasons::restore::LOCK_LOST, &message);
            false
        }
    }
}

/// Whether `startBefore` has passed; if so, the request ends.
pub(super) fn expires(pass: &mut Pass<'_>) -> bool {
    let Some(limit) = pass.request.start_before else { return false };
    if pass.now() < limit {
        pass.wake_at(limit);
        return false;
    }
    let message = format!("spec.startBefore, {limit}, has passed; nothing was touched");
    pass.note_failure(RestorePhase::Expired, reasons::restore::EXPIRED, &message);
    pass.end(RestorePhase::Expired);
    true
}

/// Waits for its turn, takes the lock, and stores where it will read and write.
fn begin(pass: &mut Pass<'_>) {
    let request = pass.request;
    // One whose status was lost has begun already.
    if !ledger::has_begun(pass) && expires(pass) {
        return;
    }
    if !request.dry_run {
        match &pass.seen.lock {
            Lock::Ours => {}
            Lock::Free => {
                pass.effect(Effect::AcquireLock);
                pass.wake_in(1);
                return;
            }
            Lock::Other(_) => {
                pass.wake_in(LOCK_SECONDS);
                return;
            }
        }
    }
    let place = request.place.clone();
    let status = pass.status();
    status.target = Some(greenlang_backup_api::v1alpha1::TargetDatabase {
        host: place.server.host.clone(),
        port: place.server.port,
        database: request.database.clone(),
    });
    status.place = Some(place);
    pass.enter(RestorePhase::Planning);
}

/// After the end: what is owed is given back, then finalizer and lock go.
fn rest(pass: &mut Pass<'_>) {
    if pass.owes() {
        // Only after a write by hand.
        resume::give_back(pass);
        return;
    }
    if !owes(pass.stored) && pass.stored.phase.is_some_and(RestorePhase::is_end) {
        if pass.seen.lock == Lock::Ours {
            pass.effect(Effect::ReleaseLock);
        }
        // Last: with it a request that is being deleted goes.
        if pass.seen.has_finalizer {
            pass.effect(Effect::RemoveFinalizer);
        }
    }
    follow_previous(pass);
}

/// What was replaced stays until the ConfigMap says, which a person may have changed. Whoever deletes it, or mistypes its time, does not want
/// the database to be dropped as before: it is not made again.
fn follow_previous(pass: &mut Pass<'_>) {
    let (now, config_map) = (pass.now(), kept_name(&pass.request.identity));
    let Some(previous) =
        pass.step.status.previous.as_mut().filter(|previous| previous.dropped_time.is_none())
    else {
        return;
    };
    let database = &previous.name;
    let (warning, reason, message) = match pass.seen.kept {
        Kept::Until(drop_after) => {
            previous.drop_after = Time(drop_after);
            previous.message = None;
            pass.wake_at(drop_after.max(seconds_later(now, DROPPED_SECONDS)));
            return;
        }
        Kept::Absent => {
            let message = format!(
                "ConfigMap {config_map} was deleted, so database {database} is left to you: it stays until you drop it"
            );
            (false, reasons::restore::PREVIOUS_KEPT, message)
        }
        Kept::Unreadable => {
            let message = format!(
                "ConfigMap {config_map} cannot be read, so database {database} stays: correct its kept.json, or delete it and drop the \
                 database yourself"
            );
            (true, reasons::restore::DROP_FAILED, message)
        }
    };
    if previous.message.as_ref() != Some(&message) {
        previous.message = Some(message.clone());
        pass.event(warning, reason, message);
    }
}

impl Step {
    /// Takes in what the API server refused: a Job is a failed attempt, a workload cannot be stopped or brought back.
    #[must_use]
    pub fn refused(
        mut self,
        request: &ValidatedRestore,
        seen: &Observed,
        before: &RestoreRequestStatus,
        runner: &RunnerSettings,
        jobs: &[Refusal],
        patches: &[PatchRefusal],
    ) -> Self {
        let status = std::mem::take(&mut self.status);
        let mut pass = Pass::new(request, seen, before, runner);
        pass.step = Step { status, effects: vec![], ..self };
        for refusal in jobs {
            follow::refused(&mut pass, refusal);
        }
        for refusal in patches {
            quiesce::refused(&mut pass, refusal);
        }
        summary::summarise(&mut pass);
        pass.step
    }
}
