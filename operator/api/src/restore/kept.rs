//! A replaced database that is dropped later, as a ConfigMap remembers it: it outlives the request. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RequestIdentity;
use crate::task::{Bucket, PostgresServer};
use crate::v1alpha1::{JobTemplate, NamedDatabase};

/// Key within the ConfigMap's `data`.
pub const KEPT_KEY: &str = "kept.json";

/// A replaced database. It names Secrets and holds none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptDatabase {
    /// The request that replaced it.
    pub request: RequestIdentity,
    /// The server that it is on.
    pub server: PostgresServer,
    /// Where the record of the restore is.
    pub bucket: Bucket,
    /// Name of the database that took its place.
    pub database: String,
    /// The replaced database. Its OID says which one it is, whatever it is called.
    pub previous: NamedDatabase,
    /// When it is dropped.
    pub drop_after: Timestamp,
    /// Seconds without progress after which the Job that drops it is given up.
    pub stall_seconds: u32,
    /// Settings of the Pod that drops it.
    #[serde(default)]
    pub job_template: JobTemplate,
}
