//! S3 servers: versitygw, or MinIO where it is asked for. Starts processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::certificates::CERTIFICATES;
use crate::process::{NODE_ADDRESS, START, cache, free_port, log, new_directory, poll, spawn, wait};

/// Access key of every S3 server here.
pub const S3_KEY: &str = "testkeyid";
/// Its secret.
pub const S3_SECRET: &str = "s3-secret-that-nobody-may-see";
/// Names the server that [`S3`] and [`S3_WITH_TLS`] are: `versitygw`, the default, or `minio`.
const SERVER_ENV: &str = "GREENLANG_TEST_S3";
const CREDENTIALS: [(&str, &str); 4] = [
    ("ROOT_ACCESS_KEY", S3_KEY),
    ("ROOT_SECRET_KEY", S3_SECRET),
    ("MINIO_ROOT_USER", S3_KEY),
    ("MINIO_ROOT_PASSWORD", S3_SECRET),
];

/// One for all tests of a process.
pub static S3: LazyLock<S3> = LazyLock::new(|| S3::start(false));
/// The same over TLS.
pub static S3_WITH_TLS: LazyLock<S3> = LazyLock::new(|| S3::start(true));

/// A versitygw that keeps versions and locks in the buckets that ask for them.
pub static S3_WITH_VERSIONS: LazyLock<S3> = LazyLock::new(|| S3::versitygw(false, true, &[]));

/// An S3 server of its own directory and port.
pub struct S3 {
    /// URL.
    pub endpoint: String,
}

impl S3 {
    /// TCP port on localhost.
    pub fn port(&self) -> u16 {
        self.endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap()
    }

    /// The server that the environment asks for.
    fn start(tls: bool) -> Self {
        match std::env::var(SERVER_ENV).as_deref() {
            Err(_) | Ok("versitygw") => Self::versitygw(tls, false, &[]),
            Ok("minio") => Self::minio(tls),
            Ok(other) => panic!("{SERVER_ENV} is '{other}': it must be versitygw or minio"),
        }
    }

    /// A versitygw.
    pub fn start_versitygw() -> Self {
        Self::versitygw(false, false, &[])
    }

    /// A versitygw over TLS, also for Pods of the local node, at [`Self::endpoint_for_pods`].
    pub fn start_for_pods() -> Self {
        Self::versitygw(true, false, &[NODE_ADDRESS])
    }

    /// URL by which Pods of the local node reach a server of [`Self::start_for_pods`].
    pub fn endpoint_for_pods(&self) -> String {
        format!("https://{NODE_ADDRESS}:{}", self.port())
    }

    /// A MinIO, which `tests/cluster/node.sh program minio` builds.
    pub fn start_minio() -> Self {
        Self::minio(false)
    }

    /// `addresses`: where it listens beside localhost.
    fn versitygw(tls: bool, versions: bool, addresses: &[&str]) -> Self {
        let directory = new_directory("versitygw");
        fs::create_dir(directory.join("data")).unwrap();
        let certificates = &CERTIFICATES.directory;
        let flags = if tls {
            format!("--cert {0}/server.crt --key {0}/server.key ", certificates.display())
        } else {
            String::new()
        };
        let keeps = if versions {
            let older = directory.join("versions");
            fs::create_dir(&older).unwrap();
            format!("--versioning-dir {} ", older.display())
        } else {
            String::new()
        };
        let (program, port) = (program("VERSITYGW", "versitygw"), free_port());
        let listen = |address: &&str| format!("--port {address}:{port} ");
        let listens: String = ["127.0.0.1"].iter().chain(addresses).map(listen).collect();
        let command = format!("{program} {listens}{flags}posix {keeps}data");
        spawn(&directory, &command, &CREDENTIALS);
        wait(&directory, port);
        Self::at(port, tls)
    }

    fn minio(tls: bool) -> Self {
        let directory = new_directory("minio");
        let certificates = directory.join("certs");
        fs::create_dir(&certificates).unwrap();
        if tls {
            for (file, name) in [("server.crt", "public.crt"), ("server.key", "private.key")] {
                fs::copy(CERTIFICATES.directory.join(file), certificates.join(name)).unwrap();
            }
        }
        let (program, port) = (program("MINIO", "minio"), free_port());
        let flags = format!("--address 127.0.0.1:{port} --certs-dir certs");
        let mut env = CREDENTIALS.to_vec();
        env.push(("MINIO_BROWSER", "off"));
        spawn(&directory, &format!("{program} server data {flags}"), &env);
        wait_for_minio(&directory);
        Self::at(port, tls)
    }

    fn at(port: u16, tls: bool) -> Self {
        let scheme = if tls { "https" } else { "http" };
        Self { endpoint: format!("{scheme}://localhost:{port}") }
    }

    /// `aws`, which finds this server. Before 2.13 it does not read the variable.
    pub fn aws(&self) -> Command {
        let mut command = self.command("aws");
        command.args(["--endpoint-url", &self.endpoint]);
        command
    }

    /// A program that finds this server and its keys in the environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", S3_KEY)
            .env("AWS_SECRET_ACCESS_KEY", S3_SECRET);
        command
    }
}

/// It listens before it serves, and refuses requests until it has said where it is.
fn wait_for_minio(directory: &Path) {
    let ready = poll(START, || log(directory).contains("API: ").then_some(()));
    assert!(ready.is_some(), "MinIO does not serve: {}", log(directory));
}

/// Where a variable says that a program is, or the cache.
fn program(variable: &str, name: &str) -> String {
    let program = std::env::var_os(variable).map_or_else(|| cache().join("bin").join(name), PathBuf::from);
    let path = program.display();
    assert!(
        program.exists(),
        "{name} is missing at {path}: run 'tests/cluster/node.sh program {name}', or set {variable}"
    );
    path.to_string()
}
