//! `archive-source` against PostgreSQL's own programs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use greenlang_backup_test_servers::{CLIENTS, POSTGRES, StandIn, Template, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_archive-source");

fn template(database: &str, rows: u32) -> Vec<u8> {
    POSTGRES.create_database(database);
    POSTGRES.sql(
        database,
        &format!("CREATE TABLE rows AS SELECT i, repeat('x', i % 100) AS text, NULL::int AS nothing FROM generate_series(1, {rows}) i"),
    );
    Template::dump(&POSTGRES, database)
}

/// What `pg_restore` makes of an archive that it reads from a pipe.
fn restored(archive: Vec<u8>) -> Option<String> {
    let mut restore = Command::new(format!("{CLIENTS}/pg_restore"))
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = restore.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(&archive));
    let output = restore.wait_with_output().unwrap();
    let _ = feeder.join();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Lines between COPY and its end.
fn rows(sql: &str) -> u64 {
    let copied = sql.split_once("FROM stdin;\n").unwrap().1.split_once("\\.\n").unwrap().0;
    copied.lines().count() as u64
}

#[test]
fn pg_restore_finds_every_row_at_any_length() {
    let real = template("archive_lengths", 1000);
    let template = Template::parse(&real).unwrap();
    // From none of its rows to more than are kept in memory.
    for bytes in [0, 3000, real.len() as u64, 1 << 20, 9_999_999] {
        let mut archive = Vec::new();
        let written = template.write(&mut archive, bytes, None).unwrap();
        let length = archive.len() as u64;
        assert!(bytes < 10_000 || (length <= bytes && length + 200 > bytes), "{length} bytes for {bytes}");
        assert_eq!(rows(&restored(archive).unwrap()), written);
    }
    let mut whole = Vec::new();
    template.write(&mut whole, real.len() as u64, None).unwrap();
    assert!(whole == real, "the length of the template gives the template");
}

#[test]
fn pg_restore_refuses_it_when_cut() {
    let template = Template::parse(&template("archive_cut", 1000)).unwrap();
    let mut archive = Vec::new();
    template.write(&mut archive, 200_000, None).unwrap();
    archive.truncate(100_000);
    assert_eq!(restored(archive), None);
}

#[test]
fn what_is_no_archive_of_one_table_is_no_template() {
    let real = template("archive_template", 10);
    for (what, archive) in [
        ("nothing", Vec::new()),
        ("no archive", b"-- SQL\n".to_vec()),
        ("cut", real[..real.len() - 1].to_vec()),
        ("something after its end", [real.as_slice(), &[0]].concat()),
        ("no rows", template("archive_no_rows", 0)),
    ] {
        assert!(Template::parse(&archive).is_none(), "{what}");
    }
}

#[test]
fn it_stands_in_for_pg_dump() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("template");
    std::fs::write(&path, template("archive_stand_in", 1000)).unwrap();
    let stand_in = StandIn {
        program: Path::new(PROGRAM),
        template: &path,
        bytes: 1_000_000,
        bytes_per_second: Some(1_000_000_000),
    };
    let clients = stand_in.clients(directory.path());
    let version = run(Command::new(clients.join("pg_dump")).arg("--version"));
    assert!(version.starts_with("pg_dump (PostgreSQL) 15"), "{version}");
    let output = Command::new(clients.join("pg_dump")).args(["-Fc", "-Z0", "any"]).output().unwrap();
    assert!(output.status.success());
    assert!(rows(&restored(output.stdout).unwrap()) > 1000);
}
