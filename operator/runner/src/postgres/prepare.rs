//! What is found out, and made ready, before a backup by `pg_dump` writes anything. Asks the server.

use std::path::PathBuf;

use greenlang_backup_api::task::PostgresDumpTask;

use super::child::Producer;
use super::clients::Clients;
use super::connect::Endpoint;
use super::inspect::{self, DatabaseFacts, ServerFacts};
use super::libpq;
use super::tap::Output;
use crate::error::RunError;

/// What is known before anything is written.
pub struct Prepared {
    pub endpoint: Endpoint,
    /// Directory of the client programs.
    pub clients: PathBuf,
    pub server: ServerFacts,
    pub databases: Vec<DatabaseFacts>,
}

impl Prepared {
    /// Connects to the server and to every database, so that what is missing shows before anything is written.
    pub async fn new(task: &PostgresDumpTask) -> Result<Self, RunError> {
        let endpoint = Endpoint::open(&task.server)?;
        let session = endpoint.connect(&task.server.maintenance_database).await?;
        let server = inspect::server(&session).await?;
        let clients = Clients::from_env().directory(server.version.major)?;
        let mut databases = Vec::new();
        for database in &task.databases {
            let session = endpoint.connect(database).await?;
            databases.push(inspect::database(&session).await?);
        }
        Ok(Self { endpoint, clients, server, databases })
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

    /// The program that writes a database.
    pub fn database(&self, name: &str) -> Producer {
        let mut command = libpq::command(&self.clients.join("pg_dump"), &self.endpoint, name);
        command.args(["--format=custom", "--compress=0"]);
        let output = Output::Archive { pg_restore: self.clients.join("pg_restore") };
        Producer { program: "pg_dump", subject: format!("database {name}"), command, output }
    }
}
