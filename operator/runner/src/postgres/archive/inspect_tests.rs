//! Archives of a format that only `pg_restore` reads, and what is too short to tell. Starts scripts in its place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

/// A `pg_restore` that is this script.
fn program(script: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pg_restore");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (directory, path)
}

fn inspect(program: &Path, pieces: &[&[u8]]) -> Result<Inspected, ArchiveError> {
    let mut inspector = Inspector::new(program.to_owned());
    for piece in pieces {
        inspector.push(piece)?;
    }
    inspector.finish()
}

const NEWER: &[u8] = b"PGDMP\x01\x11\x00 something that only a newer program reads";

#[test]
fn a_newer_format_is_read_by_pg_restore_to_its_end() {
    let (directory, program) = program("echo \"$@\" > \"$0.arguments\"; /bin/cat > \"$0.input\"");
    let (start, rest) = NEWER.split_at(6);
    let more = vec![7; 100_000];
    let inspected = inspect(&program, &[start, rest, &more]);
    assert_eq!(inspected, Ok(Inspected::Restored { format: FormatVersion { major: 1, minor: 17 } }));
    let input = fs::read(directory.path().join("pg_restore.input")).unwrap();
    assert_eq!(input, [NEWER, &more].concat());
    let arguments = fs::read_to_string(directory.path().join("pg_restore.arguments")).unwrap();
    assert_eq!(arguments, "--format=custom --file=/dev/null\n");
}

#[test]
fn what_pg_restore_refuses_is_damaged() {
    let (_directory, program) =
        program("/bin/cat > /dev/null; echo 'could not read: end of file' >&2; exit 1");
    let error = inspect(&program, &[NEWER]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pg_restore cannot read the archive, whose format 1.17 is newer than this program (exit status: 1: could not read: end of file)"
    );
}

#[test]
fn a_pg_restore_that_reads_nothing_proves_nothing() {
    for (script, words) in [("exit 0", "it ended before"), ("echo no >&2; exit 1", "exit status: 1: no")] {
        let (_directory, program) = program(script);
        let error = inspect(&program, &[NEWER, &vec![0; 1 << 20]]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let error = inspect(Path::new("/nonexistent/pg_restore"), &[NEWER]).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/pg_restore cannot be started"), "{error}");
}

#[test]
fn what_is_too_short_to_tell_is_no_archive() {
    assert_eq!(inspect(Path::new("/nonexistent"), &[]), Err(ArchiveError::NotAnArchive));
    assert_eq!(inspect(Path::new("/nonexistent"), &[b"PGX"]), Err(ArchiveError::NotAnArchive));
    assert!(matches!(inspect(Path::new("/nonexistent"), &[b"PGDMP\x01"]), Err(ArchiveError::Cut { .. })));
    let old = inspect(Path::new("/nonexistent"), &[b"PGDMP\x01\x0c\x00\x04\x08\x01"]);
    assert_eq!(old, Err(ArchiveError::UnsupportedFormat(FormatVersion { major: 1, minor: 12 })));
}
