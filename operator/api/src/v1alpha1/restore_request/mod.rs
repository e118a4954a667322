//! RestoreRequest: what people apply to bring a database back, once. Says what may be written, and decides nothing. No I/O.

#![expect(clippy::struct_excessive_bools, reason = "each is a question of its own, as people write it")]

mod checks;
mod database;
mod plan;
mod quiesce;
mod source;
mod status;

use kube::core::cel::Rule;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use checks::*;
pub use database::*;
pub use plan::*;
pub use quiesce::*;
pub use source::*;
pub use status::*;

use super::{JobTemplate, SecretRef, Storage};

/// RestoreRequest brings a database back from a backup, once. It says what is restored, where to, and which applications stop
/// meanwhile. The operator first makes a plan; what cannot work fails there, with nothing touched.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "backup.greenlang.io",
    version = "v1alpha1",
    kind = "RestoreRequest",
    namespaced,
    status = "RestoreRequestStatus",
    shortname = "rsr",
    category = "greenlang",
    derive = "PartialEq",
    doc = "RestoreRequest brings a database back from a backup, once.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("metadata.name must have at most 63 characters and no dot, because Jobs and labels are named after it"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".status.backup.id"),
    printcolumn(name = "Database", type_ = "string", json_path = ".status.target.database"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Finished", type_ = "string", json_path = ".status.conditions[?(@.type=='Finished')].reason"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[cfg_attr(feature = "cel", kube(cel))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.policyRef) != has(self.storage)",
        "a request needs either spec.policyRef or spec.storage: where the backup is"),
    validation = ("!has(self.source.backup) || has(self.source.backup.name) == has(self.policyRef)",
        "spec.source.backup takes name with spec.policyRef, and path with spec.storage"),
    validation = ("!has(self.source.latest) || has(self.source.latest.backup) == has(self.policyRef)",
        "spec.source.latest takes backup with spec.policyRef, and path with spec.storage"),
    validation = ("has(self.policyRef) || (has(self.database.target) && has(self.database.target.host) && has(self.database.target.name))",
        "spec.database.target needs host and name where spec.storage stands in for spec.policyRef"),
    validation = ("has(self.source.undoOf) || has(self.identitySecretRef) || has(self.legacyPassphraseSecretRef)",
        "spec.identitySecretRef is required: without an age private key no backup can be read"),
    validation = ("!has(self.source.undoOf) || !(has(self.database.jobs) || has(self.database.globals) || has(self.database.verify) || has(self.database.include))",
        "an undo restores nothing, it swaps back: leave out spec.database.jobs, globals, verify and include"),
    validation = ("!has(self.source.undoOf) || !has(self.database.strategy) || self.database.strategy == 'Swap'",
        "an undo swaps back: spec.database.strategy must be Swap or left out"),
    validation = ("!has(self.database.strategy) || self.database.strategy != 'NewDatabase' || !has(self.confirm)",
        "spec.confirm must be left out with strategy NewDatabase, which replaces nothing"),
    validation = ("has(self.confirm) || (has(self.database.strategy) && self.database.strategy == 'NewDatabase') || (has(self.dryRun) && self.dryRun)",
        "spec.confirm must name the database whose content is replaced"),
    validation = ("!has(self.confirm) || !has(self.database.target) || !has(self.database.target.name) || self.confirm == self.database.target.name",
        "spec.confirm must be the same as spec.database.target.name, the database whose content is replaced"),
    validation = ("!has(self.database.strategy) || self.database.strategy != 'Replace' || (has(self.allowDataLossOnFailure) && self.allowDataLossOnFailure)",
        "strategy Replace drops the database before its replacement is there: set allowDataLossOnFailure: true to accept that, or use Swap"),
    validation = ("!has(self.database.strategy) || self.database.strategy != 'Replace' || !has(self.quiesce) || !has(self.quiesce.when) || self.quiesce.when == 'BeforeRestore'",
        "strategy Replace drops what the applications use: spec.quiesce.when must be BeforeRestore or left out"),
    validation = immutable("policyRef"),
    validation = immutable("storage"),
    validation = immutable("source"),
    validation = immutable("database"),
    validation = immutable("identitySecretRef"),
    validation = immutable("legacyPassphraseSecretRef"),
    validation = immutable("quiesce"),
    validation = immutable("checks"),
    validation = immutable("confirm"),
    validation = immutable("allowDataLossOnFailure"),
    validation = immutable("allowLogicalReplicationLoss"),
    validation = immutable("stallSeconds"),
    validation = immutable("jobTemplate"),
    validation = immutable("startBefore"),
    validation = immutable("dryRun"),
    validation = ("!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
        "spec.cancel cannot be taken back: make a new request"),
)]
pub struct RestoreRequestSpec {
    /// The BackupPolicy in this namespace whose bucket holds the backup. Either this or `storage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<PolicyRef>,
    /// The bucket that holds the backup, where there is no policy: a cluster that was lost needs no more than bucket and key.
    /// Either this or `policyRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// What is restored: exactly one of `backup`, `latest` and `undoOf`.
    pub source: RestoreSource,
    /// Where to and how.
    pub database: RestoreDatabase,
    /// Secret in this namespace whose `identity.txt` holds age private keys, one a line, one of which opens the backup. Only the
    /// Jobs of this request mount it. Required, but for an undo and for backups of the old scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_secret_ref: Option<SecretRef>,
    /// Secret in this namespace whose `passphrase` opens what the old shell scripts encrypted (`backup.tar.gz.enc`). Only needed
    /// for their backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_passphrase_secret_ref: Option<SecretRef>,
    /// Applications that stop while the database is replaced, and come back at every end. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<Quiesce>,
    /// What must be true once the applications are back. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
    /// Name of the database whose content is replaced, to be written by hand: what stands here and in `database.target` (or the
    /// policy) must agree. Required with the strategies Swap and Replace and for an undo, unless `dryRun` is true; refused with
    /// NewDatabase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub confirm: Option<String>,
    /// Accept that the database is lost if the restore fails. Required for strategy Replace. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_data_loss_on_failure: bool,
    /// Accept that logical replication of the database ends: replication slots, subscribers of its publications and its own
    /// subscriptions stay with what was replaced. Default: false, and a plan that finds any is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_logical_replication_loss: bool,
    /// Seconds without progress after which a Job of this request is given up, and a load that has not started. 120 to 86400. Default: 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 120, max = 86_400))]
    pub stall_seconds: Option<u32>,
    /// Settings of the Pods that the Jobs of this request run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_template: Option<JobTemplate>,
    /// Time after which the request no longer starts, for example `2025-11-07T18:00:00Z`: one that comes to its turn later
    /// ends as Expired, with nothing touched. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_before: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
    /// Make the plan, write it to `status.plan`, and end there. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Stop and undo what was done so far. Cannot be taken back, and changes nothing once the databases are being switched; the
    /// one field that may change. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
}

/// A field that can neither be changed, nor added, nor removed. The type of a field that is not there is unknown to the rule,
/// so presence is compared first.
fn immutable(field: &str) -> Rule {
    let message = format!("spec.{field} cannot be changed: a request is carried out once, make a new one");
    Rule::new(format!(
        "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    ))
    .message(message.as_str())
}

impl RestoreRequest {
    /// Name of the file in `crds/` that holds the generated definition.
    pub const CRD_FILE: &str = "restorerequests.yaml";
    /// `apiVersion` of the resource.
    pub const API_VERSION: &str = "backup.greenlang.io/v1alpha1";
    /// `kind` of the resource.
    pub const KIND: &str = "RestoreRequest";

    /// Generation of the spec, 0 for an object that no API server has seen.
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }
}
