//! Asks the server what it stored and compares. Network.

use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::types::ChecksumMode;
use greenlang_backup_api::manifest::Object;
use greenlang_backup_api::v1alpha1::Verification;

use crate::checksum::{Algorithm, Fields};
use crate::s3::{Store, classify};
use crate::{ReadError, RequestError, UploadError};

/// What an object must be.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedObject {
    pub bytes: u64,
    /// Checksum of the whole object, if the server verifies one.
    pub checksum: Option<(Algorithm, String)>,
    /// Entity tag of the whole object without quotes, if it can be known.
    pub etag: Option<String>,
}

/// What there is.
#[derive(Debug)]
pub(crate) enum Found {
    /// No such object.
    Nothing,
    /// The object, as far as it was confirmed. `same_etag`: its entity tag is the expected one.
    Same { verified: Verification, same_etag: bool },
    /// Another object; what does not match, in words.
    Other(String),
}

impl Found {
    /// Whether this is certainly the object that was sent, although nobody said that it was made.
    pub(crate) fn is_certain(&self) -> Option<Verification> {
        match self {
            Self::Same { verified: Verification::Streamed, same_etag: false } => None,
            Self::Same { verified, .. } => Some(*verified),
            _ => None,
        }
    }
}

impl Store {
    /// Compares size, checksum, entity tag, storage class and encryption of an object with what they must be.
    pub(crate) async fn look(&self, key: &str, expected: &ExpectedObject) -> Result<Found, UploadError> {
        let Some(head) = self.head(key).await? else { return Ok(Found::Nothing) };
        if let Some((what, wanted, found)) = self.stored_as.differs(&head) {
            let (place, key) = (self.place.clone(), key.to_owned());
            return Err(UploadError::NotAsAsked { place, key, what, wanted, found });
        }
        Ok(compare(expected, &head))
    }

    /// Whether an object of a manifest is there, as far as the server tells without reading it: in its length, and with its
    /// CRC-64/NVME where the server shows one.
    pub async fn confirm(&self, object: &Object) -> Result<(), ReadError> {
        let checksum = object.stored_crc64nvme.clone().map(|sum| (Algorithm::Crc64Nvme, sum));
        let expected = ExpectedObject { bytes: object.stored_bytes, checksum, etag: None };
        let found = self.head(&object.key).await?.map_or(Found::Nothing, |head| compare(&expected, &head));
        let key = object.key.clone();
        match found {
            Found::Same { .. } => Ok(()),
            Found::Nothing => Err(ReadError::ObjectMissing { place: self.place.clone(), key }),
            Found::Other(problem) => Err(ReadError::ObjectDamaged { key, problem }),
        }
    }

    async fn head(&self, key: &str) -> Result<Option<HeadObjectOutput>, RequestError> {
        let request =
            self.client.head_object().bucket(self.bucket()).key(key).checksum_mode(ChecksumMode::Enabled);
        match request.send().await {
            Ok(head) => Ok(Some(head)),
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
            Err(error) => Err(classify(&self.place, "look at an object", &error)),
        }
    }
}

fn compare(expected: &ExpectedObject, head: &HeadObjectOutput) -> Found {
    let bytes = head.content_length().and_then(|bytes| u64::try_from(bytes).ok());
    if bytes != Some(expected.bytes) {
        return Found::Other(format!("{} bytes instead of {}", bytes.unwrap_or_default(), expected.bytes));
    }
    let etag = head.e_tag().map(|etag| etag.trim_matches('"'));
    let same_etag = expected.etag.is_some() && etag == expected.etag.as_deref();
    let confirmed = Fields {
        crc64nvme: head.checksum_crc64_nvme.clone(),
        crc32: head.checksum_crc32.clone(),
        sha256: head.checksum_sha256.clone(),
    };
    let Some((algorithm, wanted)) = &expected.checksum else {
        return Found::Same { verified: Verification::Streamed, same_etag };
    };
    match confirmed.get(*algorithm) {
        Some(found) if found == wanted => Found::Same { verified: Verification::Stored, same_etag },
        Some(found) => Found::Other(format!("{} {found} instead of {wanted}", algorithm.name())),
        None => Found::Same { verified: Verification::Streamed, same_etag },
    }
}

#[cfg(test)]
mod tests {
    use greenlang_backup_api::manifest::{Content, Object};
    use greenlang_backup_api::reasons;
    use greenlang_backup_test_s3::FaultServer;

    use crate::fixture::{Fixture, sealer};

    /// Two Pods of one attempt write to the same keys; the later object may be as long as the first.
    #[tokio::test]
    async fn an_object_that_another_one_took_the_place_of_is_not_confirmed() {
        let server = FaultServer::start();
        let fixture = Fixture::new(server.endpoint()).await;
        let key = "p/x/1/one.dump";
        let (_, sealed) = fixture.upload(key, 1_000).await.unwrap();
        let object = sealer().describe(key.to_owned(), Content::PostgresGlobals, sealed);
        fixture.store.confirm(&object).await.unwrap();
        let (_, other) = fixture.upload(key, 1_000).await.unwrap();
        let as_long = Object { stored_bytes: other.stored_bytes, ..object.clone() };
        let error = fixture.store.confirm(&as_long).await.unwrap_err();
        assert_eq!(error.reason(), reasons::OBJECT_DAMAGED);
        assert!(error.to_string().contains("CRC64NVME"), "{error}");
        fixture.store.delete(key).await.unwrap();
        assert_eq!(fixture.store.confirm(&object).await.unwrap_err().reason(), reasons::OBJECT_MISSING);
    }
}
