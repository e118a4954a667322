//! Archives that PostgreSQL 14, 16, 17 and 18 wrote (`testdata/archives`), against what their own `pg_restore` lists and what the
//! server counted.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::postgres::archive::model::Data;

const MAJORS: [(u32, u8); 4] = [(14, 14), (16, 15), (17, 16), (18, 16)];

fn path(name: &str) -> PathBuf {
    Path::new("testdata/archives").join(name)
}

fn lines(name: &str) -> Vec<String> {
    fs::read_to_string(path(name)).unwrap().lines().map(str::to_owned).collect()
}

/// An archive as `pg_restore --list` shows it, but for the entries of single large objects.
pub fn listed(archive: &Archive) -> Vec<String> {
    let shown =
        |entry: &&Entry| !["ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE"].contains(&&*entry.desc);
    let plain = |text: &str| text.replace(['\n', '\r'], " ");
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { plain(text) };
    let entries = archive.entries.iter().filter(shown);
    entries
        .map(|entry| {
            let Entry { dump_id, catalog, oid, desc, namespace, tag, owner, .. } = entry;
            let (namespace, tag, owner) = (or_dash(namespace), or_dash(tag), plain(owner));
            format!("{dump_id}; {catalog} {oid} {desc} {namespace} {tag} {owner}")
        })
        .collect()
}

/// The output of `pg_restore --list`, and how many of its lines are of single large objects.
pub fn list(text: &[String]) -> (Vec<String>, u64) {
    let single = |line: &&String| {
        [" BLOB ", " BLOB METADATA ", " - LARGE OBJECT ", " - LARGE OBJECTS "]
            .iter()
            .any(|words| line.contains(words))
    };
    let entries = || text.iter().filter(|line| !line.starts_with(';') && !line.is_empty());
    let count = entries().filter(single).count() as u64;
    (entries().filter(|line| !single(line)).cloned().collect(), count)
}

/// OID of each table and its rows, by OID.
pub fn counts(archive: &Archive) -> Vec<String> {
    let rows = |entry: &Entry| entry.data.as_ref().and_then(Data::rows).map(|rows| (entry.oid, rows.count));
    let mut counts: Vec<_> = archive.entries.iter().filter_map(rows).collect();
    counts.sort_unstable();
    counts.iter().map(|(oid, count)| format!("{oid} {count}")).collect()
}

/// OID of each large object and its length, by OID.
pub fn objects(archive: &Archive) -> Vec<String> {
    let mut objects: Vec<_> =
        archive.large_objects.listed.iter().map(|object| (object.oid, object.length)).collect();
    objects.sort_unstable();
    objects.iter().map(|(oid, length)| format!("{oid} {length}")).collect()
}

#[test]
fn archives_of_all_formats_are_walked_as_pg_restore_lists_them() {
    for (major, minor) in MAJORS {
        let bytes = fs::read(path(&format!("{major}.dump"))).unwrap();
        let archive = walk(&bytes, &[bytes.len()]).unwrap();
        assert_eq!(walk(&bytes, &[1, 7, 100, 4096]), Ok(archive.clone()));
        assert_eq!(archive.version.minor, minor);
        assert_eq!(archive.database, "archive");
        assert_eq!(archive.encoding.as_deref(), Some("UTF8"));
        assert!(archive.dump_version.starts_with(&format!("{major}.")), "{}", archive.dump_version);
        assert!(archive.server_version.starts_with(&format!("{major}.")), "{}", archive.server_version);
        let (expected, single) = list(&lines(&format!("{major}.list")));
        assert_eq!(listed(&archive), expected, "PostgreSQL {major}");
        assert_eq!(archive.large_object_entries, single, "PostgreSQL {major}");
        assert_eq!(counts(&archive), lines(&format!("{major}.counts")), "PostgreSQL {major}");
        assert_eq!(objects(&archive), lines(&format!("{major}.objects")), "PostgreSQL {major}");
    }
}

/// One content: OIDs and order differ from server to server, digests do not.
#[test]
fn all_majors_give_the_same_digests() {
    let digests = |major: u32| {
        let bytes = fs::read(path(&format!("{major}.dump"))).unwrap();
        let archive = walk(&bytes, &[bytes.len()]).unwrap();
        (super::real::rows(&archive), archive.large_objects.digest)
    };
    for (major, _) in MAJORS {
        assert_eq!(digests(major), digests(17), "PostgreSQL {major}");
    }
}

#[test]
fn a_real_archive_cut_off_is_not_whole() {
    for (major, _) in MAJORS {
        let bytes = fs::read(path(&format!("{major}.dump"))).unwrap();
        let near_the_end = bytes.len() - 50..bytes.len();
        for end in (0..bytes.len()).step_by(4999).chain(near_the_end) {
            assert!(walk(&bytes[..end], &[4096]).is_err(), "PostgreSQL {major} cut at {end}");
        }
    }
}
