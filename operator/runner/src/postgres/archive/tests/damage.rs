//! Archives that are cut off, changed, or put together wrongly: never whole, never a panic, never unbounded memory.

use proptest::prelude::*;
use proptest::sample::Index;

use super::generate::{Content, Encoded};
use super::strategy::{spec, splits};
use super::walk::{of, small};
use super::*;

proptest! {
    #[test]
    fn an_archive_cut_off_anywhere_is_not_whole(spec in spec(), splits in splits(), at in any::<Index>()) {
        let bytes = spec.encode().bytes;
        prop_assert!(walk(&bytes[..at.index(bytes.len())], &splits).is_err());
    }

    #[test]
    fn an_archive_with_bytes_after_its_end_is_not_whole(
        spec in spec(),
        more in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let bytes = [spec.encode().bytes, more].concat();
        prop_assert!(walk(&bytes, &[bytes.len()]).is_err());
    }

    #[test]
    fn changed_bytes_do_no_harm(
        spec in spec(),
        splits in splits(),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = spec.encode().bytes;
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = walk(&bytes, &splits);
    }

    #[test]
    fn anything_may_follow_the_magic(bytes in proptest::collection::vec(any::<u8>(), 0..300), minor in 13..17u8) {
        let head = [&b"PGDMP"[..], &[1, minor, 0, 4, 8, 1]].concat();
        let _ = walk(&[head, bytes].concat(), &[7]);
    }

    #[test]
    fn a_changed_row_or_large_object_shows(spec in spec(), at in any::<Index>(), bit in 0..8u8) {
        let Encoded { mut bytes, toc_end, .. } = spec.encode();
        prop_assume!(toc_end < bytes.len());
        let at = toc_end + at.index(bytes.len() - toc_end);
        bytes[at] ^= 1 << bit;
        // Of unseen content only the bytes are counted.
        if let Ok(archive) = walk(&bytes, &[bytes.len()]) {
            let opaque = spec.entries.iter().any(|entry| matches!(entry.content, Content::Commands(_)));
            prop_assert!(opaque || archive != spec.expected());
        }
    }
}

/// The error, and the words that it is told in.
#[track_caller]
fn expect(bytes: &[u8], words: &str) {
    for sizes in [&[1][..], &[bytes.len()]] {
        let error = walk(bytes, sizes).unwrap_err().to_string();
        assert_eq!(error, words, "pieces of {sizes:?}");
    }
}

fn parts(encoded: &Encoded) -> (&[u8], Vec<&[u8]>) {
    let bytes = &encoded.bytes;
    (&bytes[..encoded.toc_end], encoded.blocks.iter().map(|range| &bytes[range.clone()]).collect())
}

#[test]
fn every_cut_of_a_small_archive_is_told() {
    let encoded = small().encode();
    for end in 0..encoded.bytes.len() {
        let error = walk(&encoded.bytes[..end], &[3]).unwrap_err();
        match error {
            ArchiveError::NotAnArchive => assert_eq!(end, 0),
            ArchiveError::Cut { .. } => {}
            ArchiveError::Missing { .. } => assert!(encoded.blocks.iter().any(|block| block.start == end)),
            other => panic!("cut at {end}: {other}"),
        }
    }
}

#[test]
fn a_cut_names_its_place() {
    let encoded = small().encode();
    let (toc, blocks) = parts(&encoded);
    expect(&encoded.bytes[..encoded.head_end], "the archive is cut off in its table of contents");
    expect(&toc[..toc.len() - 1], "the archive is cut off in entry 4 of 4 of its table of contents");
    expect(toc, "the archive is cut off: it lacks the data of table public.t2 and of 2 more");
    let cut = [toc, &blocks[0][..20]].concat();
    expect(&cut, "the archive is cut off in the data of table public.t2");
    let cut = [toc, blocks[0], &blocks[1][..17]].concat();
    expect(&cut, "the archive is cut off in large object 16500");
    let cut = [toc, blocks[0], blocks[1]].concat();
    expect(&cut, "the archive is cut off: it lacks the data of table public.t4");
}

#[test]
fn blocks_in_other_places_are_told() {
    let encoded = small().encode();
    let (toc, blocks) = parts(&encoded);
    let removed = [toc, blocks[1], blocks[2]].concat();
    expect(&removed, "the data of large objects t3 where that of table public.t2 should be");
    let swapped = [toc, blocks[0], blocks[2], blocks[1]].concat();
    expect(&swapped, "the data of table public.t4 where that of large objects t3 should be");
    let repeated = [toc, blocks[0], blocks[0]].concat();
    expect(&repeated, "a second block of data for table public.t2");
    let repeated = [&encoded.bytes[..], blocks[2]].concat();
    expect(&repeated, "a second block of data for table public.t4");
    let mut unknown = encoded.bytes.clone();
    unknown[encoded.toc_end + 2] = 77;
    expect(&unknown, "a block of data for dump id 77, which no entry with data has");
    let mut kind = encoded.bytes.clone();
    kind[encoded.toc_end] = 3;
    expect(&kind, "the block of table public.t2 is of the wrong kind");
    kind[encoded.toc_end] = 2;
    expect(&kind, "a block of unknown kind 2 where the data of table public.t2 should be");
}

#[test]
fn bytes_after_the_end_are_told() {
    let encoded = small().encode();
    for more in [&b"\n"[..], b"\x01", b"\x03\x00", b"\x01\x00\x63\x00\x00\x00", &encoded.bytes] {
        expect(&[&encoded.bytes, more].concat(), "bytes follow the archive's end");
    }
    let empty = of(vec![]).encode().bytes;
    assert!(walk(&empty, &[64]).is_ok());
    expect(&[&empty, &b"x"[..]].concat(), "bytes follow the archive's end");
}

#[test]
fn rows_that_do_not_end_or_go_on_are_told() {
    let mut spec = small();
    let Content::Rows(rows) = &mut spec.entries[1].content else { panic!() };
    rows.push(b"\\.".to_vec());
    rows.push(b"3\tthree".to_vec());
    expect(&spec.encode().bytes, "the rows of table public.t2 go on after their end \\.");

    let Encoded { mut bytes, .. } = small().encode();
    let end = bytes.windows(3).position(|window| window == b"\\.\n").unwrap();
    bytes[end] = b'x';
    expect(&bytes, "the rows of table public.t2 do not end with \\.");
}

#[test]
fn two_entries_of_one_number_are_told() {
    let mut spec = small();
    spec.entries[3].dump_id = 2;
    expect(
        &spec.encode().bytes,
        "two entries of the table of contents have data under one number: table public.t4 is the second",
    );
}

#[test]
fn a_value_that_cannot_be_names_its_entry() {
    let encoded = small().encode();
    let mut bytes = encoded.bytes.clone();
    bytes[encoded.data_entries[0].start] = 1;
    expect(&bytes, "entry 2 of the table of contents: -2 is not a dump id");
    let mut bytes = encoded.bytes;
    let oid = bytes.windows(5).position(|window| window == b"16386").unwrap();
    bytes[oid] = b'x';
    expect(&bytes, "entry 2 of the table of contents: \"x6386\" is not an OID");
}

#[test]
fn numbers_have_one_form() {
    let encoded = small().encode();
    let end_of_rows = encoded.blocks[0].end - 5;
    for (sign, words) in [(1, "a number: zero has a sign"), (2, "a number: its sign is 2")] {
        let mut bytes = encoded.bytes.clone();
        bytes[end_of_rows] = sign;
        expect(&bytes, words);
    }
}

#[test]
fn an_entry_that_both_has_data_and_has_none_is_told() {
    let encoded = small().encode();
    let mut bytes = encoded.bytes.clone();
    bytes[encoded.data_entries[0].end - 9] = 3;
    expect(&bytes, "entry 2 of the table of contents: an entry both has data and has none");
}

#[test]
fn another_kind_of_archive_is_told() {
    let bytes = small().encode().bytes;
    for (at, value, words) in [
        (0, b'p', "it does not start like an archive of pg_dump"),
        (6, 12, "archive format 1.12 is not one that can be walked (1.13 to 1.16)"),
        (6, 17, "archive format 1.17 is not one that can be walked (1.13 to 1.16)"),
        (8, 9, "the archive was written by a machine with numbers of 9 bytes, which none has"),
        (10, 3, "the archive is not of the custom format (its format byte is 3)"),
        (
            12,
            6,
            "the archive is compressed by pg_dump, and its rows cannot be seen: it must be made with --compress=0",
        ),
    ] {
        let mut other = bytes.clone();
        other[at] = value;
        expect(&other, words);
    }
}

#[test]
fn hostile_names_are_escaped() {
    let mut spec = small();
    spec.entries[1].tag = "a\nb\u{1b}[31m".to_owned();
    let encoded = spec.encode();
    expect(
        &encoded.bytes[..encoded.toc_end],
        "the archive is cut off: it lacks the data of table public.a\\nb\\u{1b}[31m and of 2 more",
    );
}

#[test]
fn what_is_claimed_takes_no_memory() {
    let mut spec = small();
    spec.int_size = 8;
    let encoded = spec.encode();
    let number = |value: u64| [&[0][..], &value.to_le_bytes()].concat();
    // The database's name, the count of entries, a piece of data: each of 2^40 bytes.
    let head = &encoded.bytes[..encoded.head_end];
    for huge in [1 << 40, 1 << 31, i64::MAX as u64] {
        let name = [&head[..11 + 8 * 9], &number(huge), b"short"].concat();
        assert_eq!(walk(&name, &[64]), Err(ArchiveError::cut("its first bytes")));
        let entries = [head, &number(huge), b"\0\0"].concat();
        assert!(matches!(walk(&entries, &[64]), Err(ArchiveError::Cut { .. })));
        let block = encoded.blocks[0].start;
        let piece = [&encoded.bytes[..block + 10], &number(huge), b"short"].concat();
        assert!(matches!(walk(&piece, &[64]), Err(ArchiveError::Cut { .. })));
    }
    let entries = [head, &number(u64::MAX)].concat();
    assert!(matches!(walk(&entries, &[64]), Err(ArchiveError::Invalid { .. })));
}

#[test]
fn a_table_of_contents_without_end_is_given_up() {
    let spec = of((0..2000).map(|_| ("TABLE", Content::None)).collect());
    let mut walker = Walker::with_toc_limit(100 << 10);
    let error = walker.push(&spec.encode().bytes).unwrap_err();
    assert_eq!(error, ArchiveError::TocTooLarge(100 << 10));
    assert_eq!(walker.push(b"more"), Err(error), "and stays so");
}

#[test]
fn dependencies_without_end_are_given_up_by_who_keeps_them() {
    let mut spec = small();
    spec.entries[0].dependencies = (1..100_000).collect();
    let bytes = spec.encode().bytes;
    let mut walker = Walker { keeps_dependencies: true, ..Walker::with_toc_limit(100 << 10) };
    assert_eq!(walker.push(&bytes), Err(ArchiveError::TocTooLarge(100 << 10)));
    let mut walker = Walker::with_toc_limit(100 << 10);
    assert_eq!(walker.push(&bytes), Ok(()));
}

#[test]
fn a_name_without_end_is_given_up() {
    let mut spec = small();
    spec.entries[0].tag = "x".repeat((1 << 20) + 1);
    expect(&spec.encode().bytes, "entry 1 of the table of contents: a name has 1048577 bytes");
}
