//! The seal, opened again by the age and zstd crates and by Debian's programs.

use std::io::{Cursor, Read as _};
use std::path::Path;
use std::process::Command;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use greenlang_backup_test_servers::noise;
use proptest::prelude::*;

use super::*;
use greenlang_backup_api::sizing::MIN_PART_SIZE;

/// [`MIN_PART_SIZE`] as a length.
const SIZE: usize = 5 << 20;

fn for_keys(identities: &[&Identity]) -> Sealer {
    Sealer::new(&Seal {
        recipients: identities.iter().map(|identity| identity.to_public().to_string()).collect(),
        compression_level: 1,
    })
    .unwrap()
}

/// Seals, and puts the parts together again.
fn seal(sealer: &Sealer, data: &[u8]) -> (Sealed, Vec<Vec<u8>>) {
    let (sender, mut receiver) = Sealer::channel();
    std::thread::scope(|scope| {
        let collector = scope.spawn(move || {
            let mut parts = Vec::new();
            while let Some(part) = receiver.blocking_recv() {
                parts.push(part.as_ref().to_vec());
            }
            parts
        });
        let result = sealer.seal(data, MIN_PART_SIZE, sender).unwrap();
        (result, collector.join().unwrap())
    })
}

fn opened(identity: &Identity, stored: &[u8]) -> Vec<u8> {
    let age = age::Decryptor::new(Cursor::new(stored)).unwrap();
    let age = age.decrypt(std::iter::once(identity as &dyn age::Identity)).unwrap();
    let mut data = Vec::new();
    zstd::Decoder::new(age).unwrap().read_to_end(&mut data).unwrap();
    data
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_recipient_opens_what_went_in(data in proptest::collection::vec(any::<u8>(), 0..200_000)) {
        let (one, other) = (Identity::generate(), Identity::generate());
        let (sealed, parts) = seal(&for_keys(&[&one, &other]), &data);
        let stored = parts.concat();
        prop_assert_eq!(&sealed.source_sha256, &hex(&Sha256::digest(&data)));
        prop_assert_eq!(&sealed.stored_sha256, &hex(&Sha256::digest(&stored)));
        prop_assert_eq!((sealed.source_bytes, sealed.stored_bytes), (data.len() as u64, stored.len() as u64));
        prop_assert_eq!(&opened(&one, &stored), &data);
        prop_assert_eq!(&opened(&other, &stored), &data);
    }
}

#[test]
fn all_parts_but_the_last_are_full() {
    let identity = Identity::generate();
    let data = noise(1, 3 * SIZE);
    let (_, parts) = seal(&for_keys(&[&identity]), &data);
    let (last, full) = parts.split_last().unwrap();
    assert_eq!(full.len(), 3);
    assert!(full.iter().all(|part| part.len() == SIZE));
    assert!(!last.is_empty() && last.len() <= SIZE);
    assert_eq!(opened(&identity, &parts.concat()), data);
}

#[test]
fn debians_age_and_zstd_open_it() {
    let identity = Identity::generate();
    let data = noise(1, 100_000);
    let (_, parts) = seal(&for_keys(&[&Identity::generate(), &identity]), &data);
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("identity.txt");
    std::fs::write(&key, identity.to_string().expose_secret()).unwrap();
    std::fs::write(directory.path().join("stored"), parts.concat()).unwrap();
    let opened = pipe_through_programs(directory.path());
    assert_eq!(opened, data);
}

fn pipe_through_programs(directory: &Path) -> Vec<u8> {
    let output = Command::new("sh")
        .args(["-c", "age -d -i identity.txt stored | zstd -dc"])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "needs the Debian packages age and zstd: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn a_source_that_fails_is_told_from_an_upload_that_ended() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof))
        }
    }
    let sealer = for_keys(&[&Identity::generate()]);
    let (sender, _receiver) = Sealer::channel();
    assert!(matches!(sealer.seal(Broken, MIN_PART_SIZE, sender), Err(SealError::Source(_))));

    let (sender, receiver) = Sealer::channel();
    drop(receiver);
    let data = noise(1, SIZE + 1);
    assert!(matches!(sealer.seal(data.as_slice(), MIN_PART_SIZE, sender), Err(SealError::UploadEnded)));
}
