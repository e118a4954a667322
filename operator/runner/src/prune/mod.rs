//! Deletes the backups of one path that are kept long enough, and what no manifest names. Decides nothing: `plan::retention`
//! does. Each step may be cut off; the next prune goes on where it ended. Network.

mod garbage;
mod journal;
mod plan;

use std::collections::BTreeSet;

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::owner::OwnerFile;
use greenlang_backup_api::prune::{PruneReport, PruneTask};
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_plan::retention::{self, Candidate, Clocks, Former, Keep, Verdict};
use greenlang_backup_store::{Removal, Store};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::{RunError, until_cancelled};
use crate::survey::{Found, Surveyed, survey};
use journal::{Journal, Line};

/// Tries of each request to the bucket. The operator tries the whole again for as long as it takes.
const ATTEMPTS: u32 = 4;
/// Clocks that are further apart are worth a warning.
const APART_SECONDS: u64 = 900;

/// The task.
pub async fn run(task: &PruneTask, cancel: &CancellationToken) -> Result<RunReport, RunError> {
    let store = until_cancelled(cancel, Box::pin(Store::open(&task.bucket, ATTEMPTS))).await?;
    let work = async {
        let owner = store.claim(&task.claim).await?;
        let versions = store.keeps_versions().await?;
        let prune = Prune { task, store: &store, owner: &owner, versions };
        prune.run().await
    };
    let report = until_cancelled(cancel, Box::pin(work)).await?;
    let message = in_words(task, &report);
    Ok(RunReport { prune: Some(report), ..RunReport::new(Outcome::Done, reasons::SUCCEEDED, message) })
}

/// What all steps need.
struct Prune<'a> {
    task: &'a PruneTask,
    store: &'a Store,
    owner: &'a OwnerFile,
    versions: bool,
}

/// What the survey found. It has a few hundred bytes of each directory, whatever its manifest says.
#[derive(Default)]
struct Survey {
    candidates: Vec<Candidate>,
    /// SHA-256 of the manifest of each candidate.
    manifests: Vec<String>,
    skipped: Vec<BackupId>,
    loose: Vec<(BackupId, bool, Option<Timestamp>)>,
}

impl Prune<'_> {
    async fn run(&self) -> Result<PruneReport, RunError> {
        let mut journal = Journal::new(self.task);
        let survey = self.survey(&mut journal).await?;
        let clocks = Clocks { local: Timestamp::now(), server: self.store.server_time() };
        if clocks.apart() > APART_SECONDS {
            warn!(
                ?clocks,
                "the clocks of this node and of the bucket's server differ; the earlier one counts"
            );
        }
        let candidates = &survey.candidates;
        let mut verdicts = retention::decide(candidates, &self.task.retention, clocks);
        if !self.task.dry_run
            && let Some(plan) = self.plan().await?
        {
            retention::keep_to(&plan.ids(), candidates, &mut verdicts);
            journal.earlier(plan.gone(candidates));
        }
        journal.decided(candidates, &verdicts, clocks);
        if !self.task.dry_run {
            // Whatever happens from here on, what was decided is on record.
            journal.store(self.store).await?;
        }
        let deleted = self.delete(&survey, &verdicts, &mut journal).await?;
        self.garbage(&survey, clocks, &mut journal).await?;
        let gone = self.gone(&survey, &deleted);
        Ok(journal.finish(self.store, gone).await?)
    }

    async fn survey(&self, journal: &mut Journal<'_>) -> Result<Survey, RunError> {
        let mut found = Survey::default();
        let rules = self.task.retention.schedules.iter();
        let known: BTreeSet<&str> = rules.map(|rule| rule.name.as_str()).collect();
        let take = |one| match one {
            Found::Backup(surveyed) => {
                let Surveyed { mut candidate, manifest_sha256, backup, keep_days, .. } = *surveyed;
                candidate.schedules = retention::counted(candidate.schedules, |name| known.contains(name));
                candidate.former = (backup != self.task.backup).then_some(Former { backup, keep_days });
                found.candidates.push(candidate);
                found.manifests.push(manifest_sha256);
            }
            Found::Skipped { id, reason, why } => {
                warn!(%id, reason, why, "skipped: nothing is deleted there");
                journal.line(Line::skipped(&id, reason, why));
                found.skipped.push(id);
            }
            Found::Loose { id, deleted, modified } => found.loose.push((id, deleted, modified)),
        };
        survey(self.store, &self.task.path, self.owner, self.versions, take).await?;
        Ok(found)
    }

    /// Deletes the oldest first; says which are gone.
    async fn delete(
        &self,
        survey: &Survey,
        verdicts: &[Verdict],
        journal: &mut Journal<'_>,
    ) -> Result<Vec<BackupId>, RunError> {
        let mut gone = Vec::new();
        let mut doomed: Vec<(&Candidate, &String, &Verdict)> = survey
            .candidates
            .iter()
            .zip(&survey.manifests)
            .zip(verdicts)
            .filter(|(_, verdict)| matches!(verdict, Verdict::Delete { .. }))
            .map(|((candidate, sha256), verdict)| (candidate, sha256, verdict))
            .collect();
        doomed.sort_by_key(|(candidate, ..)| candidate.slot);
        for (Candidate { id, .. }, sha256, verdict) in doomed {
            let removal = if self.task.dry_run {
                self.would_remove(id).await?
            } else {
                self.store.remove_backup(&self.task.path, id, Some(sha256), self.versions).await?
            };
            info!(%id, ?removal, dry_run = self.task.dry_run, "expired");
            if matches!(removal, Removal::Gone { .. }) && !self.task.dry_run {
                gone.push(id.clone());
            }
            journal.removed(id, verdict, removal);
        }
        Ok(gone)
    }

    /// As [`Store::remove_backup`] would answer.
    async fn would_remove(&self, id: &BackupId) -> Result<Removal, RunError> {
        let directory = self.store.directory(&self.task.path, id, self.versions).await?;
        if directory.too_much {
            return Ok(Removal::Changed);
        }
        let locked = self.store.locked(&directory.entries, self.versions).await?;
        Ok(locked.map_or(Removal::Gone { bytes: directory.bytes() }, |until| Removal::Locked { until }))
    }

    /// Ids that status shows and the bucket has not, whoever deleted them.
    fn gone(&self, survey: &Survey, deleted: &[BackupId]) -> Vec<BackupId> {
        let there = |id: &BackupId| {
            survey.candidates.iter().any(|candidate| candidate.id == *id) && !deleted.contains(id)
        };
        self.task.shown.iter().filter(|id| !there(id)).cloned().collect()
    }
}

fn in_words(task: &PruneTask, report: &PruneReport) -> String {
    let PruneReport { deleted, kept, locked, held_back, skipped, freed_bytes, garbage, uploads, .. } = report;
    let what = if task.dry_run { "would be deleted" } else { "deleted" };
    let mut message = format!(
        "{deleted} backups of {} {what}, {kept} kept, {freed_bytes} bytes freed; {garbage} directories without a manifest and {uploads} open uploads removed",
        task.backup
    );
    for (count, words) in [
        (locked, "are locked by the bucket and stay"),
        (held_back, "stay because no more than half of a schedule's backups go at once"),
        (skipped, "have a manifest that is not ours, or cannot be read whole, and stay"),
    ] {
        if *count > 0 {
            message = format!("{message}; {count} {words}");
        }
    }
    if report.ages_unknown {
        message.push_str("; what no manifest names stays, because the bucket's server does not say what time it is (header Date)");
    }
    message
}

/// Whether a verdict is one that people should hear of.
const fn is_held_back(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Keep(Keep::Half { .. }))
}
