//! Checksums as S3 computes and writes them. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, checksum};
use md5::Md5;
use sha2::{Digest as _, Sha256};

/// Those that the server knows.
pub(crate) const ALGORITHMS: [&str; 3] = ["CRC64NVME", "CRC32", "SHA256"];

/// The checksum of some bytes; none for an algorithm that the server does not know.
pub(crate) fn of(algorithm: &str, bytes: &[u8]) -> Option<String> {
    match algorithm {
        "CRC64NVME" => Some(BASE64.encode(checksum(CrcAlgorithm::Crc64Nvme, bytes).to_be_bytes())),
        "CRC32" => Some(BASE64.encode(&checksum(CrcAlgorithm::Crc32IsoHdlc, bytes).to_be_bytes()[4..])),
        "SHA256" => Some(BASE64.encode(Sha256::digest(bytes))),
        _ => None,
    }
}

/// That of an object, made of those of its parts.
pub(crate) fn composite<'a>(parts: impl ExactSizeIterator<Item = &'a str>) -> Option<String> {
    let count = parts.len();
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(BASE64.decode(part).ok()?);
    }
    Some(format!("{}-{count}", BASE64.encode(hash.finalize())))
}

pub(crate) fn etag(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

/// That of an object of parts.
pub(crate) fn etag_of_parts<'a>(parts: impl ExactSizeIterator<Item = &'a [u8]>) -> String {
    let count = parts.len();
    let mut hash = Md5::new();
    for part in parts {
        hash.update(Md5::digest(part));
    }
    format!("{}-{count}", hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}
