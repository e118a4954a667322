//! Why a bucket cannot hold backups, as its probe finds. Pure.

use std::sync::Arc;
use std::time::Duration;

use greenlang_backup_api::reasons;

use super::{Place, RequestError, UploadError};
use crate::CleanUpError;

/// A bucket that cannot be used, or a server that does not do what it must.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The upload of a marker.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Markers that were not removed.
    #[error(transparent)]
    CleanUp(#[from] CleanUpError),
    /// The server does not verify what it was told to.
    #[error(
        "{place} does not verify {algorithm} checksums ({problem}): set storage.s3.checksum to Auto, which finds the best one that it does"
    )]
    ChecksumUnsupported {
        /// Where.
        place: Arc<Place>,
        /// The checksum.
        algorithm: &'static str,
        /// How it shows.
        problem: String,
    },
    /// Open uploads cannot be found.
    #[error(
        "{0} does not list an upload that is open: what a failed attempt leaves could not be found and removed; use a server that knows ListMultipartUploads"
    )]
    UploadsNotListed(Arc<Place>),
    /// The server gave back something else than it was given.
    #[error("{place} gave back other bytes for {key} than were put: do not trust this storage with backups")]
    Differs {
        /// Where.
        place: Arc<Place>,
        /// Key of the object.
        key: String,
    },
    /// A bound that was set for the checks.
    #[error(
        "{place} did not answer all checks within {limit:?}: check the server, its load, and network policies"
    )]
    TooSlow {
        /// Where.
        place: Arc<Place>,
        /// The bound.
        limit: Duration,
    },
}

impl ProbeError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Request(error) => error.reason(),
            Self::Upload(error) => error.reason(),
            Self::CleanUp(error) => error.reason(),
            Self::ChecksumUnsupported { .. } => reasons::CHECKSUM_UNSUPPORTED,
            Self::UploadsNotListed(_) => reasons::STORAGE_ERROR,
            Self::Differs { .. } => reasons::OBJECT_DAMAGED,
            Self::TooSlow { .. } => reasons::CONNECTION_FAILED,
        }
    }

    /// Whether another attempt may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retryable(),
            Self::Upload(error) => error.is_retryable(),
            Self::CleanUp(error) => error.is_retryable(),
            Self::TooSlow { .. } => true,
            Self::ChecksumUnsupported { .. } | Self::UploadsNotListed(_) | Self::Differs { .. } => false,
        }
    }
}
