//! What can happen to a run beside its storage: the database server dies, `pg_dump` hangs, the Pod is told to stop.

use std::path::Path;
use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_test_s3::Operation::{CompleteMultipartUpload, GetObject};
use greenlang_backup_test_s3::{Fault, FaultServer, Operation};

use crate::fixture::{Fixture, kill};
use crate::happy::SEEDED;
use crate::servers::{ADMIN_PASSWORD, Postgres, poll};

/// A server of its own with a database that takes a while.
fn server(name: &str) -> Postgres {
    let server = Postgres::start(ADMIN_PASSWORD);
    server.create_database(name);
    let rows = "SELECT i, repeat(md5(i::text), 8) AS text FROM generate_series(1, 300000) i";
    server.sql(name, &format!("CREATE UNLOGGED TABLE rows AS {rows}"));
    server
}

#[test]
fn a_database_server_that_dies_in_mid_dump() {
    let server = server("mortal");
    let mut fixture = Fixture::new("server-dies", &["mortal"]);
    fixture.task.server.port = server.port;
    let mut started = fixture.start(&[]);
    let pid = started.stop_pg_dump_after(20 << 20);
    let file = server.sql("postgres", "SHOW data_directory").trim().to_owned() + "/postmaster.pid";
    let postmaster = std::fs::read_to_string(&file).unwrap().lines().next().unwrap().parse().unwrap();
    // As `pg_ctl stop -m immediate` does.
    kill("QUIT", postmaster);
    poll(Duration::from_secs(20), || (!Path::new(&file).exists()).then_some(())).unwrap();
    kill("CONT", pid);
    let ended = started.end();
    // Whoever notices first says so: pg_dump, or the session that holds the snapshot.
    let reason = ended.report.reason.clone();
    assert!([reasons::DUMP_FAILED, reasons::SNAPSHOT_LOST].contains(&reason.as_str()), "{reason}");
    ended.expect(Outcome::Retryable, &reason);
    ended.expect_message(&["database mortal"]);
    fixture.bucket.assert_empty();
}

#[test]
fn a_pg_dump_that_hangs() {
    let server = server("hanging");
    let mut fixture = Fixture::new("hanging", &["hanging"]);
    fixture.task.server.port = server.port;
    fixture.task.stall_seconds = 5;
    let mut started = fixture.start(&[]);
    let pid = started.stop_pg_dump_after(20 << 20);
    let ended = started.end();
    ended.expect(Outcome::Retryable, reasons::NO_PROGRESS);
    ended.expect_message(&["nothing moved for 5s"]);
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "pg_dump lives on");
    fixture.bucket.assert_empty();
}

/// Told to stop while the server does not answer a request that concerns the dump.
fn told_to_stop_during(fault: Fault, operation: Operation) {
    let server = FaultServer::start();
    let fixture = Fixture::on_faulty(&server, &[*SEEDED]);
    server.inject(fault.on(operation).where_key("dump"));
    let started = fixture.start(&[]);
    let asked = || {
        let requests = server.requests();
        requests
            .iter()
            .any(|request| request.operation == operation && request.path.contains("dump"))
            .then_some(())
    };
    poll(Duration::from_mins(1), asked).unwrap();
    started.signal("TERM");
    started.end().expect(Outcome::Interrupted, reasons::INTERRUPTED);
    assert_eq!(server.objects(), Vec::<String>::new());
    assert_eq!(server.open_uploads(), Vec::<String>::new());
}

#[test]
fn told_to_stop_while_an_upload_is_completed() {
    told_to_stop_during(Fault::BlackHole, CompleteMultipartUpload);
    told_to_stop_during(Fault::DoneThenBlackHole, CompleteMultipartUpload);
}

#[test]
fn told_to_stop_while_the_backup_is_read_again() {
    told_to_stop_during(Fault::BlackHole, GetObject);
}
