//! `plan` stays free of I/O by what it depends on: no async runtime, no HTTP client, no Kubernetes client; and what is compiled in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

use std::collections::BTreeSet;
use std::process::Command;

/// What `cargo tree` says of what is compiled into the programs.
fn tree(asked: &[&str]) -> String {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none"])
        .args(asked)
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout).unwrap()
}

#[test]
fn no_runtime_and_no_client() {
    let tree = tree(&["--package", "greenlang-backup-plan", "--edges", "normal,build"]);
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

/// An image need not have zone data, and that of a node may be old: a schedule would be due at another time there.
#[test]
fn zone_data_is_compiled_in_and_that_of_the_machine_is_not_read() {
    let tree = tree(&["--workspace", "--edges", "normal,build,features", "--invert", "jiff"]);
    let feature = |line: &str| {
        let name = line.strip_prefix("jiff feature \"")?.split_once('"')?.0;
        name.starts_with("tzdb").then(|| name.to_owned())
    };
    let found: BTreeSet<String> = tree.lines().filter_map(feature).collect();
    assert_eq!(found, ["tzdb-bundle-always".to_owned()].into(), "{tree}");
}
