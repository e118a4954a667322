//! What the tests of uploads share: a store on a server, objects to send, and versitygw.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use age::x25519::Identity;
use greenlang_backup_api::sizing::MIN_PART_SIZE;
use greenlang_backup_api::task::{Bucket, Seal};
use greenlang_backup_api::v1alpha1::Verification;
use greenlang_backup_test_s3::{BUCKET, FaultServer};
use greenlang_backup_test_servers::{S3, noise, run, tasks};
use tempfile::TempDir;

use crate::s3::Patience;
use crate::{Activity, Checksums, ProbeError, Sealed, Sealer, Store, Upload, UploadError};

/// Bound of probes, far beyond what they need.
pub const LIMIT: Duration = Duration::from_mins(1);

/// A store, and what must live as long.
pub struct Fixture {
    pub store: Store,
    _secret: TempDir,
}

impl Fixture {
    pub async fn new(endpoint: String) -> Self {
        Self::with(endpoint, |_| {}).await
    }

    /// With other settings of the bucket.
    pub async fn with(endpoint: String, change: impl FnOnce(&mut Bucket)) -> Self {
        let secret = tempfile::tempdir().unwrap();
        let mut bucket = tasks::bucket(BUCKET, &endpoint, secret.path());
        "p".clone_into(&mut bucket.prefix);
        change(&mut bucket);
        let mut store = Store::open(&bucket, 2).await.unwrap();
        store.patience = Patience {
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(10),
            repeats: 4,
            ..Patience::UPLOAD
        };
        Self { store, _secret: secret }
    }

    pub async fn probe(&self) -> Result<Checksums, ProbeError> {
        self.store.probe("p-1", LIMIT).await
    }

    /// Seals noise of so many bytes and uploads it with what a probe finds.
    pub async fn upload(&self, key: &str, bytes: usize) -> Result<(Verification, Sealed), UploadError> {
        let checksums = self.probe().await.unwrap();
        self.upload_with(key, bytes, checksums).await
    }

    pub async fn upload_with(
        &self,
        key: &str,
        bytes: usize,
        checksums: Checksums,
    ) -> Result<(Verification, Sealed), UploadError> {
        let mut upload =
            Upload::start(&self.store, key, MIN_PART_SIZE, checksums, &Activity::default()).await?;
        let (sender, parts) = Sealer::channel();
        let sealing = tokio::task::spawn_blocking(move || {
            sealer().seal(noise(1, bytes).as_slice(), MIN_PART_SIZE, sender)
        });
        if let Err(error) = upload.send(parts).await {
            upload.abort().await;
            return Err(error);
        }
        let sealed = sealing.await.unwrap().unwrap();
        Ok((upload.finish(&sealed).await?, sealed))
    }
}

/// What failed leaves no open upload, only what the clean-up of its attempt removes.
pub async fn assert_given_up(server: &FaultServer, fixture: &Fixture, attempt: &str) {
    assert_eq!(server.open_uploads(), [] as [&str; 0]);
    fixture.store.remove_attempt(attempt).await.unwrap();
    assert_clean(server);
}

/// Nothing is left of anything.
pub fn assert_clean(server: &FaultServer) {
    assert_eq!(server.objects(), [] as [&str; 0]);
    assert_eq!(server.open_uploads(), [] as [&str; 0]);
}

pub fn sealer() -> Sealer {
    let recipients = vec![Identity::generate().to_public().to_string()];
    Sealer::new(&Seal { recipients, compression_level: 1 }).unwrap()
}

/// A prefix that no other test has, for servers that tests share.
pub fn own_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A server that people run, with a bucket of the fault server's name. Both know the same keys.
pub fn real_server() -> String {
    static WITH_BUCKET: LazyLock<()> = LazyLock::new(|| {
        run(S3.aws().args(["s3", "mb", &format!("s3://{BUCKET}")]));
    });
    LazyLock::force(&WITH_BUCKET);
    S3.endpoint.clone()
}
