//! Says how far a run is: a JSON line on stdout at each step and every few seconds. Writes stdout.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use greenlang_backup_api::progress::Progress;
use tokio_util::task::AbortOnDropHandle;

/// Pause between lines.
const INTERVAL: Duration = Duration::from_secs(3);

/// Where the run is; lines are written as long as this lives.
pub struct ProgressLog {
    shared: Arc<Shared>,
    _ticker: AbortOnDropHandle<()>,
}

struct Shared {
    last: Mutex<Last>,
}

struct Last {
    step: String,
    /// Bytes that were moved, all objects together. Counted by the thread that moves them.
    counter: Arc<AtomicU64>,
    expected: Option<u64>,
    bytes: u64,
    time: Instant,
}

impl ProgressLog {
    /// Starts with what is expected of the source as a whole, if that is known.
    pub fn start(expected: Option<u64>) -> Self {
        let shared = Arc::new(Shared {
            last: Mutex::new(Last {
                step: String::new(),
                counter: Arc::default(),
                expected,
                bytes: 0,
                time: Instant::now(),
            }),
        });
        let ticking = Arc::clone(&shared);
        let ticker = tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                ticking.write();
            }
        });
        Self { shared, _ticker: AbortOnDropHandle::new(ticker) }
    }

    /// Names what is done from now on.
    pub fn step(&self, step: impl Into<String>) {
        self.shared.last().step = step.into();
        self.shared.write();
    }

    /// Names what is done from now on, with a count of its own. Returns the counter for the thread that does it.
    pub fn begin(&self, step: &str, expected: u64) -> Arc<AtomicU64> {
        let counter = Arc::new(AtomicU64::new(0));
        let mut last = self.shared.last();
        (last.step, last.counter) = (step.to_owned(), Arc::clone(&counter));
        (last.expected, last.bytes) = (Some(expected), 0);
        drop(last);
        self.shared.write();
        counter
    }

    /// Counter for the thread that reads the source.
    pub fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.last().counter)
    }
}

impl Shared {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) {
        let mut last = self.last();
        let (bytes, now) = (last.counter.load(Ordering::Relaxed), Instant::now());
        let progress = Progress {
            step: last.step.clone(),
            bytes_done: bytes,
            bytes_expected: last.expected,
            bytes_per_second: rate(bytes - last.bytes, now - last.time),
        };
        (last.bytes, last.time) = (bytes, now);
        // Nobody reads a closed stdout, and a backup does not fail for that.
        let _ = writeln!(std::io::stdout().lock(), "{}", progress.to_line());
    }
}

fn rate(bytes: u64, time: Duration) -> u64 {
    let per_second = u128::from(bytes) * 1_000 / time.as_millis().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second() {
        assert_eq!(rate(3_000, Duration::from_secs(3)), 1_000);
        assert_eq!(rate(5, Duration::ZERO), 5_000);
        assert_eq!(rate(0, Duration::from_secs(1)), 0);
    }
}
