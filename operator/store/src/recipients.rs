//! Decides who can open what is stored. Recipients are opaque strings but for age's own parser. Pure.

use age::Recipient;
use age::x25519;
use greenlang_backup_api::reasons;
use greenlang_backup_api::task::Seal;
use sha2::{Digest as _, Sha256};

use crate::seal::hex;

/// Start of an age private key, in whatever case.
const PRIVATE_KEY: &str = "AGE-SECRET-KEY-";
/// Hexadecimal digits of a fingerprint.
const FINGERPRINT_DIGITS: usize = 16;

/// Keys that nothing can be sealed for.
#[derive(Debug, thiserror::Error)]
pub enum RecipientError {
    /// No recipient at all.
    #[error("no age recipient is named: add public keys to encryption.age.recipients")]
    NoRecipient,
    /// Text that is no recipient.
    #[error(
        "encryption.age.recipients[{index}] is no age public key ({problem}): use the line that age-keygen prints as public key"
    )]
    InvalidRecipient {
        /// Place in the list, from 0.
        index: usize,
        /// What age says.
        problem: &'static str,
    },
    /// A private key where a public one belongs.
    #[error(
        "encryption.age.recipients[{index}] is a private key: treat it as leaked, make a new one with age-keygen, and name its public key"
    )]
    PrivateKey {
        /// Place in the list, from 0.
        index: usize,
    },
}

impl RecipientError {
    /// Stable reason. Another attempt without a change would fail in the same way.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoRecipient | Self::InvalidRecipient { .. } | Self::PrivateKey { .. } => {
                reasons::INVALID_RECIPIENT
            }
        }
    }
}

/// The keys that each object is sealed for.
pub struct Recipients {
    keys: Vec<Box<dyn Recipient + Send + Sync>>,
    fingerprints: Vec<String>,
}

impl Recipients {
    /// Reads the recipients of a task. An error names the place in the list, never the text: it may be a private key.
    pub fn parse(seal: &Seal) -> Result<Self, RecipientError> {
        if seal.recipients.is_empty() {
            return Err(RecipientError::NoRecipient);
        }
        let keys = seal
            .recipients
            .iter()
            .enumerate()
            .map(|(index, text)| parse(index, text))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys, fingerprints: seal.recipients.iter().map(|text| fingerprint(text)).collect() })
    }

    /// Starts an age file for all of them.
    pub(crate) fn encryptor(&self) -> Result<age::Encryptor, age::EncryptError> {
        age::Encryptor::with_recipients(self.keys.iter().map(|key| key.as_ref() as &dyn Recipient))
    }

    /// What the manifest calls them by.
    pub fn fingerprints(&self) -> &[String] {
        &self.fingerprints
    }
}

/// First digits of the SHA-256 of a recipient as it stands in the policy.
pub fn fingerprint(recipient: &str) -> String {
    let mut digits = hex(&Sha256::digest(recipient));
    digits.truncate(FINGERPRINT_DIGITS);
    digits
}

fn parse(index: usize, text: &str) -> Result<Box<dyn Recipient + Send + Sync>, RecipientError> {
    if text.to_ascii_uppercase().contains(PRIVATE_KEY) {
        return Err(RecipientError::PrivateKey { index });
    }
    match text.parse::<x25519::Recipient>() {
        Ok(key) => Ok(Box::new(key)),
        Err(problem) => Err(RecipientError::InvalidRecipient { index, problem }),
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;

    use super::*;

    fn seal(recipients: &[&str]) -> Seal {
        Seal { recipients: recipients.iter().map(|&text| text.to_owned()).collect(), compression_level: 1 }
    }

    #[test]
    fn an_error_names_the_place_and_never_the_key() {
        let identity = x25519::Identity::generate();
        let private = identity.to_string();
        let private = private.expose_secret();
        let public = identity.to_public().to_string();
        let Err(error) = Recipients::parse(&seal(&[&public, private])) else {
            panic!("a private key was accepted");
        };
        let message = error.to_string();
        assert!(message.contains("recipients[1]") && message.contains("private key"), "{message}");
        assert!(!message.contains(private.trim_start_matches(PRIVATE_KEY)));
        assert!(matches!(
            Recipients::parse(&seal(&[&public, "age1nonsense"])),
            Err(RecipientError::InvalidRecipient { index: 1, .. })
        ));
        assert!(matches!(Recipients::parse(&seal(&[])), Err(RecipientError::NoRecipient)));
    }

    #[test]
    fn fingerprints_keep_the_order() {
        let keys: Vec<String> =
            (0..3).map(|_| x25519::Identity::generate().to_public().to_string()).collect();
        let texts: Vec<&str> = keys.iter().map(String::as_str).collect();
        let recipients = Recipients::parse(&seal(&texts)).unwrap();
        let expected: Vec<String> = keys.iter().map(|key| fingerprint(key)).collect();
        assert_eq!(recipients.fingerprints(), expected);
        assert!(expected.iter().all(|digits| digits.len() == 16));
    }
}
