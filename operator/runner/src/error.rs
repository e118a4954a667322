//! Everything that can end a run, with its reason and whether it may pass. Pure.

use std::io;

use greenlang_backup_api::reasons;
use greenlang_backup_api::task::TaskError;
use greenlang_backup_store::{
    CatalogueError, CleanUpError, NoProgress, OwnerError, ProbeError, ReadError, RecipientError, RecordError,
    RemovalError, RequestError, SealError, SecretError, UploadError,
};
use tokio_util::sync::CancellationToken;

use crate::postgres::{CoverageError, DumpError, PostgresError, RestoreError};

/// What ended a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The task cannot be understood.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A mounted Secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A key to encrypt for.
    #[error(transparent)]
    Recipient(#[from] RecipientError),
    /// The check of the bucket.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Who owns the prefix.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// A deletion.
    #[error(transparent)]
    Removal(#[from] RemovalError),
    /// Any other request to the bucket.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The manifest in the bucket.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The upload of an object.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// What attempts left.
    #[error(transparent)]
    CleanUp(#[from] CleanUpError),
    /// The watchdog.
    #[error(transparent)]
    NoProgress(#[from] NoProgress),
    /// The stream between source and bucket.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database server.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// `pg_dump` or `pg_dumpall`.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The record of a restore in the bucket.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A step of a restore.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The dumps lack something, or have too much.
    #[error(transparent)]
    Coverage(#[from] CoverageError),
    /// A backup that was just stored is not in the bucket as it was sent.
    #[error("reading the new backup again failed: {0}")]
    ReadBack(#[source] ReadError),
    /// The backup that was to be made has a manifest, and lacks what that names.
    #[error("{key} is there already, and the backup cannot be restored: {error}")]
    NotWhole {
        /// The manifest that was found.
        key: String,
        /// What is wrong with an object.
        error: ReadError,
    },
    /// Another policy writes where this one does.
    #[error(
        "{key} belongs to backup {backup} of policy {namespace}/{policy}: give this policy a storage.s3.prefix of its own, or the backup another path"
    )]
    PathTaken {
        /// The manifest that was found.
        key: String,
        /// Namespace of its policy.
        namespace: String,
        /// Its policy.
        policy: String,
        /// Its backup.
        backup: String,
    },
    /// The Pod was told to stop.
    #[error(
        "the Pod was told to stop before the backup was finished; the next attempt starts from the beginning"
    )]
    Interrupted,
    /// A file, a process or the machine.
    #[error("{what} failed: {error}")]
    Machine {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A defect of ours.
    #[error("the runner failed in a way that it should not: {0}")]
    Defect(#[from] tokio::task::JoinError),
    /// The manifest could not be written as JSON.
    #[error("the manifest cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
}

/// Waits for something that may be dropped at any time, but not once the Pod was told to stop.
pub async fn until_cancelled<T, E>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, RunError>
where
    RunError: From<E>,
{
    match cancel.run_until_cancelled(work).await {
        Some(result) => Ok(result?),
        None => Err(RunError::Interrupted),
    }
}

impl RunError {
    /// Stable reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Task(_) => reasons::INVALID_TASK,
            Self::Secret(error) => error.reason(),
            Self::Recipient(error) => error.reason(),
            Self::Probe(error) => error.reason(),
            Self::Owner(error) => error.reason(),
            Self::Removal(error) => error.reason(),
            Self::Request(error) => error.reason(),
            Self::Catalogue(error) => error.reason(),
            Self::Upload(error) => error.reason(),
            Self::CleanUp(error) => error.reason(),
            Self::NoProgress(error) => error.reason(),
            Self::ReadBack(error) | Self::NotWhole { error, .. } => error.reason(),
            Self::Seal(error) => error.reason(),
            Self::Postgres(error) => error.reason(),
            Self::Dump(error) => error.reason(),
            Self::Record(error) => error.reason(),
            Self::Restore(error) => error.reason(),
            Self::Coverage(_) => reasons::INCOMPLETE_DUMP,
            Self::PathTaken { .. } => reasons::PATH_TAKEN,
            Self::Interrupted => reasons::INTERRUPTED,
            Self::Machine { .. } | Self::Defect(_) | Self::Encode(_) => reasons::INTERNAL_ERROR,
        }
    }

    /// Whether another attempt may succeed without a change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Task(_)
            | Self::Secret(_)
            | Self::Recipient(_)
            | Self::Encode(_)
            | Self::PathTaken { .. } => false,
            Self::Probe(error) => error.is_retryable(),
            Self::Owner(error) => error.is_retryable(),
            Self::Removal(error) => error.is_retryable(),
            Self::Request(error) => error.is_retryable(),
            Self::Catalogue(error) => error.is_retryable(),
            Self::Upload(error) => error.is_retryable(),
            Self::CleanUp(error) => error.is_retryable(),
            Self::NotWhole { error, .. } => error.is_retryable(),
            Self::Seal(error) => error.is_retryable(),
            Self::Postgres(error) => error.is_retryable(),
            Self::Dump(error) => error.is_retryable(),
            Self::Record(error) => error.is_retryable(),
            Self::Restore(error) => error.is_retryable(),
            // Another attempt dumps another snapshot and stores other objects.
            Self::Coverage(_)
            | Self::NoProgress(_)
            | Self::ReadBack(_)
            | Self::Interrupted
            | Self::Machine { .. }
            | Self::Defect(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The store's own table has the reason of each of its errors; here is what a run makes of them.
    #[test]
    fn whether_another_attempt_follows() {
        let damaged = || ReadError::ObjectDamaged { key: "key".into(), problem: "cut".into() };
        assert!(!damaged().is_retryable());
        for (error, reason, retryable) in [
            // Another attempt stores other objects.
            (RunError::ReadBack(damaged()), reasons::OBJECT_DAMAGED, true),
            (UploadError::ChangedInMemory("key".into()).into(), reasons::INTERNAL_ERROR, true),
            (NoProgress { limit: Duration::ZERO }.into(), reasons::NO_PROGRESS, true),
            (RecipientError::NoRecipient.into(), reasons::INVALID_RECIPIENT, false),
            (RunError::Secret(SecretError::Missing { secret: "s".into() }), reasons::SECRET_MISSING, false),
            (RunError::Interrupted, reasons::INTERRUPTED, true),
        ] {
            assert_eq!((error.reason(), error.is_retryable()), (reason, retryable), "{error}");
        }
    }
}
