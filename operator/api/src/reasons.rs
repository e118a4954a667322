//! Every `reason` that conditions, events, failures and reports carry. They are API: scripts and alerts match on them. No I/O.

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $text:literal;)+) => {
        $($(#[$doc])+ pub const $name: &str = $text;)+

        /// All of them.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

reasons! {
    /// All is well.
    SUCCEEDED = "Succeeded";
    /// The spec is valid and a probe has not finished yet.
    PROBING = "Probing";
    /// The latest spec is in effect.
    IDLE = "Idle";
    /// A run waits until fewer go on, of all policies together.
    WAITING_FOR_CAPACITY = "WaitingForCapacity";
    /// A run waits until a restore has replaced its database.
    WAITING_FOR_RESTORE = "WaitingForRestore";
    /// `spec.suspend` is true, or `spec.suspendRetention` where it is about the deletion of old backups.
    SUSPENDED = "Suspended";
    /// No run was due yet.
    NOT_DUE_YET = "NotDueYet";

    /// The object cannot be read by this release.
    INVALID_OBJECT = "InvalidObject";
    /// A cron expression is not one.
    INVALID_SCHEDULE = "InvalidSchedule";
    /// A time zone is unknown.
    INVALID_TIME_ZONE = "InvalidTimeZone";
    /// A field has a value that cannot work.
    INVALID_SPEC = "InvalidSpec";
    /// An age recipient is not one.
    INVALID_RECIPIENT = "InvalidRecipient";
    /// The operator was not told to serve this namespace.
    NAMESPACE_NOT_SERVED = "NamespaceNotServed";

    /// A Secret that the policy names is not there.
    SECRET_MISSING = "SecretMissing";
    /// A Secret lacks a key or holds an unusable value.
    SECRET_KEY_MISSING = "SecretKeyMissing";
    /// Host name not found.
    HOST_NOT_FOUND = "HostNotFound";
    /// Nothing answers at host and port.
    CONNECTION_FAILED = "ConnectionFailed";
    /// Certificate not trusted, or TLS not offered.
    TLS_FAILED = "TlsFailed";
    /// User or password refused.
    AUTHENTICATION_FAILED = "AuthenticationFailed";
    /// The database does not exist.
    DATABASE_NOT_FOUND = "DatabaseNotFound";
    /// The database user lacks a right.
    PERMISSION_DENIED = "PermissionDenied";
    /// The server answered with another error.
    DATABASE_ERROR = "DatabaseError";
    /// A database has names that are not UTF-8.
    NAMES_NOT_UTF8 = "NamesNotUtf8";
    /// A table could not be locked against changes.
    TABLE_LOCKED = "TableLocked";
    /// The snapshot that a backup is made of could not be had, or was lost.
    SNAPSHOT_LOST = "SnapshotLost";
    /// The image has no client of the server's major version.
    UNSUPPORTED_SERVER_VERSION = "UnsupportedServerVersion";
    /// The bucket does not exist.
    BUCKET_NOT_FOUND = "BucketNotFound";
    /// The bucket refuses these credentials or this action.
    ACCESS_DENIED = "AccessDenied";
    /// The object storage answered with another error.
    STORAGE_ERROR = "StorageError";
    /// No private key that was given opens an object.
    IDENTITY_MISMATCH = "IdentityMismatch";
    /// An object that a manifest names is not in the bucket.
    OBJECT_MISSING = "ObjectMissing";
    /// An object is not what its manifest says, or what was sent.
    OBJECT_DAMAGED = "ObjectDamaged";
    /// An object was replaced while it was read.
    OBJECT_REPLACED = "ObjectReplaced";
    /// The object storage has no room left.
    STORAGE_FULL = "StorageFull";
    /// The object storage does not refuse to overwrite an object when it is asked to (`If-None-Match: *`).
    CONDITIONAL_WRITE_UNSUPPORTED = "ConditionalWriteUnsupported";
    /// The object storage does not verify the checksum that the policy asks for.
    CHECKSUM_UNSUPPORTED = "ChecksumUnsupported";
    /// The clock of the node, or of the object storage, is wrong.
    CLOCK_SKEWED = "ClockSkewed";
    /// The object storage ignores a storage class or an encryption that the policy asks for.
    STORAGE_OPTION_IGNORED = "StorageOptionIgnored";
    /// The object storage found that what it received or stored does not match its checksum.
    CHECKSUM_REFUSED = "ChecksumRefused";
    /// Nothing moved for `stallSeconds` while sources were prepared, read and stored.
    NO_PROGRESS = "NoProgress";

    /// Another policy or backup writes to the same place in the bucket.
    PATH_TAKEN = "PathTaken";
    /// The prefix in the bucket belongs to another policy or cluster.
    OWNED_BY_OTHER = "OwnedByOther";
    /// What was deleted is still there.
    NOT_DELETED = "NotDeleted";
    /// A producer (`pg_dump`, `pg_dumpall`) ended with an error or was killed.
    DUMP_FAILED = "DumpFailed";
    /// A producer wrote nothing although it said that all went well.
    EMPTY_OUTPUT = "EmptyOutput";
    /// An archive is not whole: cut off, damaged, or followed by other bytes.
    ARCHIVE_DAMAGED = "ArchiveDamaged";
    /// A producer warned of something that is not known to leave its dump complete.
    UNKNOWN_WARNING = "UnknownWarning";
    /// A dump lacks data of a table, or holds data that no table has.
    INCOMPLETE_DUMP = "IncompleteDump";
    /// The Pod was told to stop.
    INTERRUPTED = "Interrupted";
    /// The time limit of the run passed.
    DEADLINE_EXCEEDED = "DeadlineExceeded";
    /// The container was killed for its memory.
    OUT_OF_MEMORY = "OutOfMemory";
    /// The Pod could not be started.
    POD_NOT_STARTED = "PodNotStarted";
    /// The Pod or its node vanished without a report.
    REPORT_LOST = "ReportLost";
    /// A Pod that was told to stop does not go: its node is lost.
    NODE_LOST = "NodeLost";
    /// Somebody deleted the Job of an active run.
    JOB_DELETED = "JobDeleted";
    /// Another object has the name of the Job.
    NAME_COLLISION = "NameCollision";
    /// A newer run took the place of this one (`concurrencyPolicy: Replace`).
    REPLACED = "Replaced";
    /// The spec no longer has the backup that was being made.
    BACKUP_REMOVED = "BackupRemoved";
    /// The API server refused the Job.
    JOB_REFUSED = "JobRefused";
    /// The task cannot be understood by this runner.
    INVALID_TASK = "InvalidTask";
    /// A program or file that the image should have is not there, or the machine refused something.
    INTERNAL_ERROR = "InternalError";

    /// Event: a run started.
    BACKUP_STARTED = "BackupStarted";
    /// Event: a run succeeded.
    BACKUP_SUCCEEDED = "BackupSucceeded";
    /// Event and condition: a run failed for good.
    BACKUP_FAILED = "BackupFailed";
    /// Event: an attempt failed and another follows.
    BACKUP_RETRYING = "BackupRetrying";
    /// Event and condition: a slot passed without a run and is not made up for.
    BACKUP_MISSED = "BackupMissed";
    /// Event: what a failed attempt left in the bucket could not be removed yet.
    CLEAN_UP_FAILED = "CleanUpFailed";
    /// Event: too many clean-ups wait; the one that is due last is left to the deletion of old backups.
    CLEAN_UP_DROPPED = "CleanUpDropped";
    /// Event: backups that were kept long enough were deleted.
    PRUNED = "Pruned";
    /// Event: more than half of the backups of a schedule were to be deleted; half of them stays until the next time.
    PRUNE_HELD_BACK = "PruneHeldBack";
    /// Event and condition: a prune failed; it is tried again.
    PRUNE_FAILED = "PruneFailed";
    /// Event and condition: an annotation that is to pin a backup cannot be understood, so nothing is deleted.
    PIN_UNREADABLE = "PinUnreadable";
    /// Event: a prune that deletes nothing has written its report.
    PRUNE_DRY_RUN = "PruneDryRun";
    /// Event: the history of a policy was read from the bucket.
    HISTORY_RESTORED = "HistoryRestored";
    /// Event and condition: the history of a policy could not be read from the bucket yet.
    HISTORY_UNKNOWN = "HistoryUnknown";
    /// Event: a probe found what it could not find before.
    PROBE_RECOVERED = "ProbeRecovered";
    /// Event, and reason of a probe's report: a probe found something wrong.
    PROBE_FAILED = "ProbeFailed";
}

pub mod restore;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn reasons_are_unique_and_as_conditions_want_them() {
        let all = [super::ALL, super::restore::ALL].concat();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(
            all.iter().all(|reason| reason.chars().all(|c| c.is_ascii_alphanumeric()) && reason.len() <= 40)
        );
    }
}
