//! Checks that a server and its databases can be dumped, as far as that can be seen quickly: each database within a limit of its
//! own, so that a slow one is named and keeps no other from being looked at. Network.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Finding;
use greenlang_backup_api::task::PostgresServer;
use tokio::time::{Instant, timeout};

use super::clients::Clients;
use super::connect::Endpoint;
use super::{PostgresError, inspect, rights};

/// For the server as a whole.
const SERVER_LIMIT: Duration = Duration::from_secs(15);
/// For one database: some ten seconds to connect, and twenty for what is asked then.
const DATABASE_LIMIT: Duration = Duration::from_secs(30);
/// For all databases, of the two minutes that the Job of a check has.
const LIMIT: Duration = Duration::from_secs(75);
/// Databases that are looked at side by side: no more sessions at once than a backup in one stream has.
const AT_ONCE: usize = 2;
/// Problems that the message has in words.
const TOLD: usize = 3;

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// Whether the databases can be dumped, in words.
    pub finding: Finding,
    /// Bytes that a dump of the largest database is expected to have, if that is known of each.
    pub largest_database_bytes: Option<u64>,
}

/// A database that can be dumped.
struct Good {
    expected_bytes: Option<u64>,
    /// What was not found out about it.
    notes: Vec<String>,
}

/// What became of the check of a database; none where the time of all was over.
type End = Option<Result<Good, PostgresError>>;

/// Checks a server and its databases.
pub async fn check(server: &PostgresServer, databases: &[String]) -> Checked {
    let endpoint = match Endpoint::open(server) {
        Ok(endpoint) => endpoint,
        Err(error) => return failed(&error),
    };
    let maintenance = &server.maintenance_database;
    let asked = timeout(SERVER_LIMIT, version(&endpoint, maintenance)).await;
    let version = match asked.unwrap_or_else(|_| Err(slow(&endpoint, maintenance, SERVER_LIMIT))) {
        Ok(version) => version,
        Err(error) => return failed(&error),
    };
    let mut checks = Vec::with_capacity(databases.len());
    for database in databases {
        checks.push(one(&endpoint, database).boxed());
    }
    let ends = each(checks).await;
    summary(&format!("PostgreSQL {version} at {}:{}", server.host, server.port), databases, ends)
}

fn slow(endpoint: &Endpoint, database: &str, limit: Duration) -> PostgresError {
    PostgresError::Slow { target: endpoint.target(database), limit }
}

async fn version(endpoint: &Endpoint, maintenance: &str) -> Result<String, PostgresError> {
    let version = inspect::version(&endpoint.connect(maintenance).await?).await?;
    Clients::from_env().directory(version.major)?;
    Ok(version.text)
}

async fn one(endpoint: &Endpoint, database: &str) -> Result<Good, PostgresError> {
    let asked = async {
        let session = endpoint.connect(database).await?;
        let notes = rights::check(&session, rights::LIMIT).await?;
        Ok(Good { expected_bytes: inspect::database(&session).await?.expected_bytes, notes })
    };
    let asked = timeout(DATABASE_LIMIT, asked).await;
    asked.unwrap_or_else(|_| Err(slow(endpoint, database, DATABASE_LIMIT)))
}

/// Runs all checks, a few at a time, until the time of all is over.
async fn each<T: Send>(checks: Vec<BoxFuture<'_, T>>) -> Vec<Option<T>> {
    let end = Instant::now() + LIMIT;
    let mut limited = Vec::with_capacity(checks.len());
    for check in checks {
        limited.push(async move {
            let left = end.saturating_duration_since(Instant::now());
            // None is begun that has no time.
            if left.is_zero() { None } else { timeout(left, check).await.ok() }
        });
    }
    futures::stream::iter(limited).buffered(AT_ONCE).collect().await
}

fn failed(error: &PostgresError) -> Checked {
    let finding = Finding { ok: false, reason: error.reason().to_owned(), message: error.to_string() };
    Checked { finding, largest_database_bytes: None }
}

fn summary(server: &str, databases: &[String], ends: Vec<End>) -> Checked {
    let (mut bytes, mut notes, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    let mut unseen = Vec::new();
    for (database, end) in databases.iter().zip(ends) {
        match end {
            Some(Ok(good)) => {
                bytes.push(good.expected_bytes);
                notes.extend(good.notes);
            }
            Some(Err(error)) => problems.push(error),
            None => unseen.push(database.as_str()),
        }
    }
    if let Some(first) = unseen.first() {
        bytes.push(None);
        let count = unseen.len();
        notes.push(format!("{count} databases were not looked at within {LIMIT:?}, {first} for one"));
    }
    let Some(first) = problems.first() else {
        let read = format!("{server} lets its {} databases be read", databases.len() - unseen.len());
        let message = std::iter::once(read).chain(notes).collect::<Vec<_>>().join("; ");
        let largest = bytes.into_iter().try_fold(0, |largest, bytes| Some(bytes?.max(largest)));
        let finding = Finding { ok: true, reason: reasons::SUCCEEDED.to_owned(), message };
        return Checked { finding, largest_database_bytes: largest };
    };
    let mut told: Vec<String> = problems.iter().take(TOLD).map(ToString::to_string).collect();
    if problems.len() > TOLD {
        told.push(format!("{} more databases cannot be read", problems.len() - TOLD));
    }
    let message = told.join("; ");
    let finding = Finding { ok: false, reason: first.reason().to_owned(), message };
    Checked { finding, largest_database_bytes: None }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
