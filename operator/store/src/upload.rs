//! A multipart upload that becomes an object only when its caller says so. Network.
//!
//! How one part is sent is in `target`, what comes of the completion in `complete`.

use std::collections::BTreeMap;

use greenlang_backup_api::sizing::{MAX_PARTS, buffers_for};
use greenlang_backup_api::v1alpha1::Verification;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tracing::debug;

use crate::checksum::Checksums;
use crate::complete::Completion;
use crate::parts::Part;
use crate::s3::Store;
use crate::seal::Sealed;
use crate::target::{SentPart, UploadTarget};
use crate::watchdog::Activity;
use crate::{RequestError, UploadError};

/// An open upload, and a placeholder at its key until it is completed. It must be ended by [`Upload::finish`] or [`Upload::abort`]; one that was dropped stays open until the
/// clean-up of its attempt.
#[derive(Debug)]
pub struct Upload {
    target: UploadTarget,
    part_size: u64,
    activity: Activity,
    parts: BTreeMap<i32, SentPart>,
}

impl Upload {
    /// Opens an upload for a key. Parts have the given size in bytes, which bounds how many are on their way at once.
    pub async fn start(
        store: &Store,
        key: &str,
        part_size: u64,
        checksums: Checksums,
        activity: &Activity,
    ) -> Result<Self, UploadError> {
        let target = UploadTarget::open(store, key, checksums.algorithm).await?;
        activity.moved(1);
        debug!(key, part_size, "upload started");
        Ok(Self { target, part_size, activity: activity.clone(), parts: BTreeMap::new() })
    }

    /// Sends parts until there are no more. May be dropped at any time; the upload can then only be aborted.
    pub async fn send(&mut self, mut parts: mpsc::Receiver<Part>) -> Result<(), UploadError> {
        // One buffer is being filled.
        let at_once = buffers_for(self.part_size) - 1;
        let mut in_flight = JoinSet::new();
        let mut number = 0;
        loop {
            if in_flight.len() == at_once {
                self.collect(in_flight.join_next().await)?;
            }
            let next = tokio::select! {
                // A part that failed for good ends the upload now and not when its source has the next part ready.
                Some(sent) = in_flight.join_next() => { self.collect(Some(sent))?; continue }
                next = parts.recv() => next,
            };
            let Some(part) = next else { break };
            number += 1;
            if number > MAX_PARTS {
                let key = self.target.key.clone();
                return Err(UploadError::TooManyParts { key, part_size: self.part_size });
            }
            in_flight.spawn(self.target.clone().send(i32::try_from(number).unwrap_or(i32::MAX), part));
        }
        while let Some(sent) = in_flight.join_next().await {
            self.collect(Some(sent))?;
        }
        Ok(())
    }

    fn collect(&mut self, sent: Option<PartEnd>) -> Result<(), UploadError> {
        match sent {
            Some(Ok(result)) => {
                let (number, part) = result?;
                self.activity.moved(part.sum.len);
                self.parts.insert(number, part);
                Ok(())
            }
            Some(Err(error)) => Err(RequestError::ConnectionFailed {
                place: self.target.store.place.clone(),
                cause: error.to_string(),
            }
            .into()),
            None => Ok(()),
        }
    }

    /// Makes the object of all parts sent, and says how far the server confirmed it: [`Verification::Stored`], or
    /// [`Verification::Streamed`] when it confirmed no checksum, so that only reading it again proves anything. Only after the
    /// source is known to be complete. On failure the upload is given up; what lies at the key then, a placeholder or an object
    /// that was made after all, is left to the clean-up of the attempt.
    pub async fn finish(self, sealed: &Sealed) -> Result<Verification, UploadError> {
        let done = match Completion::new(&self.target, self.parts.values(), sealed) {
            Ok(completion) => self.activity.keep_moving(Box::pin(completion.run())).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(verified) => {
                debug!(key = self.target.key, ?verified, "upload finished");
                Ok(verified)
            }
            Err(error) => {
                self.target.give_up().await;
                Err(error)
            }
        }
    }

    /// Gives the upload up. A failure is logged; the clean-up of the attempt tries again.
    pub async fn abort(self) {
        self.target.give_up().await;
    }
}

/// What the task of a part ends with.
type PartEnd = Result<Result<(i32, SentPart), UploadError>, JoinError>;
