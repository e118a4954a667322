//! Uploads while the server fails in each way that servers fail: they go on, or end with the reason.

use std::error::Error;
use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::v1alpha1::{Checksum, Verification};
use greenlang_backup_test_s3::Operation::{
    CompleteMultipartUpload, CreateMultipartUpload, HeadObject, UploadPart,
};
use greenlang_backup_test_s3::{Fault, FaultServer, Rule, Switches};
use sha2::{Digest as _, Sha256};

use crate::fixture::{Fixture, assert_clean, assert_given_up, own_prefix, real_server};
use crate::s3::Patience;
use crate::seal::hex;
use crate::{Activity, Checksums, NoProgress, Sealed, Sealer, Upload, UploadError};

const ATTEMPT: &str = "p/database/20251107-020000/1/";
const KEY: &str = "p/database/20251107-020000/1/greenlang.dump.zst.age";
/// Two parts.
const BYTES: usize = 6 << 20;

/// An upload under faults that happen to it only, and not to the probe before it.
async fn under(
    faults: Vec<Rule>,
    checksum: Checksum,
) -> (FaultServer, Fixture, Result<(Verification, Sealed), UploadError>) {
    let server = FaultServer::start();
    let fixture = Fixture::with(server.endpoint(), |bucket| bucket.checksum = checksum).await;
    let checksums = fixture.probe().await.unwrap();
    for rule in faults {
        server.inject(rule);
    }
    let result = fixture.upload_with(KEY, BYTES, checksums).await;
    server.heal();
    (server, fixture, result)
}

/// The upload went on, and what is stored is what was sealed.
async fn goes_on(rules: Vec<Rule>, checksum: Checksum, verified: Verification) {
    let name = format!("{rules:?} {checksum:?}");
    let (server, _, result) = under(rules, checksum).await;
    let (found, sealed) = result.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(found, verified, "{name}");
    assert_eq!(server.objects(), [KEY], "{name}");
    assert_eq!(server.open_uploads(), [] as [&str; 0], "{name}");
    assert_eq!(hex(&Sha256::digest(server.object(KEY).unwrap())), sealed.stored_sha256, "{name}");
}

/// The upload failed, and left nothing that the clean-up of its attempt does not remove.
async fn fails(rules: Vec<Rule>, reason: &str, retryable: bool) -> String {
    let name = format!("{rules:?}");
    let (server, fixture, result) = under(rules, Checksum::Auto).await;
    let error = result.expect_err(&name);
    assert_eq!((error.reason(), error.is_retryable()), (reason, retryable), "{name}: {error}");
    assert_given_up(&server, &fixture, ATTEMPT).await;
    error.to_string()
}

#[tokio::test]
async fn every_checksum_is_confirmed() {
    goes_on(vec![], Checksum::Crc64Nvme, Verification::Stored).await;
    goes_on(vec![], Checksum::Crc32, Verification::Stored).await;
    goes_on(vec![], Checksum::Sha256, Verification::Stored).await;
    goes_on(vec![], Checksum::None, Verification::Streamed).await;
}

#[tokio::test]
async fn a_real_server_confirms_every_checksum() {
    let (endpoint, prefix) = (real_server(), own_prefix());
    let key = format!("{prefix}/1/greenlang.dump.zst.age");
    for (checksum, verified) in [
        (Checksum::Crc64Nvme, Verification::Stored),
        (Checksum::Crc32, Verification::Stored),
        (Checksum::Sha256, Verification::Stored),
        (Checksum::None, Verification::Streamed),
    ] {
        let fixture = Fixture::with(endpoint.clone(), |bucket| {
            bucket.checksum = checksum;
            bucket.prefix.clone_from(&prefix);
        })
        .await;
        let (found, sealed) = fixture.upload(&key, BYTES).await.unwrap();
        assert_eq!(found, verified, "{checksum:?}");
        let stored = fixture.store.get(&key).await.unwrap().unwrap();
        assert_eq!(hex(&Sha256::digest(&stored)), sealed.stored_sha256, "{checksum:?}");
        fixture.store.remove_attempt(&format!("{prefix}/1/")).await.unwrap();
        assert!(fixture.store.list(&prefix).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn parts_carry_their_checksum_as_a_header_and_nothing_as_a_trailer() {
    for (checksum, header) in [
        (Checksum::Crc64Nvme, "x-amz-checksum-crc64nvme"),
        (Checksum::Crc32, "x-amz-checksum-crc32"),
        (Checksum::Sha256, "x-amz-checksum-sha256"),
    ] {
        let (server, _, result) = under(vec![], checksum).await;
        result.unwrap();
        let requests = server.requests();
        for request in &requests {
            let headers = &request.headers;
            assert!(
                !headers.contains_key("x-amz-trailer") && !headers.contains_key("trailer"),
                "{request:?}"
            );
            let encoding = headers.get("content-encoding").map_or("", String::as_str);
            assert!(!encoding.contains("aws-chunked"), "{request:?}");
            let hash = headers.get("x-amz-content-sha256").map_or("", String::as_str);
            assert!(hash.len() == 64, "the body is not part of the signature: {request:?}");
        }
        let parts: Vec<_> = requests.iter().filter(|request| request.operation == UploadPart).collect();
        assert!(
            parts.len() >= 2 && parts.iter().all(|part| part.headers.contains_key(header)),
            "{checksum:?}"
        );
        let completion =
            requests.iter().rfind(|request| request.operation == CompleteMultipartUpload).unwrap();
        assert!(completion.headers.contains_key("x-amz-mp-object-size"), "{completion:?}");
        let whole = checksum != Checksum::Sha256;
        assert_eq!(completion.headers.contains_key(header), whole, "{checksum:?}: {completion:?}");
    }
}

#[tokio::test]
async fn parts_are_sent_again_from_their_buffers() {
    let stored = Verification::Stored;
    for fault in [
        Fault::Answer(503, "SlowDown"),
        Fault::Answer(500, "InternalError"),
        Fault::Answer(400, "RequestTimeout"),
        Fault::Answer(429, "TooManyRequests"),
        Fault::Answer(400, "BadDigest"),
        Fault::Cut(1 << 20),
        Fault::DoneThenCut,
        Fault::DoneThenAnswer(500, "InternalError"),
    ] {
        goes_on(vec![fault.on(UploadPart).times(3)], Checksum::Auto, stored).await;
    }
}

#[tokio::test]
async fn a_storm_of_refusals_passes() {
    let rules = [CreateMultipartUpload, HeadObject]
        .map(|operation| Fault::Answer(503, "SlowDown").on(operation).times(1));
    let mut rules = rules.to_vec();
    rules.push(Fault::Answer(503, "SlowDown").on(UploadPart).times(4));
    rules.push(Fault::Answer(503, "SlowDown").on(CompleteMultipartUpload).times(4));
    goes_on(rules, Checksum::Auto, Verification::Stored).await;
}

#[tokio::test]
async fn a_completion_that_worked_is_found_out_although_nobody_said_so() {
    for fault in [
        Fault::DoneThenAnswer(500, "InternalError"),
        Fault::DoneThenAnswer(503, "SlowDown"),
        Fault::DoneThenErrorBody("InternalError"),
        Fault::DoneThenCut,
    ] {
        for (checksum, verified) in [
            (Checksum::Crc64Nvme, Verification::Stored),
            (Checksum::Sha256, Verification::Stored),
            (Checksum::None, Verification::Streamed),
        ] {
            goes_on(vec![fault.clone().on(CompleteMultipartUpload).times(1)], checksum, verified).await;
            // The first look fails too: the upload is unknown on the second try.
            let blind = Fault::Answer(503, "SlowDown").on(HeadObject).times(2);
            let rules = vec![fault.clone().on(CompleteMultipartUpload).times(1), blind];
            goes_on(rules, checksum, verified).await;
        }
    }
}

#[tokio::test]
async fn a_completion_that_did_not_work_is_repeated() {
    for fault in [Fault::Answer(500, "InternalError"), Fault::ErrorBody("InternalError"), Fault::Cut(0)] {
        goes_on(vec![fault.on(CompleteMultipartUpload).times(2)], Checksum::Auto, Verification::Stored).await;
    }
}

#[tokio::test]
async fn a_completion_that_never_works_fails() {
    for fault in [Fault::ErrorBody("InternalError"), Fault::Answer(500, "InternalError")] {
        fails(vec![fault.on(CompleteMultipartUpload)], reasons::STORAGE_ERROR, true).await;
    }
    fails(vec![Fault::Cut(0).on(CompleteMultipartUpload)], reasons::CONNECTION_FAILED, true).await;
}

#[tokio::test]
async fn a_completion_whose_outcome_stays_open_fails_and_its_object_is_removed() {
    let rules =
        vec![Fault::DoneThenCut.on(CompleteMultipartUpload), Fault::Answer(503, "SlowDown").on(HeadObject)];
    fails(rules, reasons::CONNECTION_FAILED, true).await;
}

#[tokio::test]
async fn what_cannot_pass_fails_at_once_and_says_why() {
    for operation in [CreateMultipartUpload, UploadPart, CompleteMultipartUpload, HeadObject] {
        let denied = Fault::Answer(403, "AccessDenied").on(operation).where_key("dump");
        fails(vec![denied], reasons::ACCESS_DENIED, false).await;
    }
    let expired = Fault::Answer(400, "ExpiredToken").on_all().where_key("dump").after(2).times(1);
    let message = fails(vec![expired], reasons::ACCESS_DENIED, false).await;
    assert!(message.contains("ExpiredToken"), "{message}");
    let skewed = Fault::Answer(403, "RequestTimeTooSkewed").on(UploadPart);
    let message = fails(vec![skewed], reasons::CLOCK_SKEWED, false).await;
    assert!(message.contains("clock"), "{message}");
    for (status, code) in [(507, "XMinioStorageFull"), (507, "InsufficientStorage"), (403, "QuotaExceeded")] {
        let full = Fault::Answer(status, code).on(UploadPart).after(1);
        let message = fails(vec![full], reasons::STORAGE_FULL, true).await;
        assert!(message.contains("full"), "{message}");
    }
    let gone = Fault::Answer(404, "NoSuchUpload").on(UploadPart).after(1);
    let message = fails(vec![gone], reasons::STORAGE_ERROR, true).await;
    assert!(message.contains("lifecycle"), "{message}");
}

#[tokio::test]
async fn bytes_that_change_on_their_way_to_the_disk_are_noticed() {
    // A part that changes after its checksum was verified shows in that of the object; the server refuses.
    fails(vec![Fault::Changed.on(UploadPart).after(1).times(1)], reasons::CHECKSUM_REFUSED, true).await;
    // An object that changes when it is put together shows in what the server says of it.
    let message =
        fails(vec![Fault::Changed.on(CompleteMultipartUpload)], reasons::OBJECT_DAMAGED, true).await;
    assert!(message.contains("other bytes"), "{message}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_after_the_deadline_of_each_try() {
    let server = FaultServer::start();
    let mut fixture = Fixture::new(server.endpoint()).await;
    let checksums = fixture.probe().await.unwrap();
    let patience = fixture.store.patience;
    fixture.store.patience = Patience { grace: Duration::from_millis(100), repeats: 1, ..patience };
    server.inject(Fault::BlackHole.on(UploadPart));
    // A small part, whose bytes have no time of their own.
    let error = fixture.upload_with(KEY, 1000, checksums).await.unwrap_err();
    assert_eq!((error.reason(), error.is_retryable()), (reasons::CONNECTION_FAILED, true), "{error}");
    assert_given_up(&server, &fixture, ATTEMPT).await;
    server.heal();
    fixture.store.patience = Patience { grace: Duration::from_secs(1), repeats: 60, ..patience };
    server.inject(Fault::BlackHole.on(UploadPart).times(1));
    fixture.upload_with(KEY, 1000, checksums).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_stalls_is_given_up_by_the_watchdog() {
    let server = FaultServer::start();
    let fixture = Fixture::new(server.endpoint()).await;
    let activity = Activity::default();
    let none = Checksums { algorithm: None };
    let mut upload = Upload::start(&fixture.store, KEY, 5 << 20, none, &activity).await.unwrap();
    // A source that hangs: nothing comes, and nothing ends.
    let (_sender, parts) = Sealer::channel();
    let error = activity
        .watch(Duration::from_millis(300), async { upload.send(parts).await.map_err(Box::<dyn Error>::from) })
        .await
        .unwrap_err();
    assert!(error.is::<NoProgress>(), "{error}");
    // Dropped in mid-work, as when the Pod is told to stop: the clean-up of the attempt finds what is left.
    drop(upload);
    assert_eq!(server.open_uploads(), [KEY]);
    fixture.store.remove_attempt(ATTEMPT).await.unwrap();
    assert_clean(&server);
}

#[tokio::test]
async fn without_checksums_what_changed_is_not_noticed_and_not_claimed() {
    let server = FaultServer::with(Switches { verifies: &[], ..Switches::default() });
    let fixture = Fixture::new(server.endpoint()).await;
    let checksums = fixture.probe().await.unwrap();
    server.inject(Fault::Changed.on(UploadPart).times(1));
    let (verified, sealed) = fixture.upload_with(KEY, BYTES, checksums).await.unwrap();
    assert_eq!(verified, Verification::Streamed);
    assert_ne!(hex(&Sha256::digest(server.object(KEY).unwrap())), sealed.stored_sha256);
}
