//! Loads what the old shell scripts backed up, as their procedure does: data and definitions, owned by the user that restores,
//! without grants. What is known of the database as a whole comes from the one that is replaced. Network, child processes.

use greenlang_backup_api::contents::DatabaseProperties;
use greenlang_backup_api::restore::OpeningKeys;
use greenlang_backup_api::v1alpha1::ChosenBackup;
use greenlang_backup_store::{Download, LegacyDump, LegacyObject, LegacyPassphrase, ReadError, Store};

use super::RestoreError;
use super::databases;
use super::feed::Plain;
use crate::error::RunError;
use crate::postgres::catalog;
use crate::postgres::connect::{Endpoint, Session};
use crate::postgres::inspect::Version;

/// What people should know of every such restore.
pub const UNOWNED: &str = "a backup of the old scripts has no roles: as in their procedure, everything in the database is owned by the user that restored it, and nobody else has rights to it: GRANT what the applications need, or REASSIGN OWNED";

/// Why strategy Replace is refused for it.
pub const NOT_TO_REPLACE: &str = "a backup of the old scripts does not hold the owner, the rights, the settings and the locale of its database, and strategy Replace would drop the database that has them: use strategy Swap, which takes them over";

/// Why part of it is refused.
pub const NOT_IN_PART: &str = "a backup of the old scripts can only be restored as a whole: leave out database.include, and drop what is not wanted afterwards";

impl Plain for LegacyDump<Download> {
    fn finish(self) -> Result<(), ReadError> {
        Self::finish(self)
    }
}

/// A backup of the old scripts that can be opened.
#[derive(Debug)]
pub struct LegacySource {
    pub object: LegacyObject,
}

impl LegacySource {
    /// Finds it; none where there is none under that id.
    pub async fn find(store: &Store, backup: &ChosenBackup) -> Result<Option<Self>, RunError> {
        let found = store.find_legacy(&backup.path, &backup.id).await?;
        Ok(found.map(|object| Self { object }))
    }

    /// Begins to read its archive of `pg_dump`.
    pub async fn open(&self, store: &Store, keys: &OpeningKeys) -> Result<LegacyDump<Download>, RunError> {
        let secret = keys.legacy_passphrase.as_ref().ok_or_else(|| RestoreError::NoKey {
            key: self.object.key.clone(),
            why: "the old scripts wrote it, so it takes their passphrase",
            field: "legacyPassphraseSecretRef",
        })?;
        let passphrase = LegacyPassphrase::read(secret)?;
        let download = store.download_legacy(&self.object).await.map_err(RestoreError::Read)?;
        let key = self.object.key.clone();
        let opened = tokio::task::spawn_blocking(move || passphrase.open(&key, download)).await?;
        Ok(opened.map_err(RestoreError::Read)?)
    }
}

/// What the database is made with: as the one that it replaces, or else as the server makes new ones.
pub async fn properties(
    endpoint: &Endpoint,
    session: &Session,
    version: &Version,
    database: &str,
) -> Result<DatabaseProperties, RunError> {
    if databases::named(session, database).await?.is_some_and(|found| found.open) {
        let present = endpoint.connect(database).await?;
        return Ok(catalog::properties(&present, version).await?);
    }
    let made = catalog::properties(session, version).await?;
    Ok(DatabaseProperties {
        owner: endpoint.user.clone(),
        acl: None,
        connection_limit: -1,
        template: false,
        tablespace: "pg_default".to_owned(),
        comment: None,
        settings: Vec::new(),
        security_labels: Vec::new(),
        ..made
    })
}
