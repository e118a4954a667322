//! Decides how long a request may take and how often it is tried again. Pure.

use std::time::Duration;

use backon::ExponentialBuilder;

/// Slowest connection, in bytes per second, on which a part still counts as moving.
const MIN_BYTES_PER_SECOND: u64 = 256 << 10;
/// How fast a server puts parts together at the least, where it copies them: 64 MiB per second.
const COPIED_BYTES_PER_SECOND: u64 = 64 << 20;
/// What the bytes of a part may take at most: a link that is slower than this for the parts of a database of terabytes would
/// need weeks for it.
const MAX_FOR_BYTES: Duration = Duration::from_mins(5);

/// How patient an upload is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// What a request is given beyond the time that its bytes need.
    pub grace: Duration,
    /// What one completion is given beyond the time that copying its bytes needs.
    pub complete: Duration,
    /// First pause before a request is sent again; each is twice the last, and up to as much again is added by chance, so that
    /// the Jobs of a cluster do not come back all at once.
    pub first_pause: Duration,
    /// Longest pause, without what chance adds.
    pub longest_pause: Duration,
    /// How often a request is sent again.
    pub repeats: usize,
}

impl Patience {
    /// Pauses of 105 seconds in all, twice as much by chance: a dump of hours outlasts the restart of a server.
    pub const UPLOAD: Self = Self {
        grace: Duration::from_secs(30),
        complete: Duration::from_mins(2),
        first_pause: Duration::from_millis(200),
        longest_pause: Duration::from_secs(20),
        repeats: 11,
    };

    /// Deadline of one try to complete an upload: some servers copy all of its parts meanwhile.
    pub fn for_completion(&self, bytes: u64) -> Duration {
        self.complete + Duration::from_secs(bytes / COPIED_BYTES_PER_SECOND)
    }

    /// Deadline of one try to send a part.
    pub fn for_part(&self, bytes: u64) -> Duration {
        self.grace + Duration::from_secs(bytes / MIN_BYTES_PER_SECOND).min(MAX_FOR_BYTES)
    }

    pub fn pauses(&self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .with_max_times(self.repeats)
            .with_jitter()
    }
}

#[cfg(test)]
mod tests {
    use backon::BackoffBuilder as _;

    use super::*;

    #[test]
    fn big_parts_have_more_time_up_to_a_bound() {
        let seconds = |bytes| Patience::UPLOAD.for_part(bytes).as_secs();
        assert_eq!((seconds(0), seconds(16 << 20), seconds(656 << 20)), (30, 94, 330));
    }

    #[test]
    fn pauses_outlast_the_restart_of_a_server() {
        let pauses: Vec<_> = Patience::UPLOAD.pauses().build().collect();
        assert_eq!(pauses.len(), 11);
        assert!(pauses.iter().sum::<Duration>() >= Duration::from_secs(90), "{pauses:?}");
    }
}
