//! Reads what an earlier try of the same prune decided. Nothing else may go: each try would be one more half. Network.

use std::collections::BTreeSet;

use greenlang_backup_api::names::BackupId;
use greenlang_backup_plan::retention::{Candidate, EXPIRED};
use greenlang_backup_store::RequestError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::Prune;
use super::journal::{KIND, LOCKED};
use crate::error::RunError;

/// Reasons of the lines about what the earlier try meant to delete.
const MEANT: [&str; 2] = [EXPIRED, LOCKED];

/// What was meant to go.
#[derive(Debug, Default)]
pub struct Plan {
    lines: Vec<Line>,
}

/// A line of the earlier report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    id: BackupId,
    verdict: String,
    reason: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locked_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    freed_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Report {
    summary: Summary,
    backups: Vec<Line>,
    #[serde(default)]
    earlier: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    dry_run: bool,
}

impl Plan {
    /// What it lets go.
    pub fn ids(&self) -> BTreeSet<BackupId> {
        self.lines.iter().map(|line| line.id.clone()).collect()
    }

    /// Its lines about what is not there any more, for the report that takes its place.
    pub fn gone(self, candidates: &[Candidate]) -> Vec<Line> {
        let there: BTreeSet<&BackupId> = candidates.iter().map(|candidate| &candidate.id).collect();
        self.lines.into_iter().filter(|line| !there.contains(&line.id)).collect()
    }
}

impl Prune<'_> {
    /// The plan of the earlier try, if there was one. One that cannot be read lets nothing go: the next backup has a new one.
    pub(super) async fn plan(&self) -> Result<Option<Plan>, RunError> {
        let key = self.store.layout().report(KIND, &self.task.id, &self.task.path);
        let report = match self.store.get(&key).await {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) => serde_json::from_slice::<Report>(&bytes).map_err(|error| error.to_string()),
            Err(error @ RequestError::TooLong { .. }) => Err(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let Report { summary, mut backups, earlier } = match report {
            Ok(report) => report,
            Err(problem) => {
                warn!(key, problem, "what an earlier try decided cannot be read: nothing more goes now");
                return Ok(Some(Plan::default()));
            }
        };
        if summary.dry_run {
            return Ok(None);
        }
        backups.retain(|line| MEANT.contains(&line.reason.as_str()));
        backups.extend(earlier);
        info!(key, count = backups.len(), "an earlier try decided what goes");
        Ok(Some(Plan { lines: backups }))
    }
}
