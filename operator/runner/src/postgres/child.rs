//! A child process that writes a dump: started, read, and judged by its exit status. Starts processes.

use std::fs::File;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use greenlang_backup_api::reasons;
use greenlang_backup_store::Activity;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::archive::{ArchiveError, Inspected};
use super::tap::{Checked, Damage, Output, Tap};
use super::warnings::{self, Warning};

/// Most bytes of stderr that are kept; the last ones, since a program's reason to give up comes last.
const KEPT_STDERR: usize = 64 << 10;
/// Stands for what was not kept.
const CUT: &[u8] = b"(it said more before this)\n";
/// Longest part of stderr in an error's message.
const QUOTED_STDERR: usize = 500;

/// What a server that speaks English says when a lock was not had in time: `pg_dump` limits the statement (tried on 15).
const TIMEOUT: &str = "canceling statement due to statement timeout";
/// What `pg_dump` says of the statement that failed.
const OF_A_LOCK: &str = "Query was: LOCK TABLE ";

/// A program that did not write what it should.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It could not be started.
    #[error("{program} of {subject} cannot be started: {error}")]
    Start {
        /// Program.
        program: &'static str,
        /// What it was to dump.
        subject: String,
        /// What the system said.
        error: io::Error,
    },
    /// It ended badly.
    #[error("{program} of {subject} ended with {status}: {stderr}")]
    Failed {
        /// Program.
        program: &'static str,
        /// What it was to dump.
        subject: String,
        /// Exit status or signal.
        status: ExitStatus,
        /// The last it said.
        stderr: String,
    },
    /// It waited for the lock of a table, and not longer than it may.
    #[error("{program} of {subject} was kept from locking a table: {stderr}")]
    LockedOut {
        /// Program.
        program: &'static str,
        /// What it was to dump.
        subject: String,
        /// The last it said.
        stderr: String,
    },
    /// It ended well, with words that nobody knows.
    #[error(
        "{program} of {subject} ended well but warned of something that is not known to leave its dump complete: {line}: mend the cause, or report it if the dump can be relied on"
    )]
    UnknownWarning {
        /// Program.
        program: &'static str,
        /// What it was to dump.
        subject: String,
        /// The first line that is not known.
        line: String,
    },
    /// It wrote nothing.
    #[error(
        "{program} of {subject} ended well and wrote nothing, which no dump does; look at its image and its server"
    )]
    Empty {
        /// Program.
        program: &'static str,
        /// What it was to dump.
        subject: String,
    },
    /// It wrote something else.
    #[error("{program} of {subject} ended well, but what it wrote does not start like its dumps do")]
    NotADump {
        /// Program.
        program: &'static str,
        /// What it was to dump.
        subject: String,
    },
    /// It wrote an archive that is not whole.
    #[error("{program} of {subject} wrote an archive that cannot be restored: {error}")]
    Damaged {
        /// Program.
        program: &'static str,
        /// What it was to dump.
        subject: String,
        /// What is wrong with it.
        error: ArchiveError,
    },
}

impl DumpError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Start { .. } => reasons::INTERNAL_ERROR,
            Self::Failed { .. } | Self::NotADump { .. } => reasons::DUMP_FAILED,
            Self::LockedOut { .. } => reasons::TABLE_LOCKED,
            Self::UnknownWarning { .. } => reasons::UNKNOWN_WARNING,
            Self::Empty { .. } => reasons::EMPTY_OUTPUT,
            Self::Damaged { .. } => reasons::ARCHIVE_DAMAGED,
        }
    }

    /// Whether another attempt may succeed without a change.
    pub fn is_retryable(&self) -> bool {
        // A warning comes back with the next attempt.
        match self {
            // A machine under pressure may start it the next time; a program that is not there stays so.
            Self::Start { error, .. } => {
                !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
            }
            Self::UnknownWarning { .. } => false,
            _ => true,
        }
    }
}

/// A program that is to be run, and what is known of its output.
pub struct Producer {
    /// Name of the program, for messages.
    pub program: &'static str,
    /// What it dumps, for messages.
    pub subject: String,
    /// The program with its arguments and environment.
    pub command: Command,
    /// What it is to write.
    pub output: Output,
}

/// A program that did what it should.
pub struct Finished {
    /// What it warned of.
    pub warnings: Vec<Warning>,
    /// What is in its archive, if it wrote one.
    pub archive: Option<Inspected>,
}

/// A program that runs. It is killed when this is dropped.
pub struct Running {
    program: &'static str,
    subject: String,
    child: Child,
    stderr: AbortOnDropHandle<Vec<u8>>,
}

impl Producer {
    /// Starts it; its output passes through the returned tap, which blocks, adds all bytes to the counter and says that
    /// they moved.
    pub fn start(mut self, counter: Arc<AtomicU64>, activity: Activity) -> Result<(Running, Tap), DumpError> {
        match self.spawn() {
            Ok((child, stderr, source)) => Ok((
                Running { program: self.program, subject: self.subject, child, stderr },
                Tap::new(source, counter, activity, self.output),
            )),
            Err(error) => Err(DumpError::Start { program: self.program, subject: self.subject, error }),
        }
    }

    fn spawn(&mut self) -> io::Result<(Child, AbortOnDropHandle<Vec<u8>>, File)> {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("no pipe to the child"));
        };
        let output = File::from(output.into_owned_fd()?);
        Ok((child, AbortOnDropHandle::new(tokio::spawn(tail(errors))), output))
    }
}

impl Running {
    /// Stops it at once.
    pub async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            warn!(program = self.program, %error, "child not killed");
        }
    }

    /// Stops it at once, for what it wrote so far.
    pub async fn give_up(self, error: ArchiveError) -> DumpError {
        let (program, subject) = (self.program, self.subject.clone());
        self.kill().await;
        DumpError::Damaged { program, subject, error }
    }

    /// Waits for its end and judges it: only exit status 0 and the output that it should write make a dump, and they are
    /// judged in this order.
    pub async fn finish(mut self, checked: Checked) -> Result<Finished, DumpError> {
        let (program, subject) = (self.program, self.subject);
        let status = match self.child.wait().await {
            Ok(status) => status,
            Err(error) => {
                return Err(DumpError::Start { program, subject, error });
            }
        };
        let stderr = self.stderr.await.unwrap_or_default();
        let lines = lines(&stderr);
        for line in &lines {
            warn!(program, subject, line, "said on stderr");
        }
        if !status.success() {
            let stderr = quote(&lines);
            let said = |words: &str| lines.iter().any(|line| line.contains(words));
            if said(TIMEOUT) && said(OF_A_LOCK) {
                return Err(DumpError::LockedOut { program, subject, stderr });
            }
            return Err(DumpError::Failed { program, subject, status, stderr });
        }
        let archive = match checked {
            Ok(archive) => archive,
            Err(Damage::Nothing) => return Err(DumpError::Empty { program, subject }),
            Err(Damage::NotSql) => return Err(DumpError::NotADump { program, subject }),
            Err(Damage::Archive(error)) => return Err(DumpError::Damaged { program, subject, error }),
        };
        match warnings::judge(program, &subject, &lines) {
            Ok(warnings) => Ok(Finished { warnings, archive }),
            Err(line) => {
                let line = line.chars().take(QUOTED_STDERR).collect();
                Err(DumpError::UnknownWarning { program, subject, line })
            }
        }
    }
}

/// Reads to the end and keeps the last bytes. Where others went before them it says so, in a line that no program says: a
/// warning must not be passed over because others followed it.
pub async fn tail(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut cut = false;
    while let Ok(1..) = stream.read_buf(&mut kept).await {
        if kept.len() > 2 * KEPT_STDERR {
            kept.drain(..kept.len() - KEPT_STDERR);
            cut = true;
        }
    }
    if cut {
        kept.splice(..0, CUT.iter().copied());
    }
    kept
}

/// What was said, line by line.
pub fn lines(stderr: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(stderr)
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The last lines that fit.
pub fn quote(lines: &[String]) -> String {
    let mut quoted: Vec<&str> = Vec::new();
    let mut left = QUOTED_STDERR;
    for line in lines.iter().rev() {
        if line.len() > left {
            break;
        }
        left -= line.len();
        quoted.push(line);
    }
    quoted.reverse();
    match lines.last() {
        None => "it said nothing".to_owned(),
        Some(last) if quoted.is_empty() => last.chars().take(QUOTED_STDERR).collect(),
        Some(_) => quoted.join(" | "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_stderr_is_kept() {
        let text = format!("{}\nthe reason\n", "x".repeat(10 * KEPT_STDERR));
        let kept = tail(text.as_bytes()).await;
        assert!(kept.len() <= 3 * KEPT_STDERR);
        assert_eq!(quote(&lines(&kept)), "the reason");
        assert!(kept.starts_with(CUT), "what was cut is not forgotten");
        assert_eq!(tail(b"a\nb".as_slice()).await, b"a\nb");
        assert_eq!(quote(&lines(b"one\n\ntwo\n")), "one | two");
        assert_eq!(quote(&[]), "it said nothing");
    }
}
