//! More tables than most databases have. Starts processes.

use std::collections::HashMap;
use std::sync::LazyLock;

use anyhow::{Context as _, Result, ensure};
use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::task::PostgresDumpTask;
use greenlang_backup_bench::world::World;
use greenlang_backup_test_servers::{ADMIN_PASSWORD, Postgres, S3};

const TABLES: usize = 20_000;
/// Of which so many have more than one row.
const LARGE: usize = 9;
const DATABASE: &str = "tables";
/// Every dump locks every table, and so may who keeps them still.
const SETTINGS: [(&str, &str); 2] = [("max_locks_per_transaction", "2048"), ("max_connections", "50")];

static SERVER: LazyLock<Postgres> = LazyLock::new(|| {
    let server = Postgres::start_with(ADMIN_PASSWORD, &SETTINGS);
    server.create_database(DATABASE);
    let sql = format!(
        "DO $$ BEGIN
            FOR i IN 1..{TABLES} LOOP
                EXECUTE format('CREATE TABLE t_%s AS SELECT %s AS i', i, i);
                IF i % 500 = 0 THEN COMMIT; END IF;
            END LOOP;
            -- Large enough to be worth a dump of their own.
            FOR i IN 1..{LARGE} LOOP
                EXECUTE format('INSERT INTO t_%s SELECT generate_series(2, 60000)', i);
            END LOOP;
        END $$"
    );
    server.sql(DATABASE, &sql);
    server
});

/// Each table is defined once, in the archive that the others belong to, and has its data in exactly one object.
pub fn all_are_there(streams: u8) -> Result<()> {
    let s3 = S3::start_versitygw();
    let world = World::new(&SERVER, &s3)?;
    let task = PostgresDumpTask { streams, ..world.task(DATABASE) };
    let manifest = world.backup(task)?.manifest;
    let archives: Vec<&str> = manifest
        .objects
        .iter()
        .filter(|object| {
            matches!(object.content, Content::PostgresArchive { .. } | Content::PostgresData { .. })
        })
        .map(|object| object.key.as_str())
        .collect();
    ensure!(archives.len() == usize::from(streams), "{streams} streams gave {archives:?}");
    let mut found: HashMap<String, usize> = HashMap::new();
    let mut defined = Vec::new();
    for key in archives {
        let contents = world.table_of_contents(key);
        let mut here = 0;
        defined.push(contents.lines().filter(|line| line.contains(" TABLE public ")).count());
        for line in contents.lines().filter(|line| line.contains(" TABLE DATA ")) {
            let table = line.split_whitespace().nth(6).context("a line without a table")?;
            *found.entry(table.to_owned()).or_default() += 1;
            here += 1;
        }
        ensure!(here > 0, "{key} holds no data");
    }
    let wrong: Vec<String> =
        (1..=TABLES).map(|i| format!("t_{i}")).filter(|table| found.get(table) != Some(&1)).take(5).collect();
    ensure!(wrong.is_empty(), "not in exactly one object: {wrong:?}");
    ensure!(defined.first() == Some(&TABLES), "tables that each object defines: {defined:?}");
    ensure!(found.len() == TABLES, "{} tables are in the backup, which has {TABLES}", found.len());
    Ok(())
}
