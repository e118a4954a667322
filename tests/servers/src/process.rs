//! How servers are started, waited for and ended. Starts processes.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Address of this machine on the bridge of the local node (`NODE_IP` of `tests/cluster/lib/common.sh`): Pods reach it there, and nobody from
/// outside does.
pub const NODE_ADDRESS: &str = "10.217.0.1";
/// Addresses of Pods of the local node.
pub(crate) const POD_NETWORK: &str = "10.217.0.0/16";
/// How long a server may take to start.
pub(crate) const START: Duration = Duration::from_mins(1);

/// Runs a program to its end, which must be a good one, and returns what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asks again until there is an answer.
pub fn poll<T>(limit: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let answer = question();
        if answer.is_some() || start.elapsed() > limit {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A shell starts the server and waits for its own stdin, a pipe that this process holds, to close; then it stops the server
/// and removes the directory. So nothing is left even when the tests are killed.
pub(crate) fn spawn(directory: &Path, command: &str, env: &[(&str, &str)]) {
    let script = format!(
        "{command} >log 2>&1 </dev/null & read -r end; kill $!; wait $!; cd /; rm -rf \"$DIRECTORY\""
    );
    let child = Command::new("setsid")
        .args(["sh", "-c", &script])
        .envs(env.iter().copied())
        .env("DIRECTORY", directory)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::mem::forget(child);
}

/// Waits until something listens.
pub(crate) fn wait(directory: &Path, port: u16) {
    let connected = poll(START, || TcpStream::connect(("127.0.0.1", port)).ok());
    assert!(connected.is_some(), "nothing listens: {}", log(directory));
}

/// What the server of a directory said.
pub(crate) fn log(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap_or_default()
}

/// A new directory that everybody may enter. Whoever makes it sees to its end.
pub fn new_directory(name: &str) -> PathBuf {
    let directory = tempfile::Builder::new().prefix(&format!("greenlang-{name}-")).tempdir().unwrap().keep();
    run(Command::new("chmod").arg("755").arg(&directory));
    directory
}

/// A port on which nothing listens right now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// What is built or fetched once and kept outside of the checkout.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache =
        || std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("greenlang-backup");
    std::env::var_os("GREENLANG_CACHE").map_or_else(cache, PathBuf::from)
}

pub(crate) fn is_root() -> bool {
    run(Command::new("id").arg("-u")).trim() == "0"
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}
