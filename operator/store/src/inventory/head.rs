//! What only a question for a single object tells: until when it is locked, and whose mark it carries. Network.

use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::types::ObjectLockLegalHoldStatus;
use jiff::Timestamp;

use super::Entry;
use crate::RequestError;
use crate::s3::{Store, classify};

/// Name of the owner's mark among the metadata of an object.
pub(crate) const MARK: &str = "greenlang-owner";

/// What an object says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Mark of the policy that stored it.
    pub mark: Option<String>,
    /// The bucket deletes it not before this time; the end of time for a legal hold.
    pub locked_until: Option<Timestamp>,
}

impl Store {
    /// Asks for one entry, which must not be a delete marker; none when it is gone.
    pub async fn held(&self, entry: &Entry) -> Result<Option<Held>, RequestError> {
        let result = self
            .client
            .head_object()
            .bucket(self.bucket())
            .key(&entry.key)
            .set_version_id(entry.version.clone())
            .send()
            .await;
        let head = match result {
            Ok(head) => head,
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => {
                return Ok(None);
            }
            Err(error) => return Err(classify(&self.place, "look at an object", &error)),
        };
        let hold = head.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On);
        let until = head.object_lock_retain_until_date();
        let until = until.map(|time| Timestamp::from_second(time.secs()).unwrap_or(Timestamp::MAX));
        Ok(Some(Held {
            mark: head.metadata().and_then(|metadata| metadata.get(MARK)).cloned(),
            locked_until: if hold { Some(Timestamp::MAX) } else { until },
        }))
    }
}
