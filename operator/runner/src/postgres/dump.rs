//! Takes the output of one child process into one object: child → seal → upload, in this order of truth: all read, child
//! exited 0, upload completed. Anything else leaves nothing behind. Network, child processes, one thread.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use greenlang_backup_api::v1alpha1::Verification;
use greenlang_backup_store::{Activity, Checksums, SealError, Sealed, Sealer, Store, Upload};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::child::{Producer, Running};
use crate::error::{RunError, until_cancelled};
use crate::progress::ProgressLog;

/// Bytes at the start of an output that are looked at.
const HEAD: usize = 16;
/// How long the sealing thread may take to see that its child is dead.
const SEAL_END: Duration = Duration::from_secs(5);

/// How long an upload may take to be given up, out of the time that a Pod has to stop.
const ABORT: Duration = Duration::from_secs(10);

/// What all objects of a run share. Whatever is dropped when told to stop, the clean-up of the attempt finds.
pub struct Dumper<'a> {
    pub store: &'a Store,
    pub sealer: Arc<Sealer>,
    /// What the bucket's server verifies.
    pub checksums: Checksums,
    /// What moves, for the watchdog.
    pub activity: &'a Activity,
    pub progress: &'a ProgressLog,
    pub cancel: &'a CancellationToken,
}

/// An object that was stored.
pub struct Dumped {
    pub sealed: Sealed,
    /// How far the server confirmed it.
    pub verified: Verification,
    pub warnings: Vec<String>,
}

/// What the sealing thread returns.
type SealEnd = (Result<Sealed, SealError>, Vec<u8>);

impl Dumper<'_> {
    /// Runs a producer and stores what it writes.
    pub async fn store(&self, key: &str, part_size: u64, producer: Producer) -> Result<Dumped, RunError> {
        let mut upload = until_cancelled(
            self.cancel,
            Box::pin(Upload::start(self.store, key, part_size, self.checksums, self.activity)),
        )
        .await?;
        match self.fill(&mut upload, part_size, producer).await {
            Ok(mut dumped) => {
                dumped.verified =
                    until_cancelled(self.cancel, Box::pin(upload.finish(&dumped.sealed))).await?;
                info!(
                    key,
                    source_bytes = dumped.sealed.source_bytes,
                    stored_bytes = dumped.sealed.stored_bytes,
                    "object stored"
                );
                Ok(dumped)
            }
            Err(error) => {
                if timeout(ABORT, upload.abort()).await.is_err() {
                    warn!(key, "upload not aborted in time; the clean-up of the attempt tries again");
                }
                Err(error)
            }
        }
    }

    async fn fill(
        &self,
        upload: &mut Upload,
        part_size: u64,
        producer: Producer,
    ) -> Result<Dumped, RunError> {
        let (running, output) = producer.start()?;
        let (sender, parts) = Sealer::channel();
        let mut tap = Tap::new(output, self.progress.counter(), self.activity.clone());
        let sealer = Arc::clone(&self.sealer);
        let seal: JoinHandle<SealEnd> = tokio::task::spawn_blocking(move || {
            let result = sealer.seal(&mut tap, part_size, sender);
            (result, tap.head)
        });
        let sent = until_cancelled(self.cancel, upload.send(parts)).await;
        match sent {
            Ok(()) => self.judge(running, seal.await?).await,
            Err(error) => {
                stop(running, seal).await;
                Err(error)
            }
        }
    }

    /// All that the child wrote is on its way; now it must turn out to be all that there was.
    async fn judge(&self, running: Running, (sealed, head): SealEnd) -> Result<Dumped, RunError> {
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                running.kill().await;
                return Err(error.into());
            }
        };
        let finish = running.finish(sealed.source_bytes, &head);
        let warnings = until_cancelled(self.cancel, finish).await?;
        Ok(Dumped { sealed, verified: Verification::Streamed, warnings })
    }
}

/// The thread ends once the child is dead; it is not waited for longer than that should take.
async fn stop(running: Running, seal: JoinHandle<SealEnd>) {
    running.kill().await;
    if timeout(SEAL_END, seal).await.is_err() {
        warn!("the sealing thread still waits for its source");
    }
}

/// The source as it passes: counted, and its head kept. Whatever else needs to see the plain stream goes here.
struct Tap {
    source: File,
    counter: Arc<AtomicU64>,
    activity: Activity,
    head: Vec<u8>,
}

impl Tap {
    fn new(source: File, counter: Arc<AtomicU64>, activity: Activity) -> Self {
        Self { source, counter, activity, head: Vec::with_capacity(HEAD) }
    }
}

impl Read for Tap {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.counter.fetch_add(read as u64, Ordering::Relaxed);
        self.activity.moved(read as u64);
        let wanted = (HEAD - self.head.len()).min(read);
        self.head.extend_from_slice(&buffer[..wanted]);
        Ok(read)
    }
}
