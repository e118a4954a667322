//! What can happen to a run beside its storage: the database server dies, `pg_dump` hangs, the Pod is told to stop.

use std::path::Path;
use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_test_s3::Operation::{CompleteMultipartUpload, GetObject, PutObject};
use greenlang_backup_test_s3::{Fault, FaultServer, Operation, Request};

use crate::bucket::stored;
use crate::fixture::{Fixture, ID, Started, kill};
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

/// A crash of any program would leave keys, the password and rows on a disk of the node.
#[test]
fn no_program_leaves_its_memory_on_a_disk() {
    let fixture = Fixture::new("no-core", &[*SEEDED]);
    let limit = fixture.directory.path().join("limit");
    let clients =
        fixture.fake_clients(&[("pg_dump", &format!("(ulimit -Sc; ulimit -Hc) > {}", limit.display()))]);
    fixture.run_with_clients(&clients).expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!(std::fs::read_to_string(limit).unwrap(), "0\n0\n");
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

/// Waits for a request that concerns a key.
fn wait_for(server: &FaultServer, operation: Operation, key: &str) {
    let asked = |request: &Request| request.operation == operation && request.path.contains(key);
    poll(Duration::from_mins(1), || server.requests().iter().any(asked).then_some(())).unwrap();
}

/// Told to stop while the server does not answer a request that concerns the dump.
fn told_to_stop_during(fault: Fault, operation: Operation) {
    let server = FaultServer::start();
    let fixture = Fixture::on_faulty(&server, &[*SEEDED]);
    server.inject(fault.on(operation).where_key("dump"));
    let started = fixture.start(&[]);
    wait_for(&server, operation, "dump");
    started.signal("TERM");
    started.end().expect(Outcome::Interrupted, reasons::INTERRUPTED);
    assert_eq!(stored(&server), Vec::<String>::new());
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

const MANIFEST: &str = "manifest.json";

/// A run that was told to stop while the server holds the request that writes the manifest, and has heard it.
fn told_to_stop_with_the_manifest_on_its_way(server: &FaultServer, held: Fault) -> (Fixture, Started) {
    let fixture = Fixture::on_faulty(server, &[*SEEDED]);
    let is_done = held == Fault::DoneThenHeld;
    server.inject(held.on(PutObject).where_key(MANIFEST).times(1));
    let started = fixture.start(&[]);
    wait_for(server, PutObject, MANIFEST);
    started.signal("TERM");
    let stderr = fixture.directory.path().join("stderr");
    let heard = || std::fs::read_to_string(&stderr).unwrap().contains("told to stop").then_some(());
    poll(Duration::from_secs(10), heard).unwrap();
    let written = || server.object(&format!("clusters/test/database/{ID}/{MANIFEST}"));
    assert_eq!(poll(Duration::from_secs(1), written).is_some(), is_done);
    (fixture, started)
}

/// The manifest, all that it names, and nothing else.
#[track_caller]
fn assert_whole(server: &FaultServer, fixture: &Fixture) {
    let manifest = fixture.manifest();
    let mut named: Vec<_> = manifest.objects.into_iter().map(|object| object.key).collect();
    named.push(format!("clusters/test/database/{ID}/{MANIFEST}"));
    named.sort();
    assert_eq!(stored(server), named);
    assert_eq!(server.open_uploads(), [""; 0]);
}

/// Whether it is written cannot be taken back any more, so the run ends as what it is: a backup that was made.
#[test]
fn told_to_stop_while_the_manifest_is_written() {
    for held in [Fault::Held, Fault::DoneThenHeld, Fault::HeldThenAnswer(503, "SlowDown")] {
        let server = FaultServer::start();
        let (fixture, started) = told_to_stop_with_the_manifest_on_its_way(&server, held);
        server.heal();
        let ended = started.end();
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        assert!(ended.report.backup.is_some() && !ended.report.leftovers);
        assert_whole(&server, &fixture);
    }
}

#[test]
fn told_to_stop_while_the_manifest_is_refused() {
    let server = FaultServer::start();
    let refused = Fault::HeldThenAnswer(403, "AccessDenied");
    let (_fixture, started) = told_to_stop_with_the_manifest_on_its_way(&server, refused);
    server.heal();
    let ended = started.end();
    ended.expect(Outcome::Failed, reasons::ACCESS_DENIED);
    assert!(!ended.report.leftovers);
    assert_eq!((stored(&server), server.open_uploads()), (vec![], vec![]));
}

/// The time to stop is over before the server has answered: the clean-up finds out what became of the manifest.
#[test]
fn killed_while_the_manifest_is_written() {
    for (held, whole) in [(Fault::Held, false), (Fault::DoneThenHeld, true)] {
        let server = FaultServer::start();
        let (fixture, started) = told_to_stop_with_the_manifest_on_its_way(&server, held);
        started.signal("KILL");
        started.end_without_report();
        assert_ne!(stored(&server), [""; 0]);
        fixture.clean_up(&[1]).expect(Outcome::Done, reasons::SUCCEEDED);
        if whole {
            assert_whole(&server, &fixture);
        } else {
            assert_eq!((stored(&server), server.open_uploads()), (vec![], vec![]));
        }
    }
}
