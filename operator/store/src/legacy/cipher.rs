//! `openssl enc -d -aes-256-cbc -pass file:` as a reader: the key is derived by MD5 (before OpenSSL 1.1), by SHA-256, or by PBKDF2
//! (`-pbkdf2`); which of them is seen by what the first block becomes. Blocks.

use std::io::{self, Read};
use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_256, DecryptionContext, StreamingDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use md5::Md5;
use secrecy::ExposeSecret as _;
use sha2::{Digest, Sha256};

use super::LegacyPassphrase;
use crate::ReadError;

const MAGIC: &[u8; 8] = b"Salted__";
const SALT: usize = 8;
const KEY: usize = 32;
const BLOCK: usize = 16;
/// What `openssl enc -pbkdf2` does unless it is told otherwise.
const ITERATIONS: NonZeroU32 = match NonZeroU32::new(10_000) {
    Some(iterations) => iterations,
    None => NonZeroU32::MIN,
};
/// How gzip data begins: magic, and deflate as its method.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
const PIECE: usize = 64 << 10;

/// Plain bytes of an encrypted source.
pub struct Decrypting<R> {
    stored: R,
    /// None once the end was judged.
    cipher: Option<StreamingDecryptingKey>,
    plain: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> Decrypting<R> {
    /// Reads the first bytes, and finds the key.
    pub fn new(key: &str, mut stored: R, secret: &LegacyPassphrase) -> Result<Self, ReadError> {
        let damaged =
            |problem: &str| ReadError::ObjectDamaged { key: key.to_owned(), problem: problem.to_owned() };
        let mut start = [0; MAGIC.len() + SALT + 2 * BLOCK];
        stored.read_exact(&mut start).map_err(|error| match error.downcast::<ReadError>() {
            Ok(error) => error,
            Err(_) => damaged("it is too short to be anything that openssl enc wrote"),
        })?;
        let (magic, rest) = start.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(damaged("it does not begin as what openssl enc writes (Salted__)"));
        }
        let (salt, first) = rest.split_at(SALT);
        let passphrase = secret.passphrase.expose_secret().as_bytes();
        for material in
            [simple::<Md5>(passphrase, salt), simple::<Sha256>(passphrase, salt), slow(passphrase, salt)]
        {
            let Some(mut cipher) = cipher(&material) else { continue };
            let mut plain = vec![0; 3 * BLOCK];
            let Ok(written) = cipher.update(first, &mut plain).map(|update| update.written().len()) else {
                continue;
            };
            plain.truncate(written);
            if plain.starts_with(&GZIP) {
                return Ok(Self { stored, cipher: Some(cipher), plain, at: 0, ended: false });
            }
        }
        Err(ReadError::PassphraseMismatch { key: key.to_owned(), secret: secret.secret.clone() })
    }

    /// The next piece of plain bytes; none at the end.
    fn fill(&mut self) -> io::Result<()> {
        let wrong =
            || io::Error::other("its encryption does not end as it should: it is cut off, or was changed");
        (self.plain, self.at) = (Vec::new(), 0);
        while self.plain.is_empty() && !self.ended {
            let mut piece = vec![0; PIECE];
            let read = self.stored.read(&mut piece)?;
            let mut plain = vec![0; read + 2 * BLOCK];
            let written = if read == 0 {
                self.ended = true;
                let cipher = self.cipher.take().ok_or_else(wrong)?;
                cipher.finish(&mut plain).map_err(|_| wrong())?.written().len()
            } else {
                let cipher = self.cipher.as_mut().ok_or_else(wrong)?;
                cipher.update(&piece[..read], &mut plain).map_err(|_| wrong())?.written().len()
            };
            plain.truncate(written);
            self.plain = plain;
        }
        Ok(())
    }
}

impl<R: Read> Read for Decrypting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.plain.len() {
            self.fill()?;
        }
        let rest = &self.plain[self.at..];
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.at += taken;
        Ok(taken)
    }
}

/// `EVP_BytesToKey` with one round: key, then initialization vector.
fn simple<D: Digest>(passphrase: &[u8], salt: &[u8]) -> Vec<u8> {
    let (mut material, mut last) = (Vec::new(), Vec::new());
    while material.len() < KEY + BLOCK {
        let mut digest = D::new();
        digest.update(&last);
        digest.update(passphrase);
        digest.update(salt);
        last = digest.finalize().to_vec();
        material.extend_from_slice(&last);
    }
    material
}

fn slow(passphrase: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut material = vec![0; KEY + BLOCK];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, passphrase, &mut material);
    material
}

fn cipher(material: &[u8]) -> Option<StreamingDecryptingKey> {
    let key = UnboundCipherKey::new(&AES_256, &material[..KEY]).ok()?;
    let vector: [u8; BLOCK] = material[KEY..KEY + BLOCK].try_into().ok()?;
    let context = DecryptionContext::Iv128(FixedLength::from(vector));
    StreamingDecryptingKey::cbc_pkcs7(key, context).ok()
}
