//! A token bucket: how fast a source may go. Pure; the caller sleeps.

use std::time::{Duration, Instant};

/// What a source that was held up may catch up with. Small, since the backend of a database cannot catch up at all.
const BURST: Duration = Duration::from_millis(20);

/// Bytes per second that are not exceeded.
#[derive(Clone, Debug)]
pub struct Pace {
    bytes_per_second: f64,
    /// When the bytes so far may have been written.
    due: Option<Instant>,
}

impl Pace {
    /// # Panics
    /// At a pace of nothing.
    pub fn new(bytes_per_second: u64) -> Self {
        assert!(bytes_per_second > 0, "a source of 0 bytes per second never ends");
        #[expect(clippy::cast_precision_loss, reason = "a pace of 2^53 bytes per second is no pace")]
        Self { bytes_per_second: bytes_per_second as f64, due: None }
    }

    /// How long to wait, now that so many more bytes are written.
    pub fn written(&mut self, bytes: usize, now: Instant) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a piece is far smaller than 2^53 bytes")]
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let due = self.due.map_or(now, |due| due.max(earliest)) + takes;
        self.due = Some(due);
        due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_pace_is_kept_and_time_lost_is_lost() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000_000);
        assert_eq!(pace.written(10_000, start), 10 * MS);
        // Slept as told: the next piece takes its time from there.
        assert_eq!(pace.written(10_000, start + 10 * MS), 10 * MS);
        // Held up for a little: caught up with.
        assert_eq!(pace.written(10_000, start + 25 * MS), 5 * MS);
        // Held up for long: only the burst is.
        let late = start + 10_000 * MS;
        assert_eq!(pace.written(10_000, late), Duration::ZERO);
        assert_eq!(pace.written(10_000, late), Duration::ZERO);
        assert_eq!(pace.written(10_000, late), 10 * MS);
    }
}
