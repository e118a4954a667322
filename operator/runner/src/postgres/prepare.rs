//! What is found out, and made ready, before a backup by `pg_dump` writes anything. Asks the server.

use std::path::PathBuf;
use std::time::Duration;

use greenlang_backup_api::task::PostgresDumpTask;
use tokio::process::Command;
use tracing::warn;

use super::child::Producer;
use super::clients::Clients;
use super::connect::Endpoint;
use super::inspect::{self, DatabaseFacts, ServerFacts};
use super::libpq;
use super::rights;
use super::streams::Movable;
use super::tap::Output;
use crate::error::RunError;

/// How long `pg_dump` may wait for the lock of a table that this run has locked already.
const LOCK_WAIT: Duration = Duration::from_mins(1);

/// What is known before anything is written.
pub struct Prepared {
    pub endpoint: Endpoint,
    /// Directory of the client programs.
    pub clients: PathBuf,
    pub server: ServerFacts,
    pub databases: Vec<DatabaseFacts>,
    /// What could not be checked.
    pub warnings: Vec<String>,
}

impl Prepared {
    /// Connects to the server and to every database, so that what is missing shows before anything is written.
    pub async fn new(task: &PostgresDumpTask) -> Result<Self, RunError> {
        let endpoint = Endpoint::open(&task.server)?;
        let session = endpoint.connect(&task.server.maintenance_database).await?;
        session.begin().await?;
        let server = inspect::server(&session).await?;
        let clients = Clients::from_env().directory(server.version.major)?;
        let (mut databases, mut warnings) = (Vec::new(), Vec::new());
        for database in &task.databases {
            let session = endpoint.connect(database).await?;
            warnings.extend(rights::check(&session, rights::LIMIT).await?);
            databases.push(inspect::database(&session).await?);
        }
        for warning in &warnings {
            warn!(warning, "not checked");
        }
        Ok(Self { endpoint, clients, server, databases, warnings })
    }

    /// Bytes of all dumps together, if that is known of each.
    pub fn expected_bytes(&self) -> Option<u64> {
        self.databases.iter().map(|database| database.expected_bytes).sum()
    }

    /// The program that writes roles and tablespaces.
    pub fn globals(&self, task: &PostgresDumpTask, passwords: bool) -> Producer {
        let maintenance = &task.server.maintenance_database;
        let mut command = libpq::command(&self.clients.join("pg_dumpall"), &self.endpoint, maintenance);
        command.arg("--globals-only").arg(format!("--database={}", libpq::connection_string(maintenance)));
        if !passwords {
            command.arg("--no-role-passwords");
        }
        Producer {
            program: "pg_dumpall",
            subject: "roles and tablespaces".to_owned(),
            command,
            output: Output::Sql,
        }
    }

    /// The program that writes a database, but for the data of some tables.
    pub fn database<'a>(
        &self,
        name: &str,
        snapshot: &str,
        without: impl Iterator<Item = &'a Movable>,
    ) -> Producer {
        let mut command = self.pg_dump(name, snapshot);
        command.args(without.map(|table| format!("--exclude-table-data={}", table.pattern)));
        self.archive(format!("database {name}"), command)
    }

    /// The program that writes the data of some tables of a database, and nothing else.
    pub fn data(&self, name: &str, snapshot: &str, stream: u8, tables: &[Movable]) -> Producer {
        let mut command = self.pg_dump(name, snapshot);
        command.arg("--section=data");
        command.args(tables.iter().map(|table| format!("--table={}", table.pattern)));
        // Sequences change outside of snapshots: each must be written once, by the first dump.
        let sequences = tables.iter().flat_map(|table| &table.sequences);
        command.args(sequences.map(|sequence| format!("--exclude-table-data={sequence}")));
        self.archive(format!("database {name}, stream {stream}"), command)
    }

    fn archive(&self, subject: String, command: Command) -> Producer {
        let output = Output::Archive { pg_restore: self.clients.join("pg_restore") };
        Producer { program: "pg_dump", subject, command, output }
    }

    fn pg_dump(&self, database: &str, snapshot: &str) -> Command {
        let mut command = libpq::command(&self.clients.join("pg_dump"), &self.endpoint, database);
        command.arg(libpq::database_argument(database));
        command.args(["--format=custom", "--compress=0"]).arg(format!("--snapshot={snapshot}"));
        // Who asks for a stronger lock waits for us, and pg_dump would wait for them: a circle that the server cannot see.
        command.arg(format!("--lock-wait-timeout={}", LOCK_WAIT.as_millis()));
        command
    }
}
