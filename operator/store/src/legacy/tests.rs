//! Files made as the old scripts made them, by the same programs.

use std::fs;
use std::path::Path;
use std::process::Command;

use greenlang_backup_api::reasons;
use greenlang_backup_test_servers::{noise, run};

use super::*;

fn passphrase(text: &str) -> LegacyPassphrase {
    LegacyPassphrase { passphrase: text.to_owned().into(), secret: "old-key".into() }
}

/// What the script does after `pg_dump`; `manifest` is the file that it writes beside the archive.
fn stored(directory: &Path, dump: &[u8], manifest: &str, options: &str) -> Vec<u8> {
    stored_in_order(directory, dump, manifest, options, "greenlang.dump manifest.json")
}

fn stored_in_order(directory: &Path, dump: &[u8], manifest: &str, options: &str, files: &str) -> Vec<u8> {
    fs::write(directory.join("greenlang.dump"), dump).unwrap();
    fs::write(directory.join("manifest.json"), manifest).unwrap();
    fs::write(directory.join("key.txt"), "the passphrase\nanother line\n").unwrap();
    let script = format!(
        "tar -czf backup.tar.gz {files} && openssl enc -aes-256-cbc {options} -in backup.tar.gz -out backup.tar.gz.enc -pass file:key.txt 2>/dev/null"
    );
    run(Command::new("sh").args(["-ec", &script]).current_dir(directory));
    fs::read(directory.join("backup.tar.gz.enc")).unwrap()
}

fn opened(stored: &[u8], secret: &str) -> Result<Vec<u8>, ReadError> {
    let mut dump = passphrase(secret).open("key", stored)?;
    let mut bytes = Vec::new();
    let read = dump.read_to_end(&mut bytes);
    dump.finish()?;
    read.unwrap();
    Ok(bytes)
}

#[test]
fn what_the_scripts_wrote_is_opened_whatever_openssl_they_had() {
    let directory = tempfile::tempdir().unwrap();
    for length in [0, 1, 511, 512, 513, 300_000] {
        let dump = noise(7, length);
        let manifest = format!(
            "{{\n  \"size_bytes\": ,\n  \"checksum\": \"{}\"\n}}",
            crate::seal::hex(&<sha2::Sha256 as sha2::Digest>::digest(&dump))
        );
        for options in ["-md md5", "-md sha256", "-pbkdf2"] {
            let stored = stored(directory.path(), &dump, &manifest, options);
            assert_eq!(opened(&stored, "the passphrase").unwrap(), dump, "{length} {options}");
        }
    }
}

#[test]
fn damage_and_wrong_passphrases_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let dump = noise(7, 100_000);
    let good = stored(directory.path(), &dump, "{}", "-md sha256");
    let wrong = opened(&good, "another").unwrap_err();
    assert_eq!((wrong.reason(), wrong.is_retryable()), (reasons::IDENTITY_MISMATCH, false));
    assert!(wrong.to_string().contains("old-key"), "{wrong}");
    let mut changed = good.clone();
    changed[50_000] ^= 1;
    let longer = [good.as_slice(), &[0; 16]].concat();
    for damaged in [
        &changed[..],
        &longer,
        &good[..good.len() - 16],
        &good[..good.len() - 1],
        &good[..20],
        b"",
        b"Salted_!",
    ] {
        let error = opened(damaged, "the passphrase").unwrap_err();
        assert_eq!(error.reason(), reasons::OBJECT_DAMAGED, "{error}");
    }
    let other = format!("{{\"checksum\": \"{}\"}}", "0".repeat(64));
    for files in ["greenlang.dump manifest.json", "manifest.json greenlang.dump"] {
        let forged = stored_in_order(directory.path(), &dump, &other, "-pbkdf2", files);
        let error = opened(&forged, "the passphrase").unwrap_err();
        assert!(error.to_string().contains("another SHA-256"), "{error}");
    }
}
