//! Lets `pg_restore` read an archive as it passes and throw the result away. Starts a process and blocks on it; no disk.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;

use super::error::ArchiveError;
use super::model::FormatVersion;

/// Most bytes of stderr that are kept. `pg_restore` gives up at the first error, so the first bytes tell.
const KEPT_STDERR: u64 = 4 << 10;

/// A `pg_restore` that reads. It is killed when this is dropped.
pub struct PgRestore {
    format: FormatVersion,
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: Option<JoinHandle<String>>,
}

impl PgRestore {
    /// Starts the program. It makes SQL of the archive, which needs no server, and writes it nowhere.
    pub fn start(program: &Path, format: FormatVersion) -> Result<Self, ArchiveError> {
        let failed = |words: String| ArchiveError::PgRestore { format, words };
        let mut child = Command::new(program)
            .args(["--format=custom", "--file=/dev/null"])
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("{} cannot be started: {error}", program.display())))?;
        let stdin = child.stdin.take();
        let stderr = child.stderr.take().map(|stderr| std::thread::spawn(move || first_words(stderr)));
        Ok(Self { format, child, stdin, stderr })
    }

    /// Passes bytes on; waits where `pg_restore` is the slower one.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        match self.stdin.as_mut().map(|stdin| stdin.write_all(bytes)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.end().err().unwrap_or_else(|| self.failed("it ended before the archive did"))),
        }
    }

    /// Waits for its end, which must be a good one.
    pub fn finish(mut self) -> Result<FormatVersion, ArchiveError> {
        self.end()
    }

    fn end(&mut self) -> Result<FormatVersion, ArchiveError> {
        drop(self.stdin.take());
        let status = self.child.wait().map_err(|error| self.failed(&error.to_string()))?;
        let words = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if status.success() {
            Ok(self.format)
        } else {
            Err(self.failed(&format!("{status}: {}", words.trim())))
        }
    }

    fn failed(&self, words: &str) -> ArchiveError {
        ArchiveError::PgRestore { format: self.format, words: words.to_owned() }
    }
}

impl Drop for PgRestore {
    fn drop(&mut self) {
        // An error says that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads all, or the program would wait for a reader, and keeps the first bytes.
fn first_words(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    // What cannot be read is not needed: the exit status decides.
    let _ = stderr.by_ref().take(KEPT_STDERR).read_to_end(&mut kept);
    let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}
