//! `globals.json`: what belongs to a server and to none of its databases: roles, memberships, settings, tablespaces. The same
//! as the SQL of `pg_dumpall --globals-only`, for programs. Stored encrypted: it may hold password hashes. Pure.

use serde::{Deserialize, Serialize};

/// Version of the format that this build writes; a reader refuses a newer one.
pub const SCHEMA_VERSION: u32 = 1;

/// The globals of a server. Roles and tablespaces that every server has (`pg_…`) are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Globals {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Version of the server as it says it.
    pub server_version: String,
    /// Roles, by name.
    pub roles: Vec<Role>,
    /// Whether the roles' password hashes are here.
    pub passwords: bool,
    /// Who is a member of which role.
    pub memberships: Vec<Membership>,
    /// Settings of roles and of databases.
    pub settings: Vec<Setting>,
    /// Tablespaces, by name.
    pub tablespaces: Vec<Tablespace>,
    /// Rights to change parameters; PostgreSQL 15 or newer.
    pub parameter_acls: Vec<ParameterAcl>,
    /// What the server did not let the user read, in words.
    pub notes: Vec<String>,
}

/// A role.
#[allow(clippy::struct_excessive_bools, reason = "PostgreSQL has them")]
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// OID on the source.
    pub oid: u32,
    /// Name.
    pub name: String,
    /// `SUPERUSER`.
    pub superuser: bool,
    /// `INHERIT`.
    pub inherit: bool,
    /// `CREATEROLE`.
    pub create_role: bool,
    /// `CREATEDB`.
    pub create_db: bool,
    /// `LOGIN`.
    pub login: bool,
    /// `REPLICATION`.
    pub replication: bool,
    /// `BYPASSRLS`.
    pub bypass_rls: bool,
    /// Connections that it may have at once; -1 means no limit.
    pub connection_limit: i32,
    /// When its password stops to work, RFC 3339 or `infinity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// Hash of its password; absent when it has none, and when hashes were not wanted or could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Without the password hash, so that no log gets it by accident.
impl std::fmt::Debug for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Role")
            .field("name", &self.name)
            .field("has_password_hash", &self.password_hash.is_some())
            .finish_non_exhaustive()
    }
}

/// A membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The role.
    pub role: String,
    /// Its member.
    pub member: String,
    /// Who granted it; absent when that role is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grantor: Option<String>,
    /// `WITH ADMIN`.
    pub admin: bool,
    /// `WITH INHERIT`; PostgreSQL 16 or newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherit: Option<bool>,
    /// `WITH SET`; PostgreSQL 16 or newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<bool>,
}

/// A setting that sessions start with (`ALTER ROLE … SET`, `ALTER DATABASE … SET`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// In sessions of this database only; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// In sessions of this role only; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Name of the parameter.
    pub name: String,
    /// Its value; absent where it could be a secret and was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A tablespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// OID on the source.
    pub oid: u32,
    /// Name.
    pub name: String,
    /// Role that owns it.
    pub owner: String,
    /// Its directory; absent where the server does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Options, for example `random_page_cost=1.1`.
    pub options: Vec<String>,
    /// Access rights as `aclitem`s; absent means the default ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Vec<String>>,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Rights to change a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterAcl {
    /// Name of the parameter.
    pub name: String,
    /// Access rights as `aclitem`s.
    pub acl: Vec<String>,
}
