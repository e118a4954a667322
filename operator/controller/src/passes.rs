//! The tasks in which passes run: as many cores as there are, and none of them outlives who waits for it. No I/O.

use std::fmt::Display;
use std::panic::resume_unwind;

use futures::{Stream, StreamExt as _};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Passes at once that keep the API server busy: half of those that may go on.
const MANY: usize = 16;

/// All passes that go on.
#[derive(Clone, Default)]
pub struct Passes(TaskTracker);

impl Passes {
    /// Runs a pass as a task of its own, which is cut off when this future is dropped. None if it was cut off otherwise.
    pub async fn run<P>(&self, pass: P) -> Option<P::Output>
    where
        P: Future<Output: Send> + Send + 'static,
    {
        match AbortOnDropHandle::new(self.0.spawn(pass)).await {
            Ok(passed) => Some(passed),
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => None,
            },
        }
    }

    /// Whether so many go on that what can wait should. A pass with nothing to do takes no time.
    pub fn are_many(&self) -> bool {
        self.0.len() >= MANY
    }

    /// Waits until none goes on. One that was cut off ends only where it next waits.
    pub async fn ended(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

/// Lets a controller run to its end, and tells of passes that failed.
pub async fn run_out<T, E: Display>(passes: impl Stream<Item = Result<T, E>>) {
    passes
        .for_each(|pass| async move {
            if let Err(error) = pass {
                tracing::warn!(%error, "a pass failed");
            }
        })
        .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    /// Never reached, unless a test hangs.
    const HANGS: Duration = Duration::from_mins(1);

    /// Says that it began, works until it is let go, waits, and would write.
    async fn pass(began: oneshot::Sender<()>, go: Receiver<()>, written: Arc<AtomicUsize>) {
        let _ = began.send(());
        go.recv_timeout(HANGS).unwrap();
        tokio::task::yield_now().await;
        written.fetch_add(1, Ordering::SeqCst);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn after_its_end_nothing_is_written_by_a_pass_that_was_cut_off_at_work() {
        let (passes, written) = (Passes::default(), Arc::new(AtomicUsize::new(0)));
        let ((tell, began), (let_go, go)) = (oneshot::channel(), channel());
        tokio::select! {
            _ = passes.run(pass(tell, go, written.clone())) => panic!("not cut off"),
            told = began => told.unwrap(),
        }
        // Still at work, on another core.
        assert_eq!(Arc::strong_count(&written), 2);
        let_go.send(()).unwrap();
        passes.ended().await;
        assert_eq!((Arc::strong_count(&written), written.load(Ordering::SeqCst)), (1, 0));
    }

    /// Each occupies its core until the other one has begun, too.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn passes_share_no_core() {
        let meet = |here: Sender<()>, there: Receiver<()>| async move {
            here.send(()).is_ok() && there.recv_timeout(HANGS).is_ok()
        };
        let passes = Passes::default();
        let ((first, of_first), (second, of_second)) = (channel(), channel());
        let both = tokio::join!(passes.run(meet(first, of_second)), passes.run(meet(second, of_first)));
        assert_eq!(both, (Some(true), Some(true)));
    }

    #[tokio::test]
    async fn those_that_go_on_are_counted_and_those_that_have_ended_are_not() {
        let passes = Passes::default();
        let mut going: Vec<_> =
            (0..MANY).map(|_| Box::pin(passes.run(std::future::pending::<()>()))).collect();
        assert!(!passes.are_many());
        for pass in &mut going {
            assert!(pass.now_or_never().is_none());
        }
        assert!(passes.are_many());
        drop(going.pop());
        tokio::task::yield_now().await;
        assert!(!passes.are_many());
    }

    #[tokio::test]
    #[should_panic(expected = "a fault of ours")]
    async fn a_fault_in_a_pass_is_not_swallowed() {
        Passes::default().run(async { panic!("a fault of ours") }).await;
    }
}
