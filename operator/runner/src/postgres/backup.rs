//! One attempt at one backup by `pg_dump`. Order of truth: every producer exited 0, every upload was completed, then the
//! manifest. Whatever ends the attempt before the manifest leaves nothing behind. Network, child processes.

use std::sync::Arc;
use std::time::Duration;

use greenlang_backup_api::manifest::Manifest;
use greenlang_backup_api::report::RunReport;
use greenlang_backup_api::task::PostgresDumpTask;
use greenlang_backup_api::v1alpha1::Verification;
use greenlang_backup_store::{
    Activity, BackupKeys, CatalogueError, Checksums, NoProgress, Published, ReadSettings, Sealer, Store,
    StoredManifest,
};
use jiff::Timestamp;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::dump::{Dumper, Stored};
use super::manifest::{Facts, assemble};
use super::objects::{self, Collected};
use super::prepare::Prepared;
use crate::clean_up::{self, Owner};
use crate::error::{RunError, until_cancelled};
use crate::progress::ProgressLog;
use crate::report;

/// Tries of each request to the bucket; with the pauses between them they outlast a restart of its server.
const ATTEMPTS: u32 = 6;
/// How long the checks of the bucket may take before a backup.
const PROBE_LIMIT: Duration = Duration::from_mins(2);
/// A Pod has 60 seconds to stop; killing children and aborting uploads take some of them.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(20);

/// Makes the backup, or finds that it exists.
pub async fn run(task: &PostgresDumpTask, cancel: &CancellationToken) -> Result<RunReport, RunError> {
    let start_time = Timestamp::now();
    let store = until_cancelled(cancel, Box::pin(Store::open(&task.bucket, ATTEMPTS))).await?;
    let store = store.marked(&task.claim.owner);
    until_cancelled(cancel, Box::pin(store.check_owner(&task.claim))).await?;
    let keys = store.layout().backup(&task.run.path, &task.run.id);
    let manifest = keys.manifest();
    if let Some(found) = until_cancelled(cancel, Box::pin(store.read_manifest(&manifest))).await? {
        info!(id = %task.run.id, "manifest is there already");
        return until_cancelled(cancel, Box::pin(found_already(task, &store, &manifest, found))).await;
    }
    let sealer = Arc::new(Sealer::new(&task.seal)?);
    // A server that falls silent in between ends this as it would end the dump.
    let limit = Duration::from_secs(task.stall_seconds.into());
    let prepared = timeout(limit, until_cancelled(cancel, Box::pin(Prepared::new(task))));
    let prepared = prepared.await.unwrap_or_else(|_| Err(NoProgress { limit }.into()))?;
    let attempt = Attempt { task, store: &store, keys: &keys, start_time };
    match attempt.make(&prepared, &sealer, cancel).await {
        Ok(report) => Ok(report),
        Err(RunError::Catalogue(error @ CatalogueError::ManifestUncertain { .. })) => Err(error.into()),
        Err(error) => Ok(attempt.give_up(&error).await),
    }
}

/// A manifest of this id is there: the backup exists, if it is of this very policy and backup, and its objects are there.
/// Anything else would make a success of what is not stored.
async fn found_already(
    task: &PostgresDumpTask,
    store: &Store,
    key: &str,
    found: StoredManifest,
) -> Result<RunReport, RunError> {
    if owner(task).made(&found.manifest) {
        for object in &found.manifest.objects {
            let confirmed = store.confirm(object).await;
            confirmed.map_err(|error| RunError::NotWhole { key: key.to_owned(), error })?;
        }
        return Ok(report::unchanged(found));
    }
    let Manifest { policy, backup, .. } = found.manifest;
    Err(RunError::PathTaken { key: key.to_owned(), namespace: policy.namespace, policy: policy.name, backup })
}

fn owner(task: &PostgresDumpTask) -> Owner<'_> {
    let run = &task.run;
    Owner { namespace: &run.namespace, policy: &run.policy, backup: &run.backup }
}

/// One attempt, from the first byte written on.
struct Attempt<'a> {
    task: &'a PostgresDumpTask,
    store: &'a Store,
    keys: &'a BackupKeys,
    start_time: Timestamp,
}

impl Attempt<'_> {
    async fn make(
        &self,
        prepared: &Prepared,
        sealer: &Arc<Sealer>,
        cancel: &CancellationToken,
    ) -> Result<RunReport, RunError> {
        let checksums = self.find_checksums(cancel).await?;
        // Only now it is known that the server lets one of several win.
        until_cancelled(cancel, Box::pin(self.store.claim(&self.task.claim))).await?;
        let activity = Activity::default();
        let progress = ProgressLog::start(prepared.expected_bytes());
        let dumper = Dumper {
            store: self.store,
            sealer: Arc::clone(sealer),
            checksums,
            activity: &activity,
            progress: &progress,
            cancel,
        };
        let limit = Duration::from_secs(self.task.stall_seconds.into());
        let collected =
            activity.watch(limit, Box::pin(objects::store_all(self.task, self.keys, prepared, &dumper)));
        let Collected { objects, warnings, needs, .. } = collected.await?;
        let verified = self.read_back(&objects, &progress, cancel).await?;
        progress.step("Writing the manifest");
        let facts = Facts {
            task: self.task,
            server: &prepared.server,
            needs: &needs,
            clients: &prepared.clients,
            start_time: self.start_time,
            verified,
        };
        let objects = objects.into_iter().map(|stored| stored.object).collect();
        let manifest = assemble(facts, objects, warnings).await?;
        let json = serde_json::to_vec_pretty(&manifest)?;
        // Whoever is at the same attempt, a clean-up or another Pod, has left all of it alone until now.
        for object in &manifest.objects {
            let confirmed = cancel.run_until_cancelled(Box::pin(self.store.confirm(object))).await;
            confirmed.ok_or(RunError::Interrupted)?.map_err(RunError::ReadBack)?;
        }
        // The last look: from here on the run ends as a backup that was made, whoever tells it to stop.
        if cancel.is_cancelled() {
            return Err(RunError::Interrupted);
        }
        match self.store.publish(&self.keys.manifest(), &json).await? {
            Published::Written { sha256 } => Ok(report::made(&manifest, sha256)),
            Published::Other(other) => {
                let problem = self.clean_up().await;
                let key = self.keys.manifest();
                let report = found_already(self.task, self.store, &key, *other).await?;
                Ok(RunReport { leftovers: problem.is_some(), ..report })
            }
        }
    }

    /// Tries what the bucket's server verifies; leaves no marker there, also when told to stop.
    async fn find_checksums(&self, cancel: &CancellationToken) -> Result<Checksums, RunError> {
        let run = &self.task.run;
        let marker = clean_up::marker(&run.policy_uid, &run.backup, &run.id, run.attempt);
        let found = until_cancelled(cancel, Box::pin(self.store.probe(&marker, PROBE_LIMIT))).await;
        if matches!(found, Err(RunError::Interrupted))
            && !matches!(timeout(CLEAN_UP_TIMEOUT, self.store.remove_markers(&marker)).await, Ok(Ok(())))
        {
            warn!(marker, "markers of the bucket's check not removed");
        }
        found
    }

    /// Reads every stored byte again, up to the limit; always where the server confirmed nothing. Says how far the objects are
    /// proved.
    async fn read_back(
        &self,
        objects: &[Stored],
        progress: &ProgressLog,
        cancel: &CancellationToken,
    ) -> Result<Verification, RunError> {
        // A backup is proved as far as the least of its objects.
        let confirmed = objects.iter().map(|stored| stored.verified).min();
        let confirmed = confirmed.unwrap_or(Verification::Streamed);
        let bytes: u64 = objects.iter().map(|stored| stored.object.stored_bytes).sum();
        if confirmed >= Verification::Stored && bytes > self.task.read_back_limit {
            return Ok(confirmed);
        }
        let counter = progress.begin("Reading back", bytes);
        for Stored { object, .. } in objects {
            let read = Box::pin(self.store.read_back(object, &counter, ReadSettings::default()));
            match cancel.run_until_cancelled(read).await {
                Some(result) => result.map_err(RunError::ReadBack)?,
                None => return Err(RunError::Interrupted),
            }
        }
        Ok(Verification::ReadBack)
    }

    /// Leaves nothing of the attempt, and says so if that failed.
    async fn give_up(&self, error: &RunError) -> RunReport {
        error!(reason = error.reason(), %error, "attempt failed");
        let mut report = report::failed(error);
        if let Some(problem) = self.clean_up().await {
            report.message = format!("{}; clean-up failed, too: {problem}", report.message);
            report.leftovers = true;
        }
        report
    }

    /// Removes what was written, unless a manifest names it: after a node came back from the dead, two Pods may have worked
    /// on one attempt, and the other may have made the backup. Says what went wrong.
    async fn clean_up(&self) -> Option<String> {
        let attempts = [self.task.run.attempt];
        let prefix = self.keys.attempt(self.task.run.attempt);
        let removed = clean_up::remove(self.store, self.keys, owner(self.task), &attempts);
        let problem = match timeout(CLEAN_UP_TIMEOUT, removed).await {
            Ok(Ok(_)) => return None,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("what lies below {prefix} was not removed within {CLEAN_UP_TIMEOUT:?}"),
        };
        error!(prefix, problem, "clean-up failed");
        Some(problem)
    }
}
