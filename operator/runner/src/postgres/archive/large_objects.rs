//! Large objects of an archive: each by length and digest up to a number, and a digest over all that does not depend on their
//! order. Pure.

use twox_hash::XxHash3_128;

/// How many are listed one by one.
pub const LISTED: usize = 10_000;

/// A large object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeObject {
    /// Its OID.
    pub oid: u32,
    /// Bytes.
    pub length: u64,
    /// XXH3-128 of its content.
    pub digest: u128,
}

/// All large objects of an archive. The same can be computed of a restored database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LargeObjects {
    /// How many.
    pub count: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Sum modulo 2^128 of the XXH3-128 of each one's OID (4 bytes), length (8) and digest (16), all little-endian.
    pub digest: u128,
    /// The first 10,000, in the archive's order.
    pub listed: Vec<LargeObject>,
}

impl LargeObjects {
    pub fn add(&mut self, object: LargeObject) {
        let mut bytes = [0; 28];
        bytes[..4].copy_from_slice(&object.oid.to_le_bytes());
        bytes[4..12].copy_from_slice(&object.length.to_le_bytes());
        bytes[12..].copy_from_slice(&object.digest.to_le_bytes());
        self.count += 1;
        self.bytes += object.length;
        self.digest = self.digest.wrapping_add(XxHash3_128::oneshot(&bytes));
        if self.listed.len() < LISTED {
            self.listed.push(object);
        }
    }
}

/// Hashes a large object as it passes.
pub struct ObjectReader {
    oid: u32,
    length: u64,
    hasher: XxHash3_128,
}

impl ObjectReader {
    pub fn new(oid: u32) -> Self {
        Self { oid, length: 0, hasher: XxHash3_128::new() }
    }

    pub fn oid(&self) -> u32 {
        self.oid
    }

    pub fn push(&mut self, content: &[u8]) {
        self.length += content.len() as u64;
        self.hasher.write(content);
    }

    pub fn finish(&self) -> LargeObject {
        LargeObject { oid: self.oid, length: self.length, digest: self.hasher.finish_128() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_bounded_and_the_sum_is_not() {
        let objects: Vec<_> =
            (1..=20_000).map(|oid| LargeObject { oid, length: 3, digest: u128::from(oid) << 70 }).collect();
        let (mut forth, mut back) = (LargeObjects::default(), LargeObjects::default());
        for (&first, &last) in objects.iter().zip(objects.iter().rev()) {
            forth.add(first);
            back.add(last);
        }
        assert_eq!((forth.count, forth.bytes, forth.listed.len()), (20_000, 60_000, LISTED));
        assert_eq!(forth.digest, back.digest);
        back.add(objects[0]);
        assert_ne!(forth.digest, back.digest);
    }
}
