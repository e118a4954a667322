//! PostgreSQL and versitygw processes for the tests, which end with the test process however that ends.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub const S3_KEY: &str = "testkeyid";
pub const S3_SECRET: &str = "s3-secret-that-nobody-may-see";
pub const ADMIN_PASSWORD: &str = "database-password-that-nobody-may-see";
pub const CLIENTS: &str = "/usr/lib/postgresql/15/bin";

pub static POSTGRES: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(ADMIN_PASSWORD));
pub static S3: LazyLock<S3> = LazyLock::new(|| S3::start(false));
pub static S3_WITH_TLS: LazyLock<S3> = LazyLock::new(|| S3::start(true));
pub static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(Certificates::make);

/// A PostgreSQL server of its own directory and port.
pub struct Postgres {
    pub port: u16,
    pub password: &'static str,
}

/// A versitygw of its own directory and port.
pub struct S3 {
    pub endpoint: String,
}

/// A CA, and a certificate that it signed for `localhost` only.
pub struct Certificates {
    pub directory: PathBuf,
}

impl Postgres {
    /// Of Debian's major version.
    pub fn start(password: &'static str) -> Self {
        Self::start_in(&new_directory("postgres"), CLIENTS, password, "")
    }

    /// Of the programs in a directory, which may lie in the server's own. `prepare`: shell commands before it starts.
    pub fn start_in(directory: &Path, programs: &str, password: &'static str, prepare: &str) -> Self {
        let port = free_port();
        for file in ["server.crt", "server.key"] {
            fs::copy(CERTIFICATES.directory.join(file), directory.join(file)).unwrap();
        }
        fs::write(directory.join("password"), password).unwrap();
        let script = format!(
            "set -e
            {programs}/initdb --pgdata=data --auth=scram-sha-256 --username=postgres --pwfile=password \
                --encoding=UTF8 --locale=C.UTF-8 --no-sync >initdb.log
            {prepare}
            exec {programs}/postgres -D data -p {port} -k \"$PWD\" -c listen_addresses=localhost,127.0.0.1 -c fsync=off \
                -c ssl=on -c ssl_cert_file=\"$PWD/server.crt\" -c ssl_key_file=\"$PWD/server.key\""
        );
        let as_user = if is_root() {
            run(Command::new("chown").arg("-R").arg("postgres").arg(directory));
            run(Command::new("chmod").arg("600").arg(directory.join("server.key")));
            "setpriv --reuid=postgres --regid=postgres --clear-groups "
        } else {
            ""
        };
        fs::write(directory.join("start"), script).unwrap();
        spawn(directory, &format!("{as_user}sh start"), &[]);
        let server = Self { port, password };
        wait(directory, port);
        server.wait_ready(directory);
        server
    }

    /// Runs SQL in a database and returns what it prints.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut command = self.command("psql", database);
        run(command.args(["-XAtq", "--set=ON_ERROR_STOP=1", "-c", sql]))
    }

    pub fn sql_file(&self, database: &str, file: &Path) {
        run(self
            .command("psql", database)
            .args(["-Xq", "--set=ON_ERROR_STOP=1", "-o", "/dev/null", "-f"])
            .arg(file));
    }

    pub fn create_database(&self, name: &str) {
        self.sql("postgres", &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")));
    }

    /// Everything in a database as sorted lines: rows may come out of a restored table in another order.
    pub fn content(&self, database: &str) -> Vec<String> {
        let text = run(self.command("pg_dump", database).arg("--create"));
        sorted(&text)
    }

    /// Roles, memberships and settings, but for those of the role that restores.
    pub fn globals(&self) -> Vec<String> {
        let text = run(self.command("pg_dumpall", "postgres").arg("--globals-only"));
        sorted(&text).into_iter().filter(|line| !line.starts_with("ALTER ROLE postgres ")).collect()
    }

    pub fn command(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(format!("{CLIENTS}/{program}"));
        command
            .env("PGHOST", "localhost")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGPASSWORD", self.password)
            .env("PGDATABASE", database);
        command
    }

    fn wait_ready(&self, directory: &Path) {
        let mut command = self.command("pg_isready", "postgres");
        let ready =
            poll(Duration::from_secs(30), || command.arg("-q").status().unwrap().success().then_some(()));
        assert!(ready.is_some(), "PostgreSQL is not ready: {}", log(directory));
    }
}

impl S3 {
    fn start(tls: bool) -> Self {
        let directory = new_directory("versitygw");
        fs::create_dir(directory.join("data")).unwrap();
        let port = free_port();
        let program = std::env::var_os("VERSITYGW").map_or_else(default_versitygw, PathBuf::from);
        assert!(program.exists(), "versitygw is missing at {}: set VERSITYGW", program.display());
        let certificates = &CERTIFICATES.directory;
        let flags = if tls {
            format!("--cert {0}/server.crt --key {0}/server.key ", certificates.display())
        } else {
            String::new()
        };
        let command = format!("{} --port 127.0.0.1:{port} {flags}posix data", program.display());
        spawn(&directory, &command, &[("ROOT_ACCESS_KEY", S3_KEY), ("ROOT_SECRET_KEY", S3_SECRET)]);
        wait(&directory, port);
        let scheme = if tls { "https" } else { "http" };
        Self { endpoint: format!("{scheme}://localhost:{port}") }
    }
}

impl Certificates {
    fn make() -> Self {
        let directory = new_directory("certificates");
        let script = "
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=test CA' -keyout ca.key -out ca.crt
            openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
            printf 'subjectAltName=DNS:localhost' > names
            openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=other CA' -keyout other.key -out other.crt
            chmod 644 server.key";
        run(Command::new("sh").args(["-ec", script]).current_dir(&directory).stderr(Stdio::null()));
        // The directory goes with the test process.
        spawn(&directory, "sleep infinity", &[]);
        Self { directory }
    }
}

/// Runs a program to its end, which must be a good one, and returns what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asks again until there is an answer.
pub fn poll<T>(limit: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let answer = question();
        if answer.is_some() || start.elapsed() > limit {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A shell starts the server and waits for its own stdin, a pipe that this process holds, to close; then it stops the server
/// and removes the directory. So nothing is left even when the tests are killed.
fn spawn(directory: &Path, command: &str, env: &[(&str, &str)]) {
    let script = format!(
        "{command} >log 2>&1 </dev/null & read -r end; kill $!; wait $!; cd /; rm -rf \"$DIRECTORY\""
    );
    let child = Command::new("setsid")
        .args(["sh", "-c", &script])
        .envs(env.iter().copied())
        .env("DIRECTORY", directory)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::mem::forget(child);
}

fn wait(directory: &Path, port: u16) {
    let connected = poll(Duration::from_secs(30), || TcpStream::connect(("127.0.0.1", port)).ok());
    assert!(connected.is_some(), "nothing listens: {}", log(directory));
}

fn log(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap_or_default()
}

pub fn new_directory(name: &str) -> PathBuf {
    let directory = tempfile::Builder::new().prefix(&format!("greenlang-{name}-")).tempdir().unwrap().keep();
    run(Command::new("chmod").arg("755").arg(&directory));
    directory
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn default_versitygw() -> PathBuf {
    cache().join("bin/versitygw")
}

/// What is fetched once and kept outside of the checkout.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache =
        || std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("greenlang-backup");
    std::env::var_os("GREENLANG_CACHE").map_or_else(cache, PathBuf::from)
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).trim() == "0"
}

/// Newer minor versions of the programs frame their output by a random word.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}
