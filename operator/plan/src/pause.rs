//! Times that lie some seconds on, whether they are still to come, and pauses that grow with each failure. Pure.

use jiff::Timestamp;

/// A time some seconds later; at the end of time, that end.
pub(crate) fn seconds_later(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// A time that something waits for, if it is still to come. One more than `longest` seconds ahead was written under a wrong clock, and
/// is waited for no longer.
pub(crate) fn still_ahead(time: Timestamp, now: Timestamp, longest: i64) -> Option<Timestamp> {
    (now < time && time <= seconds_later(now, longest)).then_some(time)
}

/// `base` doubled with each failure after the first, at most `limit`.
pub(crate) fn backoff_seconds(base: i64, failures: u32, limit: i64) -> i64 {
    base.saturating_mul(1_i64.checked_shl(failures.saturating_sub(1).min(32)).unwrap_or(i64::MAX)).min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_or_too_far_ahead_is_not_waited_for() {
        let now = Timestamp::from_second(1_762_480_800).unwrap();
        let waited_for = |ahead| still_ahead(seconds_later(now, ahead), now, 600).is_some();
        assert_eq!([-1, 0, 1, 600, 601].map(waited_for), [false, false, true, true, false]);
        assert_eq!(still_ahead(Timestamp::MAX, now, i64::MAX), Some(Timestamp::MAX));
    }
}
