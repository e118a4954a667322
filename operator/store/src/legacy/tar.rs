//! Finds the archive of `pg_dump` in a tar as that passes, and what the old scripts wrote down about it. Reads and blocks.
//!
//! The crate `tar` only lends out a member while its archive is borrowed, which no reader can be made of that is handed on, and it
//! keeps long names in memory whatever their length.

use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::seal::hex;

const BLOCK: usize = 512;
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const KIND: usize = 156;
/// Longest list of facts that is read; the scripts' has some 300 bytes.
const MAX_MANIFEST: u64 = 64 << 10;

/// A tar, read up to within its archive of `pg_dump`.
pub struct Tar<R> {
    source: R,
    /// Bytes of the archive that were not read yet.
    left: u64,
    size: u64,
    hash: Sha256,
    /// SHA-256 of the archive by a list of facts that came before it.
    expected: Option<String>,
}

/// One member.
struct Member {
    name: String,
    size: u64,
    regular: bool,
}

impl<R: Read> Tar<R> {
    /// Passes over what comes before the archive.
    pub fn find_dump(mut source: R) -> io::Result<Self> {
        let mut expected = None;
        while let Some(member) = next(&mut source)? {
            let is_dump = Path::new(&member.name).extension().is_some_and(|extension| extension == "dump");
            if member.regular && is_dump {
                let (left, size) = (member.size, member.size);
                return Ok(Self { source, left, size, hash: Sha256::new(), expected });
            }
            expected = pass(&mut source, &member)?.or(expected);
        }
        Err(io::Error::other("its tar holds no archive of pg_dump (*.dump)"))
    }

    /// Reads the rest, and compares the archive with what the scripts wrote down about it, if they did. Returns what follows the tar.
    pub fn finish(mut self) -> io::Result<R> {
        io::copy(&mut self, &mut io::sink())?;
        skip(&mut self.source, padded(self.size) - self.size)?;
        let found = hex(&self.hash.finalize());
        let mut same = self.expected.is_none_or(|expected| expected == found);
        while let Some(member) = next(&mut self.source)? {
            same &= pass(&mut self.source, &member)?.is_none_or(|expected| expected == found);
        }
        if !same {
            return Err(io::Error::other("its archive has another SHA-256 than its manifest.json says"));
        }
        io::copy(&mut self.source, &mut io::sink())?;
        Ok(self.source)
    }
}

impl<R: Read> Read for Tar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// The next header; none at the end, which are blocks of zeros.
fn next(source: &mut impl Read) -> io::Result<Option<Member>> {
    let mut header = [0; BLOCK];
    source.read_exact(&mut header)?;
    if header.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let name = header[NAME].split(|byte| *byte == 0).next().unwrap_or_default();
    let size =
        size(&header[SIZE]).ok_or_else(|| io::Error::other("its tar has a header that cannot be read"))?;
    let regular = matches!(header[KIND], b'0' | 0);
    Ok(Some(Member { name: String::from_utf8_lossy(name).into_owned(), size, regular }))
}

/// Octal digits, or, of what is longer than 8 GiB, a number after a bit that says so.
fn size(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let none = high[0] == 0x80 && high[1..].iter().all(|byte| *byte == 0);
        return none.then(|| u64::from_be_bytes(low.try_into().unwrap_or_default()));
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    u64::from_str_radix(digits, 8).ok()
}

/// Passes over a member; returns the checksum of the archive if it is the list of facts that has one.
fn pass(source: &mut impl Read, member: &Member) -> io::Result<Option<String>> {
    if !member.name.ends_with("manifest.json") || member.size > MAX_MANIFEST {
        skip(source, padded(member.size))?;
        return Ok(None);
    }
    let mut text = Vec::new();
    source.by_ref().take(member.size).read_to_end(&mut text)?;
    skip(source, padded(member.size) - member.size)?;
    Ok(checksum(&String::from_utf8_lossy(&text)))
}

const fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64)
}

fn skip(source: &mut impl Read, bytes: u64) -> io::Result<()> {
    if io::copy(&mut source.take(bytes), &mut io::sink())? == bytes {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The checksum in the scripts' manifest, which need not be JSON: where `stat` failed, a value is missing in it.
fn checksum(manifest: &str) -> Option<String> {
    let value = manifest.split("\"checksum\"").nth(1)?.split('"').nth(1)?;
    let is_sha256 = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sha256.then(|| value.to_ascii_lowercase())
}
