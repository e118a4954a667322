//! Lists what the bucket holds of a policy, the newest first: the entries as detail lines, for a status that was lost. Network.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use greenlang_backup_api::owner::OwnerFile;
use greenlang_backup_api::prune::{CatalogueEntry, CatalogueReport, CatalogueTask};
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_store::Store;
use tokio_util::sync::CancellationToken;

use crate::details::Details;
use crate::error::{RunError, until_cancelled};
use crate::survey::{Found, survey};

/// Tries of each request to the bucket. The operator tries the whole again for as long as it takes.
const ATTEMPTS: u32 = 4;

/// The task.
pub async fn run(task: &CatalogueTask, cancel: &CancellationToken) -> Result<RunReport, RunError> {
    let store = until_cancelled(cancel, Box::pin(Store::open(&task.bucket, ATTEMPTS))).await?;
    let (entries, mut report) = until_cancelled(cancel, Box::pin(list(task, &store))).await?;
    let mut details = Details::default();
    for entry in &entries {
        details.line(entry);
    }
    (report.details, report.details_sha256) = details.end();
    let message = format!("{} backups found, {} skipped", report.found, report.skipped);
    Ok(RunReport { catalogue: Some(report), ..RunReport::new(Outcome::Done, reasons::SUCCEEDED, message) })
}

/// What lies where nobody is the owner yet is of the policy that its manifests name.
async fn list(
    task: &CatalogueTask,
    store: &Store,
) -> Result<(Vec<CatalogueEntry>, CatalogueReport), RunError> {
    let owner = store.check_owner(&task.claim).await?;
    let owner = owner.unwrap_or_else(|| OwnerFile::new(task.claim.owner.clone()));
    let (mut entries, mut report) = (Vec::new(), CatalogueReport::default());
    for place in &task.backups {
        let mut of_path = Vec::new();
        let take = |found| match found {
            Found::Backup(found) => {
                report.found += 1;
                of_path.push(CatalogueEntry {
                    backup: place.backup.clone(),
                    id: found.candidate.id,
                    schedules: found.candidate.schedules.into_iter().map(|keeper| keeper.name).collect(),
                    start_time: found.start_time,
                    end_time: found.candidate.end_time,
                    bytes: found.bytes,
                    verified: found.verified,
                });
            }
            Found::Skipped { id, why } => {
                report.skipped += 1;
                tracing::warn!(path = place.path, %id, why, "skipped");
            }
            Found::Loose { .. } => {}
        };
        survey(store, &place.path, &owner, false, take).await?;
        entries.extend(newest(of_path, task.limit));
    }
    Ok((newest(entries, task.limit), report))
}

/// The newest of all, and the newest of each schedule of each backup however old it is.
fn newest(mut entries: Vec<CatalogueEntry>, limit: u32) -> Vec<CatalogueEntry> {
    entries.sort_by_key(|entry| Reverse(entry.id.clone()));
    let mut seen = BTreeSet::new();
    let mut count = 0;
    entries.retain(|entry| {
        count += 1;
        let mut first = entry.schedules.is_empty() && seen.insert((entry.backup.clone(), String::new()));
        for schedule in &entry.schedules {
            first |= seen.insert((entry.backup.clone(), schedule.clone()));
        }
        first || count <= limit
    });
    entries
}
