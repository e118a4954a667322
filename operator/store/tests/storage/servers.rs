//! A versitygw process for the tests, which ends with the test process however that ends.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub const S3_KEY: &str = "testkeyid";
pub const S3_SECRET: &str = "s3-secret-that-nobody-may-see";

pub static S3: LazyLock<S3> = LazyLock::new(S3::start);

/// A versitygw of its own directory and port.
pub struct S3 {
    pub port: u16,
}

impl S3 {
    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("greenlang-versitygw-").tempdir().unwrap().keep();
        fs::create_dir(directory.join("data")).unwrap();
        let port = free_port();
        let program = std::env::var_os("VERSITYGW").map_or_else(default_versitygw, PathBuf::from);
        assert!(program.exists(), "versitygw is missing at {}: set VERSITYGW", program.display());
        let command = format!("{} --port 127.0.0.1:{port} posix data", program.display());
        spawn(&directory, &command);
        let connected = poll(|| TcpStream::connect(("127.0.0.1", port)).ok());
        let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
        assert!(connected.is_some(), "nothing listens: {}", log());
        Self { port }
    }
}

/// Asks again until there is an answer, for half a minute at most.
pub fn poll<T>(mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let answer = question();
        if answer.is_some() || start.elapsed() > Duration::from_secs(30) {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A shell starts the server and waits for its own stdin, a pipe that this process holds, to close; then it stops the server
/// and removes the directory. So nothing is left even when the tests are killed.
fn spawn(directory: &Path, command: &str) {
    let script = format!(
        "{command} >log 2>&1 </dev/null & read -r end; kill $!; wait $!; cd /; rm -rf \"$DIRECTORY\""
    );
    let child = Command::new("setsid")
        .args(["sh", "-c", &script])
        .env("ROOT_ACCESS_KEY", S3_KEY)
        .env("ROOT_SECRET_KEY", S3_SECRET)
        .env("DIRECTORY", directory)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::mem::forget(child);
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn default_versitygw() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache =
        || std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("greenlang-backup");
    std::env::var_os("GREENLANG_CACHE").map_or_else(cache, PathBuf::from).join("bin/versitygw")
}
