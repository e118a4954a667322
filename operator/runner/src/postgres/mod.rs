//! PostgreSQL as a source: finding out about a server, and dumping its databases. Network, child processes.

mod archive;
pub mod backup;
mod catalog;
mod check;
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
pub mod restore;
mod rights;
mod scope;
#[cfg(test)]
mod server_tests;
mod settings;
mod snapshot;
mod streams;
mod tap;
mod tls;
mod warnings;
mod withhold;

pub use check::check;
pub use child::DumpError;
pub use coverage::CoverageError;
pub use error::PostgresError;
pub use restore::RestoreError;
