//! A download through connections that fail: the same bytes, or a clear error.

use std::io::{self, Read as _};
use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_store::{Download, ReadError, ReadSettings, Store};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use crate::bucket::{KEY, KIB, PATIENCE, TestBucket, settings};
use crate::proxy::Fate;
use greenlang_backup_test_servers::{noise, poll};

const LENGTH: usize = 1500 * KIB + 7;

async fn read_all(store: &Store, length: usize, settings: ReadSettings) -> Result<Vec<u8>, ReadError> {
    let mut download = store.download(KEY, length as u64, settings).await?;
    blocking(move || {
        let mut bytes = Vec::new();
        download.read_to_end(&mut bytes).map(|_| bytes).map_err(read_error)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn read_error(error: io::Error) -> ReadError {
    error.downcast().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_size_is_read_whole() {
    let bucket = TestBucket::create("download-sizes").await;
    let (store, _) = bucket.store(|_| Fate::Forward).await;
    let range = settings().range_bytes;
    for length in [1, range - 1, range, range + 1, 3 * range, LENGTH] {
        let data = noise(length as u64, length);
        bucket.put(&data).await;
        assert!(read_all(&store, length, settings()).await.unwrap() == data, "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_wherever_connections_are_cut() {
    let bucket = TestBucket::create("download-cuts").await;
    let data = noise(1, LENGTH);
    bucket.put(&data).await;
    let cases = proptest::collection::vec(0u64..600 * KIB as u64, 1..12);
    let mut runner = TestRunner::default();
    for _ in 0..12 {
        let cuts: Vec<u64> = cases.new_tree(&mut runner).unwrap().current();
        let (count, plan) = (cuts.len(), cuts.clone());
        let fate = move |number: usize| plan.get(number).map_or(Fate::Forward, |&at| Fate::Cut(at));
        let (store, proxy) = bucket.store(fate).await;
        // Every cut may hit the same range.
        let settings = ReadSettings { retries: count, ..settings() };
        assert!(read_all(&store, LENGTH, settings).await.unwrap() == data, "{cuts:?}");
        // Resumed in mid-range: what came before a cut was not asked for again.
        let headers = 2 * KIB * (proxy.connections() + 8);
        assert!(proxy.answered() <= (LENGTH + headers) as u64, "{cuts:?}: {}", proxy.answered());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_without_end_do_not_stop_what_moves() {
    let bucket = TestBucket::create("download-endless-cuts").await;
    let data = noise(1, LENGTH);
    bucket.put(&data).await;
    // More cuts of one range than tries, and each leaves more than the least progress.
    let (store, proxy) = bucket.store(|_| Fate::Cut((ReadSettings::PROGRESS + 8 * KIB) as u64)).await;
    let settings = ReadSettings { range_bytes: LENGTH, retries: 2, ..settings() };
    assert!(read_all(&store, LENGTH, settings).await.unwrap() == data);
    assert!(proxy.connections() > 10, "{} connections", proxy.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_refusals_is_sat_out() {
    let bucket = TestBucket::create("download-storm").await;
    let data = noise(1, LENGTH);
    bucket.put(&data).await;
    let fate = |number: usize| match number {
        0 | 3..6 => Fate::SlowDown,
        1 | 6 => Fate::Refuse,
        2 => Fate::Cut(300 * KIB as u64),
        _ => Fate::Forward,
    };
    let (store, proxy) = bucket.store(fate).await;
    assert!(read_all(&store, LENGTH, ReadSettings { retries: 10, ..settings() }).await.unwrap() == data);
    assert!(proxy.connections() > 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_connection_is_replaced() {
    let bucket = TestBucket::create("download-stall").await;
    let data = noise(1, LENGTH);
    bucket.put(&data).await;
    let fate = |number: usize| match number {
        0 => Fate::Stall(100 * KIB as u64),
        1 => Fate::Stall(0),
        _ => Fate::Forward,
    };
    let (store, proxy) = bucket.store(fate).await;
    let settings = ReadSettings { stall: Duration::from_secs(1), retries: 20, ..settings() };
    assert!(read_all(&store, LENGTH, settings).await.unwrap() == data);
    assert!(proxy.connections() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_ends_in_an_error() {
    let bucket = TestBucket::create("download-black-hole").await;
    bucket.put(&noise(1, LENGTH)).await;
    let patience = ReadSettings { stall: Duration::from_millis(200), retries: 2, ..settings() };
    // From the start, and after the first range.
    for after in [0, 300 * KIB as u64] {
        let fate = move |number| Fate::Stall(if number == 0 { after } else { 0 });
        let (store, proxy) = bucket.store(fate).await;
        let error = read_all(&store, LENGTH, patience).await.unwrap_err();
        assert_eq!((error.reason(), error.is_retryable()), (reasons::CONNECTION_FAILED, true), "{error}");
        assert!(proxy.connections() >= 3, "{} connections", proxy.connections());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_another_size_is_refused_before_its_first_byte() {
    let bucket = TestBucket::create("download-size").await;
    bucket.put(&noise(1, LENGTH)).await;
    let (store, _) = bucket.store(|_| Fate::Forward).await;
    for length in [0, 1, LENGTH - 1, LENGTH + 1, 10 * LENGTH] {
        let Err(error) = store.download(KEY, length as u64, settings()).await else { panic!("{length}") };
        assert_eq!((error.reason(), error.is_retryable()), (reasons::OBJECT_DAMAGED, false), "{error}");
        assert!(error.to_string().contains(KEY), "{error}");
    }
    bucket.put(&[]).await;
    let Err(error) = store.download(KEY, LENGTH as u64, settings()).await else { panic!("empty") };
    assert_eq!(error.reason(), reasons::OBJECT_DAMAGED, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_named() {
    let bucket = TestBucket::create("download-missing").await;
    let (store, proxy) = bucket.store(|_| Fate::Forward).await;
    let Err(error) = store.download(KEY, 1, settings()).await else { panic!("there is nothing") };
    assert_eq!((error.reason(), error.is_retryable()), (reasons::OBJECT_MISSING, false));
    assert!(error.to_string().contains(KEY) && error.to_string().contains("download-missing"), "{error}");
    assert_eq!(proxy.connections(), 1, "an answer is not asked for again");
}

/// Reads the first bytes while no more than two ranges are in memory, lets something happen, and reads on.
async fn read_on_after(bucket: &TestBucket, happens: impl Future<Output = ()>) -> ReadError {
    let (store, _) = bucket.store(|_| Fate::Forward).await;
    let settings = ReadSettings { range_bytes: 64 * KIB, buffers: 2, ..settings() };
    let mut download = store.download(KEY, LENGTH as u64, settings).await.unwrap();
    let mut download = blocking(move || -> Download {
        download.read_exact(&mut [0; 10]).unwrap();
        download
    })
    .await;
    happens.await;
    blocking(move || read_error(io::copy(&mut download, &mut io::sink()).unwrap_err())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_replaced_in_mid_read_is_an_error() {
    let bucket = TestBucket::create("download-replaced").await;
    bucket.put(&noise(1, LENGTH)).await;
    let error = Box::pin(read_on_after(&bucket, async { bucket.put(&noise(2, LENGTH)).await })).await;
    assert_eq!((error.reason(), error.is_retryable()), (reasons::OBJECT_REPLACED, true), "{error}");
    let error = Box::pin(read_on_after(&bucket, bucket.delete())).await;
    assert_eq!(error.reason(), reasons::OBJECT_MISSING, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_ahead_is_bounded() {
    const LENGTH: usize = 64 << 20;
    const STEP: usize = 1 << 20;
    let bucket = TestBucket::create("download-memory").await;
    bucket.put(&noise(1, LENGTH)).await;
    let (store, proxy) = bucket.store(|_| Fate::Forward).await;
    let settings = ReadSettings { range_bytes: STEP, ..settings() };
    let mut download = store.download(KEY, LENGTH as u64, settings).await.unwrap();
    blocking(move || {
        let bound = (settings.range_bytes * settings.buffers) as u64;
        let mut read = 0_u64;
        let mut buffer = vec![0; STEP];
        while read < LENGTH as u64 {
            // Everything that may be fetched ahead is; whatever came beyond that would show in a later step.
            let expected = (LENGTH as u64 - read).min(bound);
            poll(PATIENCE, || (proxy.answered() - read >= expected).then_some(()))
                .expect("nothing is read ahead");
            let headers = (2 * KIB) as u64 * (read / STEP as u64 + 8);
            let ahead = proxy.answered() - read;
            assert!(ahead <= bound + headers, "{ahead} bytes are ahead at {read}");
            download.read_exact(&mut buffer).unwrap();
            read += STEP as u64;
        }
        assert_eq!(download.read(&mut buffer).unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_download_stops() {
    let bucket = TestBucket::create("download-dropped").await;
    bucket.put(&noise(1, LENGTH)).await;
    let fate = |number: usize| if number == 0 { Fate::Cut(300 * KIB as u64) } else { Fate::Refuse };
    let (store, proxy) = bucket.store(fate).await;
    let settings = ReadSettings { retries: usize::MAX, ..settings() };
    let download = store.download(KEY, LENGTH as u64, settings).await.unwrap();
    blocking(move || {
        poll(PATIENCE, || (proxy.connections() > 10).then_some(())).expect("nothing is tried again");
        drop(download);
        // Still twice as it was before only when nobody tries any more.
        let still = || {
            let before = proxy.connections();
            std::thread::sleep(Duration::from_millis(50));
            (proxy.connections() == before).then_some(())
        };
        poll(PATIENCE, still).expect("tries go on");
    })
    .await;
}
