//! Several dumps of one snapshot at once, and what happens to tables meanwhile.

use std::time::Duration;

use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use crate::fixture::{Fixture, kill};
use crate::happy::{HOSTILE, assert_same, recovery};
use crate::servers::{POSTGRES, Postgres, poll, run};

/// Tables that are worth moving, and all that makes moving hard: owned and identity sequences, hostile names, partitions, keys
/// between tables of different dumps, large objects, a materialized view, an extension with data of its own.
pub const WIDE: &str = r#"
    CREATE EXTENSION hstore;
    CREATE TABLE first (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n serial, text text);
    INSERT INTO first (text) SELECT md5(i::text) FROM generate_series(1, 40000) i;
    CREATE SCHEMA "s p.a*c?e""[";
    CREATE TABLE "s p.a*c?e""["."t|a(b)$ü" (id serial PRIMARY KEY, first int REFERENCES first, text text);
    INSERT INTO "s p.a*c?e""["."t|a(b)$ü" (first, text) SELECT i, md5(i::text) FROM generate_series(1, 30000) i;
    CREATE TABLE parts (at date NOT NULL, text text) PARTITION BY RANGE (at);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2024-07-01') TO ('2025-01-01');
    INSERT INTO parts SELECT '2024-01-01'::date + i % 366, md5(i::text) FROM generate_series(1, 60000) i;
    CREATE TABLE small AS SELECT 1 AS one;
    CREATE TABLE empty (id int);
    CREATE SEQUENCE free; SELECT nextval('free');
    CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM first;
    SELECT lo_from_bytea(77, decode(repeat('00ff', 5000), 'hex'));"#;

#[test]
fn several_streams_hold_each_entry_once_and_can_be_recovered_by_hand() {
    let names = ["wide", HOSTILE, "postgres"].map(|name| format!("{name} streams"));
    for name in &names {
        POSTGRES.create_database(name);
        POSTGRES.sql(name, WIDE);
    }
    let databases: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut fixture = Fixture::new("streams", &databases);
    fixture.task.streams = 3;
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);

    let manifest = fixture.manifest();
    for name in &names {
        let of_it: Vec<&Content> = manifest
            .objects
            .iter()
            .map(|object| &object.content)
            .filter(|content| match content {
                Content::PostgresArchive { database } | Content::PostgresData { database, .. } => {
                    database == name
                }
                _ => false,
            })
            .collect();
        let database = || name.clone();
        assert_eq!(
            of_it,
            [
                &Content::PostgresArchive { database: database() },
                &Content::PostgresData { database: database(), stream: 2 },
                &Content::PostgresData { database: database(), stream: 3 },
            ]
        );
    }
    let target = Postgres::start("another password");
    run(&mut recovery(&fixture, &target, &manifest.recovery.commands));
    for name in &names {
        assert_same(&target.content(name), &POSTGRES.content(name));
    }
}

#[test]
fn small_tables_are_dumped_in_one_stream() {
    POSTGRES.create_database("narrow");
    POSTGRES.sql("narrow", "CREATE TABLE t AS SELECT 1 AS one");
    let mut fixture = Fixture::new("narrow", &["narrow"]);
    fixture.task.streams = 16;
    let ended = fixture.run();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let data = |content: &Content| matches!(content, Content::PostgresData { .. });
    assert!(!fixture.manifest().objects.iter().any(|object| data(&object.content)));
    assert_eq!(ended.report.backup.unwrap().warnings, 0);
}

/// What an administrator sets against forgotten sessions: the one that holds the snapshot is idle for as long as dumps take.
#[test]
fn timeouts_of_the_server_do_not_end_a_dump() {
    let name = "impatient";
    POSTGRES.create_database(name);
    POSTGRES.sql(
        name,
        "CREATE TABLE one AS SELECT i, repeat(md5(i::text), 8) AS text FROM generate_series(1, 100000) i;
         CREATE TABLE two AS SELECT i, md5(i::text) AS text FROM generate_series(1, 30000) i;",
    );
    for timeout in
        ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"]
    {
        POSTGRES.sql("postgres", &format!("ALTER DATABASE {name} SET {timeout} = '200ms'"));
    }
    let mut fixture = Fixture::new(name, &[name]);
    (fixture.task.globals, fixture.task.streams) = (false, 2);
    let mut started = fixture.start(&[]);
    let pid = started.stop_pg_dump_after(1 << 20);
    std::thread::sleep(Duration::from_secs(1));
    kill("CONT", pid);
    started.end().expect(Outcome::Done, reasons::SUCCEEDED);
    let manifest = fixture.manifest();
    let data = |content: &Content| matches!(content, Content::PostgresData { .. });
    assert!(manifest.objects.iter().any(|object| data(&object.content)), "in two streams");
    assert_eq!(manifest.warnings, [""; 0]);
}

/// Holds a lock in a session of its own until the runner waits for it, then commits what it did.
fn meanwhile(database: &str, fixture: &Fixture, change: &str) -> crate::fixture::Ended {
    let script = format!(
        "BEGIN; {change}; SELECT pg_advisory_lock(4711);
         DO $$ BEGIN
            WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%') LOOP
                PERFORM pg_sleep(0.02), pg_stat_clear_snapshot();
            END LOOP;
         END $$;
         COMMIT;"
    );
    let mut other = POSTGRES.command("psql", database);
    let mut other = other.args(["-XAtq", "--set=ON_ERROR_STOP=1", "-c", &script]).spawn().unwrap();
    let locked = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    poll(Duration::from_secs(20), || (!POSTGRES.sql(database, locked).is_empty()).then_some(())).unwrap();
    let ended = fixture.run();
    assert!(other.wait().unwrap().success());
    ended
}

#[test]
fn a_table_that_changes_between_snapshot_and_lock_leads_to_another_snapshot() {
    for (name, change, left) in [
        ("truncated", "TRUNCATE t", "0"),
        ("rewritten", "ALTER TABLE t ALTER i TYPE bigint", "5"),
        ("dropped", "DROP TABLE t; CREATE TABLE t AS SELECT 1 AS i", "1"),
        (
            "renamed",
            "ALTER TABLE t RENAME TO t_old; CREATE TABLE t AS SELECT generate_series(1, 3) AS i",
            "3",
        ),
    ] {
        POSTGRES.create_database(name);
        POSTGRES.sql(
            name,
            "CREATE TABLE t AS SELECT i FROM generate_series(1, 5) i; CREATE TABLE other AS SELECT 1",
        );
        let fixture = Fixture::new(&format!("gap-{name}"), &[name]);
        let ended = meanwhile(name, &fixture, change);
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        assert!(ended.stderr.contains("taking another snapshot"), "{name}");
        let target = Postgres::start("another password");
        run(&mut recovery(&fixture, &target, &fixture.manifest().recovery.commands));
        assert_eq!(target.sql(name, "SELECT count(*) FROM t").trim(), left, "{name}");
    }
}

#[test]
fn tables_cannot_change_while_they_are_dumped() {
    let name = "steady";
    POSTGRES.create_database(name);
    POSTGRES.sql(name, "CREATE TABLE rows AS SELECT i, md5(i::text) || md5((i * 7)::text) AS text FROM generate_series(1, 900000) i; CREATE TABLE last AS SELECT 1 AS one");
    let fixture = Fixture::new("steady", &[name]);
    let mut started = fixture.start(&[]);
    let pid = started.stop_pg_dump_after(20 << 20);
    for change in ["TRUNCATE last", "DROP TABLE last", "ALTER TABLE last ADD two int", "VACUUM FULL last"] {
        let mut command = POSTGRES.command("psql", name);
        command.env("PGOPTIONS", "-c lock_timeout=50ms").args(["-Xq", "-c", change]);
        let output = command.output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("lock timeout"), "{change}: {output:?}");
    }
    kill("CONT", pid);
    started.end().expect(Outcome::Done, reasons::SUCCEEDED);
}

#[test]
fn a_lost_snapshot_ends_the_run() {
    let name = "lost snapshot";
    POSTGRES.create_database(name);
    POSTGRES.sql(name, "CREATE TABLE rows AS SELECT i, md5(i::text) || md5((i * 7)::text) AS text FROM generate_series(1, 900000) i");
    let fixture = Fixture::new("lost-snapshot", &[name]);
    let mut started = fixture.start(&[]);
    let pid = started.stop_pg_dump_after(20 << 20);
    let terminated = POSTGRES.sql(
        "postgres",
        &format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}' AND application_name = 'greenlang-backup' AND query NOT LIKE 'COPY%'"),
    );
    assert_eq!(terminated.trim(), "1");
    let ended = started.end();
    ended.expect(Outcome::Retryable, reasons::SNAPSHOT_LOST);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "pg_dump lives on");
    fixture.bucket.assert_empty();
}

#[test]
fn a_table_that_has_another_name_at_the_end_is_noticed() {
    let name = "renamed schema";
    POSTGRES.create_database(name);
    // Renaming a schema takes no lock of its tables. The one in it is dumped before the large one.
    POSTGRES.sql(name, "CREATE SCHEMA a; CREATE TABLE a.t AS SELECT 1 AS one; CREATE TABLE rows AS SELECT i, md5(i::text) || md5((i * 7)::text) AS text FROM generate_series(1, 900000) i");
    let fixture = Fixture::new("renamed-schema", &[name]);
    let mut started = fixture.start(&[]);
    let pid = started.stop_pg_dump_after(20 << 20);
    POSTGRES.sql(name, "ALTER SCHEMA a RENAME TO b");
    kill("CONT", pid);
    let ended = started.end();
    ended.expect(Outcome::Retryable, reasons::SNAPSHOT_LOST);
    ended.expect_message(&["a.t was dropped, truncated, rewritten or replaced"]);
    fixture.bucket.assert_empty();
}
