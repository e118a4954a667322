//! Checks that bucket, keys and database can be used as the policy says, all at once and each within a bound. Network.

use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Finding, Outcome, ProbeReport, RunReport};
use greenlang_backup_api::task::{PostgresProbe, ProbeTask, Seal};
use greenlang_backup_store::{Sealer, Store};
use tokio::time::timeout;

use crate::error::RunError;
use crate::postgres;

/// A policy that is wrong shows within a minute, so the check of the bucket gets a quarter of it.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);
/// For the checks of the bucket, and again for removing their markers.
const STORAGE_LIMIT: Duration = Duration::from_secs(7);
/// Tries of each request: one more than none, for a connection that was closed in between.
const ATTEMPTS: u32 = 2;

/// Runs all checks. It goes on when told to stop: it ends soon, and then leaves no marker behind.
pub async fn run(task: &ProbeTask) -> RunReport {
    let check_database = async {
        let PostgresProbe { server, databases } = task.postgres.as_ref()?;
        Some(Box::pin(postgres::check(server, databases)).await)
    };
    let (storage, checked) = tokio::join!(bounded("the bucket", check_storage(task)), check_database);
    let encryption = finding(check_encryption(&task.seal));
    let largest_database_bytes = checked.as_ref().and_then(|checked| checked.largest_database_bytes);
    let database = checked.map(|checked| checked.finding);
    summary(ProbeReport { storage, database, encryption, largest_database_bytes })
}

fn summary(probe: ProbeReport) -> RunReport {
    let findings = [Some(&probe.storage), probe.database.as_ref(), Some(&probe.encryption)];
    let wrong: Vec<&str> = findings
        .into_iter()
        .flatten()
        .filter(|finding| !finding.ok)
        .map(|finding| finding.message.as_str())
        .collect();
    let (reason, message) = if wrong.is_empty() {
        (reasons::SUCCEEDED, "bucket, keys and database can be used".to_owned())
    } else {
        (reasons::PROBE_FAILED, wrong.join("; "))
    };
    RunReport { probe: Some(probe), ..RunReport::new(Outcome::Done, reason, message) }
}

async fn bounded(what: &str, check: impl Future<Output = Result<String, RunError>>) -> Finding {
    match timeout(CHECK_TIMEOUT, check).await {
        Ok(result) => finding(result),
        Err(_) => Finding {
            ok: false,
            reason: reasons::CONNECTION_FAILED.to_owned(),
            message: format!(
                "{what} did not answer within {CHECK_TIMEOUT:?}: check address and network policies"
            ),
        },
    }
}

fn finding(result: Result<String, RunError>) -> Finding {
    match result {
        Ok(message) => Finding { ok: true, reason: reasons::SUCCEEDED.to_owned(), message },
        Err(error) => Finding { ok: false, reason: error.reason().to_owned(), message: error.to_string() },
    }
}

async fn check_storage(task: &ProbeTask) -> Result<String, RunError> {
    let store = Store::open(&task.bucket, ATTEMPTS).await?;
    // Nothing is written where somebody else writes.
    store.check_owner(&task.claim).await?;
    let checksums = store.probe(&task.marker, STORAGE_LIMIT).await?;
    let verified = match checksums.algorithm() {
        Some(algorithm) => format!("its server verifies {} checksums", algorithm.name()),
        None => "its server verifies no checksums, so every backup is read again".to_owned(),
    };
    Ok(format!("bucket {} takes, gives, lists and deletes objects; {verified}", task.bucket.name))
}

fn check_encryption(seal: &Seal) -> Result<String, RunError> {
    let sealer = Sealer::new(seal)?;
    Ok(format!("{} age recipients can be used", sealer.fingerprints().len()))
}
