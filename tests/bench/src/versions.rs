//! What it was measured with. Asks programs for their versions.

use std::process::Command;

/// What `tests/cluster` builds, by version.
const PINNED: &str = include_str!("../../cluster/versions.env");

/// The first line that a program says.
pub fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown");
    line.trim_matches(['*', ' ']).to_owned()
}

/// The commit of this project, for a page.
pub fn project() -> String {
    format!("this project: {}", said("git", &["describe", "--always", "--dirty"]))
}

/// The S3 server, for a page; it does not know its own version.
pub fn versitygw() -> String {
    let version = PINNED.lines().find_map(|line| line.strip_prefix("VERSITYGW_VERSION="));
    format!("versitygw: {}", version.unwrap_or("unknown"))
}
