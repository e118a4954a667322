//! Any data comes out as it went in, and any change is refused.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

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
