//! The bucket: where things lie in it, how bytes are made safe to store, and how they get there. Knows no Kubernetes and
//! no PostgreSQL.

mod attempt;
mod catalogue;
mod checksum;
mod complete;
mod confirm;
mod download;
mod error;
#[cfg(test)]
mod fixture;
mod identities;
mod layout;
mod parts;
mod probe;
#[cfg(test)]
mod probe_tests;
mod read_back;
mod recipients;
mod s3;
mod seal;
mod secret;
mod tally;
mod target;
mod trial;
mod unseal;
mod upload;
#[cfg(test)]
mod upload_tests;
mod watchdog;

pub use catalogue::{Published, StoredManifest};
pub use checksum::{Algorithm, Checksums};
pub use download::{Download, ReadSettings};
pub use error::StoreError;
pub use identities::Identities;
pub use layout::{BackupKeys, Layout};
pub use parts::Part;
pub use read_back::StoredObject;
pub use recipients::{Recipients, fingerprint};
pub use s3::Store;
pub use seal::{SealError, Sealed, Sealer};
pub use secret::{SecretError, read_certificates, read_secret};
pub use unseal::Unsealed;
pub use upload::Upload;
pub use watchdog::Activity;
