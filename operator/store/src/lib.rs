//! The bucket: where things lie in it, how bytes are made safe to store, and how they get there. Knows no Kubernetes and
//! no PostgreSQL.

mod attempt;
mod catalogue;
mod checksum;
mod complete;
mod confirm;
mod error;
#[cfg(test)]
mod fixture;
mod layout;
mod parts;
mod probe;
#[cfg(test)]
mod probe_tests;
mod recipients;
mod s3;
mod seal;
mod secret;
mod target;
mod trial;
mod upload;
#[cfg(test)]
mod upload_tests;
mod watchdog;

pub use catalogue::{Published, StoredManifest};
pub use checksum::{Algorithm, Checksums};
pub use error::StoreError;
pub use layout::{BackupKeys, Layout};
pub use parts::Part;
pub use recipients::{Recipients, fingerprint};
pub use s3::Store;
pub use seal::{SealError, Sealed, Sealer};
pub use secret::{SecretError, read_certificates, read_secret};
pub use upload::Upload;
pub use watchdog::Activity;
