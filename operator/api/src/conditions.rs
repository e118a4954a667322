//! Condition types and the one way to set them. Pure: `now` is passed in.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::text;

/// The spec is accepted and what it needs can be reached; kstatus reads it.
pub const READY: &str = "Ready";
/// Work on the latest generation goes on; kstatus reads it.
pub const RECONCILING: &str = "Reconciling";
/// Nothing will get better without a change by a person; kstatus reads it.
pub const STALLED: &str = "Stalled";
/// The last probe could put, get and delete an object.
pub const STORAGE_REACHABLE: &str = "StorageReachable";
/// The last probe could connect to every database.
pub const DATABASE_REACHABLE: &str = "DatabaseReachable";
/// The last probe could read every encryption key.
pub const ENCRYPTION_READY: &str = "EncryptionReady";
/// The newest run of every schedule that has ended succeeded.
pub const BACKUPS_CURRENT: &str = "BackupsCurrent";
/// Backups go when their days are over.
pub const RETENTION_ACTIVE: &str = "RetentionActive";

/// The plan of a restore was made and can work.
pub const PLANNED: &str = "Planned";
/// The applications of a restore are stopped.
pub const QUIESCED: &str = "Quiesced";
/// The data of a restore is on the server.
pub const RESTORED: &str = "Restored";
/// What was restored was compared with the backup.
pub const VERIFIED: &str = "Verified";
/// What was restored has taken its place.
pub const SWITCHED: &str = "Switched";
/// The applications of a restore are back.
pub const RESUMED: &str = "Resumed";
/// A restore has ended; the reason says how.
pub const FINISHED: &str = "Finished";

/// All of a RestoreRequest.
pub const OF_RESTORES: &[&str] =
    &[READY, RECONCILING, STALLED, PLANNED, QUIESCED, RESTORED, VERIFIED, SWITCHED, RESUMED, FINISHED];

/// All of a BackupPolicy.
pub const OF_POLICIES: &[&str] = &[
    READY,
    RECONCILING,
    STALLED,
    STORAGE_REACHABLE,
    DATABASE_REACHABLE,
    ENCRYPTION_READY,
    BACKUPS_CURRENT,
    RETENTION_ACTIVE,
];

/// Longest message of a condition, in bytes (the API server's limit is 32,768; people read less).
const MAX_MESSAGE: usize = 1_024;

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Yes.
    True,
    /// No.
    False,
    /// Not known yet.
    Unknown,
}

impl State {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for State {
    fn from(yes: bool) -> Self {
        if yes { Self::True } else { Self::False }
    }
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of a type is there and has this status.
pub fn is(conditions: &[Condition], type_: &str, state: State) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == state.as_str())
}

/// Sets one condition. `lastTransitionTime` moves only when the status changes.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    state: State,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) {
    let last_transition_time = find(conditions, type_)
        .filter(|old| old.status == state.as_str())
        .map_or(Time(now), |old| old.last_transition_time.clone());
    let condition = Condition {
        type_: type_.to_owned(),
        status: state.as_str().to_owned(),
        reason: reason.to_owned(),
        message: cut(message).to_owned(),
        observed_generation: Some(generation),
        last_transition_time,
    };
    match conditions.iter_mut().find(|old| old.type_ == type_) {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
}

/// The text, cut to what a condition or event may hold.
pub fn cut(message: &str) -> &str {
    text::cut(message, MAX_MESSAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let (first, second): (Timestamp, Timestamp) =
            ("2025-11-07T02:00:00Z".parse().unwrap(), "2025-11-07T03:00:00Z".parse().unwrap());
        let mut conditions = Vec::new();
        set(&mut conditions, READY, State::False, "A", "a", 1, first);
        set(&mut conditions, READY, State::False, "B", &"é".repeat(600), 2, second);
        let ready = find(&conditions, READY).unwrap();
        assert_eq!(
            (ready.last_transition_time.0, ready.reason.as_str(), ready.observed_generation),
            (first, "B", Some(2))
        );
        assert_eq!(ready.message.len(), MAX_MESSAGE);
        set(&mut conditions, READY, State::True, "C", "c", 2, second);
        assert_eq!(find(&conditions, READY).unwrap().last_transition_time.0, second);
        assert_eq!(conditions.len(), 1);
    }
}
