//! PostgreSQL servers. Starts processes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use crate::certificates::CERTIFICATES;
use crate::process::{
    NODE_ADDRESS, POD_NETWORK, START, free_port, is_root, log, new_directory, poll, run, spawn, wait,
};

/// Password of the superuser of [`POSTGRES`].
pub const ADMIN_PASSWORD: &str = "database-password-that-nobody-may-see";
/// Where Debian has the programs of its major version.
pub const CLIENTS: &str = "/usr/lib/postgresql/15/bin";

/// One for all tests of a process.
pub static POSTGRES: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(ADMIN_PASSWORD));

/// A PostgreSQL server of its own directory and port, whose superuser is `postgres`.
pub struct Postgres {
    /// TCP port on localhost.
    pub port: u16,
    /// Password of the superuser.
    pub password: &'static str,
}

impl Postgres {
    /// Of Debian's major version.
    pub fn start(password: &'static str) -> Self {
        Self::start_with(password, &[])
    }

    /// Of Debian's major version, with settings of its own.
    pub fn start_with(password: &'static str, settings: &[(&str, &str)]) -> Self {
        Self::launch(&new_directory("postgres"), CLIENTS, password, "", settings)
    }

    /// Of Debian's major version, also for Pods of the local node, at [`NODE_ADDRESS`].
    pub fn start_for_pods(password: &'static str) -> Self {
        let prepare = format!("echo 'hostssl all all {POD_NETWORK} scram-sha-256' >>data/pg_hba.conf");
        let addresses = format!("localhost,127.0.0.1,{NODE_ADDRESS}");
        let settings = [("listen_addresses", &*addresses)];
        Self::launch(&new_directory("postgres"), CLIENTS, password, &prepare, &settings)
    }

    /// Of the programs in a directory, which may lie in the server's own.
    /// `prepare`: shell commands before it starts.
    pub fn start_in(directory: &Path, programs: &str, password: &'static str, prepare: &str) -> Self {
        Self::launch(directory, programs, password, prepare, &[])
    }

    fn launch(
        directory: &Path,
        programs: &str,
        password: &'static str,
        prepare: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let port = free_port();
        for file in ["server.crt", "server.key"] {
            fs::copy(CERTIFICATES.directory.join(file), directory.join(file)).unwrap();
        }
        fs::write(directory.join("password"), password).unwrap();
        let settings: Vec<String> =
            settings.iter().map(|(name, value)| format!("-c {name}='{value}'")).collect();
        let settings = settings.join(" ");
        let script = format!(
            "set -e
            {programs}/initdb --pgdata=data --auth=scram-sha-256 --username=postgres --pwfile=password \
                --encoding=UTF8 --locale=C.UTF-8 --no-sync >initdb.log
            {prepare}
            exec {programs}/postgres -D data -p {port} -k \"$PWD\" -c listen_addresses=localhost,127.0.0.1 -c fsync=off \
                -c ssl=on -c ssl_cert_file=\"$PWD/server.crt\" -c ssl_key_file=\"$PWD/server.key\" {settings}"
        );
        let as_user = if is_root() {
            run(Command::new("chown").arg("-R").arg("postgres").arg(directory));
            run(Command::new("chmod").arg("600").arg(directory.join("server.key")));
            "setpriv --reuid=postgres --regid=postgres --clear-groups "
        } else {
            ""
        };
        fs::write(directory.join("start"), script).unwrap();
        spawn(directory, &format!("{as_user}sh start"), &[]);
        let server = Self { port, password };
        wait(directory, port);
        server.wait_ready(directory);
        server
    }

    /// Runs SQL in a database and returns what it prints.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut command = self.command("psql", database);
        run(command.args(["-XAtq", "--set=ON_ERROR_STOP=1", "-c", sql]))
    }

    /// Runs a file of SQL in a database.
    pub fn sql_file(&self, database: &str, file: &Path) {
        run(self
            .command("psql", database)
            .args(["-Xq", "--set=ON_ERROR_STOP=1", "-o", "/dev/null", "-f"])
            .arg(file));
    }

    /// Makes an empty database.
    pub fn create_database(&self, name: &str) {
        self.sql("postgres", &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")));
    }

    /// Everything in a database as sorted lines: rows may come out of a restored table in another order.
    pub fn content(&self, database: &str) -> Vec<String> {
        let text = run(self.command("pg_dump", database).arg("--create"));
        sorted(&text)
    }

    /// Roles, memberships and settings, but for those of the role that restores.
    pub fn globals(&self) -> Vec<String> {
        let text = run(self.command("pg_dumpall", "postgres").arg("--globals-only"));
        sorted(&text).into_iter().filter(|line| !line.starts_with("ALTER ROLE postgres ")).collect()
    }

    /// A client program as superuser.
    pub fn command(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(format!("{CLIENTS}/{program}"));
        command
            .env("PGHOST", "localhost")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGPASSWORD", self.password)
            .env("PGDATABASE", database);
        command
    }

    fn wait_ready(&self, directory: &Path) {
        let mut command = self.command("pg_isready", "postgres");
        let ready = poll(START, || command.arg("-q").status().unwrap().success().then_some(()));
        assert!(ready.is_some(), "PostgreSQL is not ready: {}", log(directory));
    }
}

/// Newer minor versions of the programs frame their output by a random word.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}
