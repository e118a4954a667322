//! The record of a restore in the bucket, as the steps of its request read and write it. Network.

use greenlang_backup_api::restore::{RECORD_VERSION, RecordState, RestoreRecord, RestoreTask};
use greenlang_backup_api::v1alpha1::ChosenBackup;
use greenlang_backup_store::{Store, StoredRecord};
use jiff::Timestamp;
use tracing::info;

use super::RestoreError;
use crate::error::RunError;

/// The record of one request.
pub struct Ledger<'a> {
    store: &'a Store,
    task: &'a RestoreTask,
    stored: Option<StoredRecord>,
}

impl<'a> Ledger<'a> {
    /// Reads what is there, of whatever request of that name.
    pub async fn read(store: &'a Store, task: &'a RestoreTask) -> Result<Self, RunError> {
        let request = &task.request;
        let stored = store.read_record(&request.namespace, &request.name).await?;
        Ok(Self { store, task, stored })
    }

    /// How far this very request came; none where there is no record of it.
    pub fn state(&self) -> Option<RecordState> {
        self.own().map(|record| record.state)
    }

    /// The record of this very request.
    pub fn own(&self) -> Option<&RestoreRecord> {
        self.stored.as_ref().map(|stored| &stored.record).filter(|record| record.is_of(&self.task.request))
    }

    /// The record of another request that had the name before, also of one that was undone: left in Git, it would restore over newer
    /// data whenever it is made anew (docs/adr/0012).
    pub fn of_other(&self) -> Option<&RestoreRecord> {
        let record = self.stored.as_ref().map(|stored| &stored.record)?;
        (!record.is_of(&self.task.request)).then_some(record)
    }

    /// What a new record of this request says before anything is known.
    pub fn blank(
        &self,
        state: RecordState,
        backup: Option<ChosenBackup>,
        undo_of: Option<String>,
    ) -> RestoreRecord {
        let RestoreTask { request, spec_sha256, server, database, .. } = self.task;
        RestoreRecord {
            schema_version: RECORD_VERSION,
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            uid: request.uid.clone(),
            spec_sha256: spec_sha256.clone(),
            state,
            host: server.host.clone(),
            port: server.port,
            database: database.clone(),
            backup,
            undo_of,
            restored: None,
            previous: None,
            previous_comment: None,
            time: Timestamp::now(),
        }
    }

    /// Writes it, unless somebody else did since it was read or another request of the name was carried out.
    pub async fn write(&mut self, record: RestoreRecord) -> Result<(), RunError> {
        if let Some(other) = self.of_other() {
            let error = RestoreError::AlreadyCarriedOut { name: other.name.clone(), uid: other.uid.clone() };
            return Err(error.into());
        }
        let record = RestoreRecord { time: Timestamp::now(), ..record };
        info!(state = ?record.state, "record of the restore written");
        self.stored = Some(self.store.write_record(record, self.stored.as_ref()).await?);
        Ok(())
    }
}
