//! Gives plain bytes to a `pg_restore` that reads its standard input, and judges both: the program by its exit status, the bytes by
//! their checksums once all of them were read. Starts a process, one thread; no disk.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greenlang_backup_store::{Activity, ReadError, Unsealed};
use tokio::process::{Child, ChildStderr, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::RestoreError;
use crate::error::RunError;
use crate::postgres::child;

/// Bytes that are moved at once.
const PIECE: usize = 128 << 10;

/// What everything that loads has in common.
#[derive(Clone)]
pub struct Feeder {
    /// The database that is loaded, for messages.
    pub database: String,
    /// Plain bytes that were given to programs.
    pub counter: Arc<AtomicU64>,
    pub activity: Activity,
    pub cancel: CancellationToken,
    /// Leave the bytes unread, and so unjudged as a whole, that a program did not want: only where what becomes of the others is
    /// compared row by row.
    pub stops_early: bool,
}

/// Plain bytes with what must be true of them at their end.
pub trait Plain: Read + Send + 'static {
    /// Reads what was not read yet, and says whether all was good.
    fn finish(self) -> Result<(), ReadError>;
}

impl<R: Read + Send + 'static> Plain for Unsealed<R> {
    fn finish(self) -> Result<(), ReadError> {
        Self::finish(self)
    }
}

/// How feeding ended.
enum Fed {
    /// All bytes went in.
    All,
    /// The program took no more; it may be done, or have failed.
    Closed,
    /// The bytes could not be read.
    Unreadable,
}

impl Feeder {
    /// Runs a program to its end, with these bytes before those of the source.
    pub async fn feed<S: Plain>(
        &self,
        mut command: Command,
        start: Vec<u8>,
        source: S,
    ) -> Result<(), RunError> {
        let mut child = spawn(PG_RESTORE, command.stdin(Stdio::piped()))?;
        let failed = |error| start_error(PG_RESTORE, error);
        let stdin = child.stdin.take().ok_or_else(|| failed(io::Error::other("no pipe")))?;
        let stdin = File::from(stdin.into_owned_fd().map_err(failed)?);
        let stderr = said(&mut child);
        let (counter, activity) = (Arc::clone(&self.counter), self.activity.clone());
        let feeding = tokio::task::spawn_blocking(move || {
            let mut source = source;
            let (fed, stdin) = pump(&start, &mut source, stdin, &counter, &activity);
            (fed, stdin, source)
        });
        let work = async {
            let (fed, stdin, source) = feeding.await?;
            if matches!(fed, Fed::Unreadable) {
                // Before its input is closed, or it would take what came for all there is.
                kill(&mut child).await;
                drop(stdin);
                return Err(self.judged(source).await.err().unwrap_or_else(|| {
                    RestoreError::Read(ReadError::ReadFailed {
                        key: self.database.clone(),
                        cause: "reading stopped".to_owned(),
                    })
                    .into()
                }));
            }
            drop(stdin);
            // Indexes are built after the last byte, however long that takes.
            self.activity.keep_moving(self.ended(PG_RESTORE, &mut child, stderr)).await?;
            if self.stops_early && matches!(fed, Fed::Closed) {
                info!("the rest of the object is not needed");
                // Ends the download, which may take a moment.
                return Ok(tokio::task::spawn_blocking(move || drop(source)).await?);
            }
            self.judged(source).await
        };
        if let Some(result) = self.cancel.run_until_cancelled(work).await {
            return result;
        }
        kill(&mut child).await;
        Err(RunError::Interrupted)
    }

    /// Runs a program that reads no input.
    pub async fn run(&self, program: &'static str, mut command: Command) -> Result<(), RunError> {
        let mut child = spawn(program, command.stdin(Stdio::null()))?;
        let stderr = said(&mut child);
        let ended = self.activity.keep_moving(self.ended(program, &mut child, stderr));
        if let Some(result) = self.cancel.run_until_cancelled(ended).await {
            return result;
        }
        kill(&mut child).await;
        Err(RunError::Interrupted)
    }

    async fn ended(
        &self,
        program: &'static str,
        child: &mut Child,
        stderr: AbortOnDropHandle<Vec<u8>>,
    ) -> Result<(), RunError> {
        let status = child.wait().await.map_err(|error| start_error(program, error))?;
        let mut lines = child::lines(&stderr.await.unwrap_or_default());
        // What follows an error quotes statements and rows, passwords of user mappings and subscriptions among them.
        let own = format!("{program}: ");
        lines.retain(|line| line.starts_with(&own));
        for line in &lines {
            warn!(program, line, "said on stderr");
        }
        if status.success() {
            return Ok(());
        }
        let said = format!("{status}: {}", child::quote(&lines));
        Err(RestoreError::of_program(program, &self.database, said).into())
    }

    async fn judged<S: Plain>(&self, source: S) -> Result<(), RunError> {
        let judged = tokio::task::spawn_blocking(move || source.finish());
        Ok(self.activity.keep_moving(judged).await?.map_err(RestoreError::Read)?)
    }
}

/// The program that loads.
pub const PG_RESTORE: &str = "pg_restore";

const fn start_error(program: &'static str, error: io::Error) -> RestoreError {
    RestoreError::Start { program, error }
}

fn spawn(program: &'static str, command: &mut Command) -> Result<Child, RunError> {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    Ok(child.map_err(|error| start_error(program, error))?)
}

fn said(child: &mut Child) -> AbortOnDropHandle<Vec<u8>> {
    let stderr: Option<ChildStderr> = child.stderr.take();
    AbortOnDropHandle::new(tokio::spawn(async move {
        match stderr {
            Some(stderr) => child::tail(stderr).await,
            None => Vec::new(),
        }
    }))
}

async fn kill(child: &mut Child) {
    match child.kill().await {
        Ok(()) => info!("program killed"),
        Err(error) => warn!(%error, "program not killed"),
    }
}

/// Moves bytes until one side ends. The program's input is returned open.
fn pump(
    start: &[u8],
    source: &mut impl Read,
    mut stdin: File,
    counter: &AtomicU64,
    activity: &Activity,
) -> (Fed, File) {
    let mut write = |bytes: &[u8]| {
        let written = stdin.write_all(bytes);
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        activity.moved(bytes.len() as u64);
        written.is_ok()
    };
    if !start.chunks(PIECE).all(&mut write) {
        return (Fed::Closed, stdin);
    }
    let mut buffer = vec![0; PIECE];
    let fed = loop {
        match source.read(&mut buffer) {
            Ok(0) => break Fed::All,
            Ok(read) if write(&buffer[..read]) => {}
            Ok(_) => break Fed::Closed,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break Fed::Unreadable,
        }
    };
    (fed, stdin)
}
