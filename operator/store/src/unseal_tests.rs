//! What a seal made is opened again, and refused with every kind of damage.

use std::io::Write as _;
use std::process::{Command, Stdio};

use age::secrecy::ExposeSecret as _;
use age::x25519;
use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::reasons;
use greenlang_backup_api::task::Seal;
use greenlang_backup_test_servers::noise;
use proptest::prelude::*;
use proptest::sample::Index;
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

/// Sizes around the ends of age's chunks and zstd's blocks as well as any other.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        0usize..300_000,
        (1usize..5, -100isize..100).prop_map(|(chunks, off)| (chunks * AGE_CHUNK).saturating_add_signed(off)),
    ];
    (any::<u64>(), length, any::<bool>()).prop_map(|(seed, length, compresses)| {
        if compresses {
            noise(seed, 64).repeat(length / 64 + 1)[..length].to_vec()
        } else {
            noise(seed, length)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_went_in_comes_out(data in data(), level in 1u8..4) {
        let (one, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let stored = seal(&[&one, &other], level, &data);
        prop_assert_eq!(&unseal(&identities(&[&one]), &stored).unwrap(), &data);
        // A file of several keys, of which only the last fits.
        prop_assert_eq!(&unseal(&identities(&[&x25519::Identity::generate(), &other]), &stored).unwrap(), &data);
    }

    #[test]
    fn whoever_stops_early_gets_the_same_verdict(data in data(), at in any::<Index>(), flip in any::<Option<Index>>()) {
        let key = x25519::Identity::generate();
        let mut stored = seal(&[&key], 1, &data);
        if let Some(flip) = flip {
            let flip = flip.index(stored.bytes.len());
            stored.bytes[flip] ^= 1;
        }
        let taken = at.index(data.len() + 1);
        let verdict = identities(&[&key]).unseal(&stored.object, stored.bytes.as_slice()).and_then(|mut plain| {
            // Damage may show before; then `finish` must still say so.
            drop(io::copy(&mut plain.by_ref().take(taken as u64), &mut io::sink()));
            plain.finish()
        });
        prop_assert_eq!(verdict.is_ok(), flip.is_none());
    }

    #[test]
    fn any_cut_is_refused(data in data(), at in any::<Index>()) {
        let key = x25519::Identity::generate();
        let mut stored = seal(&[&key], 1, &data);
        stored.bytes.truncate(at.index(stored.bytes.len()));
        assert_damaged(&identities(&[&key]), &stored);
        assert_damaged(&identities(&[&key]), &with_true_stored_sums(stored));
    }

    #[test]
    fn any_flipped_bit_is_refused(data in data(), at in any::<Index>(), bit in 0u8..8) {
        let key = x25519::Identity::generate();
        let mut stored = seal(&[&key], 1, &data);
        let at = at.index(stored.bytes.len());
        stored.bytes[at] ^= 1 << bit;
        assert_damaged(&identities(&[&key]), &stored);
        assert_damaged(&identities(&[&key]), &with_true_stored_sums(stored));
    }

    #[test]
    fn anything_appended_is_refused(data in data(), more in proptest::collection::vec(any::<u8>(), 1..100)) {
        let key = x25519::Identity::generate();
        let mut stored = seal(&[&key], 1, &data);
        stored.bytes.extend_from_slice(&more);
        assert_damaged(&identities(&[&key]), &stored);
        assert_damaged(&identities(&[&key]), &with_true_stored_sums(stored));
    }

    #[test]
    fn a_manifest_that_says_otherwise_is_not_overruled(data in data(), field in 0..4, off in 1u64..1000, up in any::<bool>()) {
        let key = x25519::Identity::generate();
        let mut stored = seal(&[&key], 1, &data);
        let object = &mut stored.object;
        let other = |bytes: u64| if up { bytes + off } else { bytes.saturating_sub(off.min(bytes.max(1))) };
        match field {
            0 => object.source_bytes = if object.source_bytes == 0 { off } else { other(object.source_bytes) },
            1 => object.stored_bytes = other(object.stored_bytes),
            2 => object.source_sha256 = hex(&Sha256::digest(b"other")),
            _ => object.stored_sha256 = hex(&Sha256::digest(b"other")),
        }
        assert_damaged(&identities(&[&key]), &stored);
    }
}

#[test]
fn another_object_of_the_same_size_is_refused() {
    let key = x25519::Identity::generate();
    for length in [1, AGE_CHUNK, 100_000] {
        let one = seal(&[&key], 1, &noise(1, length));
        // age puts random bytes into its headers, so sizes differ by chance.
        let other = std::iter::repeat_with(|| seal(&[&key], 1, &noise(2, length)))
            .find(|other| other.bytes.len() == one.bytes.len())
            .unwrap();
        let swapped = Stored { object: one.object, bytes: other.bytes };
        assert_damaged(&identities(&[&key]), &swapped);
        assert_damaged(&identities(&[&key]), &with_true_stored_sums(swapped));
    }
}

#[test]
fn a_cut_between_chunks_is_refused_even_where_the_frame_is_complete() {
    let key = x25519::Identity::generate();
    let data = noise(1, 3 * AGE_CHUNK);
    let stored = seal(&[&key], 1, &data);
    let header = stored.bytes.len() - encrypted_length(zstd_frame(&data).len());
    for chunks in 0..=3 {
        let mut cut = stored.clone();
        cut.bytes.truncate(header + 16 + chunks * (AGE_CHUNK + 16));
        assert!(cut.bytes.len() < stored.bytes.len());
        assert_damaged(&identities(&[&key]), &with_true_stored_sums(cut));
    }
}

/// Nonce, and each chunk with its tag.
fn encrypted_length(plain: usize) -> usize {
    16 + plain + plain.div_ceil(AGE_CHUNK) * 16
}

#[test]
fn what_age_and_zstd_accept_together_is_refused_where_it_is_not_one_frame() {
    let key = x25519::Identity::generate();
    let (one, other) = (noise(1, 1000), noise(2, 1000));
    let both = [one.as_slice(), &other].concat();
    let skippable = [b"\x50\x2a\x4d\x18\x04\0\0\0".as_slice(), b"skip"].concat();
    for (case, plain, data) in [
        ("a second frame", [zstd_frame(&one), zstd_frame(&other)].concat(), &both),
        ("an empty second frame", [zstd_frame(&one), zstd_frame(b"")].concat(), &one),
        ("a skippable frame behind", [zstd_frame(&one), skippable.clone()].concat(), &one),
        ("a skippable frame before", [skippable, zstd_frame(&one)].concat(), &one),
        ("bytes behind the frame", [zstd_frame(&one), b"x".to_vec()].concat(), &one),
        ("no frame at all", Vec::new(), &Vec::new()),
        ("no zstd", one.clone(), &one),
    ] {
        let stored = named(&[&key], data, encrypt(&key, &plain));
        let Err(error) = unseal(&identities(&[&key]), &stored) else { panic!("{case} was accepted") };
        assert_eq!(error.reason(), reasons::OBJECT_DAMAGED, "{case}: {error}");
    }
}

#[test]
fn a_second_age_file_behind_the_first_is_refused() {
    let key = x25519::Identity::generate();
    // The second case ends its first file exactly with a full chunk, so that age sees its end without reading on.
    for length in [1000, AGE_CHUNK] {
        let data = data_of_frame_length(length);
        let file = encrypt(&key, &zstd_frame(&data));
        let stored = named(&[&key], &data, [file.as_slice(), &file].concat());
        assert_damaged(&identities(&[&key]), &stored);
        assert_eq!(unseal(&identities(&[&key]), &named(&[&key], &data, file)).unwrap(), data);
    }
}

/// Data whose zstd frame has a length.
fn data_of_frame_length(length: usize) -> Vec<u8> {
    (1..length).map(|less| noise(3, length - less)).find(|data| zstd_frame(data).len() == length).unwrap()
}

#[test]
fn a_key_that_does_not_fit_is_named_with_those_that_would() {
    let keys = [x25519::Identity::generate(), x25519::Identity::generate()];
    let wrong = x25519::Identity::generate();
    let stored = seal(&[&keys[0], &keys[1]], 1, b"data");
    let Err(error) = unseal(&identities(&[&wrong]), &stored) else { panic!("a wrong key was accepted") };
    assert_eq!((error.reason(), error.is_retryable()), (reasons::IDENTITY_MISMATCH, false));
    let message = error.to_string();
    for key in [&keys[0], &keys[1], &wrong] {
        assert!(message.contains(&fingerprint(&key.to_public().to_string())), "{message}");
    }
    assert!(message.contains("Secret backup-identity") && message.contains(&stored.object.key), "{message}");
    assert!(!message.contains("AGE-SECRET-KEY"), "{message}");
}

#[test]
fn a_bomb_is_stopped_at_what_its_manifest_says() {
    let key = x25519::Identity::generate();
    let bomb = encrypt(&key, &zstd_frame(&vec![0; 64 << 20]));
    let stored = named(&[&key], &[0; 1000], bomb);
    let mut plain = identities(&[&key]).unseal(&stored.object, stored.bytes.as_slice()).unwrap();
    let mut out = Vec::new();
    assert!(plain.read_to_end(&mut out).is_err());
    assert!(out.len() <= 1000, "{} bytes were handed on", out.len());
    assert_eq!(plain.finish().unwrap_err().reason(), reasons::OBJECT_DAMAGED);
}

#[test]
fn windows_up_to_those_of_level_19_are_opened() {
    let key = x25519::Identity::generate();
    let data = noise(1, 100_000).repeat(2);
    for (log, good) in [(MAX_WINDOW_LOG, true), (MAX_WINDOW_LOG + 1, false)] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(&data).unwrap();
        let stored = named(&[&key], &data, encrypt(&key, &encoder.finish().unwrap()));
        assert_eq!(unseal(&identities(&[&key]), &stored).is_ok(), good, "{log}");
    }
    // The Sealer does not know the length of what it seals, so it takes the whole window of its level.
    let stored = seal(&[&key], 19, &data);
    assert_eq!(unseal(&identities(&[&key]), &stored).unwrap(), data);
}

#[test]
fn a_header_without_end_costs_no_memory() {
    struct Counted<R>(R, u64);
    impl<R: Read> Read for Counted<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(buffer)?;
            self.1 += read as u64;
            Ok(read)
        }
    }
    let key = x25519::Identity::generate();
    let start = b"age-encryption.org/v1\n".to_vec();
    let stored = named(
        &[&key],
        b"",
        start.into_iter().chain(format!("-> X {}\n\n", "a".repeat(60)).repeat(10_000).bytes()).collect(),
    );
    let mut source = Counted(stored.bytes.as_slice(), 0);
    let Err(error) = identities(&[&key]).unseal(&stored.object, &mut source) else { panic!("was opened") };
    assert_eq!(error.reason(), reasons::OBJECT_DAMAGED);
    assert!(source.1 <= MAX_HEADER, "{} bytes were read", source.1);
}

#[test]
fn bytes_that_cannot_be_read_are_not_called_damaged() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        }
    }
    let key = x25519::Identity::generate();
    let stored = seal(&[&key], 1, &noise(1, 300_000));
    for cut in [10, 200_000] {
        let source = stored.bytes[..cut].chain(Broken);
        let verdict = identities(&[&key]).unseal(&stored.object, source).and_then(Unsealed::finish);
        let error = verdict.unwrap_err();
        assert!(matches!(error, ReadError::ReadFailed { .. }) && error.is_retryable(), "{error}");
    }
}

#[test]
fn what_debians_programs_made_is_opened() {
    let (one, other) = (x25519::Identity::generate(), x25519::Identity::generate());
    let data = [noise(1, 150_000), b"text ".repeat(50_000)].concat();
    for zstd in ["zstd -q", "zstd -q -19 -T2", "zstd -q --no-check"] {
        let script = format!("{zstd} | age -r {} -r {}", one.to_public(), other.to_public());
        let stored = named(&[&one, &other], &data, pipe(&script, &data));
        for key in [&one, &other] {
            assert_eq!(unseal(&identities(&[key]), &stored).unwrap(), data, "{zstd}");
        }
    }
}

fn pipe(script: &str, input: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "needs the Debian packages age and zstd");
    output.stdout
}
