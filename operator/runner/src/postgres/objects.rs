//! Stores everything that a backup by `pg_dump` consists of, in the order in which recovery needs it. Network, child
//! processes.

use greenlang_backup_api::contents::{Contents, DatabaseContents, SCHEMA_VERSION, Server};
use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::sizing::part_size_for;
use greenlang_backup_api::task::PostgresDumpTask;
use greenlang_backup_api::v1alpha1::RolePasswords;
use greenlang_backup_store::BackupKeys;
use serde::Serialize;

use super::catalog;
use super::database;
use super::dump::{Dumped, Dumper};
use super::manifest::StoredObject;
use super::prepare::Prepared;
use super::{globals, settings};
use crate::error::{RunError, until_cancelled};

/// All objects of a backup, and what people should know of them.
#[derive(Default)]
pub struct Collected {
    pub objects: Vec<StoredObject>,
    pub warnings: Vec<String>,
}

/// Stores roles and tablespaces, settings, each database, and last what all of them hold.
pub async fn store_all(
    task: &PostgresDumpTask,
    keys: &BackupKeys,
    prepared: &Prepared,
    dumper: &Dumper<'_>,
) -> Result<Collected, RunError> {
    let mut collected = Collected::default();
    let server = collected.store_server(task, keys, prepared, dumper).await?;
    let mut databases = Vec::with_capacity(prepared.databases.len());
    let target = database::Target { keys, attempt: task.run.attempt, streams: task.streams, server: &server };
    for database in &prepared.databases {
        let dump = Box::pin(database::dump(prepared, database, &target, dumper)).await?;
        collected.objects.extend(dump.objects);
        collected.warnings.extend(dump.warnings);
        databases.push(dump.contents);
    }
    collected.store_contents(keys.contents(task.run.attempt), server, databases, dumper).await?;
    Ok(collected)
}

impl Collected {
    /// What belongs to the server as a whole.
    async fn store_server(
        &mut self,
        task: &PostgresDumpTask,
        keys: &BackupKeys,
        prepared: &Prepared,
        dumper: &Dumper<'_>,
    ) -> Result<Server, RunError> {
        let (attempt, version) = (task.run.attempt, &prepared.server.version);
        let asked = async {
            let session = prepared.endpoint.connect(&task.server.maintenance_database).await?;
            session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
            let server = catalog::server(&session, version).await?;
            let wanted = task.role_passwords == RolePasswords::Auto;
            let globals = globals::read(&session, version, wanted).await?;
            let settings = settings::read(&session, version).await?;
            Ok::<_, RunError>((server, globals, settings))
        };
        let (server, globals, settings) = until_cancelled(dumper.cancel, asked).await?;
        if task.globals {
            dumper.progress.step("Dumping roles and tablespaces");
            if task.role_passwords == RolePasswords::Auto && !globals.passwords {
                self.warnings.push(format!(
                    "the password hashes of roles are not part of this backup: user {} may not read them; after a restore, set passwords anew",
                    prepared.endpoint.user
                ));
            }
            let key = keys.globals(attempt);
            let producer = prepared.globals(task, globals.passwords);
            let Dumped { stored, warnings, archive: _ } =
                dumper.store(&key, part_size_for(0), producer).await?;
            self.warnings.extend(warnings);
            self.objects.push(StoredObject { key, content: Content::PostgresGlobals, stored });
            self.store_json(keys.globals_data(attempt), Content::PostgresGlobalsData, &globals, dumper)
                .await?;
        }
        if task.settings {
            dumper.progress.step("Storing settings");
            self.store_json(keys.settings(attempt), Content::PostgresSettings, &settings, dumper).await?;
        }
        Ok(server)
    }

    async fn store_contents(
        &mut self,
        key: String,
        server: Server,
        databases: Vec<DatabaseContents>,
        dumper: &Dumper<'_>,
    ) -> Result<(), RunError> {
        dumper.progress.step("Storing the list of contents");
        let contents = Contents { schema_version: SCHEMA_VERSION, server, databases };
        self.store_json(key, Content::PostgresContents, &contents, dumper).await
    }

    async fn store_json(
        &mut self,
        key: String,
        content: Content,
        value: &impl Serialize,
        dumper: &Dumper<'_>,
    ) -> Result<(), RunError> {
        let bytes = serde_json::to_vec_pretty(value)?;
        let stored = dumper.store_bytes(&key, bytes).await?;
        self.objects.push(StoredObject { key, content, stored });
        Ok(())
    }
}
