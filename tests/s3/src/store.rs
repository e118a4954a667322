//! What the server holds and how it was set. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use s3s::dto::{Metadata, Timestamp};

use crate::fault::Rule;
use crate::rules::now;
use crate::sums::{ALGORITHMS, etag};
use crate::versions::Version;
use crate::wire::Request;

/// What a server does less well than AWS.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Switches {
    /// Checksums that are verified, kept and shown; others are ignored.
    pub verifies: &'static [&'static str],
    /// Whether those others are refused (501) rather than ignored.
    pub refuses_others: bool,
    /// Whether the checksum of the whole object is verified too, and not only those of parts.
    pub verifies_whole: bool,
    /// `If-None-Match: *` on puts.
    pub conditional: Conditional,
    /// Whether a list of objects has only those that begin with the prefix.
    pub filters_objects: bool,
    /// Which open uploads are listed.
    pub lists_uploads: Listing,
    /// Whether the policy's storage class is kept.
    pub keeps_storage_class: bool,
    /// Whether the bucket keeps versions.
    pub versions: bool,
    /// Whether it says so, and lists them.
    pub shows_versions: bool,
    /// For how long a version is locked when it is put, as by the default retention of a bucket with Object Lock; none if it is not.
    pub locks_puts: Option<Duration>,
    /// Whether a deletion is answered well and not done.
    pub ignores_deletes: bool,
    /// Whether requests are refused whose time is not the server's.
    pub minds_clocks: bool,
    /// Whether answers say what time it is (header `Date`).
    pub says_time: bool,
    /// What the pages of a listing say of the ones after them.
    pub pages: Pages,
}

/// What becomes of a conditional put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditional {
    /// Refused with 412 when the object is there.
    Supported,
    /// Done in any case.
    Ignored,
    /// Refused with 501.
    NotImplemented,
}

/// What a list of open uploads has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Those whose keys begin with the prefix.
    ByPrefix,
    /// Those whose key is the prefix, as MinIO does.
    ByKey,
    /// None.
    Never,
}

impl Listing {
    pub(crate) fn has(self, key: &str, prefix: &str) -> bool {
        match self {
            Self::ByPrefix => key.starts_with(prefix),
            Self::ByKey => key == prefix,
            Self::Never => false,
        }
    }
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            verifies: &ALGORITHMS,
            refuses_others: false,
            verifies_whole: true,
            conditional: Conditional::Supported,
            filters_objects: true,
            lists_uploads: Listing::ByPrefix,
            keeps_storage_class: true,
            versions: false,
            shows_versions: true,
            locks_puts: None,
            ignores_deletes: false,
            minds_clocks: true,
            says_time: true,
            pages: Pages::Right,
        }
    }
}

/// What a page of a listing says of the one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Where it begins, if there is one.
    Right,
    /// That there is one, and not where.
    WithoutToken,
    /// The last one leads back to the second.
    InCircles,
    /// Each one is shown twice, under another token.
    Twice,
}

impl Pages {
    /// Where the next page begins, if there is to be one, and whether the page says that there is. A page begins after `from`, which is
    /// empty for the first, and the first ends with `first`.
    pub(crate) fn next(self, from: &str, first: Option<&str>, next: Option<&str>) -> (Option<String>, bool) {
        let again = format!("{from}{AGAIN}");
        let next = match self {
            Self::InCircles => next.or(first),
            Self::Twice if !from.ends_with(AGAIN) => Some(&*again),
            _ => next,
        };
        let truncated = next.is_some();
        (next.filter(|_| self != Self::WithoutToken).map(str::to_owned), truncated)
    }
}

/// Ends a token under which a page is shown again. No key of the tests has it.
const AGAIN: char = '!';

/// How an object is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub storage_class: Option<String>,
    pub encryption: Option<String>,
    pub metadata: Option<Metadata>,
}

#[derive(Clone)]
pub(crate) struct Object {
    pub bytes: Bytes,
    pub etag: String,
    /// Algorithm and value as shown.
    pub checksum: Option<(String, String)>,
    pub covers_all: bool,
    pub settings: Settings,
    pub modified: Timestamp,
}

impl Object {
    /// As a plain put stores it.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            etag: etag(&bytes),
            checksum: None,
            covers_all: true,
            settings: Settings::default(),
            modified: now(),
            bytes: bytes.into(),
        }
    }
}

pub(crate) struct Upload {
    pub key: String,
    pub algorithm: Option<String>,
    pub covers_all: bool,
    pub settings: Settings,
    pub parts: BTreeMap<i32, UploadedPart>,
    pub initiated: Timestamp,
}

pub(crate) struct UploadedPart {
    pub bytes: Bytes,
    pub etag: String,
    /// Value of the upload's algorithm.
    pub checksum: Option<String>,
}

#[derive(Default)]
pub(crate) struct State {
    pub objects: BTreeMap<String, Object>,
    /// By id.
    pub uploads: HashMap<String, Upload>,
    pub next_upload: u64,
    /// Where versions are kept: all of them, markers included.
    pub versions: Vec<Version>,
    pub next_version: u64,
}

pub(crate) struct Shared {
    pub switches: Switches,
    state: Mutex<State>,
    faults: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Request>>,
}

impl Shared {
    pub fn new(switches: Switches) -> Self {
        Self { switches, state: Mutex::default(), faults: Mutex::default(), requests: Mutex::default() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn faults(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn verifies(&self, algorithm: &str) -> bool {
        self.switches.verifies.contains(&algorithm)
    }
}
