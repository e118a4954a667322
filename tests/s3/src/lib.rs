//! An S3 server for tests, in the test's own process, over real TCP: verifies checksums as AWS does, keeps objects in memory,
//! and fails as it is told to. It also says what is left in it and what it was sent.
//!
//! ```no_run
//! use greenlang_backup_test_s3::{Fault, FaultServer, Operation};
//! let server = FaultServer::start();
//! server.inject(Fault::Answer(503, "SlowDown").on(Operation::UploadPart).times(3));
//! // … a backup into the bucket `backups` at `server.endpoint()` …
//! assert!(server.open_uploads().is_empty());
//! ```

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on says why and ends"
)]

mod fault;
mod objects;
mod rules;
mod store;
mod sums;
mod versions;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use fault::{Fault, Operation, Rule};
pub use store::{Conditional, Listing, Pages, Switches};
pub use wire::Request;

use objects::Objects;
use store::Shared;

/// The only bucket.
pub const BUCKET: &str = "backups";
/// The only key id, and its secret.
pub const ACCESS_KEY: &str = "testkeyid";
/// See [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "s3-secret-that-nobody-may-see";

/// A running server; it ends when dropped.
pub struct FaultServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

impl FaultServer {
    /// Starts a server that does all that AWS does.
    pub fn start() -> Self {
        Self::with(Switches::default())
    }

    /// Starts one that does not. It runs on a thread of its own, so tests without a runtime can use it.
    pub fn with(switches: Switches) -> Self {
        let shared = Arc::new(Shared::new(switches));
        let serving = Arc::clone(&shared);
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
                let _ = tell.send(listener.local_addr().expect("an address"));
                let mut builder = S3ServiceBuilder::new(Objects(Arc::clone(&serving)));
                builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
                let mut config = S3Config::default();
                if !serving.switches.minds_clocks {
                    config.presigned_url_max_skew_time_secs = u32::MAX;
                }
                builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
                tokio::select! {
                    () = wire::serve(listener, builder.build(), serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address: told.recv().expect("the server starts"), shared, _stop: stop }
    }

    /// URL of the server; path style only.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes requests fail from now on. Of several rules that match, the first that is not used up counts.
    pub fn inject(&self, rule: Rule) {
        self.shared.faults().push(rule);
    }

    /// Forgets all rules, and lets go on what was held.
    pub fn heal(&self) {
        self.shared.faults().clear();
    }

    /// Keys of all objects, sorted.
    pub fn objects(&self) -> Vec<String> {
        self.shared.state().objects.keys().cloned().collect()
    }

    /// What an object holds.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.shared.state().objects.get(key).map(|object| object.bytes.to_vec())
    }

    /// Puts an object there without a request.
    pub fn plant(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        let object = store::Object::new(bytes.into());
        self.shared.state().put(key.to_owned(), object, &self.shared.switches);
    }

    /// Changes an object in place, as a disk would that rots: its checksums stay.
    pub fn change(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.state();
        let object = state.objects.get_mut(key).unwrap_or_else(|| panic!("no object {key}"));
        let mut bytes = object.bytes.to_vec();
        change(&mut bytes);
        object.bytes = bytes.into();
    }

    /// Keys of all versions and delete markers, oldest first.
    pub fn versions(&self) -> Vec<String> {
        self.shared.state().versions.iter().map(|version| version.key.clone()).collect()
    }

    /// Locks every version of the keys that contain a text, for so long.
    pub fn lock(&self, key_contains: &str, period: Duration) {
        self.shared.state().lock(key_contains, period);
    }

    /// From now on all that the keys that contain a text hold counts as stored so long ago.
    pub fn age(&self, key_contains: &str, period: Duration) {
        self.shared.state().age(key_contains, period);
    }

    /// Keys of all uploads that are open, sorted.
    pub fn open_uploads(&self) -> Vec<String> {
        let mut keys: Vec<_> =
            self.shared.state().uploads.values().map(|upload| upload.key.clone()).collect();
        keys.sort();
        keys
    }

    /// All requests, in the order in which their heads arrived.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests().clone()
    }

    /// How many requests of an operation arrived, those that failed included.
    pub fn count(&self, operation: Operation) -> usize {
        self.shared.requests().iter().filter(|request| request.operation == operation).count()
    }
}
