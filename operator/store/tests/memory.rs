//! Memory of uploads, measured: alone in its process, whose peak it reads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Read as _;

use age::x25519::Identity;
use greenlang_backup_api::sizing::{memory_for, part_size_for};
use greenlang_backup_api::task::Seal;
use greenlang_backup_store::{Activity, Checksums, Sealer, Store, Upload};
use greenlang_backup_test_servers::{S3, run, tasks};

const MIB: u64 = 1 << 20;

/// Peak memory of this process since it was last forgotten, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

async fn store(secret: &tempfile::TempDir) -> Store {
    run(S3.aws().args(["s3", "mb", "s3://memory"]));
    let bucket = tasks::bucket("memory", &S3.endpoint, secret.path());
    Store::open(&bucket, 3).await.unwrap()
}

/// Uploads bytes that do not compress, cut as an object of which others were expected.
async fn upload(store: &Store, checksums: Checksums, key: &str, expected: u64, bytes: u64) {
    let part_size = part_size_for(expected);
    let mut upload = Upload::start(store, key, part_size, checksums, &Activity::default()).await.unwrap();
    let (sender, parts) = Sealer::channel();
    let sealing = tokio::task::spawn_blocking(move || {
        let recipients = vec![Identity::generate().to_public().to_string()];
        let sealer = Sealer::new(&Seal { recipients, compression_level: 1 }).unwrap();
        sealer.seal(fs::File::open("/dev/urandom").unwrap().take(bytes), part_size, sender)
    });
    upload.send(parts).await.unwrap();
    upload.finish(&sealing.await.unwrap().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_below_the_formula_and_does_not_grow() {
    let secret = tempfile::tempdir().unwrap();
    let store = store(&secret).await;
    let checksums = store.probe("memory", std::time::Duration::from_mins(1)).await.unwrap();
    // Parts of 16 MiB, a few and many; parts of 132 MiB; two streams at once.
    for (expected, bytes, streams) in
        [(0, 100 * MIB, 1), (0, 400 * MIB, 1), (1 << 40, 400 * MIB, 1), (0, 200 * MIB, 2)]
    {
        // The peak starts anew from what is held now.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let one = upload(&store, checksums, "m/1", expected, bytes);
        if streams == 1 {
            one.await;
        } else {
            tokio::join!(one, upload(&store, checksums, "m/2", expected, bytes));
        }
        let (peak, limit) = (peak(), memory_for(expected, streams, 1));
        assert!(
            peak < limit,
            "{bytes} bytes in {streams} streams took {peak} bytes of memory, the formula says {limit}"
        );
        store.remove_attempt("m/").await.unwrap();
    }
}
