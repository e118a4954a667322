//! Decides whether private keys open an object, by its header alone. Reads a mounted Secret; the rest is pure.

use std::io::BufRead;

use age::Decryptor;
use age::secrecy::{ExposeSecret as _, SecretString};
use age::stream::StreamReader;
use age::{DecryptError, Identity, IdentityFile};
use greenlang_backup_api::manifest::Object;
use greenlang_backup_api::task::MountedSecret;

use crate::{ReadError, SecretError, fingerprint, read_secret};

/// Key of the private keys in a Secret.
const IDENTITY_KEY: &str = "identity.txt";
/// Most bytes of an age header: room for 600 recipients of the usual kind, so that a header without end costs no memory.
pub(crate) const MAX_HEADER: u64 = 64 << 10;

/// The private keys of a Secret.
pub struct Identities {
    keys: Vec<Box<dyn Identity + Send + Sync>>,
    fingerprints: Vec<String>,
    secret: String,
}

impl Identities {
    /// Reads `identity.txt` of a Secret: what `age-keygen` writes, one or more keys, with comments.
    pub fn read(mounted: &MountedSecret) -> Result<Self, SecretError> {
        Self::parse(&mounted.secret, &read_secret(mounted, IDENTITY_KEY)?)
    }

    pub(crate) fn parse(secret: &str, text: &SecretString) -> Result<Self, SecretError> {
        let unusable = |problem| SecretError::Unusable {
            secret: secret.to_owned(),
            key: IDENTITY_KEY.to_owned(),
            problem,
        };
        let text = text.expose_secret();
        let file = IdentityFile::from_buffer(text.as_bytes()).map_err(|_| unusable(wrong_line(text)))?;
        let mut public_keys = Vec::new();
        file.write_recipients_file(&mut public_keys).map_err(|_| unusable("holds no age private key"))?;
        let public_keys = String::from_utf8_lossy(&public_keys);
        let keys = file.into_identities().map_err(|_| unusable("holds a private key that cannot be used"))?;
        Ok(Self {
            keys,
            fingerprints: public_keys.lines().map(fingerprint).collect(),
            secret: secret.to_owned(),
        })
    }

    /// What manifests call the recipients of these keys by.
    pub fn fingerprints(&self) -> &[String] {
        &self.fingerprints
    }

    /// Opens an age file whose header was seen to fit in memory.
    pub(crate) fn decrypt<R: BufRead>(&self, object: &Object, age: R) -> Result<StreamReader<R>, ReadError> {
        Decryptor::new_buffered(age)
            .and_then(|file| file.decrypt(self.keys.iter().map(|key| key.as_ref() as &dyn Identity)))
            .map_err(|error| self.refused(object, error))
    }

    /// Whether one of the keys opens an object that begins so; needs its first [`MAX_HEADER`] bytes, or all of it.
    pub(crate) fn open_header(&self, object: &Object, start: &[u8]) -> Result<(), ReadError> {
        self.decrypt(object, start).map(drop)
    }

    fn refused(&self, object: &Object, error: DecryptError) -> ReadError {
        let damaged = |problem: String| ReadError::ObjectDamaged { key: object.key.clone(), problem };
        match error {
            // One of the keys should fit, by the manifest; so it is the header that is wrong.
            DecryptError::NoMatchingKeys if self.should_open(object) => {
                damaged("a key that the manifest names does not open its age header".to_owned())
            }
            DecryptError::NoMatchingKeys => ReadError::IdentityMismatch {
                key: object.key.clone(),
                recipients: object.recipients.join(", "),
                secret: self.secret.clone(),
                held: self.fingerprints.join(", "),
            },
            error => damaged(format!("its age header cannot be read: {error}")),
        }
    }

    fn should_open(&self, object: &Object) -> bool {
        self.fingerprints.iter().any(|held| object.recipients.contains(held))
    }
}

/// Says what the wrong line looks like, never what it is.
fn wrong_line(text: &str) -> &'static str {
    let starts_with = |start: &str| text.lines().any(|line| line.trim_start().starts_with(start));
    if starts_with("age-encryption.org/") || starts_with("-----BEGIN AGE ENCRYPTED FILE") {
        "is encrypted by a passphrase: store the private key as age-keygen prints it"
    } else if starts_with("age1") {
        "holds a public key where private keys belong"
    } else {
        "has a line that is neither an age private key nor a comment"
    }
}

#[cfg(test)]
mod tests {
    use age::x25519;
    use greenlang_backup_api::reasons;

    use super::*;

    fn parse(text: &str) -> Result<Identities, SecretError> {
        Identities::parse("backup-identity", &text.to_owned().into())
    }

    #[test]
    fn files_of_age_keygen_are_read() {
        let (one, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let text = format!(
            "# created: 2025-11-07T02:00:00Z\r\n# public key: {}\r\n{}\r\n\n# the one kept offline\n{}",
            one.to_public(),
            one.to_string().expose_secret(),
            other.to_string().expose_secret()
        );
        let expected = [&one, &other].map(|key| fingerprint(&key.to_public().to_string()));
        assert_eq!(parse(&text).unwrap().fingerprints(), expected);
    }

    #[test]
    fn wrong_files_say_what_is_wrong_and_never_what_they_hold() {
        let key = x25519::Identity::generate();
        let private = key.to_string();
        let cut = &private.expose_secret()[..40];
        for (text, problem) in [
            ("# only a comment", "holds no age private key"),
            (&key.to_public().to_string(), "holds a public key where private keys belong"),
            (
                "age-encryption.org/v1\n-> scrypt",
                "is encrypted by a passphrase: store the private key as age-keygen prints it",
            ),
            (cut, "has a line that is neither an age private key nor a comment"),
        ] {
            let Err(error) = parse(text) else { panic!("{problem}: was accepted") };
            assert_eq!(error.reason(), reasons::SECRET_KEY_MISSING);
            assert_eq!(error.to_string(), format!("key identity.txt of Secret backup-identity {problem}"));
        }
    }
}
