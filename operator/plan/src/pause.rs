//! Times that lie some seconds on, and pauses that grow with each failure. Pure.

use jiff::Timestamp;

/// A time some seconds later; at the end of time, that end.
pub(crate) fn seconds_later(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// `base` doubled with each failure after the first, at most `limit`.
pub(crate) fn backoff_seconds(base: i64, failures: u32, limit: i64) -> i64 {
    base.saturating_mul(1_i64.checked_shl(failures.saturating_sub(1).min(32)).unwrap_or(i64::MAX)).min(limit)
}
