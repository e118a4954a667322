//! Reads stored objects again: every byte to prove that it is there, or the first ones to see who can open them. Network.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greenlang_backup_api::manifest::Object;

use crate::download::{Pieces, RangeSource};
use crate::identities::MAX_HEADER;
use crate::s3::Store;
use crate::tally::{ExpectedBytes, Tally};
use crate::{Identities, ReadError, ReadSettings};

impl Store {
    /// Reads every byte of an object, and says whether they are those that were stored. Needs no key. `progress` grows by
    /// the bytes that were hashed. May be dropped at any time; then it stops.
    pub async fn read_back(
        &self,
        object: &Object,
        progress: &Arc<AtomicU64>,
        settings: ReadSettings,
    ) -> Result<(), ReadError> {
        let (pieces, fetching) = self.pieces(&object.key, object.stored_bytes, settings).await?;
        let tally = Tally::new(ExpectedBytes {
            key: object.key.clone(),
            what: "stored",
            bytes: object.stored_bytes,
            sha256: object.stored_sha256.clone(),
        });
        let progress = Arc::clone(progress);
        let result = tokio::task::spawn_blocking(move || hash(pieces, tally, &progress)).await;
        // Kept until here: when this is dropped before, fetching stops, and with it the thread that hashes.
        drop(fetching);
        result.unwrap_or_else(|error| {
            Err(ReadError::ReadFailed { key: object.key.clone(), cause: error.to_string() })
        })
    }

    /// Whether an object is there in its right size and one of the keys opens it, by its first bytes only.
    pub async fn open_header(
        &self,
        object: &Object,
        identities: &Identities,
        settings: ReadSettings,
    ) -> Result<(), ReadError> {
        let source = RangeSource::new(self, &object.key, object.stored_bytes, settings);
        let start = source.fetch(0..object.stored_bytes.min(MAX_HEADER)).await?;
        identities.open_header(object, &start)
    }
}

fn hash(mut pieces: Pieces, mut tally: Tally, progress: &AtomicU64) -> Result<(), ReadError> {
    while let Some(piece) = pieces.next()? {
        tally.add(&piece.bytes)?;
        progress.fetch_add(piece.bytes.len() as u64, Ordering::Relaxed);
    }
    tally.end()
}
