//! Everything that can go wrong with a PostgreSQL server, with its reason and the way out. Pure.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_store::SecretError;
use tokio_postgres::error::SqlState;

/// Which database of which server as whom, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Secret that user and password come from.
    pub secret: String,
    /// Database.
    pub database: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL at {}:{}", self.host, self.port)
    }
}

/// A server, a database or a Secret that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// A mounted Secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// DNS does not know the server.
    #[error("the host {} was not found: correct postgres.host ({cause})", target.host)]
    HostNotFound {
        /// Where.
        target: Arc<Target>,
        /// What the resolver says.
        cause: io::Error,
    },
    /// Nothing answers.
    #[error(
        "no answer from {target}: check postgres.host and port, the server and network policies ({cause})"
    )]
    ConnectionFailed {
        /// Where.
        target: Arc<Target>,
        /// What the network says.
        cause: String,
    },
    /// Only a standby was found, and nothing can be written there.
    #[error(
        "{target} is a standby: let the target's host name the primary (while a server takes over from another, both may be standbys for a moment)"
    )]
    Standby {
        /// Where.
        target: Arc<Target>,
    },
    /// The certificate is not trusted, or there is no TLS.
    #[error(
        "no trusted TLS connection to {target}: name the CA's Secret in postgres.caSecretRef, or correct postgres.host or sslMode ({cause})"
    )]
    TlsFailed {
        /// Where.
        target: Arc<Target>,
        /// What TLS says.
        cause: String,
    },
    /// TLS cannot be set up, for the want of a CA bundle.
    #[error("TLS for PostgreSQL cannot be set up ({0}): name the CA's Secret in postgres.caSecretRef")]
    TlsSetup(String),
    /// User or password refused.
    #[error("{target} refuses user {} for database {}: correct username and password in Secret {}, or pg_hba.conf ({cause})", target.user, target.database, target.secret)]
    AuthenticationFailed {
        /// Where.
        target: Arc<Target>,
        /// What the server says.
        cause: String,
    },
    /// No such database.
    #[error("{target} has no database {}: create it, or correct the name in the policy", target.database)]
    DatabaseNotFound {
        /// Where.
        target: Arc<Target>,
    },
    /// A right is missing.
    #[error("user {} of Secret {} lacks a right in database {} of {target}: {cause}", target.user, target.secret, target.database)]
    PermissionDenied {
        /// Where.
        target: Arc<Target>,
        /// What is missing, and how to grant it.
        cause: String,
    },
    /// Another answer that is no success.
    #[error("{target}, database {}, answered with an error: {cause} (SQLSTATE {})", target.database, code.code())]
    DatabaseError {
        /// Where.
        target: Arc<Target>,
        /// SQLSTATE.
        code: SqlState,
        /// What the server says.
        cause: String,
    },
    /// Names that cannot be read, and so not be listed.
    #[error(
        "database {} of {target} has names that are not UTF-8 ({cause}): rename what has them, see docs/operations.md, Names that are not UTF-8",
        target.database
    )]
    NamesNotUtf8 {
        /// Where.
        target: Arc<Target>,
        /// What was found, or what the server says.
        cause: String,
    },
    /// A database that lets sessions in, but does not answer them.
    #[error(
        "database {} of {target} did not answer within {limit:?}: see what its sessions wait for (pg_stat_activity), and the load of its server",
        target.database
    )]
    Slow {
        /// Where.
        target: Arc<Target>,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A table could not be locked against changes.
    #[error(
        "tables of database {} of {target} could not be locked within a minute: a session there holds, or waits for, a stronger lock (ALTER TABLE, TRUNCATE, VACUUM FULL; see pg_locks); try again when it has ended ({cause})",
        target.database
    )]
    TableLocked {
        /// Where.
        target: Arc<Target>,
        /// What the server says.
        cause: String,
    },
    /// Tables are dropped or rewritten all the time.
    #[error(
        "database {} of {target} gave no snapshot that can be dumped: {table} was dropped, truncated, rewritten or replaced before it was locked; try again at a quieter time",
        target.database
    )]
    SnapshotUnstable {
        /// Where.
        target: Arc<Target>,
        /// Table that changed last.
        table: String,
    },
    /// The session that held snapshot and locks is gone.
    #[error(
        "the session that held the snapshot of database {} of {target} was lost, so its tables may have changed during the dump ({cause}); if a pooler or firewall ends idle connections, let postgres.host name the server itself",
        target.database
    )]
    SnapshotLost {
        /// Where.
        target: Arc<Target>,
        /// What happened to it.
        cause: String,
    },
    /// The image has no client for the server.
    #[error(
        "the server is PostgreSQL {major}, and this image has clients for {}: use an image with the client of {major}",
        list(found)
    )]
    UnsupportedServerVersion {
        /// Major version of the server.
        major: u32,
        /// Major versions in the image.
        found: Vec<u32>,
    },
}

impl PostgresError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Secret(error) => error.reason(),
            Self::HostNotFound { .. } => reasons::HOST_NOT_FOUND,
            Self::NamesNotUtf8 { .. } => reasons::NAMES_NOT_UTF8,
            Self::ConnectionFailed { .. } | Self::Slow { .. } => reasons::CONNECTION_FAILED,
            Self::Standby { .. } => reasons::restore::SERVER_IS_STANDBY,
            Self::TlsFailed { .. } | Self::TlsSetup(_) => reasons::TLS_FAILED,
            Self::AuthenticationFailed { .. } => reasons::AUTHENTICATION_FAILED,
            Self::DatabaseNotFound { .. } => reasons::DATABASE_NOT_FOUND,
            Self::PermissionDenied { .. } => reasons::PERMISSION_DENIED,
            Self::DatabaseError { .. } => reasons::DATABASE_ERROR,
            Self::TableLocked { .. } => reasons::TABLE_LOCKED,
            Self::SnapshotUnstable { .. } | Self::SnapshotLost { .. } => reasons::SNAPSHOT_LOST,
            Self::UnsupportedServerVersion { .. } => reasons::UNSUPPORTED_SERVER_VERSION,
        }
    }

    /// Whether another attempt may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::HostNotFound { .. }
                | Self::ConnectionFailed { .. }
                | Self::Slow { .. }
                | Self::Standby { .. }
                | Self::DatabaseError { .. }
                | Self::TableLocked { .. }
                | Self::SnapshotUnstable { .. }
                | Self::SnapshotLost { .. }
        )
    }

    /// Whether a table or schema that was named is not there any more.
    pub fn is_undefined_table(&self) -> bool {
        let gone = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
        matches!(self, Self::DatabaseError { code, .. } if gone.contains(code))
    }

    /// Whether somebody is using what was to be changed.
    pub fn is_object_in_use(&self) -> bool {
        matches!(self, Self::DatabaseError { code, .. } if *code == SqlState::OBJECT_IN_USE)
    }

    /// Whether what was to be made is there, by somebody else's doing.
    pub fn is_already_there(&self) -> bool {
        let there = [SqlState::DUPLICATE_OBJECT, SqlState::UNIQUE_VIOLATION];
        matches!(self, Self::DatabaseError { code, .. } if there.contains(code))
    }

    /// Whether the server gave up a question, because its time was over or because somebody told it to.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::DatabaseError { code, .. } if *code == SqlState::QUERY_CANCELED)
    }

    /// The server's words, where it does not let this be known: for the want of a right, of a file, or altogether. Any other
    /// error, such as one of our own questions, is none.
    pub fn refusal(&self) -> Option<String> {
        let unknowable = [SqlState::FEATURE_NOT_SUPPORTED, SqlState::UNDEFINED_FILE, SqlState::IO_ERROR];
        match self {
            Self::PermissionDenied { cause, .. } => Some(cause.clone()),
            Self::DatabaseError { code, cause, .. } if unknowable.contains(code) => Some(cause.clone()),
            _ => None,
        }
    }

    /// What a failure of the driver means: by SQLSTATE where the server spoke, else by where it happened.
    pub fn classify(target: Arc<Target>, error: &tokio_postgres::Error) -> Self {
        if let Some(answer) = error.as_db_error() {
            return Self::answered(target, answer.code(), answer.message().to_owned());
        }
        let cause = innermost(error);
        // The driver keeps the kind of its errors to itself; its first words are all that tells it.
        match error.to_string().as_str() {
            words if words.starts_with("error performing TLS handshake") => Self::TlsFailed { target, cause },
            words if words.starts_with("authentication error") => {
                Self::AuthenticationFailed { target, cause }
            }
            _ => Self::ConnectionFailed { target, cause },
        }
    }

    fn answered(target: Arc<Target>, code: &SqlState, cause: String) -> Self {
        match *code {
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                Self::AuthenticationFailed { target, cause }
            }
            SqlState::INVALID_CATALOG_NAME => Self::DatabaseNotFound { target },
            SqlState::INSUFFICIENT_PRIVILEGE => Self::PermissionDenied { target, cause },
            // What the server cannot say in our encoding, of a database without one or with characters that UTF-8 lacks.
            SqlState::CHARACTER_NOT_IN_REPERTOIRE | SqlState::UNTRANSLATABLE_CHARACTER => {
                Self::NamesNotUtf8 { target, cause }
            }
            SqlState::LOCK_NOT_AVAILABLE => Self::TableLocked { target, cause },
            _ => Self::DatabaseError { target, code: code.clone(), cause },
        }
    }
}

/// The last cause says what happened; those around it only where.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    });
    chain.last().map(ToString::to_string).unwrap_or_default()
}

fn list(majors: &[u32]) -> String {
    if majors.is_empty() {
        return "no version".to_owned();
    }
    majors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
