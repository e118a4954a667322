//! What a step of a restore can end with, with its reason and the way out. Pure.

use std::io;

use greenlang_backup_api::reasons;
use greenlang_backup_api::reasons::restore;
use greenlang_backup_store::ReadError;
use jiff::Timestamp;

use super::part::PartError;

/// Differences that a message names; the log has all.
const TOLD: usize = 5;

/// What ended a step of a restore.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// An object of the backup.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No manifest.
    #[error(
        "{key} is not in the bucket, so there is no such backup: see the available backups in the policy's status, or list the bucket"
    )]
    BackupNotFound {
        /// Key of the manifest.
        key: String,
    },
    /// None of the backups of a directory is the newest good one.
    #[error(
        "there is no backup{wanted} below {directory} that can be used{beside}: see the available backups in the policy's status, or list the bucket"
    )]
    NoneToChoose {
        /// Directory of the backups.
        directory: String,
        /// What was asked for, in words.
        wanted: String,
        /// What is there instead, in words.
        beside: String,
    },
    /// Another manifest than the plan has read.
    #[error(
        "{key} is not the manifest that the plan was made of: somebody replaced it; find out who, and make a new request"
    )]
    ManifestChanged {
        /// Key of the manifest.
        key: String,
    },
    /// The backup has other databases.
    #[error("the backup holds no database {database}; it has {held}: name one of those")]
    DatabaseNotInBackup {
        /// The database that was asked for.
        database: String,
        /// Those that are there.
        held: String,
    },
    /// The request names no Secret with what opens its backup.
    #[error("{key} cannot be opened: {why}, and the request names none: make a new one with spec.{field}")]
    NoKey {
        /// Key of what is to be opened, or its directory.
        key: String,
        /// What it takes.
        why: &'static str,
        /// Field of the spec.
        field: &'static str,
    },
    /// An object that can be opened and is not understood.
    #[error("{key} cannot be understood: {problem}")]
    NotUnderstood {
        /// Key of the object.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A part of a database that cannot be restored.
    #[error("{}", told(.0))]
    Part(Vec<PartError>),
    /// An older server than the backup's.
    #[error(
        "the backup was made of PostgreSQL {backup} and the server is PostgreSQL {server}: an older server cannot take it; restore to {backup} or newer"
    )]
    ServerTooOld {
        /// Major version of the backup's server.
        backup: u32,
        /// Major version of the server.
        server: u32,
    },
    /// A server that cannot be restored to, as its error says.
    #[error("{0}")]
    Standby(String),
    /// A database of this name that this request has not made.
    #[error(
        "database {database} is there and {why}, so it is left alone: look at it, and rename or drop it by hand if nobody needs it"
    )]
    NotOurs {
        /// Its name.
        database: String,
        /// What tells.
        why: String,
    },
    /// A replaced database that is to be dropped, and whose server says that it is not time yet.
    #[error(
        "database {database} is kept until {not_before}, and the clock of its server says {now}: one of the clocks of server and operator is wrong"
    )]
    TooEarly {
        /// Its name.
        database: String,
        /// When it may be dropped.
        not_before: Timestamp,
        /// What the server says.
        now: Timestamp,
    },
    /// A database is not the one that was planned with. Whether anything was renamed is for the switch to say.
    #[error("{0}: look at the server, and make a new request")]
    DatabaseChanged(String),
    /// Something that no step can do.
    #[error("{0}")]
    NotSupported(&'static str),
    /// A session in a database does not end.
    #[error(
        "sessions of database {0} do not end: see pg_stat_activity; the user of this restore may lack the right to end them (GRANT pg_signal_backend, or a superuser's session)"
    )]
    SessionsRemain(String),
    /// A transaction that waits for its second phase holds on to its database.
    #[error(
        "database {database} has {count} prepared transactions, which would be lost: see pg_prepared_xacts, and end each there with COMMIT PREPARED or ROLLBACK PREPARED"
    )]
    PreparedTransactions {
        /// The database.
        database: String,
        /// How many.
        count: i64,
    },
    /// Who follows a database by logical replication.
    #[error(
        "database {database} has {count} logical replication slots or subscriptions, which would stay with what is replaced: drop them (pg_replication_slots, pg_subscription), or accept it with allowLogicalReplicationLoss"
    )]
    LogicalReplication {
        /// The database.
        database: String,
        /// How many.
        count: i64,
    },
    /// Nobody could find out how a switch ended.
    #[error("{0}")]
    SwitchUncertain(String),
    /// Another request of the same name.
    #[error(
        "a request of the name {name} was carried out before, with UID {uid}: its record is in the bucket; give a new request another name"
    )]
    AlreadyCarriedOut {
        /// Name of both.
        name: String,
        /// UID of the other one.
        uid: String,
    },
    /// A program that could not be started.
    #[error("{program} cannot be started: {error}")]
    Start {
        /// Program.
        program: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A program that ended badly.
    #[error("{program} into database {database} failed: {said}")]
    Load {
        /// Program.
        program: &'static str,
        /// Database that it worked on.
        database: String,
        /// The last it said.
        said: String,
        /// Whether another attempt may do better: the server was lost, or two connections were in each other's way.
        may_pass: bool,
    },
    /// The server has no room left.
    #[error(
        "the server's disk is full ({said}): make room there, or restore with strategy Replace, which needs room for one database only"
    )]
    NoSpace {
        /// What the server said.
        said: String,
    },
    /// The restored database is not what the backup holds.
    #[error("{}", differences(.0))]
    Differs(Vec<String>),
}

fn differences(found: &[String]) -> String {
    let more = match found.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!("; and {more} more, see the log"),
    };
    format!("what was restored is not what the backup holds: {}{more}", told(found))
}

fn told<T: ToString>(all: &[T]) -> String {
    all.iter().take(TOLD).map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl RestoreError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Read(error) => error.reason(),
            Self::BackupNotFound { .. } | Self::NoneToChoose { .. } => restore::BACKUP_NOT_FOUND,
            Self::ManifestChanged { .. } => reasons::OBJECT_REPLACED,
            Self::DatabaseNotInBackup { .. } => restore::DATABASE_NOT_IN_BACKUP,
            Self::NoKey { .. } => reasons::INVALID_SPEC,
            Self::NotUnderstood { .. } => reasons::OBJECT_DAMAGED,
            Self::Part(problems) => match problems.as_slice() {
                [first, ..] => first.reason(),
                [] => reasons::INTERNAL_ERROR,
            },
            Self::ServerTooOld { .. } => restore::SERVER_TOO_OLD,
            Self::Standby(_) => restore::SERVER_IS_STANDBY,
            Self::NotOurs { .. } => restore::DATABASE_EXISTS,
            Self::TooEarly { .. } => restore::DROP_FAILED,
            Self::DatabaseChanged(_) => restore::DATABASE_CHANGED,
            Self::NotSupported(_) => restore::NOT_SUPPORTED,
            Self::SessionsRemain(_) => restore::SESSIONS_REMAIN,
            Self::PreparedTransactions { .. } => restore::PREPARED_TRANSACTIONS,
            Self::LogicalReplication { .. } => restore::LOGICAL_REPLICATION,
            Self::SwitchUncertain(_) => restore::SWITCH_UNCERTAIN,
            Self::AlreadyCarriedOut { .. } => restore::ALREADY_CARRIED_OUT,
            Self::Start { .. } => reasons::INTERNAL_ERROR,
            Self::Load { .. } => restore::LOAD_FAILED,
            Self::NoSpace { .. } => restore::NOT_ENOUGH_SPACE,
            Self::Differs(_) => restore::VERIFICATION_FAILED,
        }
    }

    /// Whether another attempt may succeed without a change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Read(error) => error.is_retryable(),
            Self::Load { may_pass, .. } => *may_pass,
            Self::TooEarly { .. } | Self::SessionsRemain(_) | Self::SwitchUncertain(_) => true,
            Self::Start { error, .. } => {
                !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
            }
            _ => false,
        }
    }

    /// What a program means that ended with these words.
    pub fn of_program(program: &'static str, database: &str, said: String) -> Self {
        // The last is said of a page of which a part still found room.
        const FULL: [&str; 3] = ["No space left on device", "Disk quota exceeded", ": wrote only "];
        if FULL.iter().any(|words| said.contains(words)) {
            return Self::NoSpace { said };
        }
        let may_pass = MAY_PASS.iter().any(|words| said.contains(words));
        Self::Load { program, database: database.to_owned(), said, may_pass }
    }
}

/// What libpq and a server that speaks English say when a connection is lost, or cannot be had now. Who is refused for a password, a
/// rule or a certificate will be so again, and is not among them. Two connections of one `pg_restore` may lock each other out, above all
/// where foreign keys refer to partitioned tables; the next time they come in another order.
const MAY_PASS: [&str; 17] = [
    "server closed the connection unexpectedly",
    "terminating connection",
    "could not receive data from server",
    "could not send data to server",
    "no connection to the server",
    "SSL SYSCALL error",
    "SSL connection has been closed unexpectedly",
    "could not translate host name",
    "failed: Connection refused",
    "failed: Connection timed out",
    "failed: Connection reset by peer",
    "failed: timeout expired",
    "failed: No route to host",
    "failed: Network is unreachable",
    "FATAL:  the database system is ",
    "FATAL:  sorry, too many clients already",
    "ERROR:  deadlock detected",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_that() {
        let said = |why: &str| {
            format!(
                "pg_restore: error: COPY failed for table \"t\": ERROR:  could not extend file \"base/5/1\": {why}"
            )
        };
        for (why, reason) in [
            ("No space left on device", restore::NOT_ENOUGH_SPACE),
            ("Disk quota exceeded", restore::NOT_ENOUGH_SPACE),
            ("wrote only 4096 of 8192 bytes at block 7", restore::NOT_ENOUGH_SPACE),
            ("Input/output error", restore::LOAD_FAILED),
        ] {
            assert_eq!(RestoreError::of_program("pg_restore", "d", said(why)).reason(), reason, "{why}");
        }
    }

    /// As libpq 15 says it.
    #[test]
    fn only_what_may_pass_is_tried_again() {
        let connecting = |why: &str| {
            format!("pg_restore: error: connection to server at \"db\" (10.0.0.1), port 5432 failed: {why}")
        };
        for (said, retryable) in [
            (connecting("Connection refused"), true),
            (connecting("timeout expired"), true),
            (connecting("FATAL:  the database system is starting up"), true),
            (connecting("FATAL:  sorry, too many clients already"), true),
            (connecting("FATAL:  password authentication failed for user \"u\""), false),
            (connecting("FATAL:  no pg_hba.conf entry for host \"10.0.0.2\""), false),
            (connecting("SSL error: certificate verify failed"), false),
            ("pg_restore: error: could not receive data from server: Connection timed out".into(), true),
            (
                "pg_restore: error: could not execute query: server closed the connection unexpectedly"
                    .into(),
                true,
            ),
            ("pg_restore: error: could not execute query: ERROR:  deadlock detected".into(), true),
            // Of a foreign server that a materialized view reads.
            (
                "pg_restore: error: could not execute query: ERROR:  could not connect to server \"far\""
                    .into(),
                false,
            ),
        ] {
            let error = RestoreError::of_program("pg_restore", "d", said);
            assert_eq!((error.reason(), error.is_retryable()), (restore::LOAD_FAILED, retryable), "{error}");
        }
    }
}
