//! PostgreSQL as a source: finding out about a server, and dumping its databases. Network, child processes.

pub mod backup;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "backups do not call it yet"))]
mod catalog;
mod child;
mod clients;
mod connect;
#[cfg_attr(not(test), expect(dead_code, reason = "backups do not call it yet"))]
mod coverage;
mod dump;
mod error;
#[cfg_attr(not(test), expect(dead_code, reason = "backups do not call it yet"))]
mod globals;
mod inspect;
mod libpq;
mod manifest;
mod prepare;
mod recovery;
mod rights;
#[cfg(test)]
mod server_tests;
#[cfg_attr(not(test), expect(dead_code, reason = "backups do not call it yet"))]
mod settings;
mod tls;
mod warnings;
mod withhold;

use greenlang_backup_api::task::PostgresServer;

pub use child::DumpError;
pub use coverage::CoverageError;
pub use error::PostgresError;

use clients::Clients;
use connect::Endpoint;

/// Checks that a server and its databases can be dumped, as far as that can be seen quickly. Says what it found.
pub async fn check(server: &PostgresServer, databases: &[String]) -> Result<String, PostgresError> {
    let endpoint = Endpoint::open(server)?;
    let session = endpoint.connect(&server.maintenance_database).await?;
    let version = inspect::version(&session).await?;
    Clients::from_env().directory(version.major)?;
    for database in databases {
        let session = endpoint.connect(database).await?;
        rights::check(&session).await?;
    }
    Ok(format!(
        "PostgreSQL {} at {}:{} lets its {} databases be read",
        version.text,
        server.host,
        server.port,
        databases.len()
    ))
}
