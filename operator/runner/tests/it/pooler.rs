//! A connection pooler before the server.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use crate::fixture::Fixture;
use crate::happy::{assert_same, recovery};
use crate::servers::{ADMIN_PASSWORD, POSTGRES, Postgres, free_port, new_directory, poll, run};

/// Tables that are worth streams of their own.
const TABLES: &str = "
    CREATE TABLE one AS SELECT i, md5(i::text) AS text FROM generate_series(1, 30000) i;
    CREATE TABLE two AS SELECT i, md5((i * 7)::text) AS text FROM generate_series(1, 30000) i;
    CREATE TABLE three AS SELECT i, md5((i * 9)::text) AS text FROM generate_series(1, 30000) i";

/// A running pgbouncer of Debian's package; it ends when dropped.
pub struct Pgbouncer {
    child: Child,
    pub port: u16,
    directory: PathBuf,
}

impl Pgbouncer {
    pub fn start(settings: &str) -> Self {
        let (directory, port) = (new_directory("pgbouncer"), free_port());
        fs::write(directory.join("users"), format!("\"postgres\" \"{ADMIN_PASSWORD}\"\n")).unwrap();
        let ini = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {}/users\nignore_startup_parameters = options,extra_float_digits\n{settings}\n",
            POSTGRES.port,
            directory.display()
        );
        fs::write(directory.join("ini"), ini).unwrap();
        let mut command = Command::new("/usr/sbin/pgbouncer");
        command.arg("--quiet").arg(directory.join("ini"));
        // It refuses to run as root, and is told whom to run as only then.
        if run(Command::new("id").arg("-u")).trim() == "0" {
            command.arg("--user=postgres");
        }
        let child = command.spawn().unwrap();
        let ready = || TcpStream::connect(("127.0.0.1", port)).ok();
        poll(Duration::from_secs(20), ready).unwrap();
        Self { child, port, directory }
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A backup in three streams through a pooler, recovered and compared; how many streams it had, and its warnings.
fn through(name: &str, settings: &str) -> (usize, Vec<String>) {
    POSTGRES.create_database(name);
    POSTGRES.sql(name, TABLES);
    let pooler = Pgbouncer::start(settings);
    let mut fixture = Fixture::new(name, &[name]);
    fixture.task.server.host = Ipv4Addr::LOCALHOST.to_string();
    fixture.task.server.port = pooler.port;
    fixture.task.globals = false;
    fixture.task.streams = 3;
    // Others used the pool before.
    for _ in 0..2 {
        let mut command = POSTGRES.command("psql", name);
        run(command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", pooler.port.to_string())
            .args(["-Xc", "SELECT 1"]));
    }
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let manifest = fixture.manifest();
    let target = Postgres::start("another password");
    run(&mut recovery(&fixture, &target, &manifest.recovery.commands));
    assert_same(&target.content(name), &POSTGRES.content(name));
    let dumps =
        |content: &Content| matches!(content, Content::PostgresArchive { .. } | Content::PostgresData { .. });
    (manifest.objects.iter().filter(|object| dumps(&object.content)).count(), manifest.warnings)
}

#[track_caller]
fn assert_one_stream((streams, warnings): (usize, Vec<String>), words: &str) {
    assert_eq!((streams, warnings.len()), (1, 1), "{warnings:?}");
    assert!(
        warnings[0].contains("in one stream instead of 3") && warnings[0].contains(words),
        "{warnings:?}"
    );
}

#[test]
fn a_pooler_that_shares_sessions_leads_to_one_stream_and_a_warning() {
    for (name, order) in [("pooled-lifo", ""), ("pooled-fifo", "server_round_robin = 1")] {
        let found = through(name, &format!("pool_mode = transaction\n{order}"));
        assert_one_stream(found, "a connection pooler stands between");
    }
}

#[test]
fn a_pooler_that_gives_each_session_its_own_allows_several_streams() {
    assert_eq!(through("pooled-session", "pool_mode = session"), (3, vec![]));
}

#[test]
fn a_server_that_has_no_sessions_left_leads_to_one_stream_and_a_warning() {
    let name = "few sessions";
    POSTGRES.create_database(name);
    POSTGRES.sql(name, TABLES);
    POSTGRES.sql(name, "CREATE ROLE few_sessions LOGIN PASSWORD 'few' CONNECTION LIMIT 2; GRANT pg_read_all_data TO few_sessions");
    let mut fixture = Fixture::new("few-sessions", &[name]);
    fixture.task.server.credentials =
        fixture.secret("few", &[("username", "few_sessions"), ("password", "few")]);
    (fixture.task.globals, fixture.task.streams) = (false, 3);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let manifest = fixture.manifest();
    let dumps = manifest.objects.iter().filter(|object| object.key.contains("dump")).count();
    assert_one_stream((dumps, manifest.warnings), "too many connections for role");
}
