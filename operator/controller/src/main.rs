//! The operator's program: reads its settings, starts telemetry and TLS, hands over. I/O.

mod admin;
mod backup_policy;
mod cache;
mod cli;
mod cluster;
mod context;
mod crash;
mod crds;
mod errors;
mod events;
mod family;
#[cfg(test)]
mod fixture;
mod leader;
mod metrics;
mod pages;
mod passes;
mod restore_request;
mod run;
mod time;
mod unreadable;
mod writes;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Crd { out } => crds::print(out.as_deref()),
        Command::Run(settings) => start(*settings).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(reason = error.reason(), error = %error, "the operator stops");
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn start(settings: cli::RunSettings) -> Result<(), errors::Error> {
    let filter = tracing_subscriber::EnvFilter::try_new(&settings.log).map_err(|error| {
        errors::Error::Settings(format!("--log {:?} is no filter: {error}", settings.log))
    })?;
    tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false).with_env_filter(filter).init();
    // Fails only if another provider was installed, and nothing else does so.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    run::run(settings).await
}
