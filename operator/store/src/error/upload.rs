//! What uploading an object can end with. Pure.

use std::sync::Arc;

use greenlang_backup_api::reasons;

use super::{Place, RequestError};

/// An object that was not stored, or not as it had to be.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// One of its requests.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// An open upload is gone.
    #[error(
        "{place} forgot the upload of {key} while it was going on: a lifecycle rule or somebody else aborted it, or the server lost it"
    )]
    UploadGone {
        /// Where.
        place: Arc<Place>,
        /// Key of the object.
        key: String,
    },
    /// Stored in another way than the policy asks for.
    #[error(
        "{place} stored {key} with {what} {found} instead of {wanted}: correct storage.s3, or use a server that knows it"
    )]
    NotAsAsked {
        /// Where.
        place: Arc<Place>,
        /// Key of the object.
        key: String,
        /// Storage class or encryption.
        what: &'static str,
        /// What the policy says.
        wanted: String,
        /// What the server says.
        found: String,
    },
    /// The server says that it stored something else.
    #[error("{place} stored other bytes for {key} than were sent ({problem}); the object is not used")]
    StoredDiffers {
        /// Where.
        place: Arc<Place>,
        /// Key of the object.
        key: String,
        /// What does not match.
        problem: String,
    },
    /// A buffer changed between the seal and the upload.
    #[error(
        "what was sent as {0} is not what was sealed: memory or processor of this node are not to be trusted"
    )]
    ChangedInMemory(String),
    /// The stream is longer than an upload can hold.
    #[error(
        "the object {key} needs more than 10,000 parts of {part_size} bytes: it grew far beyond what was expected; try again"
    )]
    TooManyParts {
        /// Key of the object.
        key: String,
        /// Size of a part.
        part_size: u64,
    },
}

impl UploadError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Request(error) => error.reason(),
            Self::UploadGone { .. } | Self::TooManyParts { .. } => reasons::STORAGE_ERROR,
            Self::NotAsAsked { .. } => reasons::STORAGE_OPTION_IGNORED,
            Self::StoredDiffers { .. } => reasons::OBJECT_DAMAGED,
            Self::ChangedInMemory(_) => reasons::INTERNAL_ERROR,
        }
    }

    /// Whether another attempt may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retryable(),
            Self::UploadGone { .. }
            | Self::StoredDiffers { .. }
            | Self::ChangedInMemory(_)
            | Self::TooManyParts { .. } => true,
            Self::NotAsAsked { .. } => false,
        }
    }

    /// Whether the same request may succeed in a moment.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::Request(error) if error.is_transient())
    }
}
