//! Wrong keys, bytes that cannot be read, bounds of memory, and what other programs made.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

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
