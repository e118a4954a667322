//! What the Jobs of the model say at their end, and what they leave in its bucket.

use greenlang_backup_api::digest::sha256;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::prune::{CatalogueEntry, CatalogueReport, CatalogueTask, PruneReport, PruneTask};
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{BackupReport, Outcome, RunReport};
use greenlang_backup_api::task::CleanUpTask;
use greenlang_backup_api::v1alpha1::Verification;

use super::{Fate, World};

impl World {
    pub(super) fn probe_report(&self) -> RunReport {
        let mut report = RunReport::new(Outcome::Done, reasons::SUCCEEDED, "checked");
        report.probe = Some(self.findings.clone());
        report
    }

    /// As the runner: an attempt that finds a manifest of its id is done.
    pub(super) fn backup_report(&mut self, id: &BackupId, attempt: u32, fate: Fate) -> Option<RunReport> {
        match fate {
            Fate::Succeeds | Fate::SucceedsUnheard if !self.bucket.contains(id) => {
                self.bucket.push(id.clone());
                self.manifests.insert(id.clone(), attempt);
                self.objects.insert((id.clone(), attempt));
            }
            Fate::FailsForNow | Fate::Fails if self.manifests.get(id) != Some(&attempt) => {
                self.objects.remove(&(id.clone(), attempt));
            }
            Fate::IsDeleted | Fate::IsKilled | Fate::FailsUntidily if !self.bucket.contains(id) => {
                self.objects.insert((id.clone(), attempt));
            }
            _ => {}
        }
        match fate {
            Fate::IsDeleted => None,
            Fate::SucceedsUnheard | Fate::IsKilled => Some(lost()),
            Fate::FailsUntidily => Some(RunReport { leftovers: true, ..away() }),
            Fate::FailsForNow => Some(RunReport::new(Outcome::Retryable, reasons::DUMP_FAILED, "for now")),
            Fate::Fails => Some(RunReport::new(Outcome::Failed, reasons::ACCESS_DENIED, "for good")),
            Fate::Succeeds => {
                let mut report = RunReport::new(Outcome::Done, reasons::SUCCEEDED, "done");
                report.backup = Some(BackupReport {
                    id: id.clone(),
                    path: "database".into(),
                    stored_bytes: 10,
                    source_bytes: 100,
                    start_time: self.now,
                    end_time: self.now,
                    verified: Verification::Streamed,
                    manifest_sha256: String::new(),
                    warnings: 0,
                });
                Some(report)
            }
        }
    }

    /// As the runner, but that nothing is ever old enough to go.
    pub(super) fn prune_report(&self, task: &PruneTask) -> RunReport {
        let gone = task.shown.iter().filter(|id| !self.bucket.contains(id)).cloned().collect();
        let report = "r".into();
        let (dry_run, held_back) = (task.dry_run, self.held_back);
        let prune = PruneReport { dry_run, gone, report, held_back, ..PruneReport::default() };
        RunReport { prune: Some(prune), ..RunReport::new(Outcome::Done, reasons::SUCCEEDED, "pruned") }
    }

    /// As the runner.
    pub(super) fn catalogue_report(&self, task: &CatalogueTask) -> (RunReport, String) {
        let mut lines = String::from("{\"level\":\"INFO\"}\n");
        let mut details = String::new();
        for id in &self.bucket {
            let slot = id.slot().unwrap();
            let entry = CatalogueEntry {
                backup: task.backups[0].backup.clone(),
                id: id.clone(),
                schedules: self.served.get(id).cloned().unwrap_or_default(),
                start_time: slot,
                end_time: slot,
                bytes: 10,
                verified: Verification::Streamed,
            };
            details += &serde_json::json!({"detail": entry}).to_string();
            details.push('\n');
        }
        lines.push_str(&details);
        let catalogue = CatalogueReport {
            found: u32::try_from(self.bucket.len()).unwrap(),
            details: u32::try_from(self.bucket.len()).unwrap(),
            details_sha256: sha256(&details),
            ..CatalogueReport::default()
        };
        let report = RunReport::new(Outcome::Done, reasons::SUCCEEDED, "listed");
        (RunReport { catalogue: Some(catalogue), ..report }, lines)
    }

    /// As the runner: what a manifest names stays.
    pub(super) fn clean_up_report(&mut self, task: &CleanUpTask, fate: Fate) -> Option<RunReport> {
        if matches!(fate, Fate::Succeeds | Fate::SucceedsUnheard) {
            let named = self.manifests.get(&task.id);
            let removed = task.attempts.iter().filter(|attempt| named != Some(attempt));
            for attempt in removed {
                self.objects.remove(&(task.id.clone(), *attempt));
            }
        }
        side_report(fate, RunReport::new(Outcome::Done, reasons::SUCCEEDED, "clean"))
    }
}

/// What a Job says that does a thing by the way.
pub(super) fn side_report(fate: Fate, report: RunReport) -> Option<RunReport> {
    match fate {
        Fate::Succeeds => Some(report),
        Fate::IsDeleted => None,
        Fate::SucceedsUnheard | Fate::IsKilled => Some(lost()),
        Fate::FailsForNow | Fate::FailsUntidily => Some(away()),
        Fate::Fails => Some(RunReport::new(Outcome::Failed, reasons::ACCESS_DENIED, "for good")),
    }
}

/// What is said of a Pod that said nothing.
pub(super) fn lost() -> RunReport {
    RunReport { leftovers: true, ..RunReport::new(Outcome::Retryable, reasons::REPORT_LOST, "lost") }
}

pub(super) fn away() -> RunReport {
    RunReport::new(Outcome::Retryable, reasons::CONNECTION_FAILED, "away")
}
