//! The records of restores: small objects that are written only where they are still what was read, so that two Jobs never both
//! think that they may go on. Network.

use std::sync::Arc;

use greenlang_backup_api::reasons;
use greenlang_backup_api::restore::{RECORD_VERSION, RestoreRecord};

use crate::RequestError;
use crate::error::Place;
use crate::s3::Store;

/// A record as it lies in the bucket.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// What it says.
    pub record: RestoreRecord,
    /// Which of its versions this is.
    etag: String,
}

/// A record that was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It cannot be understood.
    #[error(
        "{key} in {place} is no record of a restore that this release understands ({problem}): look at it, and remove it if no restore is going on"
    )]
    Unreadable {
        /// Where.
        place: Arc<Place>,
        /// Its key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Somebody else wrote it since it was read.
    #[error(
        "{key} in {place} was written by somebody else meanwhile: another Job works on a request of that name; the next attempt looks again"
    )]
    Contested {
        /// Where.
        place: Arc<Place>,
        /// Its key.
        key: String,
    },
}

impl RecordError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Request(error) => error.reason(),
            Self::Unreadable { .. } => reasons::OBJECT_DAMAGED,
            Self::Contested { .. } => reasons::OBJECT_REPLACED,
        }
    }

    /// Whether another attempt may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retryable(),
            Self::Unreadable { .. } => false,
            Self::Contested { .. } => true,
        }
    }
}

impl Store {
    /// The record of a request's name; none where there is none.
    pub async fn read_record(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<StoredRecord>, RecordError> {
        let key = self.layout().record(namespace, name);
        let Some((bytes, etag)) = self.get_with_etag(&key).await? else { return Ok(None) };
        let unreadable = |problem: String| RecordError::Unreadable {
            place: self.place.clone(),
            key: key.clone(),
            problem,
        };
        let record = decode(&bytes).map_err(unreadable)?;
        let etag = etag.ok_or_else(|| unreadable("the server gives no ETag".to_owned()))?;
        Ok(Some(StoredRecord { record, etag }))
    }

    /// Writes a record in the place of the one that was read, or where there was none.
    pub async fn write_record(
        &self,
        record: RestoreRecord,
        before: Option<&StoredRecord>,
    ) -> Result<StoredRecord, RecordError> {
        let key = self.layout().record(&record.namespace, &record.name);
        let bytes = serde_json::to_vec_pretty(&record).unwrap_or_default();
        let expected = before.map(|before| before.etag.as_str());
        if let Some(etag) = self.put_if(&key, &bytes, expected).await? {
            return Ok(StoredRecord { record, etag });
        }
        // An answer may have been lost, and the try after it refused for what it had written itself.
        match self.get_with_etag(&key).await? {
            Some((found, Some(etag))) if found == bytes => Ok(StoredRecord { record, etag }),
            _ => Err(RecordError::Contested { place: self.place.clone(), key }),
        }
    }
}

/// The version is read before the rest.
fn decode(bytes: &[u8]) -> Result<RestoreRecord, String> {
    let json: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let version = json["schema_version"].as_u64().ok_or("it has no schema_version")?;
    if version > RECORD_VERSION.into() {
        return Err(format!("it has version {version}, this release reads up to {RECORD_VERSION}"));
    }
    serde_json::from_value(json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use greenlang_backup_api::restore::RecordState;

    use super::*;
    use crate::fixture::{Fixture, real_server};

    fn record(name: String, state: RecordState) -> RestoreRecord {
        RestoreRecord {
            schema_version: RECORD_VERSION,
            namespace: "greenlang".into(),
            name,
            uid: "u-1".into(),
            spec_sha256: String::new(),
            state,
            host: "db".into(),
            port: 5432,
            database: "shop".into(),
            backup: None,
            undo_of: None,
            restored: None,
            previous: None,
            previous_comment: None,
            time: "2025-11-07T02:00:00Z".parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn only_one_of_two_writers_goes_on() {
        let fixture = Fixture::new(real_server()).await;
        let store = &fixture.store;
        let name = crate::fixture::own_prefix().replace('/', "-");
        assert!(store.read_record("greenlang", &name).await.unwrap().is_none());
        let started = record(name.clone(), RecordState::Started);
        let first = store.write_record(started.clone(), None).await.unwrap();
        // The same again is what a lost answer looks like; another is none of ours.
        store.write_record(started, None).await.unwrap();
        let other = RestoreRecord { uid: "u-2".into(), ..record(name.clone(), RecordState::Started) };
        let contested = store.write_record(other.clone(), None).await.unwrap_err();
        assert!(matches!(contested, RecordError::Contested { .. }), "{contested}");

        let switching = record(name.clone(), RecordState::Switching);
        let second = store.write_record(switching, Some(&first)).await.unwrap();
        let late = store.write_record(other, Some(&first)).await.unwrap_err();
        assert!(matches!(late, RecordError::Contested { .. }), "{late}");
        let found = store.read_record("greenlang", &name).await.unwrap().unwrap();
        assert_eq!((found.record.state, found.etag), (RecordState::Switching, second.etag));
    }

    #[test]
    fn newer_and_other_files_are_refused() {
        for (text, problem) in
            [("{\"schema_version\": 99}", "version 99"), ("{}", "schema_version"), ("x", "")]
        {
            let error = decode(text.as_bytes()).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
