//! Decides the next step of a switch from what server and record say. Pure.

use greenlang_backup_api::restore::RecordState;

use super::super::RestoreError;
use super::super::databases::Found;

/// What server and record say.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How far the record says that this request came.
    pub record: Option<RecordState>,
    /// The name that changes hands.
    pub database: String,
    /// Name that the restored database has before.
    pub wanted_incoming: String,
    /// Name that the replaced database has afterwards; none where nothing is replaced.
    pub wanted_outgoing: Option<String>,
    /// OID of the database that has the name.
    pub holder: Option<u32>,
    /// The restored database, by its OID.
    pub incoming: Option<Found>,
    /// Whether it carries the mark that it should, while it has not got its name.
    pub incoming_is_marked: bool,
    /// The replaced database, by its OID.
    pub outgoing: Option<Found>,
    /// Sessions in one of the two.
    pub sessions: i64,
    /// Prepared transactions in one of the two.
    pub prepared: i64,
    /// Logical replication slots and subscriptions of the one that leaves, unless their loss was accepted.
    pub followers: i64,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write that the names are about to change.
    WriteSwitching,
    /// Keep new sessions out of the database that is replaced.
    CloseOutgoing,
    /// Keep new sessions out of the restored database.
    CloseIncoming,
    /// End the sessions that are there.
    EndSessions,
    /// Change the names.
    Rename,
    /// Let sessions into the restored database, which has its name already: an attempt that comes late has closed it.
    Open,
    /// Write that the names have changed.
    WriteSwitched,
    /// Nothing.
    Done,
}

/// The next step, by OIDs: names alone say nothing after a crash.
pub fn next(seen: &Seen) -> Result<Step, RestoreError> {
    let changed = |problem: String| Err(RestoreError::DatabaseChanged(problem));
    let Some(incoming) = &seen.incoming else {
        return changed(format!("the restored database {} is gone", seen.wanted_incoming));
    };
    for found in [Some(incoming), seen.outgoing.as_ref()].into_iter().flatten() {
        if found.half_dropped && seen.record != Some(RecordState::Switched) {
            return changed(format!("somebody began to drop database {}", found.name));
        }
    }
    if seen.holder == Some(incoming.oid) && !incoming.open {
        return Ok(Step::Open);
    }
    if seen.holder == Some(incoming.oid) {
        let told = seen.record == Some(RecordState::Switched);
        return Ok(if told { Step::Done } else { Step::WriteSwitched });
    }
    if seen.record == Some(RecordState::Switched) {
        return changed(format!("the databases were switched, and {} is another one since", seen.database));
    }
    if incoming.name != seen.wanted_incoming {
        return changed(format!(
            "the restored database is called {} instead of {}",
            incoming.name, seen.wanted_incoming
        ));
    }
    if !seen.incoming_is_marked {
        return changed(format!("database {} does not carry the mark of its request", incoming.name));
    }
    match (&seen.wanted_outgoing, &seen.outgoing, seen.holder) {
        (Some(_), Some(outgoing), Some(holder)) if outgoing.oid == holder => {}
        (None, _, None) => {}
        (Some(_), _, None) => return changed(format!("database {} is gone", seen.database)),
        _ => return changed(format!("database {} is another one than the plan saw", seen.database)),
    }
    if seen.record != Some(RecordState::Switching) {
        return Ok(Step::WriteSwitching);
    }
    if seen.prepared > 0 {
        return Err(RestoreError::PreparedTransactions {
            database: seen.database.clone(),
            count: seen.prepared,
        });
    }
    if seen.followers > 0 {
        return Err(RestoreError::LogicalReplication {
            database: seen.database.clone(),
            count: seen.followers,
        });
    }
    if seen.outgoing.as_ref().is_some_and(|outgoing| outgoing.open) {
        return Ok(Step::CloseOutgoing);
    }
    if incoming.open {
        return Ok(Step::CloseIncoming);
    }
    Ok(if seen.sessions > 0 { Step::EndSessions } else { Step::Rename })
}
