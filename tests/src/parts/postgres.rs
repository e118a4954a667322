//! A PostgreSQL 17 server `db` with TLS, a superuser of its own, and a user that may read what is backed up and no more.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::{Parts, START, apply, secret};
use crate::cluster::Cluster;
use crate::random;
use crate::tls::Ca;
use crate::wait;

/// Pod of the server.
pub const POD: &str = "db-0";
/// User that backups are made by.
pub const BACKUP_USER: &str = "backup";

/// Passwords of a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Access {
    /// Password of `postgres`.
    pub superuser_password: String,
    /// Password of [`BACKUP_USER`].
    pub backup_password: String,
}

impl Access {
    /// New passwords.
    pub fn new() -> Result<Self> {
        Ok(Self { superuser_password: random::word(24)?, backup_password: random::word(24)? })
    }
}

/// Makes the Secrets: `db-ca` and `db-backup` for policies, `db-tls` and `db-superuser` for the server.
pub async fn secrets(cluster: &Cluster, namespace: &str, access: &Access) -> Result<()> {
    let ca = Ca::new()?;
    let server = ca.service(namespace, "db")?;
    secret(cluster, namespace, "db-tls", [("tls.crt", &*server.certificate), ("tls.key", &server.key)])
        .await?;
    secret(cluster, namespace, "db-ca", [("ca.crt", &*ca.certificate)]).await?;
    secret(cluster, namespace, "db-superuser", [("password", &*access.superuser_password)]).await?;
    let login = [("username", BACKUP_USER), ("password", &*access.backup_password)];
    secret(cluster, namespace, "db-backup", login).await
}

/// Starts the server.
pub async fn start(cluster: &Cluster, namespace: &str) -> Result<()> {
    apply(cluster, namespace, include_str!("../../data/parts/postgres.yaml")).await?;
    wait::rollout(cluster, namespace, "statefulset/db", START).await
}

/// Makes the backup user, so that a policy works on an empty server too.
pub(super) async fn prepare(cluster: &Cluster, parts: &Parts) -> Result<()> {
    psql(cluster, &parts.namespace, "postgres", backup_user(&parts.postgres)).await.map(drop)
}

/// SQL that makes the backup user. BYPASSRLS, because rows that a policy hides would be missing from the backup.
fn backup_user(access: &Access) -> String {
    format!(
        "SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{BACKUP_USER}') AS missing \\gset\n\
         \\if :missing\nCREATE ROLE {BACKUP_USER} LOGIN BYPASSRLS;\n\\endif\n\
         ALTER ROLE {BACKUP_USER} PASSWORD '{}';\nGRANT pg_read_all_data TO {BACKUP_USER};\n",
        access.backup_password
    )
}

/// Runs a psql script as superuser over the server's own socket, stopping at the first error. Gives unaligned rows.
pub async fn psql(
    cluster: &Cluster,
    namespace: &str,
    database: &str,
    script: impl Into<Vec<u8>>,
) -> Result<String> {
    let program = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "/run/postgresql", "-f", "-", database];
    match cluster.exec(namespace, POD, &program, script).await {
        Ok(rows) => Ok(rows),
        Err(error) => bail!("SQL in {namespace}/{POD}, database {database}: {error:#}"),
    }
}

/// Makes a small database for tests that need no more than something to dump.
pub async fn small_database(cluster: &Cluster, namespace: &str, database: &str) -> Result<()> {
    psql(cluster, namespace, "postgres", format!("CREATE DATABASE {database}")).await?;
    let content =
        "CREATE TABLE note (id int PRIMARY KEY, text text); INSERT INTO note VALUES (1, 'one'), (2, 'zwei')";
    psql(cluster, namespace, database, content).await.map(drop)
}
