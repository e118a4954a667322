//! The checksums that a server is given with each part and with the whole object. Pure.

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, checksum, checksum_combine};
use md5::Md5;
use sha2::{Digest as _, Sha256};

/// A checksum that S3 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// CRC-64/NVME; that of the object covers all its bytes.
    Crc64Nvme,
    /// CRC-32; that of the object covers all its bytes.
    Crc32,
    /// SHA-256; that of the object is made of those of its parts.
    Sha256,
}

/// What the server verifies, as it was found out by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksums {
    pub(crate) algorithm: Option<Algorithm>,
}

impl Checksums {
    /// The checksum that parts and objects are sent with; none when the server verifies none.
    pub const fn algorithm(self) -> Option<Algorithm> {
        self.algorithm
    }
}

/// A checksum, in the field of its algorithm, as S3 writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub crc64nvme: Option<String>,
    pub crc32: Option<String>,
    pub sha256: Option<String>,
}

impl Algorithm {
    /// What S3 calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "CRC64NVME",
            Self::Crc32 => "CRC32",
            Self::Sha256 => "SHA256",
        }
    }

    pub(crate) const fn sdk(self) -> ChecksumAlgorithm {
        match self {
            Self::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
            Self::Crc32 => ChecksumAlgorithm::Crc32,
            Self::Sha256 => ChecksumAlgorithm::Sha256,
        }
    }

    /// S3 has no SHA-256 of whole objects made of parts.
    pub(crate) const fn covers(self) -> ChecksumType {
        match self {
            Self::Crc64Nvme | Self::Crc32 => ChecksumType::FullObject,
            Self::Sha256 => ChecksumType::Composite,
        }
    }

    /// The checksum of some bytes.
    pub(crate) fn of(self, bytes: &[u8]) -> String {
        match self {
            Self::Crc64Nvme => crc64_text(checksum(CrcAlgorithm::Crc64Nvme, bytes)),
            Self::Crc32 => crc32_text(checksum(CrcAlgorithm::Crc32IsoHdlc, bytes)),
            Self::Sha256 => BASE64.encode(Sha256::digest(bytes)),
        }
    }

    pub(crate) fn field(self, value: String) -> Fields {
        let mut fields = Fields::default();
        *match self {
            Self::Crc64Nvme => &mut fields.crc64nvme,
            Self::Crc32 => &mut fields.crc32,
            Self::Sha256 => &mut fields.sha256,
        } = Some(value);
        fields
    }
}

impl Fields {
    /// The one of an algorithm.
    pub(crate) fn get(&self, algorithm: Algorithm) -> Option<&str> {
        match algorithm {
            Algorithm::Crc64Nvme => self.crc64nvme.as_deref(),
            Algorithm::Crc32 => self.crc32.as_deref(),
            Algorithm::Sha256 => self.sha256.as_deref(),
        }
    }
}

/// Sums of one part, computed from the buffer that is sent.
#[derive(Clone, Debug)]
pub(crate) struct PartSum {
    pub len: u64,
    crc64nvme: u64,
    /// The one that the server was given.
    pub sent: Option<String>,
}

impl PartSum {
    pub(crate) fn of(algorithm: Option<Algorithm>, bytes: &[u8]) -> Self {
        let crc64nvme = checksum(CrcAlgorithm::Crc64Nvme, bytes);
        let sent = algorithm.map(|algorithm| match algorithm {
            Algorithm::Crc64Nvme => crc64_text(crc64nvme),
            other => other.of(bytes),
        });
        Self { len: bytes.len() as u64, crc64nvme, sent }
    }
}

/// CRC-64/NVME of everything, made of those of the parts in their order.
pub(crate) fn whole_crc64nvme<'a>(parts: impl IntoIterator<Item = &'a PartSum>) -> String {
    let combine =
        |whole, part: &PartSum| checksum_combine(CrcAlgorithm::Crc64Nvme, whole, part.crc64nvme, part.len);
    crc64_text(parts.into_iter().fold(checksum(CrcAlgorithm::Crc64Nvme, &[]), combine))
}

/// The checksum of the object as the server must come to it; none if a part was sent without.
pub(crate) fn whole(algorithm: Algorithm, parts: &[&PartSum]) -> Option<String> {
    match algorithm {
        Algorithm::Crc64Nvme => Some(whole_crc64nvme(parts.iter().copied())),
        Algorithm::Crc32 => {
            let mut whole = checksum(CrcAlgorithm::Crc32IsoHdlc, &[]);
            for part in parts {
                let sum = BASE64.decode(part.sent.as_deref()?).ok()?;
                let sum = u32::from_be_bytes(sum.try_into().ok()?);
                whole = checksum_combine(CrcAlgorithm::Crc32IsoHdlc, whole, sum.into(), part.len);
            }
            Some(crc32_text(whole))
        }
        Algorithm::Sha256 => {
            let mut hash = Sha256::new();
            for part in parts {
                hash.update(BASE64.decode(part.sent.as_deref()?).ok()?);
            }
            Some(format!("{}-{}", BASE64.encode(hash.finalize()), parts.len()))
        }
    }
}

/// The entity tag that servers give an object of parts: MD5 of the parts' MD5, as far as theirs are such. Without quotes.
pub(crate) fn whole_etag<'a>(parts: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut hash = Md5::new();
    let mut count = 0;
    for part in parts {
        let digits = part.trim_matches('"');
        let digest = base16ct::mixed::decode_vec(digits).ok().filter(|digest| digest.len() == 16)?;
        hash.update(digest);
        count += 1;
    }
    Some(format!("{}-{count}", base16ct::lower::encode_string(&hash.finalize())))
}

/// As S3 writes a CRC-64: base64 of the eight bytes, the most significant first.
pub(crate) fn crc64_text(crc: u64) -> String {
    BASE64.encode(crc.to_be_bytes())
}

fn crc32_text(crc: u64) -> String {
    BASE64.encode(&crc.to_be_bytes()[4..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_are_those_of_the_standards() {
        // Check values of the CRC catalogue for "123456789", and SHA-256 of the same.
        assert_eq!(Algorithm::Crc64Nvme.of(b"123456789"), crc64_text(0xae8b_1486_0a79_9888));
        assert_eq!(Algorithm::Crc32.of(b"123456789"), crc32_text(0xcbf4_3926));
        assert_eq!(Algorithm::Sha256.of(b"123456789"), "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=");
    }

    #[test]
    fn etags_of_parts_make_that_of_the_object() {
        let parts = ["\"900150983cd24fb0d6963f7d28e17f72\"", "\"d41d8cd98f00b204e9800998ecf8427e\""];
        assert_eq!(whole_etag(parts).unwrap(), "fdf1fdf1567f6942ffe1743f1e72301e-2");
        assert_eq!(whole_etag(["\"not-an-md5\""]), None);
    }

    proptest! {
        #[test]
        fn the_sum_of_the_whole_is_made_of_those_of_the_parts(
            data in proptest::collection::vec(any::<u8>(), 1..5000), size in 1usize..700
        ) {
            for algorithm in [Algorithm::Crc64Nvme, Algorithm::Crc32] {
                let parts: Vec<_> = data.chunks(size).map(|part| PartSum::of(Some(algorithm), part)).collect();
                let parts: Vec<_> = parts.iter().collect();
                prop_assert_eq!(whole(algorithm, &parts).unwrap(), algorithm.of(&data));
                prop_assert_eq!(whole_crc64nvme(parts), Algorithm::Crc64Nvme.of(&data));
            }
        }
    }
}
