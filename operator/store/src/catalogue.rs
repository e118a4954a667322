//! The bucket as catalogue: a backup exists when its manifest does. Network.

use std::sync::Arc;

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use backon::{ExponentialBuilder, Retryable as _};
use greenlang_backup_api::manifest::{Manifest, ManifestError};
use greenlang_backup_api::reasons;
use sha2::{Digest as _, Sha256};

use crate::RequestError;
use crate::error::Place;
use crate::s3::{ATTEMPT_TIMEOUT, Store, classify, is_definite, one_try};
use crate::seal::hex;

/// A manifest as it lies in the bucket.
#[derive(Clone, Debug)]
pub struct StoredManifest {
    /// What it says.
    pub manifest: Manifest,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
}

/// What became of a manifest that was to be written.
#[derive(Clone, Debug)]
pub enum Published {
    /// It is there.
    Written {
        /// SHA-256 of its bytes, hexadecimal.
        sha256: String,
    },
    /// Another attempt wrote one before; ours is not there and never will be.
    Other(Box<StoredManifest>),
}

/// A manifest that was not read, or of which it is not known whether it was written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A manifest that is there and cannot be read.
    #[error("{key} in {place} is no manifest of ours: {problem}")]
    Manifest {
        /// Where.
        place: Arc<Place>,
        /// Key of the manifest.
        key: String,
        /// What is wrong with it.
        problem: ManifestError,
    },
    /// The manifest was sent and nobody said what became of it.
    #[error(
        "whether {key} was written is not known, so the objects of this attempt are kept; the next attempt finds out ({cause})"
    )]
    ManifestUncertain {
        /// Key of the manifest.
        key: String,
        /// The last failure.
        cause: Box<CatalogueError>,
    },
}

impl CatalogueError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Request(error) => error.reason(),
            Self::Manifest { .. } | Self::ManifestUncertain { .. } => reasons::STORAGE_ERROR,
        }
    }

    /// Whether another attempt may succeed without a change.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retryable(),
            Self::Manifest { .. } => false,
            Self::ManifestUncertain { .. } => true,
        }
    }
}

/// One try to write a manifest that did not end in certainty.
enum Failure {
    /// The server said no; nothing was written by this try.
    Refused(CatalogueError),
    /// Nobody knows.
    Unknown(CatalogueError),
}

impl Store {
    /// Reads a manifest; none when the backup does not exist.
    pub async fn read_manifest(&self, key: &str) -> Result<Option<StoredManifest>, CatalogueError> {
        let unusable = |problem| {
            let (place, key) = (self.place.clone(), key.to_owned());
            CatalogueError::Manifest { place, key, problem }
        };
        let bytes = match self.get(key).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(RequestError::TooLong { .. }) => {
                return Err(unusable(ManifestError::Implausible("it has more than 16 MiB")));
            }
            Err(error) => return Err(error.into()),
        };
        let manifest = Manifest::from_slice(&bytes).map_err(unusable)?;
        Ok(Some(StoredManifest { manifest, sha256: hex(&Sha256::digest(&bytes)) }))
    }

    /// Writes a manifest unless there is one. Each try is a single request whose outcome is looked up when the answer was
    /// lost, because the objects that a manifest names may only be removed when it is certain that it was not written:
    /// any error but [`CatalogueError::ManifestUncertain`] says that.
    pub async fn publish(&self, key: &str, manifest: &[u8]) -> Result<Published, CatalogueError> {
        let failure = match self.publish_once(key, manifest).await {
            Ok(published) => return Ok(published),
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Unknown(error)) => error,
        };
        tracing::warn!(key, error = %failure, "manifest not confirmed, trying again");
        (|| self.publish_once(key, manifest))
            .retry(ExponentialBuilder::default().with_jitter().with_max_times(2))
            .when(|failure| matches!(failure, Failure::Unknown(_)))
            .await
            .map_err(|failure| match failure {
                Failure::Refused(cause) | Failure::Unknown(cause) => {
                    CatalogueError::ManifestUncertain { key: key.to_owned(), cause: Box::new(cause) }
                }
            })
    }

    async fn publish_once(&self, key: &str, bytes: &[u8]) -> Result<Published, Failure> {
        let result = self
            .put_request(key, bytes)
            .content_type("application/json")
            .if_none_match("*")
            .customize()
            .config_override(one_try(ATTEMPT_TIMEOUT))
            .send()
            .await;
        let Err(error) = result else {
            return Ok(written(bytes));
        };
        // 409 says that another write of this key is going on; which of them wins is seen by looking.
        let lost = matches!(error.code(), Some("PreconditionFailed" | "ConditionalRequestConflict"));
        let failure = CatalogueError::from(classify(&self.place, "write the manifest", &error));
        if !lost && is_definite(&error) {
            return Err(Failure::Refused(failure));
        }
        match self.get(key).await.map_err(|error| Failure::Unknown(error.into()))? {
            Some(found) if found == bytes => Ok(written(bytes)),
            Some(_) => match self.read_manifest(key).await.map_err(Failure::Refused)? {
                Some(other) => Ok(Published::Other(Box::new(other))),
                None => Err(Failure::Unknown(failure)),
            },
            None => Err(Failure::Unknown(failure)),
        }
    }
}

fn written(bytes: &[u8]) -> Published {
    Published::Written { sha256: hex(&Sha256::digest(bytes)) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use greenlang_backup_api::reasons;
    use greenlang_backup_test_s3::FaultServer;

    use super::*;
    use crate::fixture::Fixture;
    use crate::s3::{MAX_SMALL, Patience};

    /// Whoever can write to the bucket decides how long a manifest is, and must not decide how much memory we take.
    #[tokio::test]
    async fn a_manifest_without_end_is_not_read_to_its_end() {
        let server = FaultServer::start();
        let fixture = Fixture::new(server.endpoint()).await;
        for (bytes, problem) in [(MAX_SMALL, "the manifest cannot be read: EOF"), (MAX_SMALL + 1, "16 MiB")] {
            server.plant("p/x/manifest.json", vec![b' '; bytes]);
            let error = fixture.store.read_manifest("p/x/manifest.json").await.unwrap_err();
            assert!(matches!(error, CatalogueError::Manifest { .. }), "{error}");
            assert!(error.to_string().contains(problem), "{error}");
        }
        let error = fixture.store.get("p/x/manifest.json").await.unwrap_err();
        assert_eq!((error.reason(), error.is_retryable()), (reasons::STORAGE_ERROR, false));
    }

    /// A byte now and then is enough for those who only look whether anything comes.
    #[tokio::test]
    async fn a_manifest_that_trickles_is_not_waited_for() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut fixture = Fixture::new(format!("http://{}", listener.local_addr().unwrap())).await;
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            write!(client, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").unwrap();
            while client.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        fixture.store.patience = Patience { grace: Duration::from_millis(300), ..fixture.store.patience };
        let start = Instant::now();
        let error = fixture.store.read_manifest("p/x/manifest.json").await.unwrap_err();
        assert_eq!((error.reason(), error.is_retryable()), (reasons::CONNECTION_FAILED, true));
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}
