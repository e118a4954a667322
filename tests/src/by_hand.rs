//! Restores a backup as a person would who has lost the operator: in a plain Debian, with the commands of the manifest, the
//! bucket's keys, an age private key and an empty server. The Pod has `aws`, `age`, `zstd`, `psql` and `pg_restore`.

use anyhow::{Context as _, Result, bail};
use greenlang_backup_api::manifest::Manifest;

use crate::cluster::Cluster;
use crate::command::tail;
use crate::namespaces;
use crate::parts::{Parts, hand, postgres, s3};

/// An empty server and a Pod to work in, in a namespace of their own that the operator does not know.
pub struct Place {
    /// The namespace.
    pub namespace: String,
    access: postgres::Access,
}

/// Makes the namespace with an empty server; one of an earlier run is emptied.
pub async fn prepare(cluster: &Cluster, namespace: &str) -> Result<Place> {
    namespaces::ensure_other(cluster, namespace).await?;
    let access = postgres::Access::new()?;
    // New passwords and a new certificate each time: the server is started anew, and that empties it.
    postgres::secrets(cluster, namespace, &access).await?;
    cluster.kube(&format!("delete statefulset,pod -n {namespace} -l app=db --ignore-not-found")).await?;
    cluster.kube(&format!("delete statefulset db -n {namespace} --ignore-not-found")).await?;
    tokio::try_join!(postgres::start(cluster, namespace), hand::start(cluster, namespace))?;
    Ok(Place { namespace: namespace.to_owned(), access })
}

/// Runs the manifest's commands. `parts` is where the backup was made; of it only the bucket, its CA and one private key
/// are used. Gives what the commands wrote.
pub async fn restore(cluster: &Cluster, place: &Place, parts: &Parts, manifest: &Manifest) -> Result<String> {
    if manifest.recovery.commands.is_empty() {
        bail!("the manifest of {} names no command for recovery", manifest.timestamp);
    }
    let script = format!("{}{}", environment(cluster, place, parts).await?, commands(manifest));
    let done = cluster.script(&place.namespace, hand::POD, &script).await?;
    let output = format!("{}{}", done.stdout, done.stderr);
    if !done.ok {
        bail!("the manifest's commands failed:\n{}\n--- commands\n{}", tail(&output), commands(manifest));
    }
    Ok(output)
}

/// The commands as one script; they say themselves that the first failure ends it.
pub fn commands(manifest: &Manifest) -> String {
    let mut script = String::new();
    for command in &manifest.recovery.commands {
        script.push_str(command);
        script.push('\n');
    }
    script
}

/// What `recovery.needs` asks for: access to the bucket, the private key as a file, and the empty server.
async fn environment(cluster: &Cluster, place: &Place, parts: &Parts) -> Result<String> {
    let secret = async |namespace: &str, name: &str| {
        cluster.kube(&format!("get secret -n {namespace} {name} -o jsonpath={{.data.ca\\.crt}}")).await
    };
    let (s3_ca, db_ca) = (secret(&parts.namespace, "s3-ca").await?, secret(&place.namespace, "db-ca").await?);
    let key = parts.keys.first().context("no key pair")?;
    Ok(format!(
        "rm -rf /tmp/recovery && mkdir /tmp/recovery && cd /tmp/recovery\n\
         base64 -d >s3-ca.crt <<<{s3_ca}\nbase64 -d >db-ca.crt <<<{db_ca}\n\
         (umask 077 && echo {identity} >identity.txt)\n\
         export AWS_ACCESS_KEY_ID={access} AWS_SECRET_ACCESS_KEY={secret} AWS_REGION={region}\n\
         export AWS_ENDPOINT_URL={endpoint} AWS_CA_BUNDLE=$PWD/s3-ca.crt AWS_PAGER=\n\
         export IDENTITY=$PWD/identity.txt\n\
         export PGHOST=db.{namespace}.svc PGPORT=5432 PGUSER=postgres PGPASSWORD={password}\n\
         export PGSSLMODE=verify-full PGSSLROOTCERT=$PWD/db-ca.crt\n",
        identity = key.identity,
        access = parts.s3.access,
        secret = parts.s3.secret,
        region = s3::REGION,
        endpoint = s3::endpoint(&parts.namespace),
        namespace = place.namespace,
        password = place.access.superuser_password,
    ))
}
