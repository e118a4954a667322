//! What reading a stored object can end with: downloads, reading back, unsealing. Pure.

use std::sync::Arc;

use greenlang_backup_api::reasons;

use super::{Place, RequestError};

/// An object that could not be read, or is not the one of its manifest.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A request for its bytes.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// An object that a manifest names is not there.
    #[error(
        "{key} is not in {place}, though the manifest names it: use another backup or a copy of this one, and find out what deleted it"
    )]
    ObjectMissing {
        /// Where.
        place: Arc<Place>,
        /// Key of the object.
        key: String,
    },
    /// An object that is not what its manifest says.
    #[error(
        "{key} is damaged: {problem}; use another backup or a copy of this one, and find out what happened to the storage"
    )]
    ObjectDamaged {
        /// Key of the object.
        key: String,
        /// How that shows.
        problem: String,
    },
    /// Another object has the key since reading began.
    #[error(
        "{key} in {place} was replaced while it was read: find out what writes there; another try says whether it is still what the manifest names"
    )]
    ObjectReplaced {
        /// Where.
        place: Arc<Place>,
        /// Key of the object.
        key: String,
    },
    /// No private key fits.
    #[error(
        "no private key opens {key}: it was sealed for the recipients with fingerprints {recipients}, and key identity.txt of Secret {secret} holds {held}; put the private key of one of those recipients there"
    )]
    IdentityMismatch {
        /// Key of the object.
        key: String,
        /// Fingerprints that the manifest names.
        recipients: String,
        /// Name of the Secret.
        secret: String,
        /// Fingerprints of the keys in it.
        held: String,
    },
    /// The passphrase of the old scripts does not fit.
    #[error(
        "the passphrase in Secret {secret} does not open {key}, whether its key was derived by MD5, SHA-256 or PBKDF2 (10,000 rounds): put the first line of the scripts' backup-key.txt of that time there"
    )]
    PassphraseMismatch {
        /// Key of the object.
        key: String,
        /// Name of the Secret.
        secret: String,
    },
    /// Stored bytes did not arrive.
    #[error("reading {key} failed: {cause}")]
    ReadFailed {
        /// Key of the object.
        key: String,
        /// What happened.
        cause: String,
    },
}

impl ReadError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Request(error) => error.reason(),
            Self::ObjectMissing { .. } => reasons::OBJECT_MISSING,
            Self::ObjectDamaged { .. } => reasons::OBJECT_DAMAGED,
            Self::ObjectReplaced { .. } => reasons::OBJECT_REPLACED,
            Self::IdentityMismatch { .. } | Self::PassphraseMismatch { .. } => reasons::IDENTITY_MISMATCH,
            Self::ReadFailed { .. } => reasons::STORAGE_ERROR,
        }
    }

    /// Whether reading again may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retryable(),
            Self::ObjectReplaced { .. } | Self::ReadFailed { .. } => true,
            Self::ObjectMissing { .. }
            | Self::ObjectDamaged { .. }
            | Self::IdentityMismatch { .. }
            | Self::PassphraseMismatch { .. } => false,
        }
    }
}
