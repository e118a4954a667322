//! Puts the manifest of a backup by `pg_dump` together. Asks the client programs for their versions.

use std::path::Path;

use greenlang_backup_api::manifest::{Content, Manifest, Object, PolicyIdentity, SCHEMA_VERSION, Tool};
use greenlang_backup_api::task::PostgresDumpTask;
use greenlang_backup_api::v1alpha1::Verification;
use jiff::Timestamp;
use tokio::process::Command;

use super::dump::Stored;
use super::inspect::{DatabaseFacts, ServerFacts};
use super::recovery;
use crate::error::RunError;

const COMPRESSION: &str = "zstd";

/// What a manifest says beyond its objects.
pub struct Facts<'a> {
    pub task: &'a PostgresDumpTask,
    pub server: &'a ServerFacts,
    pub databases: &'a [DatabaseFacts],
    /// Directory of the client programs.
    pub clients: &'a Path,
    /// Fingerprints of the recipients.
    pub recipients: Vec<String>,
    pub start_time: Timestamp,
    /// How far all objects were proved.
    pub verified: Verification,
}

/// An object that is completed in the bucket.
pub struct StoredObject {
    pub key: String,
    pub content: Content,
    pub stored: Stored,
}

impl StoredObject {
    fn describe(self, recipients: &[String]) -> Object {
        let sealed = self.stored.sealed;
        Object {
            key: self.key,
            content: self.content,
            source_bytes: sealed.source_bytes,
            source_sha256: sealed.source_sha256,
            stored_bytes: sealed.stored_bytes,
            stored_sha256: sealed.stored_sha256,
            stored_crc64nvme: Some(sealed.stored_crc64nvme),
            compression: COMPRESSION.to_owned(),
            recipients: recipients.to_vec(),
        }
    }
}

/// The manifest, with its end time now.
pub async fn assemble(
    facts: Facts<'_>,
    objects: Vec<StoredObject>,
    warnings: Vec<String>,
) -> Result<Manifest, RunError> {
    let run = &facts.task.run;
    let objects: Vec<Object> = objects.into_iter().map(|object| object.describe(&facts.recipients)).collect();
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
        recovery: recovery::recipe(&facts.task.bucket, facts.server, facts.databases, &objects),
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
