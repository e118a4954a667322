//! What one Job is asked to do. The operator encodes it, the runner decodes it; it never holds a secret, only the
//! directories where secrets are mounted. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::BackupId;
use crate::owner::Claim;
use crate::prune::{CatalogueTask, PruneTask};
use crate::restore::RestoreTask;
use crate::v1alpha1::{Checksum, RolePasswords, ServerSideEncryption, SslMode, Trigger};

/// Environment variable that carries the encoded task. base64url, because Kubernetes expands `$(…)` and collapses `$$`
/// in plain values.
pub const TASK_ENV: &str = "GREENLANG_TASK";
/// Longest encoded task in bytes. Linux refuses to start a process with an environment string of 128 KiB.
pub const MAX_ENCODED_LEN: usize = 96 * 1024;
/// Version of the task format that this build writes and reads.
pub const TASK_VERSION: u32 = 3;

/// One unit of work for one Job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum Task {
    /// Check that bucket, database and keys can be used as the policy says.
    Probe(ProbeTask),
    /// Back up databases with `pg_dump`.
    PostgresDump(PostgresDumpTask),
    /// Remove what attempts left in the bucket that could not clean up after themselves.
    CleanUp(CleanUpTask),
    /// Delete backups that are kept long enough, and what no manifest names.
    Prune(PruneTask),
    /// List what the bucket holds.
    Catalogue(CatalogueTask),
    /// Do one step of a RestoreRequest.
    Restore(RestoreTask),
}

/// Checks of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeTask {
    /// Who will write there.
    pub claim: Claim,
    /// Where backups will be written; a marker object is put, read and deleted there.
    pub bucket: Bucket,
    /// Keys that backups will be encrypted for.
    pub seal: Seal,
    /// Server and databases that backups will read.
    pub postgres: Option<PostgresProbe>,
    /// Name of the marker object, unique to the probe.
    pub marker: String,
}

/// Database part of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostgresProbe {
    /// The server.
    pub server: PostgresServer,
    /// Databases that must accept a connection.
    pub databases: Vec<String>,
}

/// A backup by `pg_dump`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostgresDumpTask {
    /// Which backup this is.
    pub run: RunIdentity,
    /// Who writes it.
    pub claim: Claim,
    /// Where it goes.
    pub bucket: Bucket,
    /// How it is compressed and encrypted.
    pub seal: Seal,
    /// The server it is read from.
    pub server: PostgresServer,
    /// Databases to dump, one object each.
    pub databases: Vec<String>,
    /// Also write roles, memberships and tablespaces.
    pub globals: bool,
    /// Whether password hashes of roles are part of the globals.
    pub role_passwords: RolePasswords,
    /// Also write the server's settings and access rules.
    pub settings: bool,
    /// Dumps of one database that run at once, each into an object of its own.
    pub streams: u8,
    /// Backups that store more bytes than this are not read again.
    pub read_back_limit: u64,
    /// Seconds without a byte moved after which the attempt is given up.
    pub stall_seconds: u32,
}

/// Removal of what attempts at one backup left: their objects, their open uploads, the markers of their checks. An attempt that
/// the backup's manifest names is spared; where the manifest is of another policy or backup, or the prefix another's, everything
/// is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanUpTask {
    /// Whose attempts these were.
    pub claim: Claim,
    /// UID of the policy.
    pub policy_uid: String,
    /// Name of the backup within the policy.
    pub backup: String,
    /// Directory of the backup in the bucket, below the prefix.
    pub path: String,
    /// Name of the backup within its path.
    pub id: BackupId,
    /// Numbers of the attempts, all of which have ended.
    pub attempts: Vec<u32>,
    /// Where they wrote.
    pub bucket: Bucket,
}

/// Identity of one attempt at one backup; goes into the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunIdentity {
    /// Namespace of the policy.
    pub namespace: String,
    /// Name of the policy.
    pub policy: String,
    /// UID of the policy.
    pub policy_uid: String,
    /// Name of the backup within the policy.
    pub backup: String,
    /// Directory of the backup in the bucket, below the prefix.
    pub path: String,
    /// Name of the backup within its path.
    pub id: BackupId,
    /// Number of the attempt, from 1. An attempt writes only below its own number.
    pub attempt: u32,
    /// Time that the backup stands for.
    pub slot: Timestamp,
    /// What asked for it.
    pub trigger: Trigger,
    /// Schedules it serves, with how long each keeps it.
    pub schedules: Vec<ServedSchedule>,
    /// Days to keep it: the longest of its schedules, or the policy's `manualKeepDays`.
    pub keep_days: u32,
}

/// A schedule that a run serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServedSchedule {
    /// Name of the schedule.
    pub name: String,
    /// Days that it keeps its backups.
    pub keep_days: u32,
}

/// A bucket of an S3-compatible server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// Name of the bucket.
    pub name: String,
    /// Key prefix without leading or trailing slash; may be empty.
    pub prefix: String,
    /// Region that requests are signed for.
    pub region: String,
    /// URL of the server; none means AWS.
    pub endpoint: Option<String>,
    /// `http://server/bucket/key` instead of `http://bucket.server/key`.
    pub force_path_style: bool,
    /// CA that signed the server's certificate (`ca.crt`); none means the image's CA bundle.
    pub ca: Option<MountedSecret>,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, optionally `AWS_SESSION_TOKEN`; none means the cloud's own identity.
    pub credentials: Option<MountedSecret>,
    /// Storage class of what is stored; none means the server's default.
    pub storage_class: Option<String>,
    /// Encryption by the server, beneath ours; none means the bucket's default.
    pub server_side_encryption: Option<ServerSideEncryption>,
    /// Checksum that the server is to verify and to keep.
    pub checksum: Checksum,
}

/// A PostgreSQL server and the way to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresServer {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database for questions about the server as a whole.
    pub maintenance_database: String,
    /// How the connection is protected.
    pub ssl_mode: SslMode,
    /// CA that signed the server's certificate (`ca.crt`); none means the image's CA bundle.
    pub ca: Option<MountedSecret>,
    /// `username` and `password`.
    pub credentials: MountedSecret,
}

/// How bytes are made safe to store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seal {
    /// age recipients (public keys), opaque to all but the age library.
    pub recipients: Vec<String>,
    /// zstd level, 1 to 19.
    pub compression_level: u8,
}

/// A Secret and the directory where the Pod has it mounted. The mount is optional, so a missing Secret is an empty or
/// missing directory, which the runner reports by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MountedSecret {
    /// Name of the Secret, for messages.
    pub secret: String,
    /// Directory with one file a key.
    pub directory: String,
}

/// A task that cannot be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Longer than the environment can carry.
    #[error(
        "the task has {0} bytes encoded, more than the {MAX_ENCODED_LEN} that fit into a Pod's environment: name fewer databases or recipients"
    )]
    TooLong(usize),
    /// Not base64url.
    #[error("{TASK_ENV} is not base64url: {0}")]
    Encoding(#[from] base64::DecodeError),
    /// Not a task of this version.
    #[error("{TASK_ENV} holds no task that this runner understands: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by an operator of another format version.
    #[error(
        "{TASK_ENV} has version {0}, this runner understands {TASK_VERSION}: use the runner image of the operator's release"
    )]
    Version(u32),
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    task: T,
}

impl Task {
    /// Encodes for [`TASK_ENV`].
    pub fn encode(&self) -> Result<String, TaskError> {
        let json = serde_json::to_vec(&Versioned { version: TASK_VERSION, task: self })?;
        let encoded = URL_SAFE_NO_PAD.encode(json);
        if encoded.len() > MAX_ENCODED_LEN { Err(TaskError::TooLong(encoded.len())) } else { Ok(encoded) }
    }

    /// Decodes the value of [`TASK_ENV`]. The version is read before the body, so a task of another version says so.
    pub fn decode(encoded: &str) -> Result<Self, TaskError> {
        let json = URL_SAFE_NO_PAD.decode(encoded.trim())?;
        let raw: Versioned<serde_json::Value> = serde_json::from_slice(&json)?;
        if raw.version != TASK_VERSION {
            return Err(TaskError::Version(raw.version));
        }
        Ok(serde_json::from_value(raw.task)?)
    }
}
