//! Connects to a PostgreSQL server and asks it questions. Network.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::str::Utf8Error;
use std::sync::Arc;
use std::time::Duration;

use greenlang_backup_api::task::PostgresServer;
use greenlang_backup_store::read_secret;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::NoTls;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::PostgresError;
use super::error::Target;
use super::tls;

/// From the name to a session.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that vanished without a word is lost after so long. Its own work, such as building an index, may take hours and sends
/// nothing meanwhile, so only the network can tell the two apart.
pub const VANISHED: Duration = Duration::from_mins(2);
/// Silence after which the network is asked whether the server is still there.
pub const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
/// Pause between two such questions.
pub const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered questions that make a server lost: together with the silence before them as long as [`VANISHED`].
pub const KEEPALIVES: u32 = 9;
/// Our own questions are short; a server on which one is not is asked again by the next attempt. Functions and operators are
/// those of PostgreSQL, whatever path the owner of the database has set: others would run with our rights.
const SESSION_OPTIONS: &str = "-c statement_timeout=30s -c lock_timeout=10s -c default_transaction_read_only=on \
                               -c search_path=pg_catalog,pg_temp";
/// The same for sessions that change something: what they ask for may take its time.
const CHANGING_OPTIONS: &str = "-c statement_timeout=0 -c lock_timeout=60s -c idle_in_transaction_session_timeout=0 \
                                -c default_transaction_read_only=off -c row_security=off -c search_path=pg_catalog,pg_temp";
/// For statements of the user, which find tables by the path of the database, and change nothing.
const USERS_OPTIONS: &str =
    "-c statement_timeout=60s -c lock_timeout=10s -c default_transaction_read_only=on";
/// The same for a transaction: a pooler may have passed over the options.
pub const SAFE_PATH: &str = "SET LOCAL search_path = pg_catalog, pg_temp";
/// What the server calls our sessions in `pg_stat_activity`.
pub const APPLICATION: &str = "greenlang-backup";

/// A server, with what is needed to log in.
pub struct Endpoint {
    pub server: PostgresServer,
    pub user: String,
    pub password: SecretString,
    /// Whether every session goes to the primary, where the name leads to standbys as well.
    pub primary: bool,
    tls: Option<MakeRustlsConnect>,
}

/// What the server said when it did not let a question be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// A connection to one database.
pub struct Session {
    client: Client,
    target: Arc<Target>,
    _connection: AbortOnDropHandle<()>,
}

impl Endpoint {
    /// Reads the mounted Secrets; connects to nothing yet.
    pub fn open(server: &PostgresServer) -> Result<Self, PostgresError> {
        Ok(Self {
            user: read_secret(&server.credentials, "username")?.expose_secret().to_owned(),
            password: read_secret(&server.credentials, "password")?,
            primary: false,
            tls: tls::connector(server.ssl_mode, server.ca.as_ref())?,
            server: server.clone(),
        })
    }

    /// The same, but of its sessions and those of its programs none goes to a standby.
    pub fn of_primary(self) -> Self {
        Self { primary: true, ..self }
    }

    /// Connects to a database, to read.
    pub async fn connect(&self, database: &str) -> Result<Session, PostgresError> {
        self.connect_with(database, SESSION_OPTIONS, self.primary).await
    }

    /// Connects to a database of the primary, to make, change or count what is in it, however long that takes.
    pub async fn connect_to_change(&self, database: &str) -> Result<Session, PostgresError> {
        self.connect_with(database, CHANGING_OPTIONS, true).await
    }

    /// Connects to a database for statements of the user.
    pub async fn connect_for_user(&self, database: &str) -> Result<Session, PostgresError> {
        self.connect_with(database, USERS_OPTIONS, self.primary).await
    }

    async fn connect_with(
        &self,
        database: &str,
        options: &str,
        primary: bool,
    ) -> Result<Session, PostgresError> {
        let target = self.target(database);
        let work = async {
            let addresses = self.addresses(&target).await?;
            if primary {
                self.find_primary(&target, options, &addresses).await
            } else {
                self.establish(&target, options, &addresses).await
            }
        };
        timeout(CONNECT_TIMEOUT, work).await.unwrap_or_else(|_| {
            Err(PostgresError::ConnectionFailed {
                target: Arc::clone(&target),
                cause: format!("no session with database {database} within {CONNECT_TIMEOUT:?}"),
            })
        })
    }

    /// One of its databases, for messages.
    pub fn target(&self, database: &str) -> Arc<Target> {
        Arc::new(Target {
            host: self.server.host.clone(),
            port: self.server.port,
            user: self.user.clone(),
            secret: self.server.credentials.secret.clone(),
            database: database.to_owned(),
        })
    }

    /// A session with the one of these that is no standby. They are asked one by one: the driver tells them apart by whether sessions
    /// may write, and ours that only read may not.
    pub(super) async fn find_primary(
        &self,
        target: &Arc<Target>,
        options: &str,
        addresses: &[SocketAddr],
    ) -> Result<Session, PostgresError> {
        let mut failure = None;
        for address in addresses {
            match self.establish(target, options, std::slice::from_ref(address)).await {
                Ok(session) => {
                    if !session.value("SELECT pg_catalog.pg_is_in_recovery()").await? {
                        return Ok(session);
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| PostgresError::Standby { target: Arc::clone(target) }))
    }

    async fn establish(
        &self,
        target: &Arc<Target>,
        options: &str,
        addresses: &[SocketAddr],
    ) -> Result<Session, PostgresError> {
        let config = self.config(target, options, addresses);
        let classify = |error| PostgresError::classify(Arc::clone(target), &error);
        let (client, connection) = if let Some(tls) = &self.tls {
            let (client, connection) = config.connect(tls.clone()).await.map_err(classify)?;
            (client, tokio::spawn(drive(connection)))
        } else {
            let (client, connection) = config.connect(NoTls).await.map_err(classify)?;
            (client, tokio::spawn(drive(connection)))
        };
        Ok(Session { client, target: Arc::clone(target), _connection: AbortOnDropHandle::new(connection) })
    }

    /// Looks the name up here, so that an unknown one is told from a server that does not answer.
    async fn addresses(&self, target: &Arc<Target>) -> Result<Vec<SocketAddr>, PostgresError> {
        let found = lookup_host((self.server.host.as_str(), self.server.port)).await;
        match found {
            Ok(addresses) => Ok(addresses.collect()),
            Err(cause) => Err(PostgresError::HostNotFound { target: Arc::clone(target), cause }),
        }
    }

    fn config(&self, target: &Target, options: &str, addresses: &[SocketAddr]) -> Config {
        let mut config = Config::new();
        for address in addresses {
            config.host(&self.server.host).hostaddr(address.ip()).port(address.port());
        }
        config
            .user(&self.user)
            .password(self.password.expose_secret())
            .dbname(&target.database)
            .application_name(APPLICATION)
            .options(options)
            .keepalives_idle(KEEPALIVES_IDLE)
            .keepalives_interval(KEEPALIVES_INTERVAL)
            .keepalives_retries(KEEPALIVES)
            .tcp_user_timeout(VANISHED)
            .ssl_mode(match self.tls {
                Some(_) => SslMode::Require,
                None => SslMode::Disable,
            });
        config
    }
}

impl Session {
    /// Asks for rows. Statements have no name, since a pooler may give the next question to another server process.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Row>, PostgresError> {
        self.client.query_typed(sql, &[]).await.map_err(|error| self.failed(&error))
    }

    /// Asks for rows, with an array of OIDs for `$1`, and reads each.
    pub async fn list_for<T>(
        &self,
        sql: &str,
        oids: &[u32],
        read: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Vec<T>, PostgresError> {
        let rows = self.client.query_typed(sql, &[(&oids, Type::OID_ARRAY)]).await;
        let rows = rows.map_err(|error| self.failed(&error))?;
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| self.not_understood(&error))
    }

    /// Asks for rows, with texts for `$1`, `$2`, …, and reads each.
    pub async fn list_with<T>(
        &self,
        sql: &str,
        texts: &[&str],
        read: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Vec<T>, PostgresError> {
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            texts.iter().map(|text| (text as &(dyn ToSql + Sync), Type::TEXT)).collect();
        let rows = self.client.query_typed(sql, &parameters).await;
        let rows = rows.map_err(|error| self.failed(&error))?;
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| self.not_understood(&error))
    }

    /// The first column of the first row of one statement of the user, as `psql` prints it; none where there is no row, or NULL. In a
    /// transaction that may not write: several statements, which could end it, are refused.
    pub async fn first_text(&self, sql: &str) -> Result<Option<String>, PostgresError> {
        self.execute("BEGIN READ ONLY").await?;
        self.client.prepare(sql).await.map_err(|error| self.failed(&error))?;
        let messages = self.client.simple_query(sql).await.map_err(|error| self.failed(&error))?;
        Ok(messages
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
                _ => None,
            })
            .flatten())
    }

    /// Asks for the first column of the first row.
    pub async fn value<T>(&self, sql: &str) -> Result<T, PostgresError>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        self.only(sql, |row| row.try_get(0)).await
    }

    /// Asks for rows and reads each.
    pub async fn list<T>(
        &self,
        sql: &str,
        read: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Vec<T>, PostgresError> {
        let rows = self.rows(sql).await?;
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| self.not_understood(&error))
    }

    /// Asks for rows that the server may look for that long, in a transaction of its own: behind a pooler, others get the
    /// server's session after us.
    pub async fn list_within<T>(
        &self,
        limit: Duration,
        sql: &str,
        read: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Vec<T>, PostgresError> {
        let limit = limit.as_millis();
        self.execute(&format!("BEGIN; {SAFE_PATH}; SET LOCAL statement_timeout = {limit}")).await?;
        let found = self.list(sql, read).await;
        // A connection that is gone says so to the next question.
        let _ = self.execute("ROLLBACK").await;
        found
    }

    /// Asks for exactly one row and reads it.
    pub async fn only<T>(
        &self,
        sql: &str,
        read: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        let rows = self.rows(sql).await?;
        let row = rows.first().ok_or_else(|| self.unexpected("no row where there must be one"))?;
        read(row).map_err(|error| self.not_understood(&error))
    }

    /// Asks what the server may refuse to tell, as managed ones do. In a transaction, which goes on after a refusal.
    pub async fn permitted<T>(
        &self,
        sql: &str,
        read: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Result<Vec<T>, Refused>, PostgresError> {
        self.execute("SAVEPOINT permitted").await?;
        match self.rows(sql).await {
            Ok(rows) => {
                self.execute("RELEASE SAVEPOINT permitted").await?;
                let list = rows.iter().map(read).collect::<Result<_, _>>();
                list.map(Ok).map_err(|error| self.not_understood(&error))
            }
            Err(error) => {
                let refused = error.refusal().ok_or(error)?;
                self.execute("ROLLBACK TO SAVEPOINT permitted; RELEASE SAVEPOINT permitted").await?;
                Ok(Err(Refused(refused)))
            }
        }
    }

    /// Begins a transaction in which all answers are of one moment.
    pub async fn begin(&self) -> Result<(), PostgresError> {
        self.execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; {SAFE_PATH}")).await
    }

    /// Runs statements that return nothing.
    pub async fn execute(&self, sql: &str) -> Result<(), PostgresError> {
        self.client.batch_execute(sql).await.map_err(|error| self.failed(&error))
    }

    /// Whom and what it is connected to.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// An answer without error that is none to the question.
    fn unexpected(&self, cause: impl Into<String>) -> PostgresError {
        PostgresError::DatabaseError {
            target: Arc::clone(&self.target),
            code: SqlState::NO_DATA,
            cause: cause.into(),
        }
    }

    fn failed(&self, error: &tokio_postgres::Error) -> PostgresError {
        PostgresError::classify(Arc::clone(&self.target), error)
    }

    /// The server answered, in another form than its documentation has, or with a name of a role or database that was made in
    /// another encoding.
    fn not_understood(&self, error: &tokio_postgres::Error) -> PostgresError {
        if error.source().is_some_and(<dyn StdError>::is::<Utf8Error>) {
            return PostgresError::NamesNotUtf8 {
                target: Arc::clone(&self.target),
                cause: error.to_string(),
            };
        }
        self.unexpected(error.to_string())
    }
}

/// A name as SQL has it, whatever is in it.
pub fn quoted_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL has it, whatever is in it, and whatever `standard_conforming_strings` says.
pub fn quoted_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A connection that breaks says so to whoever asks next.
async fn drive<E: std::fmt::Display>(connection: impl Future<Output = Result<(), E>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection closed");
    }
}

#[cfg(test)]
mod tests {
    use greenlang_backup_api::task::MountedSecret;
    use greenlang_backup_api::v1alpha1::SslMode as PolicyMode;

    use super::*;

    #[tokio::test]
    async fn a_server_that_vanishes_is_found_out_by_the_network() {
        let endpoint = Endpoint {
            server: PostgresServer {
                host: "127.0.0.1".into(),
                port: 5432,
                maintenance_database: "postgres".into(),
                ssl_mode: PolicyMode::Disable,
                ca: None,
                credentials: MountedSecret { secret: "db".into(), directory: "/nowhere".into() },
            },
            user: "user".into(),
            password: String::new().into(),
            primary: false,
            tls: None,
        };
        let target = endpoint.target("d");
        let addresses = endpoint.addresses(&target).await.unwrap();
        let config = endpoint.config(&target, SESSION_OPTIONS, &addresses);
        assert!(config.get_keepalives());
        assert_eq!(config.get_tcp_user_timeout(), Some(&VANISHED));
        let (interval, retries) = (config.get_keepalives_interval(), config.get_keepalives_retries());
        let asked = interval.unwrap() * retries.unwrap();
        assert_eq!(config.get_keepalives_idle() + asked, VANISHED);
    }
}
