//! What one Job of a RestoreRequest is asked to do. Pure.
//!
//! Every action may be cut off anywhere and asked for again: each looks first how far it came, by the OIDs and marks of databases
//! and by the record in the bucket, and goes on from there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RequestIdentity;
use crate::names::BackupId;
use crate::task::{Bucket, MountedSecret, PostgresServer};
use crate::v1alpha1::{
    ChosenBackup, HealthCheck, NamedDatabase, RestoreGlobals, RestoreInclude, RestoreStrategy, SqlCheck,
    VerifyRestored,
};

/// Progress steps of a Load begin with this word once it verifies.
pub const VERIFYING_STEP: &str = "Verifying";

/// One step of a RestoreRequest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreTask {
    /// The request.
    pub request: RequestIdentity,
    /// [`super::spec_sha256`] of what it asks for, for the record.
    pub spec_sha256: String,
    /// Where the backup is, and the records of restores.
    pub bucket: Bucket,
    /// The server that is restored to, with a user who may create databases.
    pub server: PostgresServer,
    /// Name of the database that is restored to.
    pub database: String,
    /// Seconds without progress after which the attempt is given up.
    pub stall_seconds: u32,
    /// What is to be done.
    pub action: RestoreAction,
}

/// What a Job of a RestoreRequest does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all_fields = "camelCase")]
pub enum RestoreAction {
    /// Find out whether the request can work. Touches nothing but the record in the bucket.
    Plan(PlanAction),
    /// Make the temporary database, load and verify it. Touches no other, but for `drop_first`.
    Load(LoadAction),
    /// Rename the temporary database to the database's name, and what had that name to another.
    Switch(SwitchAction),
    /// Drop a database that this request has made or replaced.
    Drop(DropAction),
    /// Ask URLs and run queries.
    Check(CheckAction),
}

/// Find out whether a request can work: backup, keys, server, rights, names, space. Its result is a
/// [`crate::v1alpha1::RestorePlan`] as one detail line, and a [`super::PlanReport`]. A plan that cannot work ends as
/// [`crate::report::Outcome::Failed`] with the reason of its first refusal, and with its plan as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanAction {
    /// What is restored.
    pub source: PlanSource,
    /// What opens the backup.
    pub keys: OpeningKeys,
    /// What becomes of the database that is there.
    pub strategy: RestoreStrategy,
    /// Name that the temporary database will have; for an undo the record has its name.
    pub temporary: String,
    /// Name that a replaced database will have.
    pub previous: String,
    /// Connections that load at once.
    pub jobs: u8,
    /// What becomes of roles.
    pub globals: RestoreGlobals,
    /// How it will be verified.
    pub verify: VerifyRestored,
    /// Only this part.
    #[serde(default)]
    pub include: Option<RestoreInclude>,
    /// Go on although logical replication of the database ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_logical_replication_loss: bool,
    /// Write the record ([`super::RecordState::Started`]) if it can work; false for a dry run, and where
    /// an application could not be stopped.
    pub claim: bool,
}

/// What is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum PlanSource {
    /// A backup by its id.
    Backup {
        /// Directory in the bucket, below the prefix.
        path: String,
        /// Id within its path.
        id: BackupId,
        /// Database of the backup; none means the one with the target's name, or the only one.
        database: Option<String>,
    },
    /// The newest good backup.
    Latest {
        /// Directory in the bucket, below the prefix.
        path: String,
        /// Only those that were made under this name: another backup may have had the path before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backup: Option<String>,
        /// Only those that this schedule asked for.
        schedule: Option<String>,
        /// As above.
        database: Option<String>,
    },
    /// What an earlier request of the namespace has replaced.
    Undo {
        /// Name of that request.
        of: String,
    },
}

/// What opens a backup. Which of them is needed follows from the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpeningKeys {
    /// age private keys (`identity.txt`).
    pub identity: Option<MountedSecret>,
    /// What the old scripts encrypted with (`passphrase`).
    pub legacy_passphrase: Option<MountedSecret>,
}

/// Make the temporary database with globals, data, indexes, owners, grants and settings; compare it with the backup; `ANALYZE`.
/// One of the same name and mark that an earlier attempt left is dropped first. When it fails it drops what it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadAction {
    /// The backup, as the plan chose it.
    pub backup: ChosenBackup,
    /// What opens it.
    pub keys: OpeningKeys,
    /// Name of the temporary database. While it is being made no session but ours gets in.
    pub temporary: String,
    /// Connections that load at once.
    pub jobs: u8,
    /// What becomes of roles.
    pub globals: RestoreGlobals,
    /// How it is verified.
    pub verify: VerifyRestored,
    /// Only this part.
    #[serde(default)]
    pub include: Option<RestoreInclude>,
    /// Strategy Replace: the database that is dropped first, if it is still there under the name and with this OID. The record
    /// says [`super::RecordState::Switching`] before that.
    pub drop_first: Option<NamedDatabase>,
}

/// Rename, from the maintenance database. Writes the record ([`super::RecordState::Switching`]), keeps new sessions out of both databases,
/// ends theirs, waits until there are none, renames both in one transaction, lets sessions in again, and writes the record
/// ([`super::RecordState::Switched`]). Decides by OIDs how far it came. If it fails before the rename it lets sessions in again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchAction {
    /// What comes to the database's name, by its name until then.
    pub incoming: NamedDatabase,
    /// What has the database's name and leaves it: its OID, and the name that it gets. None where nothing may have the name.
    pub outgoing: Option<NamedDatabase>,
    /// The backup, for the record; none for an undo.
    pub backup: Option<ChosenBackup>,
    /// The request that this one undoes: `incoming` carries that one's mark, and its comment is in that one's record.
    pub undo_of: Option<String>,
    /// Whether logical replication slots and subscriptions of what leaves its place may be lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_logical_replication_loss: bool,
}

/// Drop a database, if it is still there with this name, OID and mark. A database that is gone is success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropAction {
    /// Its name.
    pub name: String,
    /// Its OID; none where the attempt that made it could not tell: then name and mark decide.
    pub oid: Option<u32>,
    /// Write the record ([`super::RecordState::RolledBack`]) afterwards, unless it says that the databases were switched.
    pub rolls_back: bool,
    /// Not before this time, by the clock of the database server: that of the operator may be ahead. Only of a replaced database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

/// Ask URLs and run queries, all of them, and say which failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckAction {
    /// URLs that must answer.
    pub health: Vec<HealthCheck>,
    /// Queries whose answer is known, run in the database that was restored to.
    pub sql: Vec<SqlCheck>,
}

impl RestoreTask {
    /// The Secrets that have to be mounted, beside those of bucket and server.
    pub fn keys(&self) -> Vec<&MountedSecret> {
        let keys = match &self.action {
            RestoreAction::Plan(plan) => &plan.keys,
            RestoreAction::Load(load) => &load.keys,
            RestoreAction::Switch(_) | RestoreAction::Drop(_) | RestoreAction::Check(_) => return vec![],
        };
        [&keys.identity, &keys.legacy_passphrase].into_iter().flatten().collect()
    }
}
