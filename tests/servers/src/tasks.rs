//! What tasks name of the servers here: mounted Secrets, a bucket, a backup that succeeds, client programs. Writes
//! files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use greenlang_backup_api::owner::{Claim, Owner};
use greenlang_backup_api::task::{
    Bucket, MountedSecret, PostgresDumpTask, PostgresServer, RunIdentity, Seal, ServedSchedule,
};
use greenlang_backup_api::v1alpha1::{Checksum, RolePasswords, SslMode, Trigger};

use crate::{CLIENTS, Postgres, S3_KEY, S3_SECRET};

/// Id of the backup that [`dump_task`] asks for.
pub const BACKUP_ID: &str = "20251107-020000";

/// A Secret, mounted in a directory of its name below another. Values end in a line break, as `kubectl` often keeps them.
pub fn mount(parent: &Path, name: &str, keys: &[(&str, &str)]) -> MountedSecret {
    let directory = parent.join(name);
    fs::create_dir_all(&directory).unwrap();
    for (key, value) in keys {
        fs::write(directory.join(key), format!("{value}\n")).unwrap();
    }
    MountedSecret { secret: name.to_owned(), directory: directory.to_string_lossy().into_owned() }
}

/// A bucket of an S3 server of the tests, which all have the same keys, without a prefix and with all defaults. Its Secret
/// `backup-s3` is mounted below a directory.
pub fn bucket(name: &str, endpoint: &str, secrets: &Path) -> Bucket {
    let keys = [("AWS_ACCESS_KEY_ID", S3_KEY), ("AWS_SECRET_ACCESS_KEY", S3_SECRET)];
    Bucket {
        name: name.to_owned(),
        prefix: String::new(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        force_path_style: true,
        ca: None,
        credentials: Some(mount(secrets, "backup-s3", &keys)),
        storage_class: None,
        server_side_encryption: None,
        checksum: Checksum::Auto,
    }
}

/// A PostgreSQL server of the tests without TLS. The user's Secret `db-backup` is mounted below a directory.
pub fn postgres_server(postgres: &Postgres, user: &str, password: &str, secrets: &Path) -> PostgresServer {
    PostgresServer {
        host: "localhost".to_owned(),
        port: postgres.port,
        maintenance_database: "postgres".to_owned(),
        ssl_mode: SslMode::Disable,
        ca: None,
        credentials: mount(secrets, "db-backup", &[("username", user), ("password", password)]),
    }
}

/// A backup of databases of a PostgreSQL server of the tests by its superuser, with all that a policy switches on by default.
/// Its Secret `db-backup` is mounted below a directory.
pub fn dump_task(
    bucket: Bucket,
    recipients: Vec<String>,
    postgres: &Postgres,
    databases: &[&str],
    secrets: &Path,
) -> PostgresDumpTask {
    PostgresDumpTask {
        run: identity(),
        claim: claim(),
        bucket,
        seal: Seal { recipients, compression_level: 1 },
        server: postgres_server(postgres, "postgres", postgres.password, secrets),
        databases: databases.iter().map(|&name| name.to_owned()).collect(),
        globals: true,
        role_passwords: RolePasswords::Auto,
        settings: true,
        streams: 1,
        read_back_limit: 100 << 30,
        stall_seconds: 600,
    }
}

/// Who makes that backup.
pub fn claim() -> Claim {
    let owner = Owner {
        cluster_uid: "c-1".to_owned(),
        namespace: "greenlang".to_owned(),
        policy: "greenlang".to_owned(),
    };
    Claim { owner, adopt: None }
}

fn identity() -> RunIdentity {
    RunIdentity {
        namespace: "greenlang".to_owned(),
        policy: "greenlang".to_owned(),
        policy_uid: "0f5a".to_owned(),
        backup: "database".to_owned(),
        path: "database".to_owned(),
        id: BACKUP_ID.parse().unwrap(),
        attempt: 1,
        slot: "2025-11-07T02:00:00Z".parse().unwrap(),
        trigger: Trigger::Schedule,
        schedules: vec![ServedSchedule { name: "daily".to_owned(), keep_days: 30 }],
        keep_days: 30,
    }
}

/// Makes a directory of client programs, for `GREENLANG_PG_BIN_DIR`. Some are shell scripts, which find the real ones in `$REAL`
/// and go on to them where they do not exit; all are real when asked for their version.
pub fn client_scripts(parent: &Path, scripts: &[(&str, &str)]) -> PathBuf {
    let clients = parent.join("clients");
    fs::create_dir_all(&clients).unwrap();
    for program in ["pg_dump", "pg_dumpall", "pg_restore", "vacuumdb"] {
        let script = scripts.iter().find(|(name, _)| *name == program).map_or("", |(_, script)| script);
        let path = clients.join(program);
        let text = format!(
            "#!/bin/bash\nREAL={CLIENTS}\n[ \"$1\" = --version ] || {{ :\n{script}\n}}\nexec $REAL/{program} \"$@\"\n"
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    clients
}
