//! Descriptions of archives, at random.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::generate::{Content, Spec, SpecEntry};

/// An archive with entries and data of all kinds.
pub fn spec() -> impl Strategy<Value = Spec> {
    let versions = (13..=16u8, prop_oneof![Just(4u8), Just(8)], prop_oneof![Just(4u8), Just(8)]);
    let pieces = prop_oneof![Just(vec![1]), vec(1..40usize, 1..8), Just(vec![4096])];
    (versions, name(), vec(entry(), 0..8), pieces).prop_map(
        |((minor, int_size, offset_size), database, mut entries, pieces)| {
            for (entry, dump_id) in entries.iter_mut().zip(100..) {
                entry.dump_id = dump_id;
            }
            Spec { minor, int_size, offset_size, database, entries, pieces }
        },
    )
}

/// Sizes of the pieces in which an archive comes.
pub fn splits() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1]), vec(1..50usize, 1..8), Just(vec![1 << 20])]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z]{1,8}", Just("a\n\"b'\\ \u{1f418}".to_owned())]
}

fn entry() -> impl Strategy<Value = SpecEntry> {
    let names = (option::of(name()), name(), name(), 0..90usize);
    (names, any::<u32>(), vec(any::<u32>(), 0..4), content()).prop_map(
        |((namespace, tag, owner, length), oid, dependencies, (desc, content))| {
            let definition = match desc {
                "ENCODING" => "SET client_encoding = 'UTF8';\n".to_owned(),
                _ => "x".repeat(length),
            };
            SpecEntry { dump_id: 0, oid, desc, namespace, tag, owner, definition, dependencies, content }
        },
    )
}

fn content() -> impl Strategy<Value = (&'static str, Content)> {
    let without = prop_oneof![Just("TABLE"), Just("ENCODING"), Just("BLOB"), Just("BLOB METADATA")];
    let objects = vec((1u32.., bytes(200)), 0..6);
    prop_oneof![
        2 => without.prop_map(|desc| (desc, Content::None)),
        4 => vec(bytes(60), 0..30).prop_map(|rows| {
            ("TABLE DATA", Content::Rows(rows.iter().map(|bytes| line(bytes)).collect()))
        }),
        1 => bytes(100).prop_map(|text| ("TABLE DATA", Content::Commands(text))),
        2 => objects.prop_map(|objects| ("BLOBS", Content::Objects(objects))),
        1 => bytes(100).prop_map(|text| ("SOMETHING NEW", Content::Commands(text))),
    ]
}

/// Bytes from a seed, since one strategy a byte takes long: half of them those that mean something in COPY text.
fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    (any::<u64>(), 0..most).prop_map(|(mut state, length)| {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let [.., kind, value] = state.to_be_bytes().map(|byte| byte ^ (state >> 56) as u8);
            if kind % 2 == 0 { b"\\.\n\t"[usize::from(value % 4)] } else { value }
        };
        (0..length).map(|_| next()).collect()
    })
}

/// A row of COPY text: newlines and backslashes are escaped, nothing else is.
fn line(bytes: &[u8]) -> Vec<u8> {
    let escaped = bytes.iter().map(|byte| match byte {
        b'\\' => b"\\\\",
        b'\n' => b"\\n",
        other => std::slice::from_ref(other),
    });
    escaped.flatten().copied().collect()
}
