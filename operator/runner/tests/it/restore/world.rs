//! A backup that was made, and the steps of a request that restores it.

use std::collections::BTreeMap;
use std::path::Path;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::restore::{
    DropAction, LoadAction, LoadReport, OpeningKeys, RequestIdentity, RestoreAction, RestoreReport,
    RestoreTask, temporary_name,
};
use greenlang_backup_api::task::Task;
use greenlang_backup_api::v1alpha1::{ChosenBackup, RestoreGlobals, VerifyRestored};
use jiff::Timestamp;

use crate::fixture::{Ended, Fixture, ID, Started};
use crate::servers::{Postgres, tasks};

/// A request that restores a database of a backup to a server.
pub struct Request<'a> {
    pub fixture: &'a Fixture,
    pub target: &'a Postgres,
    pub task: RestoreTask,
}

pub fn identity(uid: &str) -> RequestIdentity {
    RequestIdentity { namespace: "greenlang".into(), name: "back".into(), uid: uid.into() }
}

impl<'a> Request<'a> {
    /// Loads a database of the fixture's backup into the temporary one of its name.
    pub fn new(fixture: &'a Fixture, target: &'a Postgres, database: &str, uid: &str) -> Self {
        let identity_secret = {
            let text = std::fs::read_to_string(&fixture.identity_file).unwrap();
            fixture.secret("backup-identity", &[("identity.txt", text.trim())])
        };
        let action = LoadAction {
            backup: ChosenBackup {
                path: "database".into(),
                id: ID.parse().unwrap(),
                database: database.into(),
                manifest_sha256: None,
            },
            keys: OpeningKeys { identity: Some(identity_secret), legacy_passphrase: None },
            temporary: temporary_name(database, uid),
            jobs: 1,
            globals: RestoreGlobals::Restore,
            verify: VerifyRestored::Full,
            include: None,
            drop_first: None,
        };
        let directory = fixture.directory.path().join("admin");
        let task = RestoreTask {
            request: identity(uid),
            spec_sha256: "0".repeat(64),
            bucket: fixture.task.bucket.clone(),
            server: tasks::postgres_server(target, "postgres", target.password, &directory),
            database: database.into(),
            stall_seconds: 600,
            action: RestoreAction::Load(action),
        };
        Self { fixture, target, task }
    }

    pub fn load(&mut self) -> &mut LoadAction {
        let RestoreAction::Load(action) = &mut self.task.action else { panic!("no load") };
        action
    }

    pub fn temporary(&self) -> String {
        temporary_name(&self.task.database, &self.task.request.uid)
    }

    /// Whether the database that it loads into is there.
    pub fn is_there(&self) -> bool {
        databases(self.target).contains(&self.temporary())
    }

    pub fn start(&self, env: &[(&str, &Path)]) -> Started {
        self.fixture.start_task(&Task::Restore(self.task.clone()), env)
    }

    pub fn run(&self) -> Ended {
        self.start(&[]).end()
    }

    pub fn run_with_clients(&self, scripts: &[(&str, &str)]) -> Ended {
        let clients = self.fixture.fake_clients(scripts);
        self.start(&[("GREENLANG_PG_BIN_DIR", &clients)]).end()
    }

    /// Loads, which must succeed.
    pub fn loaded(&self) -> LoadReport {
        let ended = self.run();
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        let Some(RestoreReport::Load(report)) = ended.report.restore else { panic!("{:?}", ended.report) };
        report
    }

    /// The same request, to drop a database.
    pub fn drop_database(&self, name: &str, oid: Option<u32>) -> Ended {
        self.drop_not_before(name, oid, None)
    }

    /// As [`Self::drop_database`], but not before a time.
    pub fn drop_not_before(&self, name: &str, oid: Option<u32>, not_before: Option<Timestamp>) -> Ended {
        let action =
            RestoreAction::Drop(DropAction { name: name.into(), oid, rolls_back: false, not_before });
        self.fixture.start_task(&Task::Restore(RestoreTask { action, ..self.task.clone() }), &[]).end()
    }

    /// All that is in the loaded database, as if it had its own name and comment.
    #[track_caller]
    pub fn expect_same(&self, source: &Postgres) {
        let (name, temporary) = (&self.task.database, self.temporary());
        let comment = |server: &Postgres, of: &str| {
            let sql = "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = ";
            server
                .sql("postgres", &format!("{sql}'{}'", of.replace('\'', "''")))
                .trim_end_matches('\n')
                .to_owned()
        };
        let set_comment = |text: &str| {
            let (of, text) = (temporary.replace('"', "\"\""), text.replace('\'', "''"));
            self.target.sql("postgres", &format!("COMMENT ON DATABASE \"{of}\" IS '{text}'"));
        };
        let marked = comment(self.target, &temporary);
        set_comment(&comment(source, name));
        let plain = |lines: Vec<String>, of: &str| -> BTreeMap<String, u32> {
            let mut counts = BTreeMap::new();
            for line in lines {
                *counts.entry(line.replace(of, "THE-DATABASE")).or_default() += 1;
            }
            counts
        };
        let loaded = plain(self.target.content(&temporary), &temporary);
        let original = plain(source.content(name), name);
        set_comment(&marked);
        let only = |one: &BTreeMap<String, u32>, other: &BTreeMap<String, u32>| {
            let lines = one.iter().filter(|(line, count)| other.get(*line) != Some(*count));
            lines.take(10).map(|(line, count)| format!("{count} × {line}")).collect::<Vec<_>>()
        };
        assert!(
            loaded == original,
            "only loaded: {:#?}\nonly in the source: {:#?}",
            only(&loaded, &original),
            only(&original, &loaded)
        );
    }
}

/// Names of the databases of a server.
pub fn databases(server: &Postgres) -> Vec<String> {
    let names = server.sql("postgres", "SELECT json_agg(datname ORDER BY datname) FROM pg_database");
    serde_json::from_str(&names).unwrap()
}

/// The OID of a database.
pub fn oid(server: &Postgres, name: &str) -> u32 {
    let sql = format!("SELECT oid FROM pg_database WHERE datname = '{name}'");
    server.sql("postgres", &sql).trim().parse().unwrap()
}
