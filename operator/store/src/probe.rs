//! Finds out whether a bucket can hold backups, and what its server verifies: does with markers what a backup does with its
//! objects, and also what the server must refuse. Network.
//!
//! Markers lie below a prefix of their own probe, so probes do not see each other's, and are removed whatever happens; what a
//! probe that was killed left, is small and harmless.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, warn};

use crate::checksum::Checksums;
use crate::s3::Store;
use crate::{CleanUpError, ProbeError, RequestError};

/// What the marker holds; says to whoever finds one what it is.
const CONTENT: &[u8] =
    b"Written by a probe of the GreenLang backup operator. It deletes this object again.\n";
/// What must not replace it.
const INTRUDER: &[u8] = b"Written by a probe of the GreenLang backup operator, against a condition.\n";

impl Store {
    /// Checks that objects and uploads can be made, read, listed and removed, that an object is not overwritten when that is
    /// asked for (`If-None-Match: *`), and finds the checksum that the server verifies. `marker` is unique to the probe. The
    /// checks take the limit at most, and the clean-up after them as much again. Not to be dropped before it ends, or
    /// [`Store::remove_markers`] must follow.
    pub async fn probe(&self, marker: &str, limit: Duration) -> Result<Checksums, ProbeError> {
        Box::pin(self.probe_within(marker, limit, limit)).await
    }

    pub(crate) async fn probe_within(
        &self,
        marker: &str,
        limit: Duration,
        clean_up: Duration,
    ) -> Result<Checksums, ProbeError> {
        let prefix = self.markers(marker);
        let (object, upload) = (format!("{prefix}object"), format!("{prefix}upload"));
        let checks = async { tokio::try_join!(self.check_objects(&object), self.find_checksums(&upload)) };
        let checked = timeout(limit, Box::pin(checks)).await.unwrap_or_else(|_| Err(self.too_slow(limit)));
        let cleaned = timeout(clean_up, self.remove_attempt(&prefix)).await;
        let cleaned = cleaned.map_or_else(|_| Err(self.too_slow(clean_up)), |done| Ok(done?));
        if let Err(error) = &cleaned {
            warn!(prefix, %error, "markers not removed by way of a listing");
            let deleted = async { tokio::join!(self.delete(&object), self.delete(&upload)) };
            let _ = timeout(clean_up, deleted).await;
        }
        let ((), checksums) = checked?;
        cleaned?;
        debug!(?checksums, "bucket probed");
        Ok(checksums)
    }

    /// Removes the markers of a probe that was dropped before it ended.
    pub async fn remove_markers(&self, marker: &str) -> Result<(), CleanUpError> {
        self.remove_attempt(&self.markers(marker)).await
    }

    /// Ends in a slash, so marker 1 does not match marker 10.
    fn markers(&self, marker: &str) -> String {
        format!("{}/", self.layout().probe(marker))
    }

    fn too_slow(&self, limit: Duration) -> ProbeError {
        ProbeError::TooSlow { place: self.place.clone(), limit }
    }

    async fn check_objects(&self, key: &str) -> Result<(), ProbeError> {
        self.put_if_absent(key, CONTENT).await?;
        if self.put_if_absent(key, INTRUDER).await? {
            let problem = "it overwrote an object that If-None-Match: * protected";
            return Err(
                RequestError::ConditionalWriteUnsupported { place: self.place.clone(), problem }.into()
            );
        }
        let found = self.get(key).await?;
        // A clean-up lists before it deletes, and without the right to list, S3 calls what is missing forbidden.
        let listed = self.list(key).await?;
        if found.as_deref() == Some(CONTENT) && listed.iter().any(|found| found == key) {
            Ok(())
        } else {
            Err(ProbeError::Differs { place: self.place.clone(), key: key.to_owned() })
        }
    }
}
