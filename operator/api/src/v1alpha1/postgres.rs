//! The PostgreSQL server and what is dumped from it. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretRef;

/// A PostgreSQL server, version 14 to 18.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Postgres {
    /// Host name or address as seen from a Pod in this namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9_.:-]+$"))]
    pub host: String,
    /// TCP port. Default: 5432.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// Database that `postgresDump` backs up where it names none.
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// Database for questions about the server as a whole. Default: `postgres`.
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
    /// Secret in this namespace with `username` and `password` of a user that may read everything that is backed up.
    pub credentials_secret_ref: SecretRef,
}

/// How a connection to PostgreSQL is protected (libpq's `sslmode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum SslMode {
    /// No TLS. For servers within the cluster that offer none.
    Disable,
    /// TLS, but any certificate is accepted: protects from listeners, not from impostors.
    Require,
    /// TLS, and the certificate must be signed by the CA.
    VerifyCa,
    /// TLS, signed by the CA, and made for this host name.
    #[default]
    VerifyFull,
}

impl SslMode {
    /// The value that libpq calls it by (`PGSSLMODE`).
    pub const fn libpq(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Databases as archives of `pg_dump` in its custom format.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostgresDump {
    /// Databases to dump, up to 100. Default: `spec.postgres.database`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub databases: Vec<String>,
    /// Also store the server's roles, memberships and tablespaces, without which owners and grants cannot be restored.
    /// Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub globals: Option<bool>,
    /// Whether the globals contain the roles' password hashes: `Auto` takes them where the user may read them, `Never` leaves
    /// them out. They are encrypted like everything else. Default: `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_passwords: Option<RolePasswords>,
    /// Also store what of the server's settings differs from the defaults, settings by database and role, and the access
    /// rules (`pg_hba.conf`) where the user may read them. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<bool>,
    /// Dumps of one database that run at once, all of one snapshot, each into an object of its own: faster where the server
    /// and this Job have processors to spare, at the price of as many connections and as much more memory. 1 to 16.
    /// Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub streams: Option<u8>,
}

/// Whether password hashes of roles are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum RolePasswords {
    /// Where the user may read them.
    #[default]
    Auto,
    /// Not at all.
    Never,
}
