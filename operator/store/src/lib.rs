//! The bucket: where things lie in it, how bytes are made safe to store, and how they get there. Knows no Kubernetes and
//! no PostgreSQL.

mod attempt;
mod catalogue;
mod download;
mod error;
mod identities;
mod layout;
mod parts;
mod probe;
mod read_back;
mod recipients;
mod s3;
mod seal;
mod secret;
mod tally;
mod unseal;
mod upload;

pub use catalogue::{Published, StoredManifest};
pub use download::{Download, ReadSettings};
pub use error::StoreError;
pub use identities::Identities;
pub use layout::{BackupKeys, Layout};
pub use parts::{DEFAULT_PART_SIZE, IN_FLIGHT, MAX_PARTS, MIN_PART_SIZE, part_size_for};
pub use read_back::StoredObject;
pub use recipients::{Recipients, fingerprint};
pub use s3::Store;
pub use seal::{SealError, Sealed, Sealer};
pub use secret::{SecretError, read_certificates, read_secret};
pub use unseal::Unsealed;
pub use upload::Upload;
