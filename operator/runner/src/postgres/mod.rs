//! PostgreSQL as a source: finding out about a server, and dumping its databases. Network, child processes.

mod archive;
pub mod backup;
mod catalog;
mod child;
mod clients;
mod connect;
mod coverage;
mod database;
mod dump;
mod error;
mod globals;
mod inspect;
mod libpq;
mod manifest;
mod objects;
mod pooler;
mod prepare;
mod recovery;
mod rights;
#[cfg(test)]
mod server_tests;
mod settings;
mod snapshot;
mod streams;
mod tap;
mod tls;
mod warnings;
mod withhold;

use greenlang_backup_api::task::PostgresServer;

pub use child::DumpError;
pub use coverage::CoverageError;
pub use error::PostgresError;

use clients::Clients;
use connect::Endpoint;

/// What a check found.
pub struct Checked {
    /// In words.
    pub message: String,
    /// Bytes that a dump of the largest database is expected to have, if that is known of each.
    pub largest_database_bytes: Option<u64>,
}

/// Checks that a server and its databases can be dumped, as far as that can be seen quickly.
pub async fn check(server: &PostgresServer, databases: &[String]) -> Result<Checked, PostgresError> {
    let endpoint = Endpoint::open(server)?;
    let session = endpoint.connect(&server.maintenance_database).await?;
    let version = inspect::version(&session).await?;
    Clients::from_env().directory(version.major)?;
    let mut bytes = Vec::new();
    for database in databases {
        let session = endpoint.connect(database).await?;
        rights::check(&session).await?;
        bytes.push(inspect::database(&session).await?.expected_bytes);
    }
    let message = format!(
        "PostgreSQL {} at {}:{} lets its {} databases be read",
        version.text,
        server.host,
        server.port,
        databases.len()
    );
    let largest = bytes.into_iter().try_fold(0, |largest, bytes| Some(bytes?.max(largest)));
    Ok(Checked { message, largest_database_bytes: largest })
}
