//! What the runner is measured against: the dump alone, the old procedure, and public programs in a pipe. Starts processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;
use greenlang_backup_bench::usage::Usage;
use greenlang_backup_bench::world::{World, settle};
use greenlang_backup_test_servers::CLIENTS;

/// BACKUP-001 of the old procedures, steps 1 to 6, as it stands there but for the place of things: the passes over the data.
const PASSES: &str = r#"
pg_dump -F c -b -f greenlang.dump
pg_restore --list greenlang.dump >/dev/null
printf '{"database":"greenlang","size_bytes":%s,"backup_type":"full","compression":"custom","checksum":"%s"}\n' \
  "$(stat -c %s greenlang.dump)" "$(sha256sum greenlang.dump | awk '{print $1}')" >manifest.json
tar -czf backup.tar.gz greenlang.dump manifest.json
openssl enc -aes-256-cbc -in backup.tar.gz -out backup.tar.gz.enc -pass file:key 2>/dev/null
aws --endpoint-url "$AWS_ENDPOINT_URL" s3 cp --quiet backup.tar.gz.enc s3://bench/old/backup.tar.gz.enc
"#;

/// A dump that lies in memory.
pub struct Dump {
    path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// The same bytes for every measurement that starts from a dump.
pub fn dump_to_memory(world: &World, database: &str) -> Result<Dump> {
    let path = world.directory.path().join("dump");
    let mut command = world.postgres.command("pg_dump", database);
    Usage::of_success(command.args(["-Fc", "-Z0"]).stdout(File::create(&path)?))?;
    let bytes = fs::metadata(&path)?.len();
    Ok(Dump { path, bytes })
}

/// `pg_dump -Fc -Z0 >/dev/null`, which no backup by `pg_dump` can be faster than.
pub fn bare(world: &World, database: &str) -> Result<Usage> {
    settle();
    let mut command = world.postgres.command("pg_dump", database);
    Usage::of_success(command.args(["-Fc", "-Z0"]).stdout(Stdio::null()))
}

/// `pg_restore` from the dump in memory into a new database, which no restore by `pg_restore` can be faster than.
pub fn pg_restore(world: &World, dump: &Dump, jobs: u8) -> Result<Usage> {
    const DATABASE: &str = "restored_by_hand";
    world.postgres.create_database(DATABASE);
    world.postgres.sql("postgres", "CHECKPOINT");
    settle();
    let mut command = world.postgres.command("pg_restore", DATABASE);
    command.arg(format!("--dbname={DATABASE}")).arg("--exit-on-error");
    if jobs > 1 {
        command.arg(format!("--jobs={jobs}"));
    }
    let usage = Usage::of_success(command.arg(&dump.path))?;
    world.postgres.sql("postgres", &format!("DROP DATABASE {DATABASE}"));
    Ok(usage)
}

/// The old procedure, on a disk as it was.
pub fn passes(world: &World, database: &str) -> Result<Usage> {
    let directory = tempfile::Builder::new().prefix("greenlang-passes-").tempdir()?;
    fs::write(directory.path().join("key"), "a passphrase\n")?;
    settle();
    let mut command = world.postgres.command("pg_dump", database);
    let postgres: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command = world.s3.command("bash");
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .args(["-euo", "pipefail", "-c", PASSES])
        .envs(postgres)
        .env("PATH", format!("{CLIENTS}:{path}"))
        .current_dir(directory.path());
    Usage::of_success(&mut command)
}

/// `zstd -1 | age` for two recipients, from memory to nowhere.
pub fn zstd_age(world: &World, dump: &Dump) -> Result<Usage> {
    settle();
    let recipients: Vec<String> =
        world.recipients.iter().map(|recipient| format!("-r {recipient}")).collect();
    let script = format!(
        "zstd -1 -q -c | age {} >/dev/null; exit $((PIPESTATUS[0] + PIPESTATUS[1]))",
        recipients.join(" ")
    );
    Usage::of_success(Command::new("bash").args(["-c", &script]).stdin(File::open(&dump.path)?))
}

/// A source alone.
pub fn source(clients: &Path) -> Result<Usage> {
    settle();
    Usage::of_success(Command::new(clients.join("pg_dump")).stdout(Stdio::null()))
}
