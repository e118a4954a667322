//! Stores everything that a backup by `pg_dump` consists of, in the order in which recovery needs it. Network, child
//! processes.

use std::collections::BTreeSet;

use greenlang_backup_api::contents::{Contents, DatabaseContents, SCHEMA_VERSION};
use greenlang_backup_api::globals::{Globals, Tablespace};
use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::settings::Settings;
use greenlang_backup_api::sizing::part_size_for;
use greenlang_backup_api::task::PostgresDumpTask;
use greenlang_backup_api::v1alpha1::RolePasswords;
use greenlang_backup_store::BackupKeys;
use serde::Serialize;

use super::PostgresError;
use super::catalog::{self, RoleId};
use super::connect::Session;
use super::database;
use super::dump::{Dumped, Dumper, Stored};
use super::prepare::Prepared;
use super::recovery::Needs;
use super::warnings::{self, Warning};
use super::{globals, settings};
use crate::error::{RunError, until_cancelled};

/// All objects of a backup, and what people should know of them.
#[derive(Default)]
pub struct Collected {
    pub objects: Vec<Stored>,
    pub warnings: Vec<String>,
    /// What a server to restore on must have.
    pub needs: Needs,
    /// What the programs warned of.
    said: Vec<Warning>,
}

/// Stores each database, then roles, tablespaces and settings, and last what the databases hold. Roles come after the databases,
/// so that one which is made during the dumps and then owns something is not missing; recovery needs them first.
pub async fn store_all(
    task: &PostgresDumpTask,
    keys: &BackupKeys,
    prepared: &Prepared,
    dumper: &Dumper<'_>,
) -> Result<Collected, RunError> {
    let (mut dumps, mut contents) = (Vec::new(), Vec::with_capacity(prepared.databases.len()));
    let mut needed = Vec::with_capacity(prepared.databases.len());
    let mut collected = Collected { warnings: prepared.warnings.clone(), ..Collected::default() };
    let target = database::DumpTarget { keys, attempt: task.run.attempt, streams: task.streams };
    for database in &prepared.databases {
        let dump = Box::pin(database::dump(prepared, database, &target, dumper)).await?;
        dumps.extend(dump.objects);
        collected.warnings.extend(dump.warnings);
        collected.said.extend(dump.said);
        collected.needs.locales.insert(dump.contents.properties.locale.collate.clone());
        contents.push(dump.contents);
        needed.push(dump.roles);
    }
    collected.store_server(task, keys, prepared, dumper).await?;
    collected.objects.append(&mut dumps);
    if task.globals {
        let present = until_cancelled(dumper.cancel, Box::pin(roles(task, prepared))).await?;
        collected.note_lost_roles(&mut contents, &needed, &present);
    }
    collected.warnings.extend(warnings::in_clear(&collected.said));
    collected.store_contents(keys.contents(task.run.attempt), prepared, contents, dumper).await?;
    Ok(collected)
}

/// A session on the server as a whole, in a transaction.
async fn session(task: &PostgresDumpTask, prepared: &Prepared) -> Result<Session, PostgresError> {
    let session = prepared.endpoint.connect(&task.server.maintenance_database).await?;
    session.begin().await?;
    Ok(session)
}

/// The roles that there are once the globals were dumped: one that was there at the dump of a database, and is now, is in them.
async fn roles(task: &PostgresDumpTask, prepared: &Prepared) -> Result<BTreeSet<RoleId>, PostgresError> {
    Ok(catalog::present(&session(task, prepared).await?).await?.into_iter().collect())
}

/// What the server says of itself, as far as it is wanted.
struct Asked {
    globals: Option<Globals>,
    settings: Option<Settings>,
    tablespaces: Vec<Tablespace>,
}

async fn ask_server(task: &PostgresDumpTask, prepared: &Prepared) -> Result<Asked, PostgresError> {
    let (session, version) = (session(task, prepared).await?, &prepared.server.version);
    let globals = if task.globals {
        let passwords = task.role_passwords == RolePasswords::Auto;
        Some(globals::read(&session, version, passwords).await?)
    } else {
        None
    };
    let tablespaces = match &globals {
        Some(globals) => globals.tablespaces.clone(),
        None => globals::tablespaces(&session, &mut Vec::new()).await?,
    };
    let settings = if task.settings {
        let sessions = match &globals {
            Some(globals) => globals.settings.clone(),
            None => catalog::session_settings(&session).await?,
        };
        Some(settings::read(&session, version, sessions).await?)
    } else {
        None
    };
    Ok(Asked { globals, settings, tablespaces })
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
        let Asked { globals, settings, tablespaces } = until_cancelled(dumper.cancel, asked).await?;
        let directories = tablespaces.into_iter().filter_map(|tablespace| tablespace.location);
        self.needs.tablespaces = directories.filter(|directory| !directory.is_empty()).collect();
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

    /// Says which roles of each database (`needed`) are not among those of the server any more, or not under their names: the
    /// globals lack them, and a restore would stop at what they own.
    fn note_lost_roles(
        &mut self,
        databases: &mut [DatabaseContents],
        needed: &[Vec<RoleId>],
        present: &BTreeSet<RoleId>,
    ) {
        for (database, needed) in databases.iter_mut().zip(needed) {
            let lost = needed.iter().filter(|role| !present.contains(role));
            database.lost_roles = lost.map(|role| role.name.clone()).collect();
            if !database.lost_roles.is_empty() {
                self.needs.lost_roles = true;
                self.warnings.push(format!(
                    "database {}: {} roles that own or may use something in it were dropped or renamed while the backup was made; make those that contents.json lists as its lost_roles before restoring it",
                    database.properties.name,
                    database.lost_roles.len()
                ));
            }
        }
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
        self.said.extend(warnings);
        self.objects.push(stored);
        let key = keys.globals_data(task.run.attempt);
        self.store_json(key, Content::PostgresGlobalsData, globals, dumper).await
    }

    async fn store_contents(
        &mut self,
        key: String,
        prepared: &Prepared,
        databases: Vec<DatabaseContents>,
        dumper: &Dumper<'_>,
    ) -> Result<(), RunError> {
        dumper.progress.step("Storing the list of contents");
        let contents = Contents {
            schema_version: SCHEMA_VERSION,
            server: prepared.server.identity.clone(),
            databases,
            warnings: self.said.iter().map(Warning::in_full).collect(),
        };
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
