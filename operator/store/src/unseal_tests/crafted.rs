//! What is put together by hand is refused where age or zstd alone would accept it.

use super::*;

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
