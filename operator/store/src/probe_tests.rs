//! Probes against a server that does all that AWS does, servers that do less, and one that people run.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_smithy_async::time::TimeSource;
use greenlang_backup_api::reasons;
use greenlang_backup_api::v1alpha1::{Checksum, ServerSideEncryption, ServerSideEncryptionType};
use greenlang_backup_test_s3::{Conditional, Fault, FaultServer, Listing, Operation, Switches};

use crate::fixture::{Fixture, LIMIT, assert_clean, own_prefix, real_server};
use crate::{Algorithm, Checksums, ProbeError};

async fn found(switches: Switches) -> Option<Algorithm> {
    let server = FaultServer::with(switches);
    let checksums = Fixture::new(server.endpoint()).await.probe().await.unwrap();
    assert_clean(&server);
    checksums.algorithm()
}

async fn refused(switches: Switches, checksum: Checksum) -> (&'static str, bool, String) {
    let server = FaultServer::with(switches);
    let fixture = Fixture::with(server.endpoint(), |bucket| bucket.checksum = checksum).await;
    let error = fixture.probe().await.unwrap_err();
    assert_clean(&server);
    (error.reason(), error.is_retryable(), error.to_string())
}

#[tokio::test]
async fn the_best_checksum_that_is_verified_is_found() {
    let all = Switches::default();
    assert_eq!(found(all.clone()).await, Some(Algorithm::Crc64Nvme));
    for refuses_others in [false, true] {
        let only = |verifies| Switches { verifies, refuses_others, ..all.clone() };
        assert_eq!(found(only(&["CRC32", "SHA256"])).await, Some(Algorithm::Crc32), "{refuses_others}");
        assert_eq!(found(only(&["SHA256"])).await, Some(Algorithm::Sha256), "{refuses_others}");
        assert_eq!(found(only(&[])).await, None, "{refuses_others}");
    }
}

#[tokio::test]
async fn a_server_that_verifies_parts_but_not_the_whole_is_not_trusted_with_that_checksum() {
    let switches = Switches { verifies: &["CRC64NVME"], verifies_whole: false, ..Switches::default() };
    assert_eq!(found(switches).await, None);
}

#[tokio::test]
async fn an_explicit_choice_is_used_or_refused() {
    let server = FaultServer::start();
    for (checksum, algorithm) in [
        (Checksum::Crc64Nvme, Some(Algorithm::Crc64Nvme)),
        (Checksum::Crc32, Some(Algorithm::Crc32)),
        (Checksum::Sha256, Some(Algorithm::Sha256)),
        (Checksum::None, None),
    ] {
        let fixture = Fixture::with(server.endpoint(), |bucket| bucket.checksum = checksum).await;
        assert_eq!(fixture.probe().await.unwrap().algorithm(), algorithm);
    }
    let none = Switches { verifies: &[], ..Switches::default() };
    let (reason, retryable, message) = refused(none, Checksum::Crc32).await;
    assert_eq!((reason, retryable), (reasons::CHECKSUM_UNSUPPORTED, false));
    assert!(message.contains("CRC32") && message.contains("Auto"), "{message}");
}

#[tokio::test]
async fn without_conditional_writes_no_backup_is_made() {
    for conditional in [Conditional::Ignored, Conditional::NotImplemented] {
        let switches = Switches { conditional, ..Switches::default() };
        let (reason, retryable, message) = refused(switches, Checksum::Auto).await;
        assert_eq!((reason, retryable), (reasons::CONDITIONAL_WRITE_UNSUPPORTED, false), "{message}");
    }
}

#[tokio::test]
async fn uploads_that_cannot_be_listed_are_said() {
    let switches = Switches { lists_uploads: Listing::Never, ..Switches::default() };
    let (reason, _, message) = refused(switches, Checksum::Auto).await;
    assert_eq!(reason, reasons::STORAGE_ERROR);
    assert!(message.contains("ListMultipartUploads"), "{message}");
}

#[tokio::test]
async fn class_and_encryption_are_asked_for_and_checked() {
    let server = FaultServer::start();
    let fixture = Fixture::with(server.endpoint(), |bucket| {
        bucket.storage_class = Some("STANDARD_IA".to_owned());
        bucket.server_side_encryption = Some(ServerSideEncryption {
            type_: ServerSideEncryptionType::AwsKms,
            kms_key_id: Some("alias/backups".to_owned()),
        });
    })
    .await;
    fixture.probe().await.unwrap();
    for request in server.requests() {
        let starts = matches!(request.operation, Operation::PutObject | Operation::CreateMultipartUpload);
        for (header, value) in [
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "alias/backups"),
            ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
        ] {
            let sent = request.headers.get(header).map(String::as_str);
            assert_eq!(sent, starts.then_some(value), "{:?}", request.operation);
        }
    }
    let server = FaultServer::with(Switches { keeps_storage_class: false, ..Switches::default() });
    let fixture =
        Fixture::with(server.endpoint(), |bucket| bucket.storage_class = Some("GLACIER_IR".to_owned())).await;
    let error = fixture.probe().await.unwrap_err();
    assert_clean(&server);
    assert_eq!((error.reason(), error.is_retryable()), (reasons::STORAGE_OPTION_IGNORED, false));
    assert!(error.to_string().contains("GLACIER_IR"), "{error}");
}

#[tokio::test]
async fn a_probe_outlasts_hiccups_and_leaves_nothing_when_it_fails() {
    let server = FaultServer::start();
    let fixture = Fixture::new(server.endpoint()).await;
    server.inject(Fault::Answer(503, "SlowDown").on(Operation::UploadPart).times(2));
    server.inject(Fault::Answer(500, "InternalError").on(Operation::CompleteMultipartUpload).times(2));
    server.inject(Fault::Cut(10).on(Operation::PutObject).times(1));
    assert_eq!(fixture.probe().await.unwrap().algorithm(), Some(Algorithm::Crc64Nvme));
    assert_clean(&server);
    server.heal();
    server.inject(Fault::Answer(403, "AccessDenied").on(Operation::CompleteMultipartUpload));
    let error = fixture.probe().await.unwrap_err();
    assert_eq!(error.reason(), reasons::ACCESS_DENIED);
    assert_clean(&server);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_within_the_limit() {
    let server = FaultServer::start();
    let fixture = Fixture::new(server.endpoint()).await;
    server.inject(Fault::BlackHole.on(Operation::UploadPart));
    let limit = Duration::from_millis(300);
    let error = fixture.store.probe_within("p-1", limit, LIMIT).await.unwrap_err();
    assert_eq!((error.reason(), error.is_retryable()), (reasons::CONNECTION_FAILED, true));
    assert_clean(&server);
}

#[tokio::test]
async fn probes_at_the_same_time_do_not_see_each_other() {
    let server = FaultServer::start();
    let fixture = Fixture::new(server.endpoint()).await;
    let store = &fixture.store;
    // One name begins with the other.
    let (one, other) = tokio::join!(store.probe("p-1", LIMIT), store.probe("p-10", LIMIT));
    assert_eq!((one.unwrap(), assert_clean(&server)).0, other.unwrap());
}

#[tokio::test]
async fn a_probe_takes_few_requests() {
    let server = FaultServer::start();
    Fixture::new(server.endpoint()).await.probe().await.unwrap();
    assert!(server.requests().len() <= 20, "{:#?}", server.requests());
}

#[tokio::test]
async fn a_server_that_people_run_is_understood() {
    let (endpoint, prefix) = (real_server(), own_prefix());
    for (checksum, algorithm) in [
        (Checksum::Auto, Algorithm::Crc64Nvme),
        (Checksum::Crc32, Algorithm::Crc32),
        (Checksum::Sha256, Algorithm::Sha256),
    ] {
        let fixture = Fixture::with(endpoint.clone(), |bucket| {
            bucket.checksum = checksum;
            bucket.prefix.clone_from(&prefix);
        })
        .await;
        assert_eq!(fixture.probe().await.unwrap().algorithm(), Some(algorithm));
        assert_eq!(fixture.store.list(&prefix).await.unwrap(), [] as [&str; 0]);
        assert!(fixture.store.open_uploads(&prefix).await.unwrap().is_empty());
    }
}

/// A clock that is wrong.
#[derive(Debug)]
struct Skewed(fn(SystemTime) -> SystemTime);

impl TimeSource for Skewed {
    fn now(&self) -> SystemTime {
        (self.0)(SystemTime::now())
    }
}

/// The probe against a server that people run, signed by a clock that is wrong.
async fn skewed(clock: fn(SystemTime) -> SystemTime, corrected: bool) -> Result<Checksums, ProbeError> {
    let mut fixture = Fixture::with(real_server(), |bucket| bucket.prefix = own_prefix()).await;
    let config = fixture.store.client.config().to_builder().time_source(Skewed(clock));
    let config = if corrected { config.disable_clock_skew_correction(false) } else { config };
    fixture.store.client = Client::from_conf(config.build());
    fixture.probe().await
}

#[tokio::test]
async fn a_clock_that_is_wrong_by_a_day_is_said_and_not_made_good_for() {
    const DAY: Duration = Duration::from_hours(24);
    let clocks: [fn(SystemTime) -> SystemTime; 2] = [|now| now + DAY, |now| now - DAY];
    for clock in clocks {
        let error = skewed(clock, false).await.unwrap_err();
        assert_eq!((error.reason(), error.is_retryable()), (reasons::CLOCK_SKEWED, false), "{error}");
        // What the SDK would do: take the time from the refusal, and sign again.
        skewed(clock, true).await.unwrap();
    }
    // Within what a signature allows.
    skewed(|now| now + Duration::from_mins(4), false).await.unwrap();
}
