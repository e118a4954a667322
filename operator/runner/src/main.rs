//! The program in the backup Jobs: one Task from the environment, one RunReport in the termination message. Talks to
//! whatever the task names; decides nothing but how to end.

mod catalogue;
mod clean_up;
mod details;
mod error;
mod postgres;
mod probe;
mod progress;
mod prune;
mod report;
mod survey;

use std::process::ExitCode;
use std::time::Duration;

use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::task::{TASK_ENV, Task};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::error::RunError;

/// What threads get that still wait for a child which is being killed.
const SHUTDOWN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Progress lines own stdout; both end up in the Pod's log.
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .init();
    forbid_core_dumps();
    let report = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let report = runtime.block_on(supervise());
            runtime.shutdown_timeout(SHUTDOWN);
            report
        }
        Err(error) => report::failed(&RunError::Machine { what: "starting the runtime", error }),
    };
    report::deliver(&report);
    ExitCode::from(report.outcome.exit_code())
}

/// A crash, of this program or of one that it starts, would leave keys, the password and rows on a disk of the node.
fn forbid_core_dumps() {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "core dumps not forbidden");
    }
}

/// Runs the task on a task of its own, so that even a defect of ours ends in a report.
async fn supervise() -> RunReport {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::warn!("a TLS provider was installed before ours");
    }
    let cancel = CancellationToken::new();
    let run = async {
        stop_on_signal(&cancel)?;
        run(&cancel).await
    };
    match run.await {
        Ok(report) => report,
        Err(error) => report::failed(&error),
    }
}

async fn run(cancel: &CancellationToken) -> Result<RunReport, RunError> {
    let encoded = std::env::var(TASK_ENV).unwrap_or_default();
    let task = Task::decode(&encoded)?;
    let cancel = cancel.clone();
    tokio::spawn(async move {
        match task {
            Task::Probe(task) => Ok(Box::pin(probe::run(&task)).await),
            Task::PostgresDump(task) => Box::pin(postgres::backup::run(&task, &cancel)).await,
            Task::CleanUp(task) => Box::pin(clean_up::run(&task, &cancel)).await,
            Task::Prune(task) => Box::pin(prune::run(&task, &cancel)).await,
            Task::Catalogue(task) => Box::pin(catalogue::run(&task, &cancel)).await,
            Task::Restore(task) => Box::pin(postgres::restore::run(&task, &cancel)).await,
        }
    })
    .await?
}

/// The kubelet sends SIGTERM and, after the grace period, SIGKILL; a person at a terminal sends SIGINT.
fn stop_on_signal(cancel: &CancellationToken) -> Result<(), RunError> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals =
            signal(kind).map_err(|error| RunError::Machine { what: "listening for signals", error })?;
        let cancel = cancel.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                tracing::warn!(outcome = ?Outcome::Interrupted, "told to stop");
                cancel.cancel();
            }
        });
    }
    Ok(())
}
