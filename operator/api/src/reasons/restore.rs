//! Reasons of RestoreRequests, beside those that they share with backups. They are API. No I/O.

reasons! {
    /// The request waits: the operator has not looked at it, or another one works on the same database.
    PENDING = "Pending";
    /// A condition that no step has reached yet.
    NOT_YET = "NotYet";
    /// Another request works on the same database.
    WAITING_FOR_OTHER = "WaitingForOther";
    /// Condition, and event where it takes too long: a dump of the database goes on.
    WAITING_FOR_BACKUP = "WaitingForBackup";
    /// Another request took the Lease of the database from this one.
    LOCK_LOST = "LockLost";
    /// A Job finds out whether the request can work.
    PLANNING = "Planning";
    /// The plan was made and can work.
    PLANNED = "Planned";
    /// The applications are being stopped.
    QUIESCING = "Quiescing";
    /// The applications are stopped.
    QUIESCED = "Quiesced";
    /// No application is stopped: there is none, or none was recorded yet.
    NOTHING_TO_QUIESCE = "NothingToQuiesce";
    /// The data is being loaded.
    RESTORING = "Restoring";
    /// What was loaded is being verified.
    VERIFYING = "Verifying";
    /// The databases are being renamed.
    SWITCHING = "Switching";
    /// The applications are coming back. Of `Quiesced=False`: they are back, to the end and afterwards.
    RESUMING = "Resuming";
    /// The checks run.
    CHECKING = "Checking";
    /// What was done is being undone.
    UNDOING = "Undoing";
    /// It was done, and undone with all the rest.
    UNDONE = "Undone";

    /// The policy that the request names is not there, or cannot be used.
    POLICY_NOT_FOUND = "PolicyNotFound";
    /// The policy has no backup of that name.
    BACKUP_NOT_IN_POLICY = "BackupNotInPolicy";
    /// `spec.confirm` does not name the database that is replaced.
    CONFIRM_MISMATCH = "ConfirmMismatch";
    /// The bucket holds no such backup, or none that is finished.
    BACKUP_NOT_FOUND = "BackupNotFound";
    /// The backup does not hold the database.
    DATABASE_NOT_IN_BACKUP = "DatabaseNotInBackup";
    /// The backup does not hold a schema or table of `spec.database.include`.
    NOT_IN_BACKUP = "NotInBackup";
    /// A table of `spec.database.include` cannot be made without something that is not named there.
    PART_NEEDS_MORE = "PartNeedsMore";
    /// A request of this name was carried out before.
    ALREADY_CARRIED_OUT = "AlreadyCarriedOut";
    /// A database has prepared transactions.
    PREPARED_TRANSACTIONS = "PreparedTransactions";
    /// A database takes part in logical replication.
    LOGICAL_REPLICATION = "LogicalReplication";
    /// An extension is bound to the database that is replaced.
    EXTENSION_BOUND = "ExtensionBound";
    /// The server lacks an extension of the backup.
    EXTENSION_UNAVAILABLE = "ExtensionUnavailable";
    /// The server lacks roles of the backup, and none is to be made.
    ROLES_MISSING = "RolesMissing";
    /// The server lacks a tablespace that the backup's database needs.
    TABLESPACE_MISSING = "TablespaceMissing";
    /// A pooler stands between the Job and the server.
    POOLER_FOUND = "PoolerFound";
    /// The server is a standby, on which nothing can be made.
    SERVER_IS_STANDBY = "ServerIsStandby";
    /// The server is older than the one that the backup was made of.
    SERVER_TOO_OLD = "ServerTooOld";
    /// The server lacks a locale or an encoding of the backup.
    LOCALE_UNAVAILABLE = "LocaleUnavailable";
    /// The server does not let sessions into a database of the temporary name.
    ACCESS_RULE_MISSING = "AccessRuleMissing";
    /// The server has too little space for a second database.
    NOT_ENOUGH_SPACE = "NotEnoughSpace";
    /// The database that is to be made is there already, or one is in the way.
    DATABASE_EXISTS = "DatabaseExists";
    /// The request to undo has switched nothing, or what it replaced is gone.
    NOTHING_TO_UNDO = "NothingToUndo";
    /// The release cannot do what the request asks for.
    NOT_SUPPORTED = "NotSupported";

    /// An application that is to stop is not there.
    WORKLOAD_NOT_FOUND = "WorkloadNotFound";
    /// The API server refused to stop an application, or to bring it back.
    WORKLOAD_REFUSED = "WorkloadRefused";
    /// Another request has stopped this application: it is left as that one has it.
    WORKLOAD_TAKEN = "WorkloadTaken";
    /// The API server refused the ConfigMap that is to remember the database which is replaced.
    CONFIG_MAP_REFUSED = "ConfigMapRefused";
    /// A StatefulSet would lose its volumes at 0 replicas.
    VOLUMES_WOULD_GO = "VolumesWouldGo";
    /// KEDA scales an application, and its ScaledObject cannot be paused.
    SCALED_BY_KEDA = "ScaledByKeda";
    /// KEDA does not act on the annotation that pauses a ScaledObject.
    PAUSE_IGNORED = "PauseIgnored";
    /// An Application of Argo CD would start again what is to stop.
    HEALED_BY_ARGO_CD = "HealedByArgoCD";
    /// Somebody started an application that is to be stopped, or something of it, or took away what keeps it stopped.
    SCALE_CONTESTED = "ScaleContested";
    /// Pods of an application do not go, or a Job of a CronJob does not end.
    PODS_REMAIN = "PodsRemain";
    /// Applications that came back are not ready in time.
    WORKLOADS_NOT_READY = "WorkloadsNotReady";

    /// Loading failed: `pg_restore` or the server refused something.
    LOAD_FAILED = "LoadFailed";
    /// What was restored is not what the backup holds.
    VERIFICATION_FAILED = "VerificationFailed";
    /// A database changed its name or OID while it was worked on.
    DATABASE_CHANGED = "DatabaseChanged";
    /// Sessions in a database do not end.
    SESSIONS_REMAIN = "SessionsRemain";
    /// Nobody knows yet whether the databases were switched.
    SWITCH_UNCERTAIN = "SwitchUncertain";
    /// A person ended a request whose switch nobody knew about.
    GIVEN_UP = "GivenUp";
    /// A check of the spec failed.
    CHECK_FAILED = "CheckFailed";
    /// What was made could not be removed.
    DROP_FAILED = "DropFailed";
    /// Event: everything was undone, and the record in the bucket does not say so.
    RECORD_NOT_WRITTEN = "RecordNotWritten";
    /// `spec.cancel`.
    CANCELLED = "Cancelled";
    /// `spec.cancel` came when the databases were being switched already.
    TOO_LATE_TO_CANCEL = "TooLateToCancel";
    /// `spec.startBefore` passed before the request began.
    EXPIRED = "Expired";
    /// The request was deleted while it went on.
    DELETED = "Deleted";

    /// Event: the request began.
    RESTORE_STARTED = "RestoreStarted";
    /// Event: an attempt failed and another follows.
    RESTORE_RETRYING = "RestoreRetrying";
    /// Event: the databases were switched.
    SWITCHED = "Switched";
    /// Event: the request succeeded.
    RESTORE_SUCCEEDED = "RestoreSucceeded";
    /// Event and condition: the request failed.
    RESTORE_FAILED = "RestoreFailed";
    /// Event: a replaced database stays on the server.
    PREVIOUS_KEPT = "PreviousKept";
    /// Event: a replaced database was dropped.
    PREVIOUS_DROPPED = "PreviousDropped";
    /// Event: a replaced database was not there any more when its time was over, as after an undo.
    PREVIOUS_GONE = "PreviousGone";
    /// Event: applications are down, and will be until a person acts or the cause passes.
    APPLICATIONS_DOWN = "ApplicationsDown";
}
