//! A bucket as the tests see it, through the SDK and not through the code under test.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ObjectLockRetention, ObjectLockRetentionMode};
use greenlang_backup_test_s3::FaultServer;
use tokio::runtime::Runtime;

use crate::servers::{S3, S3_KEY, S3_SECRET, S3_WITH_VERSIONS};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Keys of what a server has stored, but for the file that says who owns the prefix.
pub fn stored(server: &FaultServer) -> Vec<String> {
    server.objects().into_iter().filter(|key| !key.ends_with("/.owner.json")).collect()
}

/// A bucket of its own for each test.
pub struct TestBucket {
    client: Client,
    pub endpoint: String,
    pub name: String,
}

impl TestBucket {
    pub fn create(name: &str) -> Self {
        let bucket = Self::at(&S3.endpoint, name);
        RUNTIME.block_on(bucket.client.create_bucket().bucket(name).send()).unwrap();
        bucket
    }

    /// One that keeps versions and locks.
    pub fn create_with_versions(name: &str) -> Self {
        let bucket = Self::at(&S3_WITH_VERSIONS.endpoint, name);
        let create = bucket.client.create_bucket().bucket(name).object_lock_enabled_for_bucket(true);
        RUNTIME.block_on(create.send()).unwrap();
        bucket
    }

    /// One that is there. Every server of the tests has the same keys.
    pub fn at(endpoint: &str, name: &str) -> Self {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(S3_KEY, S3_SECRET, None, None, "test"))
            .endpoint_url(endpoint)
            .force_path_style(true)
            .build();
        Self { client: Client::from_conf(config), endpoint: endpoint.to_owned(), name: name.to_owned() }
    }

    /// Keys of what was stored; the file that says who owns the prefix is told of by [`Self::is_owned`].
    pub fn keys(&self) -> Vec<String> {
        self.all_keys().into_iter().filter(|key| !key.ends_with("/.owner.json")).collect()
    }

    pub fn is_owned(&self) -> bool {
        self.all_keys().iter().any(|key| key.ends_with("/.owner.json"))
    }

    fn all_keys(&self) -> Vec<String> {
        let page = RUNTIME.block_on(self.client.list_objects_v2().bucket(&self.name).send()).unwrap();
        page.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
    }

    pub fn open_uploads(&self) -> Vec<String> {
        let page = RUNTIME.block_on(self.client.list_multipart_uploads().bucket(&self.name).send()).unwrap();
        page.uploads().iter().map(|upload| upload.key().unwrap().to_owned()).collect()
    }

    pub fn get(&self, key: &str) -> Vec<u8> {
        RUNTIME.block_on(async {
            let output = self.client.get_object().bucket(&self.name).key(key).send().await.unwrap();
            output.body.collect().await.unwrap().to_vec()
        })
    }

    pub fn put(&self, key: &str, bytes: &[u8]) {
        let body = ByteStream::from(bytes.to_vec());
        RUNTIME.block_on(self.client.put_object().bucket(&self.name).key(key).body(body).send()).unwrap();
    }

    /// With the mark of an owner.
    pub fn put_marked(&self, key: &str, bytes: &[u8], mark: &str) {
        let body = ByteStream::from(bytes.to_vec());
        let put = self.client.put_object().bucket(&self.name).key(key).metadata("greenlang-owner", mark);
        RUNTIME.block_on(put.body(body).send()).unwrap();
    }

    pub fn delete(&self, key: &str) {
        RUNTIME.block_on(self.client.delete_object().bucket(&self.name).key(key).send()).unwrap();
    }

    /// Deletes the only version of an object.
    pub fn delete_for_good(&self, key: &str) {
        let page = RUNTIME.block_on(self.client.list_object_versions().bucket(&self.name).prefix(key).send());
        let version = page.unwrap().versions()[0].version_id().unwrap().to_owned();
        let delete = self.client.delete_object().bucket(&self.name).key(key).version_id(version);
        RUNTIME.block_on(delete.send()).unwrap();
    }

    /// Locks what is current for so long.
    pub fn lock(&self, key: &str, period: Duration) {
        let until = SystemTime::now() + period;
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::Governance)
            .retain_until_date(until.into())
            .build();
        let lock = self.client.put_object_retention().bucket(&self.name).key(key).retention(retention);
        RUNTIME.block_on(lock.send()).unwrap();
    }

    /// Keys of all versions and delete markers, sorted.
    pub fn versions(&self) -> Vec<String> {
        let page = RUNTIME.block_on(self.client.list_object_versions().bucket(&self.name).send()).unwrap();
        let versions = page.versions().iter().filter_map(|version| version.key());
        let markers = page.delete_markers().iter().filter_map(|marker| marker.key());
        let mut keys: Vec<_> = versions.chain(markers).map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// Starts an upload and leaves it open.
    pub fn start_upload(&self, key: &str) {
        RUNTIME.block_on(self.client.create_multipart_upload().bucket(&self.name).key(key).send()).unwrap();
    }

    /// No manifest, no object, no open upload.
    pub fn assert_empty(&self) {
        assert_eq!(self.keys(), Vec::<String>::new());
        assert_eq!(self.open_uploads(), Vec::<String>::new());
    }
}
