//! The backup that is restored: its manifest, what it says of the database, and the objects that hold it. Network.

use std::io::Read as _;

use greenlang_backup_api::contents::{self, Contents, DatabaseContents};
use greenlang_backup_api::globals::{self, Globals};
use greenlang_backup_api::manifest::{Content, Manifest, Object};
use greenlang_backup_api::restore::OpeningKeys;
use greenlang_backup_api::settings::{self, Settings};
use greenlang_backup_api::v1alpha1::ChosenBackup;
use greenlang_backup_store::{Download, Identities, ReadSettings, Store, Unsealed};
use serde::de::DeserializeOwned;
use std::sync::Arc;

use super::part::Part;
use super::{RestoreError, head};
use crate::error::RunError;
use crate::postgres::archive::{Toc, Walker};

/// Most bytes of a description that is read at once: some two million tables. Whoever can write to the bucket must not decide how
/// much memory we take.
const MAX_DESCRIPTION: u64 = 512 << 20;

/// A backup that can be opened.
#[derive(Clone)]
pub struct Source {
    store: Store,
    identities: Arc<Identities>,
    pub manifest: Manifest,
    /// The database of the backup that is restored.
    pub database: String,
}

impl Source {
    /// Reads the manifest that the plan has chosen; nothing else yet.
    pub async fn open(store: &Store, backup: &ChosenBackup, keys: &OpeningKeys) -> Result<Self, RunError> {
        let key = store.layout().backup(&backup.path, &backup.id).manifest();
        let identity = keys.identity.as_ref().ok_or_else(|| RestoreError::NoKey {
            key: format!("the backup of {key}"),
            why: "it takes an age private key",
            field: "identitySecretRef",
        })?;
        let identities = Arc::new(Identities::read(identity)?);
        let found = store.read_manifest(&key).await?;
        let Some(found) = found else { return Err(RestoreError::BackupNotFound { key }.into()) };
        if backup.manifest_sha256.as_ref().is_some_and(|planned| *planned != found.sha256) {
            return Err(RestoreError::ManifestChanged { key }.into());
        }
        let source = Self {
            store: store.clone(),
            identities,
            manifest: found.manifest,
            database: backup.database.clone(),
        };
        source.archive()?;
        Ok(source)
    }

    /// Looks whether all that a restore of the database, or of this part of it, needs is there in its size, and whether a key opens it.
    pub async fn confirm(&self, part: Option<&Part>) -> Result<(), RunError> {
        let needed = self.manifest.objects.iter().filter(|object| match &object.content {
            Content::PostgresArchive { database } => *database == self.database,
            Content::PostgresData { database, .. } => *database == self.database && is_needed(object, part),
            _ => true,
        });
        for object in needed {
            self.store.confirm(object).await.map_err(RestoreError::Read)?;
        }
        let header = self.store.open_header(self.archive()?, &self.identities, ReadSettings::default());
        Ok(header.await.map_err(RestoreError::Read)?)
    }

    /// The object with the database's archive.
    pub fn archive(&self) -> Result<&Object, RestoreError> {
        let objects = &self.manifest.objects;
        let of_it = |object: &&Object| matches!(&object.content, Content::PostgresArchive { database } if *database == self.database);
        objects.iter().find(of_it).ok_or_else(|| RestoreError::DatabaseNotInBackup {
            database: self.database.clone(),
            held: self.databases().join(", "),
        })
    }

    /// The server's settings at the time of the backup; none where the backup has none.
    pub async fn settings(&self) -> Result<Option<Settings>, RunError> {
        let found: Option<(String, Settings)> = self.description(&Content::PostgresSettings).await?;
        let Some((key, settings)) = found else { return Ok(None) };
        too_new(&key, settings.schema_version, settings::SCHEMA_VERSION)?;
        Ok(Some(settings))
    }

    /// Names of the databases that the backup holds.
    pub fn databases(&self) -> Vec<String> {
        let names = self.manifest.objects.iter().filter_map(|object| match &object.content {
            Content::PostgresArchive { database } => Some(database.clone()),
            _ => None,
        });
        names.collect()
    }

    /// The objects with data of some of its tables; of those of this part.
    pub fn data(&self, part: Option<&Part>) -> Vec<&Object> {
        let of_it = |object: &&Object| matches!(&object.content, Content::PostgresData { database, .. } if *database == self.database);
        let objects = self.manifest.objects.iter().filter(of_it);
        objects.filter(|object| is_needed(object, part)).collect()
    }

    /// Bytes of the archives that are read, before compression.
    pub fn source_bytes(&self, part: Option<&Part>) -> Result<u64, RestoreError> {
        let data: u64 = self.data(part).iter().map(|object| object.source_bytes).sum();
        Ok(self.archive()?.source_bytes + data)
    }

    /// The table of contents of the database's archive, with what needs what. Reads no further.
    pub async fn toc(&self) -> Result<Toc, RunError> {
        let archive = self.archive()?;
        let (key, plain) = (archive.key.clone(), self.read(archive).await?);
        let opened = move || {
            let opened = head::open(plain, Walker::with_dependencies(), false).understood(&key);
            opened.map(|(toc, _, _)| toc)
        };
        tokio::task::spawn_blocking(opened).await?
    }

    /// Major version of the server that the backup was made of.
    pub fn major(&self) -> Option<u32> {
        let digits: String = self.manifest.server_version.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    }

    /// Begins to read an object's plain bytes.
    pub async fn read(&self, object: &Object) -> Result<Unsealed<Download>, RunError> {
        let download = self.store.download(&object.key, object.stored_bytes, ReadSettings::default()).await;
        let download = download.map_err(RestoreError::Read)?;
        let (identities, object) = (Arc::clone(&self.identities), object.clone());
        // Reads the first bytes, which blocks.
        let opened = tokio::task::spawn_blocking(move || identities.unseal(&object, download)).await?;
        Ok(opened.map_err(RestoreError::Read)?)
    }

    /// What the backup says of the database.
    pub async fn contents(&self) -> Result<DatabaseContents, RunError> {
        let found: Option<(String, Contents)> = self.description(&Content::PostgresContents).await?;
        let missing = || RestoreError::NotUnderstood {
            key: format!("{}/{}", self.manifest.path, self.manifest.timestamp),
            problem: format!("it has no list of contents for database {}", self.database),
        };
        let (key, contents) = found.ok_or_else(missing)?;
        too_new(&key, contents.schema_version, contents::SCHEMA_VERSION)?;
        let mut databases = contents.databases.into_iter();
        Ok(databases.find(|found| found.properties.name == self.database).ok_or_else(missing)?)
    }

    /// The roles of the backup's server; none where the backup has none.
    pub async fn globals(&self) -> Result<Option<Globals>, RunError> {
        let found: Option<(String, Globals)> = self.description(&Content::PostgresGlobalsData).await?;
        let Some((key, globals)) = found else { return Ok(None) };
        too_new(&key, globals.schema_version, globals::SCHEMA_VERSION)?;
        Ok(Some(globals))
    }

    async fn description<T: DeserializeOwned>(
        &self,
        content: &Content,
    ) -> Result<Option<(String, T)>, RunError> {
        let object = self.manifest.objects.iter().find(|object| object.content == *content);
        let Some(object) = object else { return Ok(None) };
        let key = object.key.clone();
        let problem = |problem: String| RestoreError::NotUnderstood { key: key.clone(), problem };
        if object.source_bytes > MAX_DESCRIPTION {
            return Err(problem(format!("it has {} bytes", object.source_bytes)).into());
        }
        let mut plain = self.read(object).await?;
        let bytes = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            // What goes wrong is told by the judgement of the whole.
            let _ = plain.read_to_end(&mut bytes);
            plain.finish().map(|()| bytes)
        });
        let bytes = bytes.await?.map_err(RestoreError::Read)?;
        let value = serde_json::from_slice(&bytes).map_err(|error| problem(error.to_string()))?;
        Ok(Some((key, value)))
    }
}

fn is_needed(object: &Object, part: Option<&Part>) -> bool {
    part.is_none_or(|part| part.objects.contains(&object.key))
}

fn too_new(key: &str, found: u32, known: u32) -> Result<(), RestoreError> {
    if found <= known {
        return Ok(());
    }
    let problem = format!("it has version {found}, this release reads up to {known}: use a newer release");
    Err(RestoreError::NotUnderstood { key: key.to_owned(), problem })
}
