//! The bucket: where things lie in it, how bytes are made safe to store, and how they get there. Network. Knows no Kubernetes and
//! no PostgreSQL.

mod attempt;
#[cfg(test)]
mod attempt_tests;
mod catalogue;
mod checksum;
mod complete;
mod confirm;
mod download;
mod error;
#[cfg(test)]
mod fixture;
mod identities;
mod inventory;
mod layout;
mod legacy;
mod owner;
mod parts;
mod probe;
#[cfg(test)]
mod probe_tests;
mod read_back;
mod recipients;
mod record;
mod removal;
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

pub use attempt::CleanUpError;
pub use catalogue::{CatalogueError, Published, StoredManifest};
pub use checksum::{Algorithm, Checksums};
pub use download::{Download, ReadSettings};
pub use error::{ProbeError, ReadError, RequestError, UploadError};
pub use identities::Identities;
pub use inventory::{Directories, Directory, Entry, Held};
pub use layout::{BackupKeys, Layout};
pub use legacy::{LegacyDump, LegacyObject, LegacyPassphrase};
pub use owner::OwnerError;
pub use parts::Part;
pub use recipients::{RecipientError, Recipients, fingerprint};
pub use record::{RecordError, StoredRecord};
pub use removal::{Removal, RemovalError};
pub use s3::Store;
pub use seal::{COMPRESSION, SealError, Sealed, Sealer};
pub use secret::{SecretError, read_certificates, read_secret};
pub use unseal::Unsealed;
pub use upload::Upload;
pub use watchdog::{Activity, NoProgress};
