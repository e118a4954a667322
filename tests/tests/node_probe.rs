//! What is wrong with a policy's bucket, database or keys shows within a minute, each with a reason of its own, without a storm
//! of retries; and once it is mended the policy becomes ready.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use greenlang_backup_api::conditions::{
    DATABASE_REACHABLE, ENCRYPTION_READY, READY, STORAGE_REACHABLE, State, find, is,
};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::parts::{self, Parts, postgres};
use greenlang_backup_tests::{policy, suite};
use kube::ResourceExt as _;
use serde_json::{Value, json};

const NAMES: &[&str] = &["probe"];
/// What people are promised.
const MINUTE: Duration = Duration::from_mins(1);
/// Failing probes wait 30 s, 60 s, 120 s, … between each other; recovery without a change of the spec waits for the next.
const NEXT_PROBE: Duration = Duration::from_mins(4);

/// Something wrong: name of the case and of its policy, what to merge into a right spec, which condition says so with which
/// reason, and a word that the message must have so that people know what to do.
struct Case {
    name: &'static str,
    change: Value,
    condition: &'static str,
    reason: &'static str,
    word: &'static str,
}

/// One case for each line of the table, and for both sides where there are two.
fn cases(parts: &Parts) -> Vec<Case> {
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

#[tokio::test]
async fn whatever_is_wrong_shows_within_a_minute_and_can_be_mended() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "probe").await?;
    let namespace = &*parts.namespace;
    postgres::small_database(&cluster, namespace, "small").await?;
    surroundings(&cluster, &parts).await?;
    let recorder = Recorder::start(&cluster, namespace);
    // Some at a time: the promise is for one policy, not for all at once on two cores.
    for cases in cases(&parts).chunks(4) {
        try_join_all(cases.iter().map(|case| shows(&cluster, &parts, case))).await?;
    }
    for case in cases(&parts) {
        // The first cases are minutes old now; each may have been probed again, with growing pauses, and no more.
        let jobs = recorder.jobs(case.name, labels::TASK_PROBE).len();
        assert!((1..=5).contains(&jobs), "{}: {jobs} probes", case.name);
        assert!(recorder.jobs(case.name, labels::TASK_BACKUP).is_empty(), "{}", case.name);
    }
    // A Secret that appears is no change of the policy: the next probe finds it.
    let login = [("username", "backup"), ("password", &*parts.postgres.backup_password)];
    parts::secret(&cluster, namespace, "later", login).await?;
    let waiting = policy::api(&cluster, namespace).get("db-no-secret").await?;
    becomes_ready(&cluster, &waiting, NEXT_PROBE).await?;
    for cases in cases(&parts)[1..].chunks(4) {
        try_join_all(cases.iter().map(|case| mends(&cluster, &parts, case))).await?;
    }
    Ok(())
}

/// The Secrets and the Service that the wrong policies name.
async fn surroundings(cluster: &Cluster, parts: &Parts) -> Result<()> {
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

fn right(parts: &Parts, case: &Case) -> Result<Value> {
    let mut policy = policy::for_test(parts, case.name)?;
    policy["spec"]["postgres"]["database"] = json!("small");
    policy["spec"]["backups"][0]["postgresDump"] = json!({});
    Ok(policy)
}

async fn shows(cluster: &Cluster, parts: &Parts, case: &Case) -> Result<()> {
    let mut wanted = right(parts, case)?;
    json_patch::merge(&mut wanted, &json!({"spec": case.change}));
    let applied = policy::apply(cluster, &wanted).await?;
    let generation = applied.generation();
    let what = format!("{} is False with {}", case.condition, case.reason);
    let status = policy::until(cluster, &applied, &what, MINUTE, |status| {
        [case.condition, READY]
            .iter()
            .all(|type_| policy::shows(status, generation, type_, "False", case.reason))
    })
    .await?;
    let message = &find(&status.conditions, case.condition).context("a condition")?.message;
    assert!(message.contains(case.word), "{}: {message}", case.name);
    // Only what is wrong is said to be.
    for other in [STORAGE_REACHABLE, DATABASE_REACHABLE, ENCRYPTION_READY] {
        assert!(
            other == case.condition || is(&status.conditions, other, State::True),
            "{}: {status:#?}",
            case.name
        );
    }
    let events =
        format!("get events -n {} --field-selector involvedObject.name={}", parts.namespace, case.name);
    let events = cluster.kube(&events).await?;
    assert!(events.contains("ProbeFailed") && events.contains(case.reason), "{}: {events}", case.name);
    Ok(())
}

async fn mends(cluster: &Cluster, parts: &Parts, case: &Case) -> Result<()> {
    let applied = policy::apply(cluster, &right(parts, case)?).await?;
    becomes_ready(cluster, &applied, MINUTE).await
}

async fn becomes_ready(cluster: &Cluster, policy: &BackupPolicy, limit: Duration) -> Result<()> {
    let generation = policy.generation();
    let what = format!("{} is ready", policy.name_any());
    policy::until(cluster, policy, &what, limit, |status| {
        policy::shows(status, generation, READY, "True", "Succeeded")
    })
    .await
    .map(drop)
}
