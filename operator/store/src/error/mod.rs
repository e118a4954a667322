//! What can go wrong with a bucket: a type for each thing that is done with one, so that whoever calls sees what can happen.
//! Each has its stable reason, the way out, and whether it may pass. Pure.
//!
//! Any request may end with a [`RequestError`]; [`ReadError`], [`UploadError`] and [`ProbeError`] are those and what only reading,
//! uploading or probing finds. Those of the catalogue and of clean-ups are with their code.

mod probe;
mod read;
mod request;
#[cfg(test)]
mod tests;
mod upload;

use std::fmt;

pub use probe::ProbeError;
pub use read::ReadError;
pub use request::RequestError;
pub use upload::UploadError;

/// Which bucket, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the bucket.
    pub(crate) bucket: String,
    /// The server, in words.
    pub(crate) server: String,
    /// Where the credentials come from, in words.
    pub(crate) identity: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bucket {} at {}", self.bucket, self.server)
    }
}
