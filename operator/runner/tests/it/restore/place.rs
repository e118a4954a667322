//! Plans for a server that is not made as the backup's was: tablespaces, security labels, another server in between.

use std::net::Ipv4Addr;

use greenlang_backup_api::reasons::{self, restore};
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::restore::PlanAction;
use greenlang_backup_api::v1alpha1::{IncludedTable, RestoreInclude, RestoreStrategy};

use super::load::TARGET;
use super::plan::{action, plan, read, refusals};
use super::world::Request;
use crate::fixture::Fixture;
use crate::happy::SEEDED;
use crate::pooler::Pgbouncer;
use crate::servers::{POSTGRES, Postgres, tasks};

/// A backup of a database of this server.
fn backup_of(source: &Postgres, database: &str, bucket: &str) -> Fixture {
    let mut fixture = Fixture::new(bucket, &[database]);
    let secrets = fixture.directory.path().join("source");
    fixture.task.server = tasks::postgres_server(source, "postgres", source.password, &secrets);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    fixture
}

#[test]
fn tablespaces_that_the_server_lacks_are_refused_and_others_are_used() {
    let source = Postgres::start_with("placed-password", &[("allow_in_place_tablespaces", "on")]);
    for name in ["fast", "slow", "unused"] {
        source.sql("postgres", &format!("CREATE TABLESPACE {name} LOCATION ''"));
    }
    let name = "placed";
    source.sql("postgres", "CREATE DATABASE placed TABLESPACE fast");
    source.sql(
        name,
        "CREATE TABLE here AS SELECT i FROM generate_series(1, 100) i;
         CREATE TABLE there (i int) TABLESPACE slow; CREATE INDEX of_there ON there (i) TABLESPACE slow",
    );
    let fixture = backup_of(&source, name, "plan-tablespaces");
    let mut request = Request::new(&fixture, &TARGET, name, "u-placed");
    let ended = plan(&request, action(&request));
    ended.expect(Outcome::Failed, restore::TABLESPACE_MISSING);
    let [(_, fast), (_, slow)] = &refusals(&ended)[..] else { panic!("{:?}", refusals(&ended)) };
    assert!(fast.contains("the database must lie") && fast.contains("CREATE TABLESPACE \"fast\""), "{fast}");
    assert!(slow.contains("table public.there and 1 more must lie"), "{slow}");
    let warnings = read(&ended).warnings;
    assert!(warnings.iter().any(|warning| warning.ends_with("nothing known needs: unused")), "{warnings:?}");
    assert!(!request.is_there());

    // A part needs what its tables need.
    let here = IncludedTable { schema: "public".into(), name: "here".into() };
    request.load().include = Some(RestoreInclude { schemas: vec![], tables: vec![here] });
    let part = plan(&request, PlanAction { strategy: RestoreStrategy::NewDatabase, ..action(&request) });
    let [(reason, fast)] = &refusals(&part)[..] else { panic!("{:?}", refusals(&part)) };
    assert!(reason == restore::TABLESPACE_MISSING && fast.contains("fast"), "{fast}");

    // Where they are there, all lies where it lay.
    let back = Request::new(&fixture, &source, name, "u-placed-back");
    plan(&back, action(&back)).expect(Outcome::Done, reasons::SUCCEEDED);
    back.loaded();
    back.expect_same(&source);
}

/// No program that reads labels is on this machine, so the catalog gets one by hand.
#[test]
fn a_security_label_that_means_nothing_to_the_server_is_left_out_and_told() {
    let source = Postgres::start("labelled-password");
    let name = "labelled";
    source.create_database(name);
    source.sql(name, "CREATE TABLE t AS SELECT 1 AS one");
    let fixture = backup_of(&source, name, "plan-unlabelled");
    let request = Request::new(&fixture, &source, name, "u-unlabelled");
    let warnings = read(&plan(&request, action(&request))).warnings;
    assert!(!warnings.iter().any(|warning| warning.contains("security label")), "{warnings:?}");
    assert_eq!(request.loaded().data.warnings, 0);
    request.drop_database(&request.temporary(), None).expect(Outcome::Done, reasons::SUCCEEDED);

    source.sql(
        name,
        "SET allow_system_table_mods = on; INSERT INTO pg_shseclabel (objoid, classoid, provider, label)
         SELECT oid, 'pg_database'::regclass, 'anon', 'MASKED' FROM pg_database WHERE datname = current_database()",
    );
    let fixture = backup_of(&source, name, "plan-labelled");
    let request = Request::new(&fixture, &source, name, "u-labelled");
    let ended = plan(&request, action(&request));
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let warnings = read(&ended).warnings;
    let way_out =
        "set the label afterwards: SECURITY LABEL FOR \"anon\" ON DATABASE \"labelled\" IS 'MASKED';";
    assert!(warnings.iter().any(|warning| warning.contains(way_out)), "{warnings:?}");
    // The statement was refused, and the label is not there.
    assert_eq!(request.loaded().data.warnings, 2);
}

#[test]
fn a_pooler_in_between_and_the_maintenance_database_are_refused() {
    let fixture = Fixture::new("plan-between", &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let mut request = Request::new(&fixture, &POSTGRES, *SEEDED, "u-between");
    let direct = request.task.server.clone();
    let pooler = Pgbouncer::start("pool_mode = session");
    request.task.server.host = Ipv4Addr::LOCALHOST.to_string();
    request.task.server.port = pooler.port;
    let through = plan(&request, action(&request));
    through.expect(Outcome::Failed, restore::POOLER_FOUND);
    through.expect_message(&["host and port name the server itself"]);

    request.task.server = direct;
    (*SEEDED).clone_into(&mut request.task.server.maintenance_database);
    let maintained = plan(&request, action(&request));
    maintained.expect(Outcome::Failed, restore::NOT_SUPPORTED);
    maintained.expect_message(&["name another one in maintenanceDatabase"]);
}
