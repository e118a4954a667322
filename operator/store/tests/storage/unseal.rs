//! The whole circle through a real bucket: sealed, uploaded, read back, downloaded through bad connections, opened.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use age::x25519;
use greenlang_backup_api::manifest::{Content, Object};
use greenlang_backup_api::reasons;
use greenlang_backup_api::sizing::MIN_PART_SIZE;
use greenlang_backup_api::task::{MountedSecret, Seal};
use greenlang_backup_api::v1alpha1::Verification;
use greenlang_backup_store::{Activity, Identities, Sealer, Store, Unsealed, Upload};
use greenlang_backup_test_servers::noise;

use crate::bucket::{KEY, KIB, TestBucket, settings};
use crate::proxy::Fate;

async fn upload(store: &Store, keys: &[&x25519::Identity], data: Vec<u8>) -> Object {
    let recipients = keys.iter().map(|key| key.to_public().to_string()).collect();
    let sealer = Sealer::new(&Seal { recipients, compression_level: 1 }).unwrap();
    let (sender, receiver) = Sealer::channel();
    let sealing = tokio::task::spawn_blocking(move || {
        let written = sealer.seal(data.as_slice(), MIN_PART_SIZE, sender);
        (sealer, written)
    });
    let checksums = store.probe("unseal", Duration::from_secs(30)).await.unwrap();
    let mut upload = Upload::start(store, KEY, MIN_PART_SIZE, checksums, &Activity::default()).await.unwrap();
    upload.send(receiver).await.unwrap();
    let (sealer, written) = sealing.await.unwrap();
    let written = written.unwrap();
    assert_eq!(upload.finish(&written).await.unwrap(), Verification::Stored);
    sealer.describe(KEY.to_owned(), Content::PostgresArchive { database: "greenlang".to_owned() }, written)
}

fn identities(keys: &[&x25519::Identity]) -> Identities {
    let directory = tempfile::tempdir().unwrap();
    let keys: Vec<_> = keys.iter().map(|key| key.to_string().expose_secret().to_owned()).collect();
    let text = format!("# made by age-keygen\n{}\n", keys.join("\n# another\n"));
    std::fs::write(directory.path().join("identity.txt"), text).unwrap();
    let directory = directory.path().to_str().unwrap().to_owned();
    Identities::read(&MountedSecret { secret: "backup-identity".into(), directory }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_uploaded_is_opened_through_bad_connections() {
    let bucket = TestBucket::create("unseal-circle").await;
    let (good, _) = bucket.store(|_| Fate::Forward).await;
    let (one, other) = (x25519::Identity::generate(), x25519::Identity::generate());
    // Three parts.
    let data = noise(1, 10_500_000);
    let object = upload(&good, &[&one, &other], data.clone()).await;

    let fate =
        |number: usize| if number.is_multiple_of(2) { Fate::Cut(700 * KIB as u64) } else { Fate::Forward };
    let (bad, _) = bucket.store(fate).await;
    bad.read_back(&object, &Arc::default(), settings()).await.unwrap();
    let keys = identities(&[&x25519::Identity::generate(), &other]);
    bad.open_header(&object, &keys, settings()).await.unwrap();
    let stored = bad.download(&object.key, object.stored_bytes, settings()).await.unwrap();
    let opened = tokio::task::spawn_blocking(move || {
        let mut plain = keys.unseal(&object, stored)?;
        let mut bytes = Vec::new();
        plain.read_to_end(&mut bytes).unwrap();
        plain.finish().map(|()| bytes)
    });
    assert!(opened.await.unwrap().unwrap() == data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_sees_keys_and_sizes_that_do_not_fit() {
    let bucket = TestBucket::create("unseal-plan").await;
    let (store, proxy) = bucket.store(|_| Fate::Forward).await;
    let key = x25519::Identity::generate();
    let object = upload(&store, &[&key], noise(1, 2 << 20)).await;

    let before = proxy.answered();
    store.open_header(&object, &identities(&[&key]), settings()).await.unwrap();
    assert!(proxy.answered() - before < 70 * KIB as u64, "more than the header was read");

    let wrong = identities(&[&x25519::Identity::generate()]);
    let error = store.open_header(&object, &wrong, settings()).await.unwrap_err();
    assert_eq!(error.reason(), reasons::IDENTITY_MISMATCH);
    assert!(error.to_string().contains(&object.recipients[0]), "{error}");

    let longer = Object { stored_bytes: object.stored_bytes + 1, ..object };
    let error = store.open_header(&longer, &identities(&[&key]), settings()).await.unwrap_err();
    assert_eq!(error.reason(), reasons::OBJECT_DAMAGED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_for_good_is_not_called_damage() {
    let bucket = TestBucket::create("unseal-lost").await;
    let (good, _) = bucket.store(|_| Fate::Forward).await;
    let key = x25519::Identity::generate();
    let object = upload(&good, &[&key], noise(1, 2 << 20)).await;
    let fate = |number: usize| if number == 0 { Fate::Cut(300 * KIB as u64) } else { Fate::Refuse };
    let (bad, _) = bucket.store(fate).await;
    let stored = bad.download(&object.key, object.stored_bytes, settings()).await.unwrap();
    let keys = identities(&[&key]);
    let verdict =
        tokio::task::spawn_blocking(move || keys.unseal(&object, stored).and_then(Unsealed::finish));
    let error = verdict.await.unwrap().unwrap_err();
    assert_eq!((error.reason(), error.is_retryable()), (reasons::CONNECTION_FAILED, true), "{error}");
}
