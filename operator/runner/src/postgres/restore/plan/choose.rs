//! Chooses the backup that is restored. Network.

use greenlang_backup_api::manifest::{Content, Manifest};
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::restore::PlanSource;
use greenlang_backup_api::v1alpha1::ChosenBackup;
use greenlang_backup_store::{CatalogueError, Store, StoredManifest};
use tracing::warn;

use super::super::RestoreError;
use super::super::legacy::LegacySource;
use crate::error::RunError;

/// What a request means.
pub enum Chosen {
    Backup(Box<Choice>),
    /// What the old scripts wrote.
    Legacy(ChosenBackup, LegacySource),
}

/// A backup that was chosen.
pub struct Choice {
    pub backup: ChosenBackup,
    pub manifest: Manifest,
    /// Why it is this one, in words.
    pub said: String,
}

/// Finds the backup that a request means; `target` is the database that is restored to.
pub async fn choose(store: &Store, source: &PlanSource, target: &str) -> Result<Chosen, RunError> {
    match source {
        PlanSource::Backup { path, id, database } => {
            let named = || (path.clone(), id.clone(), database.clone().unwrap_or_else(|| target.to_owned()));
            let key = store.layout().backup(path, id).manifest();
            let found = match store.read_manifest(&key).await {
                Ok(Some(found)) => found,
                other => {
                    let (path, id, database) = named();
                    let backup = ChosenBackup { path, id, database, manifest_sha256: None };
                    if let Some(legacy) = LegacySource::find(store, &backup).await? {
                        return Ok(Chosen::Legacy(backup, legacy));
                    }
                    return Err(other.err().map_or(RestoreError::BackupNotFound { key }.into(), Into::into));
                }
            };
            let choice = choice(path, id, database.as_deref(), target, found, "it was named".to_owned())?;
            Ok(Chosen::Backup(Box::new(choice)))
        }
        PlanSource::Latest { path, backup, schedule, database } => {
            let wanted = Wanted { backup: backup.as_deref(), schedule: schedule.as_deref() };
            let choice = newest(store, path, &wanted, database.as_deref(), target).await?;
            Ok(Chosen::Backup(Box::new(choice)))
        }
        PlanSource::Undo { of } => {
            Err(RestoreError::BackupNotFound { key: format!("a backup for the undo of {of}") }.into())
        }
    }
}

/// Which of the backups of a path count.
struct Wanted<'a> {
    /// Those that were made under this name.
    backup: Option<&'a str>,
    /// Those that this schedule asked for.
    schedule: Option<&'a str>,
}

impl Wanted<'_> {
    fn has(&self, manifest: &Manifest) -> bool {
        let serves = |name: &str| manifest.schedules.iter().any(|schedule| schedule.name == name);
        self.backup.is_none_or(|name| manifest.backup == name) && self.schedule.is_none_or(serves)
    }

    /// That none was found, with all that kept others from being it.
    fn none(&self, directory: String, passed_over: usize, others: usize) -> RestoreError {
        let made_as = self.backup.map(|name| format!(" made as {name}"));
        let asked_for = self.schedule.map(|name| format!(" that schedule {name} asked for"));
        let unusable = (passed_over > 0)
            .then(|| format!("; passed over: {passed_over} (damaged, or an object is missing: see the log)"));
        let unlike = (others > 0).then(|| match self.schedule {
            Some(_) => {
                format!("; others that are there: {others} (no schedule asks for a backup that is made at once: leave out source.latest.schedule)")
            }
            None => format!("; others that are there: {others}"),
        });
        RestoreError::NoneToChoose {
            directory,
            wanted: made_as.into_iter().chain(asked_for).collect(),
            beside: unusable.into_iter().chain(unlike).collect(),
        }
    }
}

/// The newest whose objects are all there. What cannot be used is passed over, and that is said.
async fn newest(
    store: &Store,
    path: &str,
    wanted: &Wanted<'_>,
    database: Option<&str>,
    target: &str,
) -> Result<Choice, RunError> {
    let mut ids = Vec::new();
    let mut directories = store.directories(path, false);
    while let Some(directory) = directories.next().await.map_err(CatalogueError::from)? {
        if directory.current(&directory.keys.manifest()).is_some() {
            ids.push(directory.id);
        }
    }
    ids.sort();
    let (mut passed_over, mut others) = (0, 0);
    for id in ids.into_iter().rev() {
        let key = store.layout().backup(path, &id).manifest();
        let found = match store.read_manifest(&key).await {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(error @ CatalogueError::Manifest { .. }) => {
                warn!(%id, %error, "passed over");
                passed_over += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !wanted.has(&found.manifest) {
            others += 1;
            continue;
        }
        if !whole(store, &found.manifest).await? {
            warn!(%id, "passed over: an object is missing");
            passed_over += 1;
            continue;
        }
        let of = wanted.schedule.map_or_else(String::new, |name| format!(" of schedule {name}"));
        let but =
            if passed_over == 0 { String::new() } else { format!("; {passed_over} newer cannot be used") };
        return Ok(choice(
            path,
            &id,
            database,
            target,
            found,
            format!("it is the newest good one{of}{but}"),
        )?);
    }
    Err(wanted.none(store.layout().path(path), passed_over, others).into())
}

async fn whole(store: &Store, manifest: &Manifest) -> Result<bool, RunError> {
    for object in &manifest.objects {
        match store.confirm(object).await {
            Ok(()) => {}
            Err(error) if error.is_retryable() => return Err(RestoreError::Read(error).into()),
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

fn choice(
    path: &str,
    id: &BackupId,
    database: Option<&str>,
    target: &str,
    found: StoredManifest,
    said: String,
) -> Result<Choice, RestoreError> {
    let StoredManifest { manifest, sha256 } = found;
    let names: Vec<&str> = manifest
        .objects
        .iter()
        .filter_map(|object| match &object.content {
            Content::PostgresArchive { database } => Some(database.as_str()),
            _ => None,
        })
        .collect();
    let wanted = database.unwrap_or(target);
    let chosen = match (names.as_slice(), database) {
        (names, _) if names.contains(&wanted) => wanted,
        // The only one may be meant where none was named.
        (&[only], None) => only,
        (names, _) => {
            return Err(RestoreError::DatabaseNotInBackup {
                database: wanted.to_owned(),
                held: names.join(", "),
            });
        }
    };
    let backup = ChosenBackup {
        path: path.to_owned(),
        id: id.clone(),
        database: chosen.to_owned(),
        manifest_sha256: Some(sha256),
    };
    Ok(Choice { backup, manifest, said })
}
