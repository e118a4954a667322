//! A backup as the old shell scripts made theirs, by the same programs: an archive of `pg_dump` in a tar, encrypted by `openssl enc`, under
//! the id and with the Secret that `examples/restore-old-backup.yaml` names. Child processes.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::parts::{self, Parts, hand, s3};
use crate::random;

/// Id of the backup: what the scripts called its directory.
pub const ID: &str = "20241107-020000";
/// Secret that opens it.
const SECRET: &str = "old-backup-key";
/// Of an openssl of those days: later ones derive the key by SHA-256.
const DERIVATION: &str = "-md md5";

/// Makes one of a database as it is now, in `directory` of the bucket, and the Secret that opens it. Gives its key in the bucket.
pub async fn make(cluster: &Cluster, parts: &Parts, database: &str, directory: &str) -> Result<String> {
    let passphrase = random::word(32)?;
    // As a file has it: with the line break that is no part of the passphrase.
    let content = format!("{passphrase}\n");
    parts::secret(cluster, &parts.namespace, SECRET, [("passphrase", &*content)]).await?;
    let key = format!("{directory}/{ID}/backup.tar.gz.enc");
    let script = format!(
        r#"rm -rf /tmp/scripts && mkdir /tmp/scripts && cd /tmp/scripts
        (umask 077 && echo {passphrase} >key.txt)
        export PGHOST=db PGSSLMODE=require PGUSER=postgres PGPASSWORD={password}
        pg_dump -F c -b -d {database} -f greenlang.dump
        printf '{{"timestamp": "%s", "database": "%s", "size_bytes": %s, "backup_type": "full", "compression": "custom", "checksum": "%s"}}\n' \
          {ID} {database} "$(stat -c %s greenlang.dump)" "$(sha256sum <greenlang.dump | cut -d ' ' -f 1)" >manifest.json
        tar -czf backup.tar.gz greenlang.dump manifest.json
        openssl enc -aes-256-cbc {DERIVATION} -in backup.tar.gz -out backup.tar.gz.enc -pass file:key.txt 2>/dev/null
        aws s3 cp --quiet backup.tar.gz.enc s3://{bucket}/{key}
        aws s3 cp --quiet manifest.json s3://{bucket}/{directory}/{ID}/manifest.json
        cd / && rm -rf /tmp/scripts
        "#,
        password = parts.postgres.superuser_password,
        bucket = s3::BUCKET,
    );
    hand::aws(cluster, parts, &parts.s3.access, &parts.s3.secret, &script).await?;
    Ok(key)
}

/// Makes a request ask for it.
pub fn ask_for(request: &mut Value) {
    request["spec"]["source"] = json!({"backup": {"name": "database", "id": ID}});
    request["spec"]["legacyPassphraseSecretRef"] = json!({"name": SECRET});
    if let Some(spec) = request["spec"].as_object_mut() {
        spec.remove("identitySecretRef");
    }
}
