//! Loads that succeed: what is there afterwards is what was backed up.

use std::sync::LazyLock;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::v1alpha1::VerifyRestored;

use super::world::{Request, databases};
use crate::fixture::Fixture;
use crate::happy::{HOSTILE, SEEDED};
use crate::servers::{POSTGRES, Postgres};
use crate::streams::WIDE;

/// A server that is restored to.
pub static TARGET: LazyLock<Postgres> = LazyLock::new(|| Postgres::start("target-password"));

#[test]
fn everything_of_a_database_comes_back_under_another_name() {
    let seeded = *SEEDED;
    let fixture = Fixture::new("load", &[seeded]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let mut request = Request::new(&fixture, &TARGET, seeded, "u-load");
    let report = request.loaded();
    assert_eq!(report.database.name, request.temporary());
    let oid = TARGET
        .sql("postgres", &format!("SELECT oid FROM pg_database WHERE datname = '{}'", report.database.name));
    assert_eq!(oid.trim(), report.database.oid.to_string());
    assert!(report.data.tables >= 5 && report.data.rows >= 5_500 && report.data.bytes > 0, "{report:?}");
    assert!(report.data.verified.as_ref().is_some_and(|said| said.contains("content")), "{report:?}");
    assert!(report.data.largest[0].table.contains("Größe"), "{report:?}");
    request.expect_same(&POSTGRES);
    let comment =
        TARGET.sql("postgres", &format!("SELECT shobj_description({}, 'pg_database')", report.database.oid));
    assert_eq!(comment, "greenlang-backup restore u-load greenlang/back\nit's production\n");
    let roles = TARGET.globals();
    for line in POSTGRES.globals().iter().filter(|line| line.contains("seed") && !line.contains("DATABASE")) {
        assert!(roles.contains(line), "{line}\n{roles:#?}");
    }
    let analyzed =
        TARGET.sql(&request.temporary(), "SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'app'");
    assert_eq!(analyzed.trim(), "t");

    // Once more, with several connections: what is there is made anew.
    request.load().jobs = 3;
    request.load().verify = VerifyRestored::Counts;
    let again = request.loaded();
    assert_ne!(again.database.oid, report.database.oid);
    assert_eq!((again.data.tables, again.data.rows), (report.data.tables, report.data.rows));
    request.expect_same(&POSTGRES);

    let name = request.temporary();
    let dropped = request.drop_database(&name, Some(report.database.oid));
    dropped.expect(Outcome::Failed, reasons::restore::DATABASE_EXISTS);
    request.drop_database(&name, Some(again.database.oid)).expect(Outcome::Done, reasons::SUCCEEDED);
    request.drop_database(&name, Some(again.database.oid)).expect(Outcome::Done, reasons::SUCCEEDED);
    assert!(!request.is_there());
}

#[test]
fn a_wide_backup_is_loaded_at_once() {
    let seeded = "wide to load";
    POSTGRES.create_database(seeded);
    POSTGRES.sql(seeded, WIDE);
    let mut fixture = Fixture::new("load-wide", &[seeded]);
    fixture.task.streams = 3;
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    assert!(fixture.manifest().objects.iter().any(|object| object.key.contains("/data/")));
    for jobs in [1, 4] {
        let mut request = Request::new(&fixture, &TARGET, seeded, &format!("u-wide-{jobs}"));
        request.load().jobs = jobs;
        request.loaded();
        request.expect_same(&POSTGRES);
        request.drop_database(&request.temporary(), None).expect(Outcome::Done, reasons::SUCCEEDED);
    }
}

#[test]
fn a_database_whose_text_icu_compares_comes_back_as_one() {
    let name = "by icu";
    POSTGRES.sql(
        "postgres",
        &format!("CREATE DATABASE \"{name}\" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-DE'"),
    );
    POSTGRES.sql(
        name,
        "CREATE TABLE t AS SELECT * FROM unnest(ARRAY['z', 'ö', 'o']) AS text; CREATE INDEX ON t (text)",
    );
    let fixture = Fixture::new("load-icu", &[name]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let request = Request::new(&fixture, &TARGET, name, "u-icu");
    request.loaded();
    request.expect_same(&POSTGRES);
    let temporary = request.temporary();
    let made = "SELECT datlocprovider, daticulocale FROM pg_database WHERE datname = current_database()";
    assert_eq!(TARGET.sql(&temporary, made), "i|de-DE\n");
    let sorted = TARGET.sql(&temporary, "SELECT string_agg(text, '' ORDER BY text) FROM t");
    assert_eq!(sorted, "oöz\n", "by bytes the ö comes last");
    request.drop_database(&temporary, None).expect(Outcome::Done, reasons::SUCCEEDED);
}

#[test]
fn hostile_and_long_names_come_back() {
    let long = format!("Ä \"quoted\" {}", "x".repeat(51));
    assert_eq!(long.len(), 63);
    let sibling = format!("{}y", &long[..62]);
    for name in [HOSTILE, &long, &sibling] {
        let there = databases(&POSTGRES).iter().any(|found| found == name);
        if !there {
            POSTGRES.create_database(name);
        }
        POSTGRES.sql(name, "CREATE TABLE IF NOT EXISTS named AS SELECT current_database() AS name");
    }
    let fixture = Fixture::new("load-names", &[HOSTILE, &long, &sibling]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    // Its neighbours are production databases of the target.
    for name in [&*long, &sibling] {
        TARGET.create_database(name);
    }
    let requests = [HOSTILE, &long, &sibling].map(|name| Request::new(&fixture, &TARGET, name, "u-names"));
    for request in &requests {
        request.loaded();
    }
    for request in &requests {
        let name = TARGET.sql(&request.temporary(), "SELECT name FROM named");
        assert_eq!(name.trim_end_matches('\n'), request.task.database, "nobody's place was taken");
        request.drop_database(&request.temporary(), None).expect(Outcome::Done, reasons::SUCCEEDED);
    }
    let left = databases(&TARGET);
    assert!(requests.iter().all(|request| !left.contains(&request.temporary())));
    assert!([&*long, &sibling].iter().all(|name| left.iter().any(|left| left == name)));
}
