//! `settings.json`: how a server was set up: what differs from the defaults, and who may connect from where. To build a server
//! like it; nothing restores it by itself. Values that could be secrets are left out. Pure.

use serde::{Deserialize, Serialize};

use crate::globals::Setting;

/// Version of the format that this build writes; a reader refuses a newer one.
pub const SCHEMA_VERSION: u32 = 1;

/// The settings of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Version of the server as it says it.
    pub server_version: String,
    /// Parameters of the server that are not at their defaults, by name.
    pub parameters: Vec<Parameter>,
    /// Settings of databases, of roles, and of roles in databases.
    pub sessions: Vec<Setting>,
    /// Rules of `pg_hba.conf`, in their order; absent where the user may not read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_rules: Option<Vec<AccessRule>>,
    /// Mappings of `pg_ident.conf`, in their order; absent where the user may not read them, and before PostgreSQL 15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_mappings: Option<Vec<UserMapping>>,
    /// Names of what has a value that could be a secret and was left out.
    pub withheld: Vec<String>,
    /// What the server did not let the user read, in words.
    pub notes: Vec<String>,
}

/// A parameter (`pg_settings`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// Value in `unit`s; absent where it could be a secret and was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Unit, for example `8kB` or `ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Where the value comes from, for example `configuration file`.
    pub source: String,
    /// The file it comes from; absent where the user may not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_file: Option<String>,
    /// Whether a file has a value that counts only after a restart.
    pub pending_restart: bool,
}

/// A rule of `pg_hba.conf` (`pg_hba_file_rules`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// File; PostgreSQL 16 or newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file.
    pub line: i32,
    /// `local`, `host`, `hostssl`, …
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Databases, or words such as `all`.
    pub databases: Vec<String>,
    /// Users, or words such as `all`.
    pub users: Vec<String>,
    /// Address or host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Mask of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netmask: Option<String>,
    /// How to authenticate, or `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Options of the method as `name=value`; of those that could be secrets the name alone.
    pub options: Vec<String>,
    /// Why the server could not read the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A line of `pg_ident.conf` (`pg_ident_file_mappings`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserMapping {
    /// File; PostgreSQL 16 or newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file.
    pub line: i32,
    /// Name of the map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// User of the operating system or of a certificate, or a pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_user: Option<String>,
    /// User of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Why the server could not read the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
