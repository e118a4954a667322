//! What a prune decided and did, as detail lines of the log and as a report in the bucket. Network.

use std::collections::BTreeMap;

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::prune::{PruneReport, PruneTask};
use greenlang_backup_plan::retention::{Candidate, Clocks, Verdict};
use greenlang_backup_store::{Removal, RequestError, Store};
use jiff::Timestamp;
use serde::Serialize;

use super::{is_held_back, plan};
use crate::details::Details;

/// Directory of the reports below `reports/`.
pub const KIND: &str = "prune";
/// Version of the report.
const VERSION: u32 = 1;
/// Reason of a directory that goes because no manifest names what lies there.
const GARBAGE: &str = "Garbage";
/// Reason of a backup that was to go and is locked.
pub const LOCKED: &str = "LockedUntil";

/// What became of one directory.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    id: BackupId,
    /// `Keep`, `Delete` or `Skip`.
    verdict: &'static str,
    reason: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freed_bytes: Option<u64>,
}

impl Line {
    fn new(id: &BackupId, verdict: &'static str, reason: &'static str, message: String) -> Self {
        Self { id: id.clone(), verdict, reason, message, locked_until: None, freed_bytes: None }
    }

    /// Of a directory that is not touched.
    pub fn skipped(id: &BackupId, reason: &'static str, why: String) -> Self {
        Self::new(id, "Skip", reason, why)
    }

    fn removed(id: &BackupId, reason: &'static str, message: String, removal: Removal) -> Self {
        match removal {
            Removal::Gone { bytes } => {
                Self { freed_bytes: Some(bytes), ..Self::new(id, "Delete", reason, message) }
            }
            Removal::Locked { until } => {
                let words = format!("{message}, but the bucket has locked it until {until}");
                Self { locked_until: Some(until), ..Self::new(id, "Keep", LOCKED, words) }
            }
            Removal::Changed => {
                let words = "its manifest changed since it was read, or somebody pinned it, or more lies there now than can be read: it is looked at again next time";
                Self::new(id, "Keep", "Changed", words.to_owned())
            }
        }
    }
}

/// The report in the bucket.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    version: u32,
    policy: String,
    backup: &'a str,
    path: &'a str,
    /// False as long as the prune goes on, and for ever if it was cut off.
    finished: bool,
    local_time: Option<Timestamp>,
    server_time: Option<Timestamp>,
    summary: &'a PruneReport,
    backups: &'a [Line],
    /// What earlier tries of this prune deleted, or had begun to.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    earlier: &'a [plan::Line],
}

/// Collects lines and counts.
pub struct Journal<'a> {
    task: &'a PruneTask,
    details: Details,
    lines: Vec<Line>,
    earlier: Vec<plan::Line>,
    /// Places of the lines of what is to go and has not gone.
    intended: BTreeMap<BackupId, usize>,
    summary: PruneReport,
    clocks: Option<Clocks>,
}

impl<'a> Journal<'a> {
    pub fn new(task: &'a PruneTask) -> Self {
        let summary = PruneReport { dry_run: task.dry_run, ..PruneReport::default() };
        Self {
            task,
            details: Details::default(),
            lines: vec![],
            earlier: vec![],
            intended: BTreeMap::new(),
            summary,
            clocks: None,
        }
    }

    /// Takes in what is known for good.
    pub fn line(&mut self, line: Line) {
        match line.verdict {
            "Skip" => self.summary.skipped += 1,
            "Keep" => self.summary.kept += 1,
            _ => {}
        }
        self.details.line(&line);
        // What was only intended so far is replaced.
        match self.intended.remove(&line.id) {
            Some(at) => self.lines[at] = line,
            None => self.lines.push(line),
        }
    }

    /// Takes in what was decided. What is to go is written as a line when it went.
    pub fn decided(&mut self, candidates: &[Candidate], verdicts: &[Verdict], clocks: Clocks) {
        self.clocks = Some(clocks);
        for (candidate, verdict) in candidates.iter().zip(verdicts) {
            self.summary.held_back += u32::from(is_held_back(verdict));
            let message = if candidate.whole {
                verdict.to_string()
            } else {
                format!(
                    "{verdict}; objects that its manifest names are missing, so it does not count as good"
                )
            };
            match verdict {
                Verdict::Keep(_) => self.line(Line::new(&candidate.id, "Keep", verdict.reason(), message)),
                Verdict::Delete { .. } => {
                    self.intended.insert(candidate.id.clone(), self.lines.len());
                    self.lines.push(Line::new(&candidate.id, "Delete", verdict.reason(), message));
                }
            }
        }
    }

    /// Takes in what became of a backup that was to go.
    pub fn removed(&mut self, id: &BackupId, verdict: &Verdict, removal: Removal) {
        self.count(removal);
        self.summary.deleted += u32::from(matches!(removal, Removal::Gone { .. }));
        self.line(Line::removed(id, verdict.reason(), verdict.to_string(), removal));
    }

    /// Takes in what became of a directory without a manifest.
    pub fn garbage(&mut self, id: &BackupId, removal: Removal) {
        self.count(removal);
        self.summary.garbage += u32::from(matches!(removal, Removal::Gone { .. }));
        let message = "no manifest names what lies there".to_owned();
        self.line(Line::removed(id, GARBAGE, message, removal));
    }

    fn count(&mut self, removal: Removal) {
        match removal {
            Removal::Gone { bytes } => {
                let freed = self.summary.freed_bytes.saturating_add(bytes);
                self.summary.freed_bytes = freed.min(i64::MAX.unsigned_abs());
            }
            Removal::Locked { .. } => self.summary.locked += 1,
            Removal::Changed => {}
        }
    }

    /// Takes in that nobody knows how old anything is.
    pub fn ages_unknown(&mut self) {
        self.summary.ages_unknown = true;
    }

    /// Takes in what earlier tries deleted.
    pub fn earlier(&mut self, lines: Vec<plan::Line>) {
        self.earlier = lines;
    }

    /// Takes in how many uploads were aborted.
    pub fn uploads(&mut self, aborted: u32) {
        self.summary.uploads = aborted;
    }

    /// Writes the report as it is.
    pub async fn store(&mut self, store: &Store) -> Result<(), RequestError> {
        self.write(store, false).await
    }

    /// Writes the report for good, and gives the summary.
    pub async fn finish(mut self, store: &Store, gone: Vec<BackupId>) -> Result<PruneReport, RequestError> {
        self.summary.gone = gone;
        self.write(store, true).await?;
        self.details.end();
        Ok(self.summary)
    }

    async fn write(&mut self, store: &Store, finished: bool) -> Result<(), RequestError> {
        let key = store.layout().report(KIND, &self.task.id, &self.task.path);
        self.summary.report.clone_from(&key);
        let report = Report {
            version: VERSION,
            policy: self.task.claim.owner.mark(),
            backup: &self.task.backup,
            path: &self.task.path,
            finished,
            local_time: self.clocks.map(|clocks| clocks.local),
            server_time: self.clocks.and_then(|clocks| clocks.server),
            summary: &self.summary,
            backups: &self.lines,
            earlier: &self.earlier,
        };
        store.put(&key, &serde_json::to_vec(&report).unwrap_or_default()).await
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
