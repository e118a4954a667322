//! What any request to a bucket can end with. Pure.

use std::sync::Arc;

use greenlang_backup_api::reasons;

use super::Place;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
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
    ChecksumRefused {
        /// Where.
        place: Arc<Place>,
        /// What was tried.
        action: &'static str,
        /// What the server calls it.
        code: String,
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
    /// More than anything of ours has.
    #[error(
        "{key} in {place} has more than 16 MiB, so it is none of ours: find out who wrote it, and remove it"
    )]
    TooLong {
        /// Where.
        place: Arc<Place>,
        /// Key of the object.
        key: String,
    },
    /// A list that cannot be the one of what lies there.
    #[error(
        "{place} lists what it holds wrongly ({problem}), so nothing is done by that list: if it stays so, update the server or ask its makers"
    )]
    ListingWrong {
        /// Where.
        place: Arc<Place>,
        /// How it shows.
        problem: &'static str,
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
}

impl RequestError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BucketNotFound(_) => reasons::BUCKET_NOT_FOUND,
            Self::AccessDenied { .. } | Self::NoIdentity(_) | Self::IdentityFailed { .. } => {
                reasons::ACCESS_DENIED
            }
            Self::ClockSkewed { .. } => reasons::CLOCK_SKEWED,
            Self::StorageFull { .. } => reasons::STORAGE_FULL,
            Self::ChecksumRefused { .. } => reasons::CHECKSUM_REFUSED,
            Self::ConditionalWriteUnsupported { .. } => reasons::CONDITIONAL_WRITE_UNSUPPORTED,
            Self::HostNotFound { .. } => reasons::HOST_NOT_FOUND,
            Self::ConnectionFailed { .. } => reasons::CONNECTION_FAILED,
            Self::TlsFailed { .. } => reasons::TLS_FAILED,
            Self::TooLong { .. } | Self::ListingWrong { .. } | Self::Refused { .. } => reasons::STORAGE_ERROR,
        }
    }

    /// Whether another attempt may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::ChecksumRefused { .. } | Self::StorageFull { .. } | Self::ListingWrong { .. } => true,
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
            Self::BucketNotFound(_)
            | Self::AccessDenied { .. }
            | Self::NoIdentity(_)
            | Self::ClockSkewed { .. }
            | Self::StorageFull { .. }
            | Self::ChecksumRefused { .. }
            | Self::ConditionalWriteUnsupported { .. }
            | Self::TlsFailed { .. }
            | Self::TooLong { .. }
            | Self::ListingWrong { .. } => false,
        }
    }
}
