//! Everything that can go wrong with the bucket, with its reason and the way out. Pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use greenlang_backup_api::manifest::ManifestError;
use greenlang_backup_api::reasons;

use crate::SecretError;

/// Which bucket, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the bucket.
    pub(crate) bucket: String,
    /// The server, in words.
    pub(crate) server: String,
    /// Where the credentials come from, in words.
    pub(crate) identity: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bucket {} at {}", self.bucket, self.server)
    }
}

/// A bucket, a Secret or a key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A mounted Secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No recipient at all.
    #[error("no age recipient is named: add public keys to encryption.age.recipients")]
    NoRecipient,
    /// Text that is no recipient.
    #[error(
        "encryption.age.recipients[{index}] is no age public key ({problem}): use the line that age-keygen prints as public key"
    )]
    InvalidRecipient {
        /// Place in the list, from 0.
        index: usize,
        /// What age says.
        problem: &'static str,
    },
    /// A private key where a public one belongs.
    #[error(
        "encryption.age.recipients[{index}] is a private key: treat it as leaked, make a new one with age-keygen, and name its public key"
    )]
    PrivateKey {
        /// Place in the list, from 0.
        index: usize,
    },
    /// No such bucket.
    #[error("{0} does not exist: create it, or correct storage.s3 (bucket, region, endpoint)")]
    BucketNotFound(Arc<Place>),
    /// The server knows these credentials not, or not for this.
    #[error("{place} refuses to {action} ({code}): check {}, and that it may put, get, list and delete objects there", place.identity)]
    AccessDenied {
        /// Where.
        place: Arc<Place>,
        /// What was tried.
        action: &'static str,
        /// What the server calls it.
        code: String,
    },
    /// The cloud gave no identity.
    #[error(
        "no credentials for {0}: the Job's service account has no cloud identity; name a Secret in storage.s3.credentialsSecretRef, or set up IRSA or EKS Pod Identity"
    )]
    NoIdentity(Arc<Place>),
    /// The cloud's identity service fails.
    #[error("no credentials for {place} at the moment: the cloud's identity service failed ({cause})")]
    IdentityFailed {
        /// Where.
        place: Arc<Place>,
        /// What the service says.
        cause: String,
    },
    /// Signed with a time that the server does not believe.
    #[error(
        "{place} refuses to {action} ({code}): the clock of this node and that of the server differ too much; correct the wrong one (NTP)"
    )]
    ClockSkewed {
        /// Where.
        place: Arc<Place>,
        /// What was tried.
        action: &'static str,
        /// What the server calls it.
        code: String,
    },
    /// No room left.
    #[error(
        "the storage of {place} is full ({code}): it could not {action}; make room there, or keep fewer backups"
    )]
    StorageFull {
        /// Where.
        place: Arc<Place>,
        /// What was tried.
        action: &'static str,
        /// What the server calls it.
        code: String,
    },
    /// The server found that the bytes or their checksum are not what was sent.
    #[error(
        "{place} refuses to {action} ({code}): what arrived or was stored there does not match its checksum"
    )]
    Damaged {
        /// Where.
        place: Arc<Place>,
        /// What was tried.
        action: &'static str,
        /// What the server calls it.
        code: String,
    },
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
    /// The server overwrites what it must not.
    #[error(
        "{place} does not support conditional writes ({problem}): a finished backup's manifest could be overwritten; use a server that honours If-None-Match"
    )]
    ConditionalWriteUnsupported {
        /// Where.
        place: Arc<Place>,
        /// How it shows.
        problem: &'static str,
    },
    /// Open uploads cannot be found.
    #[error(
        "{0} does not list an upload that is open: what a failed attempt leaves could not be found and removed; use a server that knows ListMultipartUploads"
    )]
    UploadsNotListed(Arc<Place>),
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
    /// Nothing moves any more.
    #[error(
        "nothing moved for {limit:?}, neither from the source nor to the bucket: see what hangs, or raise stallSeconds"
    )]
    Stalled {
        /// How long.
        limit: Duration,
    },
    /// A bound that was set for checks of a bucket.
    #[error(
        "{place} did not answer all checks within {limit:?}: check the server, its load, and network policies"
    )]
    TooSlow {
        /// Where.
        place: Arc<Place>,
        /// The bound.
        limit: Duration,
    },
    /// DNS does not know the server.
    #[error("the host of {place} was not found: correct storage.s3.endpoint or region ({cause})")]
    HostNotFound {
        /// Where.
        place: Arc<Place>,
        /// What the resolver says.
        cause: String,
    },
    /// Nothing answers.
    #[error("no answer from {place}: check storage.s3.endpoint, the server and network policies ({cause})")]
    ConnectionFailed {
        /// Where.
        place: Arc<Place>,
        /// What the network says.
        cause: String,
    },
    /// The certificate is not trusted, or there is no TLS.
    #[error(
        "no trusted TLS connection to {place}: name the CA's Secret in storage.s3.caSecretRef, or correct the endpoint ({cause})"
    )]
    TlsFailed {
        /// Where.
        place: Arc<Place>,
        /// What TLS says.
        cause: String,
    },
    /// Another answer that is no success.
    #[error("{place} failed to {action}: {code} (HTTP status {status}){hint}")]
    Refused {
        /// Where.
        place: Arc<Place>,
        /// What was tried.
        action: &'static str,
        /// HTTP status.
        status: u16,
        /// What the server calls it.
        code: String,
        /// The way out, where there is one; begins with `: `.
        hint: &'static str,
    },
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
    /// The server gave back something else than it was given.
    #[error("{place} gave back other bytes for {key} than were put: do not trust this storage with backups")]
    Differs {
        /// Where.
        place: Arc<Place>,
        /// Key of the object.
        key: String,
    },
    /// A manifest that is there and cannot be read.
    #[error("{key} in {place} is no manifest of ours: {problem}")]
    Manifest {
        /// Where.
        place: Arc<Place>,
        /// Key of the manifest.
        key: String,
        /// What is wrong with it.
        problem: ManifestError,
    },
    /// The manifest was sent and nobody said what became of it.
    #[error(
        "whether {key} was written is not known, so the objects of this attempt are kept; the next attempt finds out ({cause})"
    )]
    ManifestUncertain {
        /// Key of the manifest.
        key: String,
        /// The last failure.
        cause: Box<StoreError>,
    },
    /// Something is left of an attempt after its clean-up.
    #[error(
        "{left} objects or open uploads are left below {prefix} in {place}: delete them, or leave it to a lifecycle rule"
    )]
    Leftovers {
        /// Where.
        place: Arc<Place>,
        /// Prefix of the attempt.
        prefix: String,
        /// How many.
        left: usize,
    },
}

impl StoreError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Secret(error) => error.reason(),
            Self::NoRecipient | Self::InvalidRecipient { .. } | Self::PrivateKey { .. } => {
                reasons::INVALID_RECIPIENT
            }
            Self::BucketNotFound(_) => reasons::BUCKET_NOT_FOUND,
            Self::AccessDenied { .. } | Self::NoIdentity(_) | Self::IdentityFailed { .. } => {
                reasons::ACCESS_DENIED
            }
            Self::HostNotFound { .. } => reasons::HOST_NOT_FOUND,
            Self::ConnectionFailed { .. } | Self::TooSlow { .. } => reasons::CONNECTION_FAILED,
            Self::TlsFailed { .. } => reasons::TLS_FAILED,
            Self::ClockSkewed { .. } => reasons::CLOCK_SKEWED,
            Self::StorageFull { .. } => reasons::STORAGE_FULL,
            Self::ChecksumUnsupported { .. } => reasons::CHECKSUM_UNSUPPORTED,
            Self::ConditionalWriteUnsupported { .. } => reasons::CONDITIONAL_WRITE_UNSUPPORTED,
            Self::Stalled { .. } => reasons::STALLED,
            Self::Refused { .. }
            | Self::Damaged { .. }
            | Self::UploadGone { .. }
            | Self::UploadsNotListed(_)
            | Self::NotAsAsked { .. }
            | Self::StoredDiffers { .. }
            | Self::ChangedInMemory(_)
            | Self::TooManyParts { .. }
            | Self::Differs { .. }
            | Self::Manifest { .. }
            | Self::ManifestUncertain { .. }
            | Self::Leftovers { .. } => reasons::STORAGE_ERROR,
        }
    }

    /// Whether another attempt may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::UploadGone { .. }
            | Self::StorageFull { .. }
            | Self::StoredDiffers { .. }
            | Self::ChangedInMemory(_)
            | Self::Stalled { .. }
            | Self::TooSlow { .. }
            | Self::TooManyParts { .. }
            | Self::ManifestUncertain { .. }
            | Self::Leftovers { .. } => true,
            other => other.is_transient(),
        }
    }

    /// Whether the same request may succeed in a moment.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::HostNotFound { .. } | Self::ConnectionFailed { .. } | Self::IdentityFailed { .. } => true,
            // 200 carries an error when the server had begun to answer before it failed.
            Self::Refused { status, .. } => {
                *status >= 500 && *status != 501 || matches!(*status, 200 | 408 | 409 | 429)
            }
            _ => false,
        }
    }
}
