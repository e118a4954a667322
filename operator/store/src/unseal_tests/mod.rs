//! What a seal made is opened again, and refused with every kind of damage.

mod any;
mod bounds;
mod crafted;

use age::secrecy::ExposeSecret as _;
use age::x25519;
use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::reasons;
use greenlang_backup_api::task::Seal;
use greenlang_backup_test_servers::noise;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::seal::hex;
use crate::{Sealer, fingerprint};
use greenlang_backup_api::sizing::MIN_PART_SIZE;

const AGE_CHUNK: usize = 64 << 10;

/// An object as its bucket and its manifest have it.
#[derive(Clone)]
struct Stored {
    object: Object,
    bytes: Vec<u8>,
}

fn identities(keys: &[&x25519::Identity]) -> Identities {
    let lines: Vec<String> = keys.iter().map(|key| key.to_string().expose_secret().to_owned()).collect();
    Identities::parse("backup-identity", &lines.join("\n").into()).unwrap()
}

/// What the Sealer makes.
fn seal(keys: &[&x25519::Identity], level: u8, data: &[u8]) -> Stored {
    let recipients = keys.iter().map(|key| key.to_public().to_string()).collect();
    let sealer = Sealer::new(&Seal { recipients, compression_level: level }).unwrap();
    let (sender, mut receiver) = Sealer::channel();
    std::thread::scope(|scope| {
        let collector = scope.spawn(move || {
            let mut bytes = Vec::new();
            while let Some(part) = receiver.blocking_recv() {
                bytes.extend_from_slice(part.as_ref());
            }
            bytes
        });
        sealer.seal(data, MIN_PART_SIZE, sender).unwrap();
        named(keys, data, collector.join().unwrap())
    })
}

/// Bytes, and a manifest that says the truth about them.
fn named(keys: &[&x25519::Identity], data: &[u8], bytes: Vec<u8>) -> Stored {
    let object = Object {
        key: "database/20251107-020000/1/greenlang.dump.zst.age".into(),
        content: Content::PostgresArchive { database: "greenlang".into() },
        source_bytes: data.len() as u64,
        source_sha256: hex(&Sha256::digest(data)),
        stored_bytes: bytes.len() as u64,
        stored_sha256: hex(&Sha256::digest(&bytes)),
        stored_crc64nvme: None,
        compression: "zstd".into(),
        recipients: keys.iter().map(|key| fingerprint(&key.to_public().to_string())).collect(),
    };
    Stored { object, bytes }
}

/// Encrypts with the age crate alone.
fn encrypt(key: &x25519::Identity, plain: &[u8]) -> Vec<u8> {
    age::encrypt(&key.to_public(), plain).unwrap()
}

fn zstd_frame(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).unwrap()
}

/// Reads all and asks for the verdict. What was handed on before an error is lost, as it must be for whoever reads.
fn unseal(identities: &Identities, stored: &Stored) -> Result<Vec<u8>, ReadError> {
    let mut plain = identities.unseal(&stored.object, stored.bytes.as_slice())?;
    let mut data = Vec::new();
    let read = plain.read_to_end(&mut data);
    let verdict = plain.finish();
    assert_eq!(read.is_ok(), verdict.is_ok(), "whoever reads to the end sees the same verdict");
    verdict.map(|()| data)
}

#[track_caller]
fn assert_damaged(identities: &Identities, stored: &Stored) {
    match unseal(identities, stored) {
        Err(error @ ReadError::ObjectDamaged { .. }) => {
            assert_eq!((error.reason(), error.is_retryable()), (reasons::OBJECT_DAMAGED, false));
            assert!(error.to_string().contains(&stored.object.key), "{error}");
        }
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("damage was accepted"),
    }
}

/// Lets the manifest agree with the stored bytes, so that only age and zstd stand between them and the reader.
fn with_true_stored_sums(mut stored: Stored) -> Stored {
    stored.object.stored_bytes = stored.bytes.len() as u64;
    stored.object.stored_sha256 = hex(&Sha256::digest(&stored.bytes));
    stored
}
