//! What it was measured with. Asks programs for their versions.

use std::process::Command;

use greenlang_backup_test_servers::CLIENTS;

/// versitygw does not know its own version.
const PINNED: &str = include_str!("../../../../cluster/versions.env");

/// Every program that was measured, as it names itself.
pub fn versions() -> Vec<String> {
    let pg_dump = format!("{CLIENTS}/pg_dump");
    let programs: [(&str, &[&str]); 7] = [
        ("git", &["describe", "--always", "--dirty"]),
        (&pg_dump, &["--version"]),
        ("zstd", &["--version"]),
        ("age", &["--version"]),
        ("openssl", &["version"]),
        ("tar", &["--version"]),
        ("aws", &["--version"]),
    ];
    let versitygw = PINNED.lines().find_map(|line| line.strip_prefix("VERSITYGW_VERSION="));
    let pinned = format!("versitygw: {}", versitygw.unwrap_or("unknown"));
    let asked = programs.iter().map(|(program, arguments)| {
        let name = program.rsplit('/').next().unwrap_or(program);
        let name = if name == "git" { "this project" } else { name };
        format!("{name}: {}", said(program, arguments))
    });
    asked.chain([pinned]).collect()
}

/// The first line that a program says.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown");
    line.trim_matches(['*', ' ']).to_owned()
}
