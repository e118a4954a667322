//! What it was measured on and with. Reads `/proc`, asks programs for their versions.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use greenlang_backup_test_servers::CLIENTS;

/// versitygw does not know its own version.
const PINNED: &str = include_str!("../../../../cluster/versions.env");

/// The machine in one line.
pub fn machine() -> String {
    let cores = available_parallelism().map_or(0, usize::from);
    let processor = line_of("/proc/cpuinfo", "model name");
    let memory: u64 =
        line_of("/proc/meminfo", "MemTotal").trim_end_matches(" kB").trim().parse().unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {processor}, {} GiB of memory, Linux {}", memory >> 20, kernel.trim())
}

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

fn line_of(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
    value.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}
