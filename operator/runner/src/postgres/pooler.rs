//! Finds out whether a connection pooler stands between us and the server. Then the sessions of several dumps may not be
//! sessions of the server at all, and its pool may be too small for them. Network.

use super::PostgresError;
use super::connect::Endpoint;
use super::snapshot::Snapshot;

const BACKEND: &str = "SELECT pg_catalog.pg_backend_pid()";

/// Why several dumps at once cannot be had, or none if they can. A server answers each session from a process of its own; a pooler
/// answers an idle session's next question from whichever process is free, so processes are shared or change.
pub async fn in_between(
    endpoint: &Endpoint,
    database: &str,
    snapshot: &Snapshot,
) -> Result<Option<&'static str>, PostgresError> {
    let held: i32 = snapshot.session().value(BACKEND).await?;
    let session = endpoint.connect(database).await?;
    let first: i32 = session.value(BACKEND).await?;
    // While this one is in a transaction, a pooler has to give the first session another process.
    let other = endpoint.connect(database).await?;
    other.execute("BEGIN").await?;
    let second: i32 = other.value(BACKEND).await?;
    let again: i32 = session.value(BACKEND).await?;
    if first != again || first == second || first == held || second == held {
        return Ok(Some(
            "a connection pooler stands between; let postgres.host name the server itself for several streams",
        ));
    }
    Ok(None)
}
