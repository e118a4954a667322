//! What must be true once the applications are back. No I/O.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What must be true once the applications are back. A check that fails undoes nothing: the request ends as Failed, the replaced
/// database stays, and the message names the undo.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checks {
    /// URLs that must answer, up to 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub health: Vec<HealthCheck>,
    /// Queries whose answer is known, up to 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub sql: Vec<SqlCheck>,
    /// Programs of your own that must end with code 0, up to 10. Each has 256 MiB of memory unless `jobTemplate.resources` says
    /// otherwise, and runs as the service account `backup-runner`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub jobs: Vec<JobCheck>,
}

/// A URL that must answer.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// URL as seen from a Pod in this namespace, without user or password, for example `http://greenlang-api/health`. https needs a
    /// certificate of a public CA, and redirects are not followed: a 3xx is a failure unless `expectStatus` names it.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^https?://[^@\\s]+$"))]
    pub url: String,
    /// Status code that the answer must have. 100 to 599. Default: any from 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 599))]
    pub expect_status: Option<u16>,
    /// Seconds in which it must have answered so once; it is asked again until then. 1 to 600. Default: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_seconds: Option<u32>,
}

/// A query whose answer is known.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SqlCheck {
    /// One statement, run in the restored database in a transaction that may not write, for example
    /// `SELECT count(*) > 0 FROM agents`. It has one minute.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// What the first column of its first row must be, as `psql` prints it, for example `t`.
    #[schemars(length(max = 1024))]
    pub expect: String,
}

/// A program of yours.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobCheck {
    /// Name of the check, for messages and its Job: at most 40 lower-case letters, digits and hyphens.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Image that holds it. It must meet the `restricted` Pod Security Standard; its `USER` must be a number other than 0.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Program and arguments, up to 50. Default: what the image says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Environment variables, up to 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<CheckVariable>,
    /// Seconds until it is stopped and counts as failed. 1 to 86400. Default: 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: Option<u32>,
}

/// An environment variable: its value stands here, or in a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.value) != has(self.secretKeyRef)", "a variable needs either value or secretKeyRef"))]
pub struct CheckVariable {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z_][A-Za-z0-9_.-]*$"))]
    pub name: String,
    /// Its value, readable for whoever may read this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// The key of a Secret in this namespace that holds its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// A key of a Secret in the namespace of the request.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Its key.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}
