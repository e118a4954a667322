//! `plan` stays free of I/O by what it depends on: no async runtime, no HTTP client, no Kubernetes client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

use std::process::Command;

#[test]
fn no_runtime_and_no_client() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--package",
            "greenlang-backup-plan",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ])
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let crates: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(
        crates.contains(&"greenlang-backup-api") && crates.contains(&"croner"),
        "the tree was not read: {tree}"
    );
    let banned = [
        "tokio",
        "async-std",
        "smol",
        "hyper",
        "hyper-util",
        "reqwest",
        "ureq",
        "isahc",
        "kube-client",
        "kube-runtime",
        "aws-config",
    ];
    let found: Vec<_> =
        crates.iter().filter(|name| banned.contains(*name) || name.starts_with("aws-sdk-")).collect();
    assert_eq!(found, Vec::<&&str>::new());
}
