//! The questions against real servers of every major version.

mod catalog;
mod hostile;
mod rights;
mod server;
mod standby;

use std::sync::LazyLock;

use super::connect::{Endpoint, Session};
use super::inspect::{self, ServerFacts};
use greenlang_backup_test_servers::{ADMIN_PASSWORD, Postgres, majors, tasks};

const SEED: &str = "src/postgres/server_tests/seed.sql";

/// A server of each major version that is supported, shared by the tests: each makes databases and roles of its own.
pub(super) static SERVERS: LazyLock<Vec<(u32, Postgres)>> = LazyLock::new(|| {
    let mut servers = majors::all(ADMIN_PASSWORD);
    servers.push((15, Postgres::start(ADMIN_PASSWORD)));
    servers
});

/// A session of a user with this password.
async fn session(server: &Postgres, user: &str, password: &str, database: &str) -> Session {
    endpoint(server, user, password).connect(database).await.unwrap()
}

pub(super) fn endpoint(server: &Postgres, user: &str, password: &str) -> Endpoint {
    let directory = tempfile::tempdir().unwrap();
    Endpoint::open(&tasks::postgres_server(server, user, password, directory.path())).unwrap()
}

/// A superuser's session in a transaction as that of a backup, with what is asked of every server first.
async fn snapshot(server: &Postgres, database: &str) -> (Session, ServerFacts) {
    let session = session(server, "postgres", ADMIN_PASSWORD, database).await;
    let facts = begin(&session).await;
    (session, facts)
}

async fn begin(session: &Session) -> ServerFacts {
    session.begin().await.unwrap();
    inspect::server(session).await.unwrap()
}
