//! Where backups go and who can read them. No I/O.

use k8s_openapi::api::core::v1::LocalObjectReference;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where backups go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// A bucket of AWS S3 or of a server that speaks its protocol.
    pub s3: S3Storage,
}

/// A bucket.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Storage {
    /// Name of the bucket, 3 to 63 characters. It must exist; the operator makes none.
    #[schemars(length(min = 3, max = 63), regex(pattern = "^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,
    /// Directory within the bucket for everything of this policy, without slash at its ends, for example
    /// `clusters/production`; up to 256 characters. Below one prefix only one policy writes. Default: the top of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = "^([A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*)?$"))]
    #[x_kube(validation = ("!self.split('/').exists(s, s == '.' || s == '..')", "prefix must not contain . or .. as a segment"))]
    pub prefix: Option<String>,
    /// Region of the bucket; requests are signed for it. Default: `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[a-z0-9-]+$"))]
    pub region: Option<String>,
    /// URL of an S3-compatible server, for example `https://minio.storage:9000`. Default: AWS S3 in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https?://[A-Za-z0-9.\\[\\]:-]+/?$"))]
    pub endpoint: Option<String>,
    /// Address the bucket as `server/bucket` instead of `bucket.server`. Default: true with an `endpoint`, else false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_path_style: Option<bool>,
    /// Secret in this namespace whose `ca.crt` signed the server's certificate. Default: the public CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretRef>,
    /// Secret in this namespace with `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary credentials,
    /// `AWS_SESSION_TOKEN`. Default: the cloud's own identity of the Job's service account (IRSA, EKS Pod Identity, IMDS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
    /// Storage class of backups, for example `STANDARD_IA`, where the server knows it; a server that does not fails the check.
    /// Manifests are stored in the same class. Default: the bucket's own (`STANDARD` at AWS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Z][A-Z0-9_]*$"))]
    pub storage_class: Option<String>,
    /// Encryption by the server, beneath the encryption with age, which is always there. Default: the bucket's own setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<ServerSideEncryption>,
    /// Checksum that the server verifies as bytes arrive and confirms when an object is complete. `Auto` finds out the best one
    /// that the server really refuses when it is wrong; a server that refuses none is not trusted, and each backup is read
    /// again, whatever `readBackLimit` says. `Crc64Nvme`, `Crc32` (both of the whole object) and `Sha256` (of each part) fail the
    /// check where the server does not verify them. `None` sends none, and each backup is read again. Default: `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
}

/// Encryption by the server.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.kmsKeyId) || self.type == 'AwsKms'", "serverSideEncryption.kmsKeyId needs type: AwsKms"))]
pub struct ServerSideEncryption {
    /// `AwsKms`: with a key of the key management service. `Aes256`: with keys that the server manages.
    #[serde(rename = "type")]
    pub type_: ServerSideEncryptionType,
    /// Id, ARN or alias of the KMS key. Default: the account's own key for S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub kms_key_id: Option<String>,
}

/// Whose keys the server encrypts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServerSideEncryptionType {
    /// Those of the key management service (SSE-KMS).
    AwsKms,
    /// The server's own (SSE-S3).
    Aes256,
}

/// Checksum that the server verifies and keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum Checksum {
    /// The best of those below that the server verifies.
    #[default]
    Auto,
    /// CRC-64/NVME over the whole object.
    Crc64Nvme,
    /// CRC-32 over the whole object.
    Crc32,
    /// SHA-256 of each part.
    Sha256,
    /// None: every backup is read again.
    None,
}

/// A Secret in the namespace of the object that names it. The operator never reads it; only Jobs mount it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

impl From<&SecretRef> for LocalObjectReference {
    fn from(reference: &SecretRef) -> Self {
        Self { name: reference.name.clone() }
    }
}

/// Who can read the backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// Encryption with age (age-encryption.org): public keys only, so that whoever makes backups cannot read them.
    pub age: AgeEncryption,
}

/// Encryption with age.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.recipients.size() >= 2 || (has(self.allowSingleRecipient) && self.allowSingleRecipient)",
    "encryption.age.recipients needs two or more keys, one of them kept offline, so that one lost key loses no backup; set allowSingleRecipient: true to accept the risk"),
    validation = ("self.recipients.all(r, !r.upperAscii().contains('AGE-SECRET-KEY-'))",
    "encryption.age.recipients takes public keys (age1…); this is a private key: treat it as leaked, make a new one with age-keygen"))]
pub struct AgeEncryption {
    /// Public keys (`age1…`, as `age-keygen` prints them), up to 20. Each of the private keys can open every backup. Keep one of them offline.
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 4096)), extend("x-kubernetes-list-type" = "set"))]
    pub recipients: Vec<String>,
    /// Accept a single recipient: if its private key is lost, so is every backup. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_single_recipient: bool,
}

/// How data is compressed.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compression {
    /// zstd level. 1 to 19; above 3 the time grows much faster than the backup shrinks. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 19))]
    pub level: Option<u8>,
}

/// How far a backup was proved, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Verification {
    /// Every producer exited 0 and every byte that it wrote was hashed, sealed and accepted by the server.
    Streamed,
    /// The server confirmed the checksum of what it stored.
    Stored,
    /// Every stored byte was read again and compared.
    ReadBack,
    /// It was restored and compared with its source.
    Restored,
}
