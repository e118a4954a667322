//! Decides what time it is for retention: the earliest that can be argued for. Pure.

use jiff::{SignedDuration, Timestamp};

use super::Candidate;

/// How far clocks of nodes may be apart before a backup counts as one from the future.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(15);

/// The clocks that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// That of this node.
    pub local: Timestamp,
    /// That of the bucket's server; none when it does not say.
    pub server: Option<Timestamp>,
}

impl Clocks {
    /// The earlier of both.
    pub fn now(self) -> Timestamp {
        self.server.map_or(self.local, |server| server.min(self.local))
    }

    /// Seconds by which they differ.
    pub fn apart(self) -> u64 {
        self.server.map_or(0, |server| self.local.duration_since(server).as_secs().unsigned_abs())
    }

    /// Whether a backup was made, or stands for a time, after now: one of the clocks was or is wrong. It says nothing of the
    /// present, so it is kept and does not count.
    pub fn is_future(self, candidate: &Candidate) -> bool {
        let limit = self.now().checked_add(TOLERANCE).unwrap_or(Timestamp::MAX);
        candidate.slot > limit || candidate.end_time > limit
    }

    /// Whether a slot is still to come by all clocks, whichever of them is right.
    pub fn is_to_come(self, slot: Timestamp) -> bool {
        let latest = self.server.map_or(self.local, |server| server.max(self.local));
        slot > latest.checked_add(TOLERANCE).unwrap_or(Timestamp::MAX)
    }

    /// The time up to which ages count: now, but not after the newest backup. That was made under one clock and stored under
    /// another; the earlier counts.
    pub(super) fn reference(self, candidates: &[Candidate]) -> Timestamp {
        let newest = candidates
            .iter()
            .filter(|candidate| candidate.whole && !self.is_future(candidate))
            .map(|candidate| candidate.made().min(candidate.stored_time))
            .max();
        newest.map_or(Timestamp::MIN, |newest| newest.min(self.now()))
    }
}
