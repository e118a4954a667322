//! No password and no private key appears in any log, event, status, Job, Pod or manifest, whether runs succeed or fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

use std::time::Duration;

use anyhow::{Result, ensure};
use greenlang_backup_api::conditions::READY;
use greenlang_backup_api::v1alpha1::BackupPolicyStatus;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::{parts, policy, random, secrets_search, suite, wait};
use serde_json::json;

const NAMES: &[&str] = &["secrets"];
const LIMIT: Duration = Duration::from_mins(3);

#[tokio::test]
async fn secrets_are_nowhere_but_in_secrets() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "secrets").await?;
    let namespace = &*parts.namespace;
    let recorder = Recorder::start(&cluster, namespace);
    // Wrong ones too: what is refused is easily quoted in an error, and a Secret may hold what is no key at all.
    let (password, key, text) = (random::word(20)?, random::word(30)?, random::word(30)?);
    parts::secret(&cluster, namespace, "bad-db", [("username", "backup"), ("password", &*password)]).await?;
    let keys = [("AWS_ACCESS_KEY_ID", &*parts.s3.access), ("AWS_SECRET_ACCESS_KEY", &key)];
    parts::secret(&cluster, namespace, "bad-s3", keys).await?;
    parts::secret(&cluster, namespace, "bad-ca", [("ca.crt", &*format!("{text}\nis no certificate"))])
        .await?;

    let mut wanted = policy::small(&cluster, &parts, "good").await?;
    wanted["spec"]["firstRun"] = json!("Immediately");
    let good = policy::apply(&cluster, &wanted).await?;
    let mut failing = Vec::new();
    for (name, field, secret) in [
        ("bad-db", "/spec/postgres/credentialsSecretRef/name", "bad-db"),
        ("bad-s3", "/spec/storage/s3/credentialsSecretRef/name", "bad-s3"),
        ("bad-ca", "/spec/postgres/caSecretRef/name", "bad-ca"),
    ] {
        let mut wrong = wanted.clone();
        wrong["metadata"]["name"] = json!(name);
        wrong["spec"]["storage"]["s3"]["prefix"] = json!(name);
        *wrong.pointer_mut(field).unwrap() = json!(secret);
        failing.push(policy::apply(&cluster, &wrong).await?);
    }
    let succeeded = |status: &BackupPolicyStatus| {
        status.backup("database").is_some_and(|backup| backup.manual.succeeded == 1)
    };
    policy::until(&cluster, &good, "a backup was made", LIMIT, succeeded).await?;
    for policy in &failing {
        let failed = |status: &BackupPolicyStatus| {
            let not_ready =
                status.conditions.iter().any(|found| found.type_ == READY && found.status == "False");
            not_ready && status.backup("database").is_some_and(|backup| backup.manual.attempts > 0)
        };
        policy::until(&cluster, policy, "probe and backup failed", LIMIT, failed).await?;
    }

    // The logs of the last Pods may still be on their way to the recorder.
    let texts = wait::until_in(&cluster, namespace, "every kind of text is there", LIMIT, async || {
        let texts = secrets_search::gather(&cluster, &parts, &recorder).await?;
        let has = |kind: &str| texts.iter().any(|(name, text)| name.contains(kind) && text.len() > 100);
        let kinds = [
            "Job good-database",
            "Pod good-database",
            "log of Pod good-database",
            "log of Pod bad-db-probe",
            "manifest.json",
            "get events",
        ];
        let missing: Vec<_> = kinds.iter().filter(|kind| !has(kind)).collect();
        ensure!(missing.is_empty(), "missing: {missing:?}");
        Ok(Some(texts))
    })
    .await?;
    let mut secrets = parts.secrets();
    secrets.extend([&*password, &key, &text]);
    let found = secrets_search::find(&texts, &secrets);
    assert!(found.is_empty(), "{found:#?}");
    // The search sees what is not secret, in plain text and within the encoded task.
    let visible = secrets_search::find(&texts, &[parts.recipients()[0]]);
    assert!(visible.iter().any(|place| place.contains("Job good-database")), "{visible:?}");
    Ok(())
}
