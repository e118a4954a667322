//! Whole archives.

use proptest::prelude::*;

use super::generate::{Content, Spec, SpecEntry};
use super::strategy::{spec, splits};
use super::*;

proptest! {
    #[test]
    fn everything_in_a_generated_archive_is_found(spec in spec(), splits in splits()) {
        prop_assert_eq!(walk(&spec.encode().bytes, &splits), Ok(spec.expected()));
    }
}

/// A spec with entries of this content, numbered from 1.
pub fn of(contents: Vec<(&'static str, Content)>) -> Spec {
    let entries = contents.into_iter().zip(1..).map(|((desc, content), dump_id)| SpecEntry {
        dump_id,
        oid: 16_384 + dump_id,
        desc,
        namespace: Some("public".to_owned()),
        tag: format!("t{dump_id}"),
        owner: "owner".to_owned(),
        definition: String::new(),
        dependencies: vec![],
        content,
    });
    Spec {
        minor: 14,
        int_size: 4,
        offset_size: 8,
        database: "greenlang".to_owned(),
        entries: entries.collect(),
        pieces: vec![1000],
    }
}

/// Two tables and some large objects.
pub fn small() -> Spec {
    of(vec![
        ("TABLE", Content::None),
        ("TABLE DATA", Content::Rows(vec![b"1\tone".to_vec(), b"2\ttwo".to_vec()])),
        ("BLOBS", Content::Objects(vec![(16_500, b"content".to_vec()), (u32::MAX, vec![])])),
        ("TABLE DATA", Content::Rows(vec![])),
    ])
}

#[test]
fn large_objects_without_end_are_counted_and_listed_in_part() {
    let objects = (1..=12_000u32).map(|oid| (oid, oid.to_le_bytes().to_vec())).collect();
    let spec =
        of(vec![("BLOBS", Content::Objects(objects)), ("BLOBS", Content::Objects(vec![(70, vec![1])]))]);
    let archive = walk(&spec.encode().bytes, &[8192]).unwrap();
    assert_eq!(archive, spec.expected());
    assert_eq!((archive.large_objects.count, archive.large_objects.listed.len()), (12_001, 10_000));
}

#[test]
fn entries_of_single_large_objects_are_only_counted() {
    let mut spec = of(vec![("BLOB", Content::None), ("ACL", Content::None), ("COMMENT", Content::None)]);
    for entry in &mut spec.entries {
        entry.tag = "LARGE OBJECT 16385".to_owned();
    }
    let archive = walk(&spec.encode().bytes, &[8192]).unwrap();
    assert_eq!((archive.entries.len(), archive.large_object_entries), (0, 3));
}

#[test]
fn names_in_another_encoding_do_no_harm() {
    let mut bytes = small().encode().bytes;
    for at in 0..bytes.len() {
        if bytes[at..].starts_with(b"public") {
            bytes[at] = 0xfc;
        }
    }
    let archive = walk(&bytes, &[8192]).unwrap();
    assert_eq!(&*archive.entries[0].namespace, "\u{fffd}ublic");
    assert_eq!(archive.entries[0].oid, 16_385);
}

#[test]
fn a_row_may_be_longer_than_memory_should_be() {
    let row = vec![b'x'; 64 << 20];
    let mut spec = of(vec![("TABLE DATA", Content::Rows(vec![row]))]);
    spec.pieces = vec![usize::MAX];
    assert_eq!(walk(&spec.encode().bytes, &[128 << 10]), Ok(spec.expected()));
}
