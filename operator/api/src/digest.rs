//! SHA-256 as names, ids and marks have it: lower-case hexadecimal digits. Pure.

use sha2::{Digest as _, Sha256};

/// SHA-256 of bytes.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}

/// SHA-256 of several texts, each with a zero byte behind it, so that no other list of texts has the same.
pub(crate) fn of_parts(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// The first digits of the SHA-256 of several texts: what makes a name unique that follows from them.
pub fn short(parts: &[&str], digits: usize) -> String {
    let mut all = base16ct::lower::encode_string(&of_parts(parts));
    all.truncate(digits);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256("a\0bc\0")[..12], short(&["a", "bc"], 12));
        assert_ne!(short(&["a", "bc"], 12), short(&["ab", "c"], 12));
    }
}
