//! Puts the manifest of a backup by `pg_dump` together. Asks the client programs for their versions.

use std::path::Path;

use greenlang_backup_api::manifest::{Manifest, Object, PolicyIdentity, SCHEMA_VERSION, Tool};
use greenlang_backup_api::task::PostgresDumpTask;
use greenlang_backup_api::v1alpha1::Verification;
use greenlang_backup_store::COMPRESSION;
use jiff::Timestamp;
use tokio::process::Command;

use super::inspect::ServerFacts;
use super::recovery::{self, Needs};
use crate::error::RunError;

/// What a manifest says beyond its objects.
pub struct Facts<'a> {
    pub task: &'a PostgresDumpTask,
    pub server: &'a ServerFacts,
    /// What a server to restore on must have.
    pub needs: &'a Needs,
    /// Directory of the client programs.
    pub clients: &'a Path,
    pub start_time: Timestamp,
    /// How far all objects were proved.
    pub verified: Verification,
}

/// The manifest, with its end time now.
pub async fn assemble(
    facts: Facts<'_>,
    objects: Vec<Object>,
    warnings: Vec<String>,
) -> Result<Manifest, RunError> {
    let run = &facts.task.run;
    let tools = tools(facts.task.globals, facts.clients).await?;
    Ok(Manifest {
        schema_version: SCHEMA_VERSION,
        timestamp: run.id.clone(),
        database: facts.task.databases.first().cloned(),
        size_bytes: objects.iter().map(|object| object.stored_bytes).sum(),
        backup_type: "full".to_owned(),
        compression: COMPRESSION.to_owned(),
        checksum: objects.first().map(|object| object.stored_sha256.clone()).unwrap_or_default(),
        kind: "postgresDump".to_owned(),
        policy: PolicyIdentity {
            namespace: run.namespace.clone(),
            name: run.policy.clone(),
            uid: run.policy_uid.clone(),
        },
        backup: run.backup.clone(),
        path: run.path.clone(),
        attempt: run.attempt,
        trigger: run.trigger,
        schedules: run.schedules.iter().map(Into::into).collect(),
        keep_days: run.keep_days,
        slot: run.slot,
        start_time: facts.start_time,
        end_time: Timestamp::now(),
        verified: facts.verified,
        tools,
        server_version: facts.server.version.text.clone(),
        warnings,
        recovery: recovery::recipe(&facts.task.bucket, facts.server, facts.needs, &objects),
        objects,
    })
}

async fn tools(globals: bool, clients: &Path) -> Result<Vec<Tool>, RunError> {
    let mut tools =
        vec![Tool { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }];
    for name in ["pg_dump", "pg_dumpall"].into_iter().filter(|name| globals || *name == "pg_dump") {
        let output =
            Command::new(clients.join(name)).arg("--version").kill_on_drop(true).output().await.map_err(
                |error| RunError::Machine { what: "asking a client program for its version", error },
            )?;
        tools.push(Tool {
            name: name.to_owned(),
            version: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        });
    }
    Ok(tools)
}
