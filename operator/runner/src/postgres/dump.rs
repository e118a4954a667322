//! Takes the output of one child process into one object: child → seal → upload, in this order of truth: all read, child
//! exited 0, upload completed. Anything else leaves nothing behind. Network, child processes, one thread.

use std::sync::Arc;
use std::time::Duration;

use greenlang_backup_store::{SealError, Sealed, Sealer, Store, Upload};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::archive::{ArchiveError, Inspected};
use super::child::{Finished, Producer, Running};
use super::tap::Checked;
use crate::error::{RunError, until_cancelled};
use crate::progress::ProgressLog;

/// How long the sealing thread may take to see that its child is dead.
const SEAL_END: Duration = Duration::from_secs(5);

/// How long an upload may take to be given up, out of the time that a Pod has to stop.
const ABORT: Duration = Duration::from_secs(10);

/// What all objects of a run share. Whatever is dropped when told to stop, the clean-up of the attempt finds.
pub struct Dumper<'a> {
    pub store: &'a Store,
    pub sealer: Arc<Sealer>,
    pub progress: &'a ProgressLog,
    pub cancel: &'a CancellationToken,
}

/// An object that was stored.
pub struct Dumped {
    pub sealed: Sealed,
    pub warnings: Vec<String>,
    /// What is in the archive, if it is one.
    pub archive: Option<Inspected>,
}

/// What the sealing thread returns.
type SealEnd = (Result<Sealed, SealError>, Checked);

impl Dumper<'_> {
    /// Runs a producer and stores what it writes.
    pub async fn store(&self, key: &str, part_size: usize, producer: Producer) -> Result<Dumped, RunError> {
        let mut upload = until_cancelled(self.cancel, Box::pin(Upload::start(self.store, key))).await?;
        match self.fill(&mut upload, part_size, producer).await {
            Ok(dumped) => {
                until_cancelled(self.cancel, Box::pin(upload.finish())).await?;
                info!(
                    key,
                    source_bytes = dumped.sealed.source_bytes,
                    stored_bytes = dumped.sealed.stored_bytes,
                    "object stored"
                );
                if let Some(archive) = &dumped.archive {
                    info!(key, %archive, "archive is whole");
                }
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
        part_size: usize,
        producer: Producer,
    ) -> Result<Dumped, RunError> {
        let (running, mut tap) = producer.start(self.progress.counter())?;
        let (sender, parts) = Sealer::channel();
        let sealer = Arc::clone(&self.sealer);
        let seal: JoinHandle<SealEnd> = tokio::task::spawn_blocking(move || {
            let result = sealer.seal(&mut tap, part_size, sender);
            (result, tap.finish())
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
    async fn judge(&self, running: Running, (sealed, checked): SealEnd) -> Result<Dumped, RunError> {
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                if let Some(damage) = damage(&error) {
                    return Err(running.give_up(damage).await.into());
                }
                running.kill().await;
                return Err(error.into());
            }
        };
        let finish = running.finish(checked);
        let Finished { warnings, archive } = until_cancelled(self.cancel, finish).await?;
        Ok(Dumped { sealed, warnings, archive })
    }
}

/// The thread ends once the child is dead; it is not waited for longer than that should take.
async fn stop(running: Running, seal: JoinHandle<SealEnd>) {
    running.kill().await;
    if timeout(SEAL_END, seal).await.is_err() {
        warn!("the sealing thread still waits for its source");
    }
}

/// What the tap found, where that is why the stream was given up.
fn damage(error: &SealError) -> Option<ArchiveError> {
    match error {
        SealError::Source(error) => error.get_ref()?.downcast_ref().cloned(),
        _ => None,
    }
}
