//! Backups while the object storage fails in each way that servers fail: they go on, or end with the reason and leave nothing.

use std::sync::LazyLock;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::v1alpha1::Verification;
use greenlang_backup_test_s3::Operation::{
    CompleteMultipartUpload, CreateMultipartUpload, GetObject, HeadObject, PutObject, UploadPart,
};
use greenlang_backup_test_s3::{Conditional, Fault, FaultServer, Rule, Switches};

use crate::bucket::stored;
use crate::fixture::{Fixture, kill};
use crate::servers::POSTGRES;

/// A database that is stored in several parts.
static NOISE: LazyLock<&str> = LazyLock::new(|| {
    let name = "noise";
    POSTGRES.create_database(name);
    // 20 MB that do not compress.
    let rows = "SELECT decode(string_agg(md5(i::text), ''), 'hex') AS noise FROM generate_series(1, 1250000) i GROUP BY i % 500";
    POSTGRES.sql(name, &format!("CREATE UNLOGGED TABLE noise AS {rows}"));
    name
});

/// A backup of one database and what its tables hold.
fn fixture(server: &FaultServer) -> Fixture {
    let mut fixture = Fixture::on_faulty(server, &[*NOISE]);
    (fixture.task.globals, fixture.task.settings) = (false, false);
    fixture
}

#[track_caller]
fn assert_clean(server: &FaultServer) {
    assert_eq!(stored(server), Vec::<String>::new());
    assert_eq!(server.open_uploads(), Vec::<String>::new());
}

/// The dump, and not the checks before it.
fn dump(fault: Fault, operation: greenlang_backup_test_s3::Operation, times: usize) -> Rule {
    fault.on(operation).where_key("dump").times(times)
}

/// The backup is made, and every stored byte is the one that was sent.
fn goes_on(rules: Vec<Rule>) {
    let server = FaultServer::start();
    let fixture = fixture(&server);
    for rule in rules {
        server.inject(rule);
    }
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let parts = server
        .requests()
        .iter()
        .filter(|request| request.operation == UploadPart && request.path.contains("dump"))
        .count();
    assert!(parts > 1, "{parts}");
    assert_eq!(server.open_uploads(), Vec::<String>::new());
    let manifest = fixture.manifest();
    assert_eq!(manifest.verified, Verification::ReadBack);
    assert_eq!(stored(&server).len(), manifest.objects.len() + 1);
}

#[test]
fn a_storm_of_refusals_passes() {
    let slow = || Fault::Answer(503, "SlowDown");
    goes_on(vec![
        dump(slow(), CreateMultipartUpload, 2),
        dump(slow(), UploadPart, 4),
        dump(slow(), CompleteMultipartUpload, 2),
        dump(slow(), HeadObject, 2),
        dump(slow(), GetObject, 2),
        slow().on(PutObject).where_key("manifest").times(1),
    ]);
}

#[test]
fn connections_cut_in_mid_part_are_made_good_for() {
    goes_on(vec![dump(Fault::Cut(1 << 20), UploadPart, 2), dump(Fault::DoneThenCut, UploadPart, 1)]);
}

#[test]
fn a_completion_whose_answer_says_nothing_is_found_out_about() {
    for fault in [
        Fault::DoneThenCut,
        Fault::DoneThenAnswer(500, "InternalError"),
        Fault::DoneThenErrorBody("InternalError"),
        Fault::ErrorBody("InternalError"),
    ] {
        goes_on(vec![dump(fault, CompleteMultipartUpload, 1)]);
    }
}

#[test]
fn a_manifest_whose_answer_was_lost_is_found() {
    for fault in [Fault::DoneThenCut, Fault::Cut(0), Fault::DoneThenAnswer(503, "SlowDown")] {
        goes_on(vec![fault.on(PutObject).where_key("manifest").times(1)]);
    }
}

/// The backup fails, says why and leaves nothing.
fn fails(switches: Switches, rules: Vec<Rule>, outcome: Outcome, reason: &str, words: &[&str]) {
    let server = FaultServer::with(switches);
    let fixture = fixture(&server);
    for rule in rules {
        server.inject(rule);
    }
    let ended = fixture.run();
    ended.expect(outcome, reason);
    ended.expect_message(words);
    assert!(!ended.report.message.contains("clean-up failed"), "{}", ended.report.message);
    assert_clean(&server);
}

#[test]
fn what_the_server_refuses_in_mid_run_ends_it_with_the_reason() {
    let all = Switches::default;
    let denied = || Fault::Answer(403, "AccessDenied");
    for rule in [
        dump(denied(), UploadPart, 99).after(1),
        dump(denied(), CompleteMultipartUpload, 99),
        // What is stored may not be read again.
        dump(denied(), GetObject, 99),
        // Right before the end all is there but the manifest.
        denied().on(PutObject).where_key("manifest"),
    ] {
        let words = ["Secret backup-s3", "AccessDenied"];
        let name = format!("{rule:?}");
        let outcome = if name.contains("GetObject") { Outcome::Retryable } else { Outcome::Failed };
        fails(all(), vec![rule], outcome, reasons::ACCESS_DENIED, &words);
    }
    let full = dump(Fault::Answer(507, "InsufficientStorage"), UploadPart, 99).after(1);
    fails(all(), vec![full], Outcome::Retryable, reasons::STORAGE_FULL, &["full", "make room"]);
    let refused = dump(Fault::ErrorBody("BadDigest"), CompleteMultipartUpload, 99);
    fails(all(), vec![refused], Outcome::Retryable, reasons::CHECKSUM_REFUSED, &["BadDigest", "checksum"]);
}

#[test]
fn without_conditional_writes_nothing_is_written() {
    for conditional in [Conditional::Ignored, Conditional::NotImplemented] {
        let switches = Switches { conditional, ..Switches::default() };
        let reason = reasons::CONDITIONAL_WRITE_UNSUPPORTED;
        fails(switches, vec![], Outcome::Failed, reason, &["If-None-Match"]);
    }
}

#[test]
fn bytes_that_change_where_nothing_is_verified_are_found_by_reading_them_again() {
    let blind = Switches { verifies: &[], ..Switches::default() };
    for operation in [UploadPart, CompleteMultipartUpload] {
        let changed = dump(Fault::Changed, operation, 1);
        let words = ["reading the new backup again failed", "noise.dump", "damaged"];
        fails(blind.clone(), vec![changed], Outcome::Retryable, reasons::OBJECT_DAMAGED, &words);
    }
    // A server that verifies says so itself.
    let changed = dump(Fault::Changed, CompleteMultipartUpload, 1);
    let words = ["stored other bytes"];
    fails(Switches::default(), vec![changed], Outcome::Retryable, reasons::OBJECT_DAMAGED, &words);
}

#[test]
fn credentials_that_expire_in_mid_run_leave_what_only_others_can_remove() {
    let server = FaultServer::start();
    let fixture = fixture(&server);
    let mut started = fixture.start(&[]);
    let pid = started.stop_pg_dump_after(10 << 20);
    server.inject(Fault::Answer(400, "ExpiredToken").on_all());
    kill("CONT", pid);
    let ended = started.end();
    ended.expect(Outcome::Failed, reasons::ACCESS_DENIED);
    ended.expect_message(&["ExpiredToken", "Secret backup-s3", "clean-up failed, too"]);
    assert!(ended.report.leftovers, "the operator sends a clean-up for it");
    server.heal();
    // The upload, and the placeholder by which a clean-up finds it.
    assert_eq!(stored(&server), server.open_uploads());
    assert_eq!(server.open_uploads().len(), 1);
    fixture.clean_up(&[1]).expect(Outcome::Done, reasons::SUCCEEDED);
    assert_clean(&server);
}

#[test]
fn a_server_that_takes_parts_and_never_answers_is_given_up() {
    let server = FaultServer::start();
    let mut fixture = fixture(&server);
    fixture.task.stall_seconds = 4;
    server.inject(Fault::BlackHole.on(UploadPart).where_key("dump"));
    let ended = fixture.run();
    ended.expect(Outcome::Retryable, reasons::NO_PROGRESS);
    ended.expect_message(&["nothing moved for 4s", "stallSeconds"]);
    assert_clean(&server);
}

#[test]
fn a_server_that_goes_away_is_given_up_and_the_clean_up_says_so() {
    let server = FaultServer::start();
    let mut fixture = fixture(&server);
    fixture.task.stall_seconds = 4;
    let mut started = fixture.start(&[]);
    let pid = started.stop_pg_dump_after(10 << 20);
    drop(server);
    kill("CONT", pid);
    let ended = started.end();
    ended.expect(Outcome::Retryable, reasons::NO_PROGRESS);
    ended.expect_message(&["clean-up failed, too"]);
    assert!(ended.report.leftovers, "the operator sends a clean-up for it");
}
