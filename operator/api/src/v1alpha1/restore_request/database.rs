//! Where a RestoreRequest restores to, and how. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{SecretRef, SslMode};

/// Where to and how.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.include) || (has(self.strategy) && self.strategy == 'NewDatabase')",
    "database.include goes with strategy NewDatabase only: part of a database is no replacement for all of it"),
    validation = ("!has(self.strategy) || self.strategy != 'NewDatabase' || (has(self.target) && has(self.target.name))",
    "database.target.name is required with strategy NewDatabase: the name of the database that is made"),
    validation = ("!has(self.keepPreviousHours) || !has(self.strategy) || self.strategy == 'Swap'",
    "database.keepPreviousHours goes with strategy Swap only: no other keeps what was there before"))]
pub struct RestoreDatabase {
    /// What becomes of the database that is there: `Swap` restores beside it, verifies, renames both in one transaction, and keeps
    /// what was replaced for `keepPreviousHours`; `Replace` drops it first, for servers without room for both; `NewDatabase`
    /// touches none and makes one that must not exist yet. Default: `Swap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<RestoreStrategy>,
    /// Server and database. Default: those of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<RestoreTarget>,
    /// Secret in this namespace with `username` and `password` of a superuser, or of a user that may create databases (`CREATEDB`), end
    /// sessions of others (`pg_signal_backend`), make the roles that the server lacks, if any (`CREATEROLE`), and act as every role that
    /// owns the database or something in it, now or in the backup: a member that inherits what that role may do, from PostgreSQL 16 on
    /// by `GRANT … WITH INHERIT TRUE, SET TRUE`. A plan names what is missing, as far as databases and tables tell.
    pub credentials_secret_ref: SecretRef,
    /// Connections that load data and build indexes at once. 1 to 16. Default: 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub jobs: Option<u8>,
    /// Roles and memberships of the backup that the server lacks: `Restore` makes them, and changes none that is there; `Skip` makes
    /// none, and a plan that finds one missing is refused. Default: `Restore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub globals: Option<RestoreGlobals>,
    /// How what was restored is compared with the backup before it takes the place of anything: `Counts` counts the rows of each
    /// table; `Full` dumps it again and compares the content of each table too. Default: `Full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyRestored>,
    /// Hours that the replaced database is kept under another name, for an undo. It takes its space on the server meanwhile. With 0
    /// it is dropped as soon as the request has ended, and there is no undo. 0 to 8760. Default: 72.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 8_760))]
    pub keep_previous_hours: Option<u32>,
    /// Restore only this part of the database, into a new one. What belongs to it and what its definitions need comes along, but for
    /// other tables; what cannot be restored without the rest is left out and told in `status.plan.leftOut`. Default: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<RestoreInclude>,
}

/// Part of a database.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("(has(self.schemas) && self.schemas.size() > 0) || (has(self.tables) && self.tables.size() > 0)",
    "database.include needs schemas or tables"))]
pub struct RestoreInclude {
    /// Schemas that are restored with all that is in them, by their exact names: no pattern, no quotes around them, upper case
    /// as it is. 100 at most. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub schemas: Vec<String>,
    /// Tables that are restored with their rows, partitions, indexes, constraints, triggers, rights and sequences. Views, materialized
    /// views and foreign tables can be named, too. 100 at most. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["schema", "name"]))]
    pub tables: Vec<IncludedTable>,
}

/// A table, by two names that stand for themselves whatever dots and quotes are in them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IncludedTable {
    /// Its schema, by its exact name.
    #[schemars(length(min = 1, max = 63))]
    pub schema: String,
    /// Its exact name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// Server and database that are restored to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.host) || !(has(self.port) || has(self.sslMode) || has(self.caSecretRef) || has(self.maintenanceDatabase))",
    "database.target takes port, sslMode, caSecretRef and maintenanceDatabase only together with host: without it the policy's server is meant"))]
pub struct RestoreTarget {
    /// Host name or address as seen from a Pod in this namespace. Default: the policy's server, with all that it says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9_.:-]+$"))]
    pub host: Option<String>,
    /// TCP port. Default: 5432.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// Name of the database. Default: the policy's `postgres.database`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// Database that statements about databases are sent from. Default: `postgres`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub maintenance_database: Option<String>,
    /// How the connection is protected, as libpq's `sslmode`: `Disable` by nothing; `Require` by TLS with any certificate, which
    /// keeps out listeners and no impostors; `VerifyCa` by TLS with a certificate of the CA; `VerifyFull` by one that was also
    /// made for this host. Default: `VerifyFull`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_mode: Option<SslMode>,
    /// Secret in this namespace whose `ca.crt` signed the server's certificate. Default: the public CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretRef>,
}

/// What becomes of the database that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum RestoreStrategy {
    /// It is replaced once its replacement is verified, and kept.
    #[default]
    Swap,
    /// It is dropped first.
    Replace,
    /// It is not touched.
    NewDatabase,
}

/// What becomes of the backup's roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum RestoreGlobals {
    /// Those that the server lacks are made.
    #[default]
    Restore,
    /// None is made.
    Skip,
}

/// How a restored database is compared with its backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum VerifyRestored {
    /// Numbers of rows.
    Counts,
    /// Numbers of rows and the content of each table.
    #[default]
    Full,
}
