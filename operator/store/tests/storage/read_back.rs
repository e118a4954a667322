//! Stored objects read again: every byte counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greenlang_backup_api::manifest::{Content, Object};
use greenlang_backup_api::reasons;
use greenlang_backup_store::ReadSettings;

use crate::bucket::{KEY, KIB, PATIENCE, TestBucket, settings, sha256};
use crate::proxy::Fate;
use greenlang_backup_test_servers::{noise, poll};

const LENGTH: usize = 1500 * KIB + 7;

fn stored(bytes: &[u8]) -> Object {
    Object {
        key: KEY.into(),
        content: Content::PostgresGlobals,
        source_bytes: 0,
        source_sha256: String::new(),
        stored_bytes: bytes.len() as u64,
        stored_sha256: sha256(bytes),
        stored_crc64nvme: None,
        compression: "zstd".into(),
        recipients: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn good_objects_are_proved_through_bad_connections() {
    let bucket = TestBucket::create("read-back-good").await;
    let data = noise(1, LENGTH);
    bucket.put(&data).await;
    let fate = |number: usize| if number < 4 { Fate::Cut(200 * KIB as u64) } else { Fate::Forward };
    let (store, _) = bucket.store(fate).await;
    let progress = Arc::new(AtomicU64::new(0));
    store.read_back(&stored(&data), &progress, settings()).await.unwrap();
    assert_eq!(progress.load(Ordering::Relaxed), LENGTH as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_difference_is_damage() {
    let bucket = TestBucket::create("read-back-bad").await;
    let data = noise(1, LENGTH);
    let (store, _) = bucket.store(|_| Fate::Forward).await;
    let flipped = |at: usize| {
        let mut other = data.clone();
        other[at] ^= 1;
        other
    };
    for (case, other) in [
        ("first byte", flipped(0)),
        ("last byte", flipped(LENGTH - 1)),
        ("a byte within", flipped(LENGTH / 2)),
        ("cut", data[..LENGTH - 1].to_vec()),
        ("cut at a range", data[..settings().range_bytes].to_vec()),
        ("longer", [data.as_slice(), b"x"].concat()),
        ("empty", Vec::new()),
    ] {
        bucket.put(&other).await;
        let error = store.read_back(&stored(&data), &Arc::default(), settings()).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.is_retryable()),
            (reasons::OBJECT_DAMAGED, false),
            "{case}: {error}"
        );
        assert!(error.to_string().contains(KEY), "{error}");
    }
    bucket.delete().await;
    let error = store.read_back(&stored(&data), &Arc::default(), settings()).await.unwrap_err();
    assert_eq!(error.reason(), reasons::OBJECT_MISSING, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_read_back_stops() {
    let bucket = TestBucket::create("read-back-dropped").await;
    let data = noise(1, LENGTH);
    bucket.put(&data).await;
    // The first range comes, then nothing any more, for a minute each.
    let fate = |number: usize| Fate::Stall(if number == 0 { 300 * KIB as u64 } else { 0 });
    let (store, proxy) = bucket.store(fate).await;
    let progress = Arc::new(AtomicU64::new(0));
    let object = stored(&data);
    let watched = Arc::clone(&progress);
    let task = tokio::spawn(async move {
        let settings = ReadSettings { range_bytes: 256 * KIB, ..settings() };
        store.read_back(&object, &watched, settings).await
    });
    let check = move || {
        poll(PATIENCE, || (progress.load(Ordering::Relaxed) > 0 && proxy.connections() > 1).then_some(()))
            .expect("it does not start");
        task.abort();
        // The thread that hashes has let go of what it counts in.
        poll(PATIENCE, || (Arc::strong_count(&progress) == 1).then_some(())).expect("it does not stop");
        task
    };
    let task = tokio::task::spawn_blocking(check).await.unwrap();
    assert!(task.await.unwrap_err().is_cancelled());
}
