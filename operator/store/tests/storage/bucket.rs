//! A bucket as the tests see it, through the SDK and not through the code under test.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use greenlang_backup_store::{ReadSettings, Store};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::proxy::{Fate, Proxy};
use greenlang_backup_test_servers::{S3, S3_KEY, S3_SECRET, tasks};

pub const KIB: usize = 1 << 10;
/// How long a test waits for what must come.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
pub const KEY: &str = "database/20251107-020000/1/greenlang.dump.zst.age";

/// A bucket of its own for each test, and a store that reaches it through a proxy.
pub struct TestBucket {
    client: Client,
    name: String,
    secret: TempDir,
}

impl TestBucket {
    pub async fn create(name: &str) -> Self {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(S3_KEY, S3_SECRET, None, None, "test"))
            .endpoint_url(&S3.endpoint)
            .force_path_style(true)
            .build();
        let client = Client::from_conf(config);
        client.create_bucket().bucket(name).send().await.unwrap();
        let secret = tempfile::tempdir().unwrap();
        Self { client, name: name.to_owned(), secret }
    }

    pub async fn put(&self, bytes: &[u8]) {
        let body = ByteStream::from(bytes.to_vec());
        self.client.put_object().bucket(&self.name).key(KEY).body(body).send().await.unwrap();
    }

    pub async fn delete(&self) {
        self.client.delete_object().bucket(&self.name).key(KEY).send().await.unwrap();
    }

    /// The code under test, through a proxy of its own.
    pub async fn store(&self, fate: impl Fn(usize) -> Fate + Send + 'static) -> (Store, Proxy) {
        let proxy = Proxy::start(S3.port(), fate);
        (self.store_at(proxy.port).await, proxy)
    }

    pub async fn store_at(&self, port: u16) -> Store {
        let bucket = tasks::bucket(&self.name, &format!("http://localhost:{port}"), self.secret.path());
        Store::open(&bucket, 1).await.unwrap()
    }
}

/// Small ranges and short pauses, so that small objects meet what big ones do. No test waits for `stall` unless it says so.
pub fn settings() -> ReadSettings {
    ReadSettings {
        range_bytes: 256 * KIB,
        buffers: 4,
        stall: Duration::from_mins(1),
        retries: 5,
        max_pause: Duration::from_millis(2),
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}
