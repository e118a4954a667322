//! Runs programs of this machine (kubectl, helm, npm) with a readable error when they fail.

use std::ffi::OsStr;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Most bytes of a failed program's output that an error quotes.
const MAX_QUOTE: usize = 4_000;

/// What a program wrote, and whether it ended with 0.
#[derive(Debug)]
pub struct Output {
    /// Exit code 0.
    pub ok: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// What an error should quote: the complaint, or what else there is.
    pub fn quote(&self) -> &str {
        let complaint = tail(&self.stderr);
        if complaint.is_empty() { tail(&self.stdout) } else { complaint }
    }
}

/// Runs a program to its end with `stdin`; secrets belong there and never in an argument, because errors quote these.
pub async fn output(command: &mut Command, stdin: impl Into<Vec<u8>>) -> Result<Output> {
    let shown = show(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("`{shown}` cannot be started"))?;
    let mut pipe = child.stdin.take().context("no pipe to the program")?;
    let stdin = stdin.into();
    // Written beside reading: a program that answers while it reads would otherwise wait for us for ever. One that stops
    // reading says why by its exit code, so a broken pipe is no error of its own.
    let writer = async move {
        let _ = pipe.write_all(&stdin).await;
        drop(pipe);
    };
    let ((), output) = tokio::join!(writer, child.wait_with_output());
    let output = output.with_context(|| format!("`{shown}` was lost"))?;
    Ok(Output {
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// As [`output`], and an error unless the program ends with 0. Gives its standard output.
pub async fn run(command: &mut Command, stdin: impl Into<Vec<u8>>) -> Result<String> {
    let done = output(command, stdin).await?;
    if !done.ok {
        bail!("`{}` failed:\n{}", show(command), done.quote());
    }
    Ok(done.stdout)
}

/// The end of a text, cut at a character boundary.
pub fn tail(text: &str) -> &str {
    let text = text.trim_end();
    &text[text.ceil_char_boundary(text.len().saturating_sub(MAX_QUOTE))..]
}

fn show(command: &Command) -> String {
    let command = command.as_std();
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
