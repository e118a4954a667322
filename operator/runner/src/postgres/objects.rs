//! Stores everything that a backup by `pg_dump` consists of, in the order in which recovery needs it. Network, child
//! processes.

use greenlang_backup_api::contents::{Contents, DatabaseContents, SCHEMA_VERSION, Server};
use greenlang_backup_api::globals::Globals;
use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::settings::Settings;
use greenlang_backup_api::sizing::part_size_for;
use greenlang_backup_api::task::PostgresDumpTask;
use greenlang_backup_api::v1alpha1::RolePasswords;
use greenlang_backup_store::BackupKeys;
use serde::Serialize;

use super::PostgresError;
use super::catalog;
use super::connect::Session;
use super::database;
use super::dump::{Dumped, Dumper, Stored};
use super::prepare::Prepared;
use super::{globals, settings};
use crate::error::{RunError, until_cancelled};

/// All objects of a backup, and what people should know of them.
#[derive(Default)]
pub struct Collected {
    pub objects: Vec<Stored>,
    pub warnings: Vec<String>,
}

/// Stores each database, then roles, tablespaces and settings, and last what the databases hold. Roles come after the databases,
/// so that one which is made during the dumps and then owns something is not missing; recovery needs them first.
pub async fn store_all(
    task: &PostgresDumpTask,
    keys: &BackupKeys,
    prepared: &Prepared,
    dumper: &Dumper<'_>,
) -> Result<Collected, RunError> {
    let server = until_cancelled(dumper.cancel, Box::pin(who(task, prepared))).await?;
    let (mut dumps, mut contents) = (Collected::default(), Vec::with_capacity(prepared.databases.len()));
    let target =
        database::DumpTarget { keys, attempt: task.run.attempt, streams: task.streams, server: &server };
    for database in &prepared.databases {
        let dump = Box::pin(database::dump(prepared, database, &target, dumper)).await?;
        dumps.objects.extend(dump.objects);
        dumps.warnings.extend(dump.warnings);
        contents.push(dump.contents);
    }
    let mut collected = Collected::default();
    collected.store_server(task, keys, prepared, dumper).await?;
    collected.objects.append(&mut dumps.objects);
    collected.warnings.append(&mut dumps.warnings);
    collected.store_contents(keys.contents(task.run.attempt), server, contents, dumper).await?;
    Ok(collected)
}

/// A session on the server as a whole, in a transaction.
async fn session(task: &PostgresDumpTask, prepared: &Prepared) -> Result<Session, PostgresError> {
    let session = prepared.endpoint.connect(&task.server.maintenance_database).await?;
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    Ok(session)
}

/// Who the server is.
async fn who(task: &PostgresDumpTask, prepared: &Prepared) -> Result<Server, PostgresError> {
    catalog::server(&session(task, prepared).await?, &prepared.server.version).await
}

/// Of roles and settings what is wanted.
async fn ask_server(
    task: &PostgresDumpTask,
    prepared: &Prepared,
) -> Result<(Option<Globals>, Option<Settings>), PostgresError> {
    let (session, version) = (session(task, prepared).await?, &prepared.server.version);
    let globals = if task.globals {
        let passwords = task.role_passwords == RolePasswords::Auto;
        Some(globals::read(&session, version, passwords).await?)
    } else {
        None
    };
    let settings = if task.settings { Some(settings::read(&session, version).await?) } else { None };
    Ok((globals, settings))
}

impl Collected {
    /// What belongs to the server as a whole.
    async fn store_server(
        &mut self,
        task: &PostgresDumpTask,
        keys: &BackupKeys,
        prepared: &Prepared,
        dumper: &Dumper<'_>,
    ) -> Result<(), RunError> {
        let asked = Box::pin(ask_server(task, prepared));
        let (globals, settings) = until_cancelled(dumper.cancel, asked).await?;
        if let Some(globals) = globals {
            self.store_globals(task, keys, prepared, &globals, dumper).await?;
        }
        if let Some(settings) = settings {
            dumper.progress.step("Storing settings");
            let key = keys.settings(task.run.attempt);
            self.store_json(key, Content::PostgresSettings, &settings, dumper).await?;
        }
        Ok(())
    }

    /// Roles and tablespaces, as SQL for people and as data for programs.
    async fn store_globals(
        &mut self,
        task: &PostgresDumpTask,
        keys: &BackupKeys,
        prepared: &Prepared,
        globals: &Globals,
        dumper: &Dumper<'_>,
    ) -> Result<(), RunError> {
        dumper.progress.step("Dumping roles and tablespaces");
        if task.role_passwords == RolePasswords::Auto && !globals.passwords {
            self.warnings.push(format!(
                "the password hashes of roles are not part of this backup: user {} may not read them; after a restore, set passwords anew",
                prepared.endpoint.user
            ));
        }
        let key = keys.globals(task.run.attempt);
        let producer = prepared.globals(task, globals.passwords);
        let stored = dumper.store(key, Content::PostgresGlobals, part_size_for(0), producer).await?;
        let Dumped { stored, warnings, archive: _ } = stored;
        self.warnings.extend(warnings);
        self.objects.push(stored);
        let key = keys.globals_data(task.run.attempt);
        self.store_json(key, Content::PostgresGlobalsData, globals, dumper).await
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
        self.objects.push(dumper.store_bytes(key, content, bytes).await?);
        Ok(())
    }
}
