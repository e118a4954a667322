//! Archives of a real `pg_dump` and a real server, from dump to restore to dump.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use super::fixtures::{counts, list, listed, objects};
use super::*;
use crate::postgres::archive::copy::{RowReader, Rows};
use crate::postgres::archive::model::Data;

use greenlang_backup_test_servers::{CLIENTS, POSTGRES, run};

fn pg_restore() -> Command {
    Command::new(format!("{CLIENTS}/pg_restore"))
}

/// The database of all fixtures, in a database of this name.
fn seeded(name: &str) {
    POSTGRES.create_database(name);
    POSTGRES.sql_file(name, "testdata/archives/seed.sql".as_ref());
}

fn dump(database: &str) -> Vec<u8> {
    let mut command = POSTGRES.command("pg_dump", database);
    let output = command.args(["--format=custom", "--compress=0"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn restore(archive: &Path, database: &str) {
    POSTGRES.create_database(database);
    run(POSTGRES
        .command("pg_restore", database)
        .args(["--exit-on-error", "--dbname", database])
        .arg(archive));
}

fn sql_lines(database: &str, sql: &str) -> Vec<String> {
    POSTGRES.sql(database, sql).lines().map(|line| line.replace('|', " ")).collect()
}

/// Each table's rows.
pub fn rows(archive: &Archive) -> BTreeMap<(String, String), Rows> {
    let table = |entry: &Entry| {
        let rows = *entry.data.as_ref().and_then(Data::rows)?;
        Some(((entry.namespace.to_string(), entry.tag.to_string()), rows))
    };
    archive.entries.iter().filter_map(table).collect()
}

/// The lines of each COPY of a script, in its order. A name may hold a newline, so the end of the command tells.
fn copied(script: &str) -> Vec<u64> {
    let mut counts = Vec::new();
    let mut lines = script.lines();
    while lines.any(|line| line.ends_with(" FROM stdin;")) {
        counts.push(lines.by_ref().take_while(|&line| line != "\\.").count() as u64);
    }
    counts
}

#[test]
fn an_archive_is_walked_as_server_and_pg_restore_see_it() {
    let name = "archive_walk";
    seeded(name);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dump");
    std::fs::write(&file, dump(name)).unwrap();
    let archive = walk(&std::fs::read(&file).unwrap(), &[65_536, 4096, 1]).unwrap();

    let text = run(pg_restore().arg("--list").arg(&file));
    let (expected, single) = list(&text.lines().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(listed(&archive), expected);
    assert_eq!(archive.large_object_entries, single);

    let tables = POSTGRES.sql(
        name,
        "SELECT string_agg(format('SELECT %s, count(*) FROM ONLY %s', oid::oid, oid::regclass), ' UNION ALL ') || ' ORDER BY 1'
         FROM pg_class WHERE relkind = 'r' AND oid > 16383",
    );
    assert_eq!(counts(&archive), sql_lines(name, &tables));
    let sizes = "SELECT oid, length(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid";
    assert_eq!(objects(&archive), sql_lines(name, sizes));

    let script = run(pg_restore().args(["--file=-"]).arg(&file).stdin(Stdio::null()));
    let in_order = archive.entries.iter().filter_map(|entry| Some(entry.data.as_ref()?.rows()?.count));
    assert_eq!(copied(&script), in_order.collect::<Vec<_>>());
}

#[test]
fn the_digest_outlives_restore_and_reordering_and_shows_a_change() {
    let (name, restored) = ("archive_digest", "archive_restored");
    seeded(name);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dump");
    std::fs::write(&file, dump(name)).unwrap();
    let original = walk(&std::fs::read(&file).unwrap(), &[65_536]).unwrap();
    restore(&file, restored);
    let again = || walk(&dump(restored), &[65_536]).unwrap();
    assert_eq!(rows(&again()), rows(&original));
    assert_eq!(again().large_objects.digest, original.large_objects.digest);

    let first = || POSTGRES.sql(restored, "SELECT id FROM binary_data LIMIT 5");
    let order = first();
    POSTGRES.sql(
        restored,
        "CREATE TABLE moved AS SELECT * FROM binary_data; TRUNCATE binary_data;
         INSERT INTO binary_data SELECT * FROM moved ORDER BY random(); DROP TABLE moved;
         CREATE INDEX reordering ON parent_eu (md5(id::text)); CLUSTER parent_eu USING reordering; DROP INDEX reordering;",
    );
    assert_ne!(first(), order, "200 rows in the same order");
    assert_eq!(rows(&again()), rows(&original));

    let table = ("public".to_owned(), "binary_data".to_owned());
    let text = POSTGRES.sql(restored, "COPY binary_data (id, b, d, ts) TO STDOUT");
    let mut reader = RowReader::default();
    reader.push(text.as_bytes()).unwrap();
    reader.push(b"\\.\n").unwrap();
    assert_eq!(reader.finish().as_ref(), Ok(&rows(&original)[&table]), "COPY gives what the archive has");

    POSTGRES.sql(restored, "UPDATE binary_data SET d = d + 1 WHERE id = 7");
    POSTGRES.sql(restored, "SELECT lo_put(50020, 3, 'x')");
    let changed = again();
    assert_eq!(rows(&changed)[&table].count, rows(&original)[&table].count);
    assert_ne!(rows(&changed)[&table].digest, rows(&original)[&table].digest);
    assert_ne!(changed.large_objects.digest, original.large_objects.digest);
}
