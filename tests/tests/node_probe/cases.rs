//! What can be wrong with a policy's bucket, database or keys, and what the wrong policies name.

use anyhow::Result;
use greenlang_backup_api::conditions::{DATABASE_REACHABLE, ENCRYPTION_READY, STORAGE_REACHABLE};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::parts::{self, Parts, postgres};
use serde_json::{Value, json};

/// Something wrong: name of the case and of its policy, what to merge into a right spec, which condition says so with which
/// reason, and a word that the message must have so that people know what to do.
pub struct Case {
    pub name: &'static str,
    pub change: Value,
    pub condition: &'static str,
    pub reason: &'static str,
    pub word: &'static str,
}

/// One case for each line of the table, and for both sides where there are two.
pub fn cases(parts: &Parts) -> Vec<Case> {
    let (namespace, recipient) = (&parts.namespace, parts.recipients()[0]);
    let s3 = |change: Value| json!({"storage": {"s3": change}});
    let postgres = |change: Value| json!({"postgres": change});
    let credentials = |name: &str| json!({"credentialsSecretRef": {"name": name}});
    let ca = |name: &str| json!({"caSecretRef": {"name": name}});
    let table = [
        ("db-no-secret", postgres(credentials("later")), DATABASE_REACHABLE, "SecretMissing", "Secret later"),
        ("s3-no-secret", s3(credentials("nowhere")), STORAGE_REACHABLE, "SecretMissing", "Secret nowhere"),
        ("s3-no-ca", s3(ca("nowhere")), STORAGE_REACHABLE, "SecretMissing", "Secret nowhere"),
        ("db-no-key", postgres(credentials("half-db")), DATABASE_REACHABLE, "SecretKeyMissing", "password"),
        (
            "s3-no-key",
            s3(credentials("half-s3")),
            STORAGE_REACHABLE,
            "SecretKeyMissing",
            "AWS_SECRET_ACCESS_KEY",
        ),
        (
            "db-bad-password",
            postgres(credentials("bad-db")),
            DATABASE_REACHABLE,
            "AuthenticationFailed",
            "password",
        ),
        ("s3-bad-secret", s3(credentials("bad-s3")), STORAGE_REACHABLE, "AccessDenied", "Secret bad-s3"),
        (
            "s3-no-rights",
            s3(credentials("s3-stranger")),
            STORAGE_REACHABLE,
            "AccessDenied",
            "Secret s3-stranger",
        ),
        ("db-no-rights", postgres(credentials("weak-db")), DATABASE_REACHABLE, "PermissionDenied", "GRANT"),
        (
            "db-no-host",
            postgres(json!({"host": format!("no.{namespace}.svc")})),
            DATABASE_REACHABLE,
            "HostNotFound",
            "postgres.host",
        ),
        (
            "s3-no-host",
            s3(json!({"endpoint": "https://no.such.host.invalid:9000"})),
            STORAGE_REACHABLE,
            "HostNotFound",
            "endpoint",
        ),
        (
            "db-no-answer",
            postgres(json!({"host": format!("dead.{namespace}.svc")})),
            DATABASE_REACHABLE,
            "ConnectionFailed",
            "dead",
        ),
        (
            "db-no-database",
            postgres(json!({"database": "nodatabase"})),
            DATABASE_REACHABLE,
            "DatabaseNotFound",
            "nodatabase",
        ),
        ("db-untrusted", postgres(ca("s3-ca")), DATABASE_REACHABLE, "TlsFailed", "caSecretRef"),
        ("s3-untrusted", s3(ca("db-ca")), STORAGE_REACHABLE, "TlsFailed", "caSecretRef"),
        (
            "s3-no-bucket",
            s3(json!({"bucket": "no-such-bucket"})),
            STORAGE_REACHABLE,
            "BucketNotFound",
            "create",
        ),
        // Well-formed but for its checksum: only the age library sees that.
        (
            "key-mistyped",
            json!({"encryption": {"age": {"recipients": [recipient, recipient.replace("age1", "age1q")]}}}),
            ENCRYPTION_READY,
            "InvalidRecipient",
            "recipients[1]",
        ),
    ];
    table.map(|(name, change, condition, reason, word)| Case { name, change, condition, reason, word }).into()
}

/// The Secrets and the Service that the wrong policies name.
pub async fn surroundings(cluster: &Cluster, parts: &Parts) -> Result<()> {
    let namespace = &*parts.namespace;
    parts::secret(cluster, namespace, "half-db", [("username", "backup")]).await?;
    parts::secret(cluster, namespace, "half-s3", [("AWS_ACCESS_KEY_ID", &*parts.s3.access)]).await?;
    parts::secret(cluster, namespace, "bad-db", [("username", "backup"), ("password", "not-the-password")])
        .await?;
    let wrong = [("AWS_ACCESS_KEY_ID", &*parts.s3.access), ("AWS_SECRET_ACCESS_KEY", "not-the-secret-key")];
    parts::secret(cluster, namespace, "bad-s3", wrong).await?;
    postgres::psql(cluster, namespace, "postgres", "CREATE ROLE weak LOGIN PASSWORD 'weak-weak-weak'")
        .await?;
    parts::secret(cluster, namespace, "weak-db", [("username", "weak"), ("password", "weak-weak-weak")])
        .await?;
    // A name that resolves and a port at which nobody listens.
    let spec = json!({"selector": {"app": "nobody"}, "ports": [{"port": 5432}]});
    let metadata = json!({"name": "dead", "namespace": namespace});
    cluster
        .apply(
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}).to_string(),
        )
        .await
}
