//! Reads what Secrets hold from the directories where the Pod has them mounted. Reads files.

use std::fs;
use std::io;
use std::path::Path;

use greenlang_backup_api::reasons;
use greenlang_backup_api::task::MountedSecret;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;

/// Key of a CA in a Secret.
const CA_KEY: &str = "ca.crt";

/// A Secret that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Nothing is mounted.
    #[error("Secret {secret} is not there or is empty: create it in the namespace of the policy")]
    Missing {
        /// Name of the Secret.
        secret: String,
    },
    /// The key is not there.
    #[error("Secret {secret} has no key {key}: add it")]
    KeyMissing {
        /// Name of the Secret.
        secret: String,
        /// Key that is missing.
        key: String,
    },
    /// The key is there and cannot be used. The value is not shown.
    #[error("key {key} of Secret {secret} {problem}")]
    Unusable {
        /// Name of the Secret.
        secret: String,
        /// Key.
        key: String,
        /// What is wrong with its value.
        problem: &'static str,
    },
}

impl SecretError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. } => reasons::SECRET_MISSING,
            Self::KeyMissing { .. } | Self::Unusable { .. } => reasons::SECRET_KEY_MISSING,
        }
    }
}

/// Reads a key as text. Line breaks at its end are cut off, because `kubectl create secret --from-file` keeps them.
pub fn read_secret(mounted: &MountedSecret, key: &str) -> Result<SecretString, SecretError> {
    let unusable =
        |problem| SecretError::Unusable { secret: mounted.secret.clone(), key: key.to_owned(), problem };
    let bytes = read_bytes(mounted, key)?;
    let text = String::from_utf8(bytes).map_err(|_| unusable("is not text in UTF-8"))?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(unusable("is empty")),
        text => Ok(text.into()),
    }
}

/// Reads `ca.crt` and checks that every certificate in it can serve as a root. Returns the PEM text with the roots.
pub fn read_certificates(mounted: &MountedSecret) -> Result<(Vec<u8>, RootCertStore), SecretError> {
    let unusable =
        |problem| SecretError::Unusable { secret: mounted.secret.clone(), key: CA_KEY.to_owned(), problem };
    let pem = read_bytes(mounted, CA_KEY)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| unusable("is not a certificate in PEM"))?;
        roots.add(certificate).map_err(|_| unusable("holds a certificate that cannot be read"))?;
    }
    if roots.is_empty() {
        return Err(unusable("holds no certificate in PEM"));
    }
    Ok((pem, roots))
}

fn read_bytes(mounted: &MountedSecret, key: &str) -> Result<Vec<u8>, SecretError> {
    let directory = Path::new(&mounted.directory);
    fs::read(directory.join(key)).map_err(|error| {
        let secret = mounted.secret.clone();
        if !has_keys(directory) {
            SecretError::Missing { secret }
        } else if error.kind() == io::ErrorKind::NotFound {
            SecretError::KeyMissing { secret, key: key.to_owned() }
        } else {
            SecretError::Unusable { secret, key: key.to_owned(), problem: "cannot be read from its mount" }
        }
    })
}

/// Whether the mount holds anything; the kubelet's own entries start with two dots and are there for a missing Secret too.
fn has_keys(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|entries| {
        entries.flatten().any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".."))
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn mounted(directory: &Path) -> MountedSecret {
        MountedSecret { secret: "backup-s3".into(), directory: directory.to_string_lossy().into_owned() }
    }

    #[test]
    fn line_breaks_at_the_end_are_cut() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("password"), "a b \r\n").unwrap();
        let value = read_secret(&mounted(directory.path()), "password").unwrap();
        assert_eq!(value.expose_secret(), "a b ");
    }

    #[test]
    fn each_way_to_fail_has_its_own_words() {
        let directory = tempfile::tempdir().unwrap();
        let secret = mounted(directory.path());
        let missing = read_secret(&mounted(&directory.path().join("none")), "password").unwrap_err();
        assert_eq!(missing.reason(), reasons::SECRET_MISSING);
        fs::create_dir(directory.path().join("..data")).unwrap();
        assert_eq!(read_secret(&secret, "password").unwrap_err().reason(), reasons::SECRET_MISSING);

        for (key, value) in [("username", ""), ("binary", "\u{0}"), ("ca.crt", "no certificate")] {
            fs::write(directory.path().join(key), value).unwrap();
        }
        fs::write(directory.path().join("binary"), [0xff, 0xfe]).unwrap();
        for (key, message) in [
            ("password", "Secret backup-s3 has no key password: add it"),
            ("username", "key username of Secret backup-s3 is empty"),
            ("binary", "key binary of Secret backup-s3 is not text in UTF-8"),
        ] {
            let error = read_secret(&secret, key).unwrap_err();
            assert_eq!((error.reason(), error.to_string().as_str()), (reasons::SECRET_KEY_MISSING, message));
        }
        let error = read_certificates(&secret).unwrap_err();
        assert_eq!(error.to_string(), "key ca.crt of Secret backup-s3 holds no certificate in PEM");
    }
}
