//! Asks the URLs and runs the queries of a request, all of them, and says which failed. Network.

use std::time::Duration;

use bytes::Bytes;
use greenlang_backup_api::reasons;
use greenlang_backup_api::reasons::restore;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::restore::{
    CheckAction, CheckReport, MAX_FAILED_CHECKS, RestoreReport, RestoreTask,
};
use greenlang_backup_api::v1alpha1::{HealthCheck, SqlCheck};
use http::Uri;
use http_body_util::Empty;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use tokio::time::{Instant, sleep, timeout};

use crate::error::RunError;
use crate::postgres::connect::Endpoint;
use crate::postgres::tls::public_roots;

/// How long a URL is asked again, where the request says nothing.
const HEALTH: u32 = 60;
/// One answer.
const ANSWER: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);
/// For one query: its statement has a minute.
const QUERY: Duration = Duration::from_secs(75);
/// Most characters of an answer that are told: rows may hold what nobody should read in an event.
const TOLD: usize = 80;

type Http = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// Runs all checks.
pub async fn run(task: &RestoreTask, action: &CheckAction) -> Result<RunReport, RunError> {
    let client = client();
    let mut failed = Vec::new();
    let asked = futures::future::join_all(action.health.iter().map(|check| healthy(&client, check))).await;
    failed.extend(asked.into_iter().filter_map(Result::err));
    if !action.sql.is_empty() {
        let endpoint = Endpoint::open(&task.server)?.of_primary();
        for check in &action.sql {
            let answered = timeout(QUERY, query(&endpoint, &task.database, check)).await;
            let answered = answered
                .unwrap_or_else(|_| Err(format!("query {}: no answer within {QUERY:?}", check.query)));
            failed.extend(answered.err());
        }
    }
    Ok(report(action.health.len() + action.sql.len(), failed))
}

fn report(all: usize, mut failed: Vec<String>) -> RunReport {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let (passed, more_failed) =
        (count(all - failed.len()), count(failed.len().saturating_sub(MAX_FAILED_CHECKS)));
    for check in &failed {
        tracing::error!(check, "check failed");
    }
    let (outcome, reason, message) = match failed.first() {
        None => (Outcome::Done, reasons::SUCCEEDED, format!("{passed} checks passed")),
        Some(first) => (
            Outcome::Failed,
            restore::CHECK_FAILED,
            format!("{} of {all} checks failed: {first}", failed.len()),
        ),
    };
    failed.truncate(MAX_FAILED_CHECKS);
    let report = RestoreReport::Check(CheckReport { passed, failed, more_failed });
    RunReport { restore: Some(report), ..RunReport::new(outcome, reason, message) }
}

fn client() -> Http {
    let tls = ClientConfig::builder().with_root_certificates(public_roots()).with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Asks until the answer is as it should be, or the time is over.
async fn healthy(client: &Http, check: &HealthCheck) -> Result<(), String> {
    let uri: Uri = check.url.parse().map_err(|error| format!("{} is no URL: {error}", check.url))?;
    let limit = Duration::from_secs(check.timeout_seconds.unwrap_or(HEALTH).into());
    let end = Instant::now() + limit;
    loop {
        let patience = ANSWER.min(limit);
        let found = match timeout(patience, client.get(uri.clone())).await {
            Ok(Ok(answer)) => {
                let status = answer.status();
                let good = match check.expect_status {
                    Some(expected) => status.as_u16() == expected,
                    None => status.is_success(),
                };
                if good {
                    return Ok(());
                }
                format!("it answered {status}")
            }
            Ok(Err(error)) => format!("it did not answer: {}", innermost(&error)),
            Err(_) => format!("it did not answer within {patience:?}"),
        };
        if Instant::now() + PAUSE >= end {
            return Err(format!("{} was asked for {limit:?}: {found}", check.url));
        }
        sleep(PAUSE).await;
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

async fn query(endpoint: &Endpoint, database: &str, check: &SqlCheck) -> Result<(), String> {
    let SqlCheck { query, expect } = check;
    let failed = |what: String| format!("query {query}: {what}");
    let session = endpoint.connect_for_user(database).await.map_err(|error| failed(error.to_string()))?;
    match session.first_text(query).await {
        Ok(Some(answer)) if answer == *expect => Ok(()),
        Ok(Some(answer)) => {
            let told: String = answer.chars().take(TOLD).collect();
            Err(failed(format!("the answer is {told:?} instead of {expect:?}")))
        }
        // As psql prints NULL.
        Ok(None) if expect.is_empty() => Ok(()),
        Ok(None) => Err(failed(format!("no row, or NULL, instead of {expect:?}"))),
        Err(error) => Err(failed(error.to_string())),
    }
}
