//! Turns the end of a run into a RunReport, and delivers it. Writes the termination message.

use std::path::PathBuf;

use greenlang_backup_api::manifest::Manifest;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{BackupReport, Outcome, RunReport};
use greenlang_backup_store::{CatalogueError, StoredManifest};
use tracing::{error, info};

use crate::error::RunError;

/// Overrides where the report goes.
const LOG_ENV: &str = "GREENLANG_TERMINATION_LOG";
/// Where the kubelet reads it.
const DEFAULT_LOG: &str = "/dev/termination-log";

/// Report of a run that failed.
pub fn failed(error: &RunError) -> RunReport {
    let outcome = match error {
        RunError::Interrupted => Outcome::Interrupted,
        error if error.is_retryable() => Outcome::Retryable,
        _ => Outcome::Failed,
    };
    RunReport { leftovers: may_leave(error), ..RunReport::new(outcome, error.reason(), error.to_string()) }
}

/// Whether what was written stays: on purpose while a manifest may name it, or because nobody was left to remove it. All other
/// failures end before the first byte is written, or clean up first.
fn may_leave(error: &RunError) -> bool {
    matches!(error, RunError::Catalogue(CatalogueError::ManifestUncertain { .. }) | RunError::Defect(_))
}

/// Report of a backup that this run made.
pub fn made(manifest: &Manifest, sha256: String) -> RunReport {
    let message = format!(
        "backup {}/{} is stored: {} bytes in {} objects, from {} bytes",
        manifest.path,
        manifest.timestamp,
        manifest.size_bytes,
        manifest.objects.len(),
        manifest.source_bytes(),
    );
    with_backup(Outcome::Done, message, manifest, sha256)
}

/// Report of a backup that was there already.
pub fn unchanged(found: StoredManifest) -> RunReport {
    let StoredManifest { manifest, sha256 } = found;
    let message = format!(
        "backup {}/{} is there already, made by attempt {}",
        manifest.path, manifest.timestamp, manifest.attempt
    );
    with_backup(Outcome::Unchanged, message, &manifest, sha256)
}

fn with_backup(outcome: Outcome, message: String, manifest: &Manifest, manifest_sha256: String) -> RunReport {
    RunReport {
        backup: Some(BackupReport {
            id: manifest.timestamp.clone(),
            path: manifest.path.clone(),
            stored_bytes: manifest.size_bytes,
            source_bytes: manifest.source_bytes(),
            start_time: manifest.start_time,
            end_time: manifest.end_time,
            verified: manifest.verified,
            manifest_sha256,
            warnings: u32::try_from(manifest.warnings.len()).unwrap_or(u32::MAX),
        }),
        ..RunReport::new(outcome, reasons::SUCCEEDED, message)
    }
}

/// Writes the report to the termination message and the log.
pub fn deliver(report: &RunReport) {
    let path = std::env::var_os(LOG_ENV).map_or_else(|| PathBuf::from(DEFAULT_LOG), PathBuf::from);
    let encoded = report.encode();
    info!(report = encoded, "ended");
    if let Err(error) = std::fs::write(&path, &encoded) {
        error!(path = %path.display(), %error, "report not written; the exit code has to do");
    }
}
