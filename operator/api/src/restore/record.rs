//! `restores/<namespace>/<name>.json`: what the bucket remembers of a restore, so that a request which is made anew from Git does
//! not restore again, and an undo finds what was replaced. Pure.
//!
//! The plan of a request that can work writes it first ([`RecordState::Started`], only where there is none), the switch writes
//! it before and after it renames, an undoing drop at the end. In snake case, like the manifest beside it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RequestIdentity;
use crate::v1alpha1::{ChosenBackup, NamedDatabase};

/// Version of the record that this build writes; a reader refuses a newer one.
pub const RECORD_VERSION: u32 = 1;

/// Key of a record, below the prefix. Names of Kubernetes objects need no encoding.
pub fn record_key(namespace: &str, name: &str) -> String {
    format!("restores/{namespace}/{name}.json")
}

/// How far a restore came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordState {
    /// Its plan can work; nothing was touched yet.
    Started,
    /// The databases are being renamed, or the old one dropped (strategy Replace).
    Switching,
    /// The databases were renamed.
    Switched,
    /// It failed or was cancelled before anything was renamed, and what it made was removed.
    RolledBack,
}

/// What the bucket remembers of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub schema_version: u32,
    /// Namespace of the request.
    pub namespace: String,
    /// Name of the request.
    pub name: String,
    /// UID of the request.
    pub uid: String,
    /// [`super::spec_sha256`] of what it asks for.
    pub spec_sha256: String,
    /// How far it came.
    pub state: RecordState,
    /// Host of the server.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// Name of the database that was restored to.
    pub database: String,
    /// The backup; absent for an undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<ChosenBackup>,
    /// The request that this one undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_of: Option<String>,
    /// The database that took the place, by its temporary name; from [`RecordState::Switching`] on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<NamedDatabase>,
    /// The database that is replaced, by the name that it gets; absent where there is none. With strategy Replace the one that is
    /// dropped, by its own name, until the other takes the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<NamedDatabase>,
    /// Comment that the replaced database had, for an undo: [`RequestIdentity::mark`] takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_comment: Option<String>,
    /// When it was last written.
    pub time: Timestamp,
}

impl RestoreRecord {
    /// Whether it is of this request, and not of one that had its name before.
    pub fn is_of(&self, request: &RequestIdentity) -> bool {
        self.uid == request.uid
    }
}
