//! PostgreSQL and S3 servers for tests and benches, which end with the process that started them however that ends, and
//! archives of any length. Starts processes; a server that does not start is a panic, which fails the test that wants it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "part of tests, which fail by panicking"
)]

mod archive;
mod certificates;
pub mod majors;
mod pace;
mod postgres;
mod process;
mod s3;
pub mod shelf;
pub mod tasks;

pub use archive::{StandIn, Template};
pub use certificates::{CERTIFICATES, Certificates};
pub use pace::Pace;
pub use postgres::{ADMIN_PASSWORD, CLIENTS, POSTGRES, Postgres};
pub use process::{NODE_ADDRESS, cache, free_port, new_directory, noise, poll, run};
pub use s3::{S3, S3_KEY, S3_SECRET, S3_WITH_TLS, S3_WITH_VERSIONS};
