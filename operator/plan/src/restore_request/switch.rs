//! Switching: the point of no return is stored, then one Job renames, as often as it takes until it is known that it did, or
//! that it did not. Pure.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::restore::{KeptDatabase, RestoreReport, SwitchReport};
use greenlang_backup_api::v1alpha1::{
    ActiveRestoreJob, NamedDatabase, PreviousDatabase, RestoreJobKind, RestorePhase, RestoreRequestStatus,
    RestoreStrategy,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::follow::{self, Followed};
use super::observe::Kept;
use super::pass::Pass;
use super::step::Effect;
use super::validate::ValidatedRestore;
use super::{kept, ledger, quiesce};
use crate::job_state::Ended;
use crate::jobs::Refusal;
use crate::pause::seconds_later;

const SECONDS_PER_HOUR: i64 = 3_600;
/// Seconds until a ConfigMap that the API server refused is tried again.
const REFUSED_SECONDS: i64 = 60;

pub(super) fn advance(pass: &mut Pass<'_>) {
    // It tells as well that a request whose status is lost has begun; an undo without applications has none until here.
    if !pass.is_held() {
        return;
    }
    if !pass.is_past_return() {
        // Everything before this line can be undone, nothing after it.
        ledger::note_gone(pass);
        if !quiesce::contested(pass) && is_remembered(pass) {
            pass.status().switch_started_time = Some(Time(pass.seen.now));
            pass.wake_now();
        }
        return;
    }
    if pass.request.give_up {
        give_up(pass);
        return;
    }
    if !is_remembered(pass) {
        return;
    }
    let Some(active) = pass.step.status.active.clone() else {
        follow::start(pass, RestoreJobKind::Switch, None);
        return;
    };
    if let Followed::Ended(ended) = follow::follow(pass, active.clone()) {
        self::ended(pass, active, &ended);
    }
}

/// Whether a ConfigMap remembers what is to be replaced, where anything is; else it is made. It comes before the point of no return, so that
/// where it cannot be made the applications come back. One that was deleted since is made again, but not once the databases were switched.
fn is_remembered(pass: &mut Pass<'_>) -> bool {
    let is_there = match pass.seen.kept {
        Kept::Until(_) => true,
        // Past that point a person has written to it.
        Kept::Unreadable => pass.is_past_return(),
        Kept::Absent => pass.step.status.switched_time.is_some(),
    };
    let Some(kept) = to_keep(pass).filter(|_| !is_there) else { return true };
    pass.effect(Effect::KeepDatabase(Box::new(kept)));
    pass.wake_now();
    false
}

/// The API server refused that ConfigMap. Past the point of no return there is no way back, so it is tried again.
pub(super) fn not_remembered(pass: &mut Pass<'_>, refusal: &Refusal) {
    if pass.phase() != RestorePhase::Switching {
        return;
    }
    if !pass.is_past_return() {
        pass.fail(refusal.reason, &refusal.message);
        return;
    }
    if pass.stored.progress.as_ref() != Some(&refusal.message) {
        let message = format!("applications stay stopped until this can be made: {}", refusal.message);
        pass.event(true, reasons::restore::APPLICATIONS_DOWN, message);
    }
    pass.status().progress = Some(refusal.message.clone());
    pass.step.wake = None;
    pass.wake_in(REFUSED_SECONDS);
}

/// What follows from the end of an attempt.
pub(super) fn ended(pass: &mut Pass<'_>, active: ActiveRestoreJob, ended: &Ended) {
    let report = &ended.report;
    match report.restore.clone() {
        Some(RestoreReport::Switch(switched)) if report.outcome.is_success() => done(pass, &switched),
        // It looked: nothing was renamed. What was made can be undone, unless the old database was dropped first.
        Some(RestoreReport::NotSwitched)
            if report.outcome == Outcome::Failed || active.attempt >= follow::ATTEMPTS =>
        {
            not_done(pass, &report.reason, &report.message);
        }
        _ => uncertain(pass, active, report),
    }
}

/// When the replaced database is dropped: as the ConfigMap says once it is there, also where status was lost since.
fn drop_after(pass: &Pass<'_>) -> Timestamp {
    let status = &pass.step.status;
    let told = status.previous.as_ref().map(|previous| previous.drop_after.0);
    pass.seen.kept.until().or(told).unwrap_or_else(|| {
        let started = status.switch_started_time.as_ref().map_or(pass.now(), |time| time.0);
        seconds_later(started, i64::from(pass.request.keep_previous_hours) * SECONDS_PER_HOUR)
    })
}

/// What becomes of what was replaced, in words.
pub(super) fn fate_of(previous: &PreviousDatabase, now: Timestamp) -> String {
    if let Some(message) = &previous.message {
        return message.clone();
    }
    if now < previous.drop_after.0 {
        format!("what was replaced is kept as {} until {}", previous.name, previous.drop_after.0)
    } else {
        format!("what was replaced, {}, is dropped once the request has ended", previous.name)
    }
}

/// The database that leaves its place, by the name that it gets.
pub(super) fn outgoing(request: &ValidatedRestore, status: &RestoreRequestStatus) -> Option<NamedDatabase> {
    let databases = status.databases.as_ref()?;
    // Replace has dropped it.
    let oid = databases.target_oid.filter(|_| request.strategy != RestoreStrategy::Replace)?;
    Some(NamedDatabase { name: databases.previous.clone(), oid })
}

/// What the ConfigMap is to remember; none where nothing is replaced.
pub(super) fn to_keep(pass: &Pass<'_>) -> Option<KeptDatabase> {
    let (request, status) = (pass.request, &pass.step.status);
    Some(KeptDatabase {
        request: request.identity.clone(),
        server: request.place.server.clone(),
        bucket: request.place.bucket.clone(),
        database: request.database.clone(),
        previous: outgoing(request, status)?,
        drop_after: drop_after(pass),
        stall_seconds: request.stall_seconds,
        job_template: request.job_template.clone(),
    })
}

fn done(pass: &mut Pass<'_>, switched: &SwitchReport) {
    let drop_after = Time(drop_after(pass));
    let previous = switched.previous.clone();
    let now = Time(pass.now());
    let status = pass.status();
    status.switched_time = Some(now);
    status.previous = previous.map(|NamedDatabase { name, oid }| PreviousDatabase {
        name,
        oid,
        drop_after,
        dropped_time: None,
        message: None,
    });
    status.active = None;
    let database = &pass.request.database;
    let message = match &pass.step.status.previous {
        Some(previous) => {
            format!("database {database} is the restored one; {}", fate_of(previous, pass.now()))
        }
        None => format!("database {database} is the restored one"),
    };
    pass.event(false, reasons::restore::SWITCHED, message);
    pass.enter(RestorePhase::Resuming);
}

fn not_done(pass: &mut Pass<'_>, reason: &str, message: &str) {
    let dropped = pass.request.strategy == RestoreStrategy::Replace;
    pass.note_failure(RestorePhase::Failed, reason, message);
    if dropped {
        let message = format!(
            "database {} was dropped before, and what was restored stays as {}: rename it by hand, or apply a new request",
            pass.request.database,
            pass.request.temporary()
        );
        pass.add_to_failure(&message);
    }
    pass.status().active = None;
    pass.enter(if dropped { RestorePhase::Resuming } else { RestorePhase::Undoing });
}

/// Nobody knows. The Job is idempotent, so it is asked again until somebody does; the applications stay away meanwhile, for they
/// could write to a database that is about to leave.
fn uncertain(
    pass: &mut Pass<'_>,
    active: ActiveRestoreJob,
    report: &greenlang_backup_api::report::RunReport,
) {
    if active.attempt == follow::ATTEMPTS {
        let message = way_out(pass, &report.message);
        pass.event(true, reasons::restore::APPLICATIONS_DOWN, message);
    }
    follow::retry(pass, active, report);
}

/// How a person gets out of a switch that nobody knows the end of.
pub(super) fn way_out(pass: &Pass<'_>, why: &str) -> String {
    let request = &pass.request.identity;
    format!(
        "it is not known whether the databases were switched, and the applications stay stopped until it is ({why}). It is tried again \
         and again: mend what is said there. To end it now, look yourself which database is called {}, then run kubectl annotate \
         restorerequest {} -n {} {}={}",
        pass.request.database,
        request.name,
        request.namespace,
        greenlang_backup_api::labels::GIVE_UP,
        request.uid,
    )
}

/// A person has looked. A Job that still runs is stopped first: it could rename later.
fn give_up(pass: &mut Pass<'_>) {
    if let Some(active) = pass.step.status.active.clone() {
        let job = pass.request.job_name(&active);
        if !follow::stop(pass, active) {
            pass.status().progress = Some(format!("given up: waiting until Job {job} and its Pod are gone"));
            return;
        }
    }
    let message = what_stays(pass);
    pass.note_failure(RestorePhase::Failed, reasons::restore::GIVEN_UP, &message);
    pass.enter(RestorePhase::Resuming);
}

/// What a person finds who gave up: nobody knows which of the two it is.
fn what_stays(pass: &Pass<'_>) -> String {
    let (request, database) = (pass.request, &pass.request.database);
    let incoming = pass
        .step
        .status
        .databases
        .as_ref()
        .map_or_else(|| request.temporary(), |known| known.temporary.clone());
    let switched = match to_keep(pass) {
        Some(kept) => format!(
            "what was replaced is {}, and is dropped at {} unless ConfigMap {} is deleted before",
            kept.previous.name,
            kept.drop_after,
            kept::kept_name(&request.identity)
        ),
        None => "nothing else is left".to_owned(),
    };
    let was_there = pass.step.status.databases.as_ref().is_some_and(|known| known.target_oid.is_some());
    let unswitched = match request.strategy {
        // An attempt may have been cut off after it had closed the database.
        RestoreStrategy::Swap if was_there => format!(
            "database {database} is as it was, but it may let nobody in (ALTER DATABASE \"{}\" ALLOW_CONNECTIONS true)",
            database.replace('"', "\"\"")
        ),
        RestoreStrategy::Replace if was_there => format!("database {database} was dropped before"),
        _ => format!("there is no database {database}"),
    };
    format!(
        "a person ended it before it was known whether the databases were switched. If there is no database {incoming}, they were: \
         {switched}. If there is one, they were not: {unswitched}, and it is for you to rename or drop the other"
    )
}

/// Nothing else wakes a request whose Job goes on.
pub(super) fn keep_wake(pass: &mut Pass<'_>) {
    if pass.step.wake.is_none() {
        pass.wake_in(crate::jobs::PROGRESS_SECONDS);
    }
}
