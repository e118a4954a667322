//! Lists what the bucket holds of a policy, the newest first: the entries as detail lines, for a status that was lost. Network.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::owner::OwnerFile;
use greenlang_backup_api::prune::{CatalogueEntry, CataloguePath, CatalogueReport, CatalogueTask};
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_plan::retention::{self, Clocks};
use greenlang_backup_store::Store;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::details::Details;
use crate::error::{RunError, until_cancelled};
use crate::survey::{Found, Surveyed, short, survey};

/// Entries that are gathered before all but the newest are let go.
const GATHERED: usize = 1_000;
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
    let (mut newest, mut report) = (Newest { task, store, entries: vec![] }, CatalogueReport::default());
    for place in &task.backups {
        let take = |found| match found {
            Found::Backup(found) => match not_listed(place, &found) {
                None => {
                    report.found += 1;
                    newest.take(place, *found);
                }
                Some(why) => {
                    report.skipped += 1;
                    tracing::warn!(path = place.path, id = %found.candidate.id, why, "skipped");
                }
            },
            Found::Skipped { id, reason, why } => {
                report.skipped += 1;
                tracing::warn!(path = place.path, %id, reason, why, "skipped");
            }
            Found::Loose { .. } => {}
        };
        survey(store, &place.path, &owner, false, take).await?;
    }
    newest.keep_newest();
    Ok((newest.entries, report))
}

/// Why a backup is no success of the one whose history is read.
fn not_listed(place: &CataloguePath, found: &Surveyed) -> Option<String> {
    if !found.candidate.whole {
        return Some("objects that its manifest names are missing, so it cannot be restored".to_owned());
    }
    // As after a change of the name: what an earlier one has made is not told of the one that has its path now.
    (found.backup != place.backup)
        .then(|| short(&format!("it was made as backup {}, and not as {}", found.backup, place.backup)))
}

/// The newest of all, and the newest of each schedule of each backup however old it is; not many more at any time.
struct Newest<'a> {
    task: &'a CatalogueTask,
    store: &'a Store,
    entries: Vec<CatalogueEntry>,
}

impl Newest<'_> {
    fn take(&mut self, place: &CataloguePath, found: Surveyed) {
        let schedules = retention::counted(found.candidate.schedules, |name| has(place, name));
        self.entries.push(CatalogueEntry {
            backup: place.backup.clone(),
            id: found.candidate.id,
            schedules: schedules.into_iter().map(|keeper| keeper.name).collect(),
            start_time: found.start_time,
            end_time: found.candidate.end_time,
            bytes: found.bytes,
            verified: found.verified,
        });
        if self.entries.len() >= GATHERED {
            self.keep_newest();
        }
    }

    /// Those whose time is still to come are last: where a clock is wrong, or somebody else can write to the bucket, there may be many.
    fn keep_newest(&mut self) {
        let Self { task, store, entries } = self;
        let clocks = Clocks { local: Timestamp::now(), server: store.server_time() };
        let is_to_come = |id: &BackupId| id.slot().is_ok_and(|slot| clocks.is_to_come(slot));
        entries.sort_by_cached_key(|entry| (is_to_come(&entry.id), Reverse(entry.id.clone())));
        let is_known = |backup: &str, schedule: &str| {
            task.backups.iter().any(|place| place.backup == backup && has(place, schedule))
        };
        let (mut seen, mut count) = (BTreeSet::new(), 0);
        entries.retain(|entry| {
            count += 1;
            let mut first = entry.schedules.is_empty() && seen.insert((entry.backup.clone(), String::new()));
            for schedule in entry.schedules.iter().filter(|schedule| is_known(&entry.backup, schedule)) {
                first |= seen.insert((entry.backup.clone(), schedule.clone()));
            }
            first || count <= task.limit
        });
    }
}

fn has(place: &CataloguePath, schedule: &str) -> bool {
    place.schedules.iter().any(|known| known == schedule)
}
