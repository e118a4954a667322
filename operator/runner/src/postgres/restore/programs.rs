//! The commands of a restore: `pg_restore` and `vacuumdb` with all that they are told. Pure.

use std::path::Path;

use tokio::process::Command;

use crate::postgres::connect::Endpoint;
use crate::postgres::libpq;

/// Sessions of the programs; the rest is as for dumps.
const OPTIONS: &str = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 \
                       -c default_transaction_read_only=off -c client_min_messages=warning";

/// The programs of one server, working on one database.
pub struct Programs<'a> {
    /// Directory of the programs.
    pub clients: &'a Path,
    pub endpoint: &'a Endpoint,
    /// Name of the database.
    pub database: &'a str,
}

impl Programs<'_> {
    /// `pg_restore`, which reads an archive on its standard input unless it is told a file. It gives up at the first error. `list`: a
    /// file with the entries that it is restricted to.
    pub fn pg_restore(&self, sections: &[&str], list: Option<&str>) -> Command {
        let mut command = self.command("pg_restore");
        command.args(["--format=custom", "--exit-on-error"]);
        command.args(sections.iter().map(|section| format!("--section={section}")));
        command.args(list.map(|list| format!("--use-list={list}")));
        command
    }

    /// `pg_restore` as the old procedure has it: everything is owned by the user that restores, and no right is granted.
    pub fn pg_restore_as_before(&self) -> Command {
        let mut command = self.pg_restore(&[], None);
        command.args(["--no-owner", "--no-privileges"]);
        command
    }

    /// `vacuumdb`, which counts for the planner, roughly first, so that the database is soon of use.
    pub fn analyze(&self, jobs: u8) -> Command {
        let mut command = self.command("vacuumdb");
        command.args(["--analyze-in-stages", "--quiet"]).arg(format!("--jobs={jobs}"));
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = libpq::command(&self.clients.join(program), self.endpoint, self.database);
        command.env("PGOPTIONS", OPTIONS).arg(libpq::database_argument(self.database));
        command
    }
}

#[cfg(test)]
mod tests {
    use greenlang_backup_test_servers::{Postgres, tasks};

    use super::*;

    #[test]
    fn every_program_finds_out_that_its_server_vanished() {
        let directory = tempfile::tempdir().unwrap();
        let nowhere = Postgres { port: 1, password: "p" };
        let endpoint = Endpoint::open(&tasks::postgres_server(&nowhere, "user", "p", directory.path()))
            .unwrap()
            .of_primary();
        let programs = Programs { clients: directory.path(), endpoint: &endpoint, database: "it's" };
        let primary = Some("primary".as_ref());
        for command in
            [programs.pg_restore(&["data"], None), programs.pg_restore_as_before(), programs.analyze(2)]
        {
            let told = command.as_std().get_envs().find(|(name, _)| *name == "PGTARGETSESSIONATTRS");
            assert_eq!(told.and_then(|(_, value)| value), primary);
            let given: Vec<_> = command.as_std().get_args().collect();
            let wanted = libpq::database_argument("it's");
            assert!(given.iter().any(|argument| **argument == *wanted), "{given:?}");
        }
    }
}
