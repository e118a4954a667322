//! Removes what no manifest names: deletions that were cut off, attempts that left something, uploads that stayed open, and old
//! reports of prunes. Network.

use greenlang_backup_api::manifest::Manifest;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_plan::retention::Clocks;
use greenlang_backup_store::{CatalogueError, Removal};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::journal::{Journal, KIND};
use super::{Prune, Survey};
use crate::error::RunError;
use crate::survey::{not_ours, short};

/// Days that reports of prunes stay in the bucket.
const REPORT_DAYS: i64 = 30;

impl Prune<'_> {
    pub(super) async fn garbage(
        &self,
        survey: &Survey,
        clocks: Clocks,
        journal: &mut Journal<'_>,
    ) -> Result<(), RunError> {
        // How old a thing is follows from two times of one clock: it has the time at which the server stored it.
        let now = clocks.server.map(|_| clocks.now());
        if now.is_none() {
            warn!("the bucket's server does not say what time it is: what no manifest names stays");
            journal.ages_unknown();
        }
        let before = now.map(|now| earlier(now, i64::from(self.task.garbage_after_seconds)));
        for (id, deleted, modified) in &survey.loose {
            if self.task.busy.contains(id) || self.task.retention.pins.contains(id) {
                continue;
            }
            let is_old = |before: &Timestamp| modified.is_some_and(|modified| modified < *before);
            let removal = if *deleted {
                self.go_on(id).await?
            } else if let Some(before) = before.filter(is_old) {
                self.sweep(id, before).await?
            } else {
                None
            };
            if let Some(removal) = removal {
                info!(%id, ?removal, dry_run = self.task.dry_run, "garbage");
                journal.garbage(id, removal);
            }
        }
        let (Some(now), Some(before)) = (now, before) else { return Ok(()) };
        let spared = |id: &BackupId| self.task.busy.contains(id) || survey.skipped.contains(id);
        let (path, trial) = (&self.task.path, self.task.dry_run);
        journal.uploads(self.store.abort_old_uploads(path, before, spared, trial).await?);
        if !trial {
            self.old_reports(earlier(now, REPORT_DAYS * 86_400)).await?;
        }
        Ok(())
    }

    /// A deletion that was cut off: the copy of the manifest says whose it was.
    async fn go_on(&self, id: &BackupId) -> Result<Option<Removal>, RunError> {
        let key = self.store.layout().backup(&self.task.path, id).deleted();
        let manifest: Manifest = match self.store.read_manifest(&key).await {
            Ok(Some(stored)) => stored.manifest,
            Ok(None) => return Ok(None),
            Err(CatalogueError::Manifest { problem, .. }) => {
                warn!(key, problem = short(&problem.to_string()), "left alone");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(why) = not_ours(&manifest, &self.task.path, id, self.owner) {
            warn!(key, why = short(&why), "left alone");
            return Ok(None);
        }
        if self.task.dry_run {
            return self.would_remove(id).await.map(Some);
        }
        self.store
            .remove_backup(&self.task.path, id, None, self.versions)
            .await
            .map(Some)
            .map_err(RunError::from)
    }

    async fn sweep(&self, id: &BackupId, before: Timestamp) -> Result<Option<Removal>, RunError> {
        if self.task.dry_run {
            let directory = self.store.directory(&self.task.path, id, self.versions).await?;
            let is = self.store.is_garbage(&directory, self.owner, before).await?;
            return Ok(is.then(|| Removal::Gone { bytes: directory.bytes() }));
        }
        Ok(self.store.remove_garbage(&self.task.path, id, self.owner, before, self.versions).await?)
    }

    async fn old_reports(&self, before: Timestamp) -> Result<(), RunError> {
        let layout = self.store.layout();
        let mut pages = self.store.pages(&layout.reports(KIND), self.versions);
        while let Some(page) = pages.next().await? {
            let old = page.into_iter().filter(|entry| {
                let id = entry.key.strip_prefix(&layout.reports(KIND)).and_then(|rest| rest.split_once('/'));
                let id = id.and_then(|(id, _)| id.parse::<BackupId>().ok());
                id.is_some_and(|id| {
                    entry.key == layout.report(KIND, &id, &self.task.path)
                        && id.slot().is_ok_and(|slot| slot < before)
                        && entry.modified < before
                })
            });
            // One that is locked goes another time.
            for entry in old.collect::<Vec<_>>() {
                if self.store.locked(std::slice::from_ref(&entry), self.versions).await?.is_none() {
                    self.store.delete_entry(&entry).await?;
                }
            }
        }
        Ok(())
    }
}

fn earlier(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
}
