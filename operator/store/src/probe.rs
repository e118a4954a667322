//! Finds out whether a bucket can hold backups: puts, gets, lists and deletes a marker object. Network.

use crate::StoreError;
use crate::s3::Store;

/// What the marker holds; says to whoever finds one what it is.
const CONTENT: &[u8] =
    b"Written by a probe of the GreenLang backup operator. It deletes this object again.\n";

impl Store {
    /// Does with a marker what a backup does with its objects. The marker is deleted even when it cannot be read.
    pub async fn probe(&self, marker: &str) -> Result<(), StoreError> {
        let key = self.layout().probe(marker);
        self.put(&key, CONTENT).await?;
        let read = self.check_marker(&key).await;
        let deleted = self.delete(&key).await;
        read.and(deleted)
    }

    async fn check_marker(&self, key: &str) -> Result<(), StoreError> {
        let found = self.get(key).await?;
        // A clean-up lists before it deletes, and without the right to list, S3 calls what is missing forbidden.
        let listed = self.list(key).await?;
        if found.as_deref() == Some(CONTENT) && listed.iter().any(|found| found == key) {
            Ok(())
        } else {
            Err(StoreError::Differs { place: self.place.clone(), key: key.to_owned() })
        }
    }
}
