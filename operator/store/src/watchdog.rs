//! Notices that nothing moves any more. Reads the clock; no I/O.
//!
//! A run has one [`Activity`]. Whatever moves bytes says so: the thread that reads the source, the upload with each part that
//! the server took. A hang anywhere stops them all, because the buffers between them are few.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use greenlang_backup_api::reasons;
use tokio::time::{Instant, sleep_until, timeout};

/// How often it is looked whether something moved, as a share of the limit.
const LOOKS: u32 = 20;

/// How often work without a count says that it goes on.
const TICK: Duration = Duration::from_secs(5);

/// Work that was given up because nothing moved any more. Another attempt may find that it does.
#[derive(Debug, thiserror::Error)]
#[error(
    "nothing moved for {limit:?}, neither from the source nor to the bucket: see what hangs, or raise stallSeconds"
)]
pub struct NoProgress {
    /// How long.
    pub limit: Duration,
}

impl NoProgress {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        reasons::NO_PROGRESS
    }
}

/// Counts what moves; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<AtomicU64>);

impl Activity {
    /// Says that bytes moved, or with 1 that a step was done that moves none.
    pub fn moved(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Does work of the server that has limits of its own and moves nothing here meanwhile; it counts as moving.
    pub async fn keep_moving<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            self.moved(1);
            if let Ok(result) = timeout(TICK, &mut work).await {
                return result;
            }
        }
    }

    /// Does the work, but drops it and fails with [`NoProgress`] once nothing moved for the limit; found out within
    /// a twentieth of it more.
    pub async fn watch<T, E: From<NoProgress>>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            // The work is asked first: what is done did not stall.
            biased;
            result = work => result,
            () = self.stalled(limit) => Err(NoProgress { limit }.into()),
        }
    }

    /// Returns once nothing moved for the limit.
    async fn stalled(&self, limit: Duration) {
        let (mut seen, mut since) = (self.0.load(Ordering::Relaxed), Instant::now());
        while since.elapsed() < limit {
            sleep_until((Instant::now() + limit / LOOKS).min(since + limit)).await;
            let now = self.0.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_mins(10);

    #[tokio::test(start_paused = true)]
    async fn work_of_the_server_may_take_longer_than_the_limit() {
        let activity = Activity::default();
        let work = activity.keep_moving(sleep(3 * LIMIT));
        let done: Result<(), NoProgress> = activity
            .watch(LIMIT, async {
                work.await;
                Ok(())
            })
            .await;
        assert!(done.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_never_moves_is_given_up() {
        let start = Instant::now();
        let result = Activity::default().watch(LIMIT, pending::<Result<(), NoProgress>>()).await;
        assert!(matches!(result, Err(NoProgress { limit: LIMIT })));
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_moves_now_and_then_goes_on() {
        let activity = Activity::default();
        let work = async {
            for _ in 0..10 {
                sleep(LIMIT * 9 / 10).await;
                activity.moved(1);
            }
            Ok::<_, NoProgress>("done")
        };
        assert_eq!(activity.watch(LIMIT, work).await.unwrap(), "done");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_stops_moving_is_given_up_a_limit_later() {
        let activity = Activity::default();
        let start = Instant::now();
        let work = async {
            sleep(LIMIT / 2).await;
            activity.clone().moved(1);
            pending::<Result<(), NoProgress>>().await
        };
        assert!(activity.watch(LIMIT, work).await.is_err());
        let (passed, due) = (start.elapsed(), LIMIT * 3 / 2);
        assert!(passed >= due && passed <= due + LIMIT / LOOKS, "{passed:?}");
    }
}
