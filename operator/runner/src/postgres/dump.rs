//! Takes the output of one child process, or bytes that are there already, into one object: source → seal → upload, in this
//! order of truth: all read, child exited 0, upload completed. Anything else leaves nothing behind. Network, child processes,
//! one thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use greenlang_backup_api::manifest::{Content, Object};
use greenlang_backup_api::sizing::part_size_for;
use greenlang_backup_api::v1alpha1::Verification;
use greenlang_backup_store::{Activity, Checksums, SealError, Sealed, Sealer, Store, Upload};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::archive::{ArchiveError, Inspected};
use super::child::{Finished, Producer, Running};
use super::tap::Checked;
use super::warnings::Warning;
use crate::error::{RunError, until_cancelled};
use crate::progress::ProgressLog;

/// How long the sealing thread may take to see that its child is dead.
const SEAL_END: Duration = Duration::from_secs(5);

/// How long an upload may take to be given up, out of the time that a Pod has to stop.
const ABORT: Duration = Duration::from_secs(10);

/// What all objects of a run share. Whatever is dropped when told to stop, the clean-up of the attempt finds.
#[derive(Clone)]
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

/// An object that is completed in the bucket.
pub struct Stored {
    /// As the manifest names it.
    pub object: Object,
    /// How far the server confirmed it.
    pub verified: Verification,
}

/// What a child wrote, stored.
pub struct Dumped {
    pub stored: Stored,
    pub warnings: Vec<Warning>,
    /// What is in the archive, if it is one.
    pub archive: Option<Inspected>,
}

/// What the sealing thread returns.
type SealEnd = (Result<Sealed, SealError>, Checked);

impl Dumper<'_> {
    /// Runs a producer and stores what it writes.
    pub async fn store(
        &self,
        key: String,
        content: Content,
        part_size: u64,
        producer: Producer,
    ) -> Result<Dumped, RunError> {
        let mut upload = self.open(&key, part_size).await?;
        let filled = self.fill(&mut upload, part_size, producer).await;
        let (stored, Finished { warnings, archive }) = self.close(key, content, upload, filled).await?;
        if let Some(archive) = &archive {
            info!(stored.object.key, %archive, "archive is whole");
        }
        Ok(Dumped { stored, warnings, archive })
    }

    /// Stores bytes.
    pub async fn store_bytes(
        &self,
        key: String,
        content: Content,
        bytes: Vec<u8>,
    ) -> Result<Stored, RunError> {
        let part_size = part_size_for(bytes.len() as u64);
        let mut upload = self.open(&key, part_size).await?;
        let filled = self.fill_with(&mut upload, part_size, bytes).await;
        let (stored, ()) = self.close(key, content, upload, filled).await?;
        Ok(stored)
    }

    async fn open(&self, key: &str, part_size: u64) -> Result<Upload, RunError> {
        let start = Upload::start(self.store, key, part_size, self.checksums, self.activity);
        until_cancelled(self.cancel, Box::pin(start)).await
    }

    /// Makes the object, or gives the upload up.
    async fn close<T>(
        &self,
        key: String,
        content: Content,
        upload: Upload,
        filled: Result<(Sealed, T), RunError>,
    ) -> Result<(Stored, T), RunError> {
        match filled {
            Ok((sealed, rest)) => {
                let finish = Box::pin(upload.finish(&sealed));
                let verified = until_cancelled(self.cancel, finish).await?;
                let (source_bytes, stored_bytes) = (sealed.source_bytes, sealed.stored_bytes);
                info!(key, source_bytes, stored_bytes, ?verified, "object stored");
                let object = self.sealer.describe(key, content, sealed);
                Ok((Stored { object, verified }, rest))
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
    ) -> Result<(Sealed, Finished), RunError> {
        let (running, mut tap) = producer.start(self.progress.counter(), self.activity.clone())?;
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

    async fn fill_with(
        &self,
        upload: &mut Upload,
        part_size: u64,
        bytes: Vec<u8>,
    ) -> Result<(Sealed, ()), RunError> {
        self.progress.counter().fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let (sender, parts) = Sealer::channel();
        let sealer = Arc::clone(&self.sealer);
        let seal = tokio::task::spawn_blocking(move || sealer.seal(bytes.as_slice(), part_size, sender));
        until_cancelled(self.cancel, upload.send(parts)).await?;
        Ok((seal.await??, ()))
    }

    /// All that the child wrote is on its way; now it must turn out to be all that there was.
    async fn judge(
        &self,
        running: Running,
        (sealed, checked): SealEnd,
    ) -> Result<(Sealed, Finished), RunError> {
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
        let finished = until_cancelled(self.cancel, running.finish(checked)).await?;
        Ok((sealed, finished))
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
