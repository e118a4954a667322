//! The main road on a real node: backups by schedule, by `firstRun` and by annotation, and the way back by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::manifest::{Content, Manifest};
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus, Trigger, Verification};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::compare::Fingerprint;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::parts::{Parts, hand, s3};
use greenlang_backup_tests::{bucket, by_hand, dataset, operator, policy, suite};
use kube::ResourceExt as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

const NAMES: &[&str] = &["scheduled", "asked"];
/// Longer than a minute's wait for the slot and a backup on a busy machine.
const LIMIT: Duration = Duration::from_mins(4);

#[tokio::test]
async fn coinciding_schedules_make_one_backup_that_anyone_can_restore() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "scheduled").await?;
    let hand = format!("{}-hand", parts.namespace);
    let (place, _) =
        tokio::try_join!(by_hand::prepare(&cluster, &hand), dataset::ensure(&cluster, &parts.namespace))?;
    let recorder = Recorder::start(&cluster, &parts.namespace);
    let mut wanted = policy::for_test(&parts, "scheduled")?;
    wanted["spec"]["backups"][0]["schedules"] = json!([
        {"name": "daily", "cron": "* * * * *", "keepDays": 30},
        {"name": "weekly", "cron": "*/1 * * * *", "keepDays": 90},
        {"name": "never", "cron": "0 0 29 2 *", "keepDays": 365},
    ]);
    let applied = policy::apply(&cluster, &wanted).await?;
    let served = |status: &BackupPolicyStatus| {
        let schedules =
            status.backup("database").map(|backup| backup.schedules.as_slice()).unwrap_or_default();
        schedules.iter().filter(|entry| entry.history.last_success.is_some()).count() == 2
    };
    policy::until(&cluster, &applied, "both schedules were served", LIMIT, served).await?;
    policy::change(&cluster, &parts.namespace, "scheduled", json!({"spec": {"suspend": true}})).await?;
    let quiet =
        |status: &BackupPolicyStatus| status.backup("database").is_some_and(|backup| backup.active.is_none());
    let status = policy::until(&cluster, &applied, "no run is active", LIMIT, quiet).await?;

    let manifests = bucket::manifests(&cluster, &parts, "scheduled/").await?;
    counted_once(&status, &manifests, &recorder);
    let manifest = manifests.last().context("no manifest")?;
    describes(manifest, &applied, &parts);
    is_all_there_is(&cluster, &parts, &manifests, &status).await?;
    is_told(&cluster, &parts, &status).await?;

    by_hand::restore(&cluster, &place, &parts, manifest).await?;
    let source = Fingerprint::take(&cluster, &parts.namespace, dataset::DATABASE).await?;
    let restored = Fingerprint::take(&cluster, &place.namespace, dataset::DATABASE).await?;
    let differences: Vec<_> = source.differences(&restored).iter().map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// One Job and one manifest for each slot, counted once by each schedule that had the slot.
fn counted_once(status: &BackupPolicyStatus, manifests: &[Manifest], recorder: &Recorder) {
    let jobs = recorder.jobs("scheduled", labels::TASK_BACKUP);
    let ids: Vec<_> = jobs.iter().filter_map(|job| job.labels().get(labels::ID).cloned()).collect();
    let made: Vec<_> = manifests.iter().map(|manifest| manifest.timestamp.to_string()).collect();
    assert_eq!(ids, made, "one Job for each backup");
    let available: Vec<_> = status.available.iter().rev().map(|entry| entry.id.to_string()).collect();
    assert_eq!(available, made);
    let schedules = &status.backup("database").unwrap().schedules;
    let counts: Vec<_> =
        schedules.iter().map(|entry| (entry.history.attempts, entry.history.succeeded)).collect();
    let runs = u64::try_from(made.len()).unwrap();
    assert_eq!(counts, [(runs, runs), (runs, runs), (0, 0)]);
    assert!(schedules.iter().all(|entry| entry.history.failed == 0));
}

/// The manifest says what was made, of what, for whom and how to recover it.
fn describes(manifest: &Manifest, policy: &BackupPolicy, parts: &Parts) {
    assert_eq!((manifest.database.as_deref(), &*manifest.kind), (Some("greenlang"), "postgresDump"));
    assert_eq!((&*manifest.backup, &*manifest.path, manifest.attempt), ("database", "database", 1));
    assert_eq!(
        (&manifest.policy.namespace, &manifest.policy.name),
        (&parts.namespace, &"scheduled".to_owned())
    );
    assert_eq!(Some(manifest.policy.uid.clone()), policy.uid());
    assert_eq!((manifest.trigger, manifest.keep_days), (Trigger::Schedule, 90));
    let schedules: Vec<_> = manifest.schedules.iter().map(|entry| (&*entry.name, entry.keep_days)).collect();
    assert_eq!(schedules, [("daily", 30), ("weekly", 90)]);
    assert_eq!(manifest.timestamp.slot().unwrap(), manifest.slot);
    assert_eq!(manifest.slot.as_second() % 60, 0, "the id is the slot, not the start");
    assert!(manifest.slot <= manifest.start_time && manifest.start_time <= manifest.end_time);
    assert!(manifest.verified >= Verification::Streamed);
    assert!(manifest.server_version.contains("17."), "{}", manifest.server_version);
    let tool =
        |name: &str| manifest.tools.iter().any(|tool| tool.name == name && tool.version.contains(" 17."));
    assert!(tool("pg_dump") && tool("pg_dumpall"), "{:?}", manifest.tools);
    let contents: Vec<_> = manifest.objects.iter().map(|object| &object.content).collect();
    let database = dataset::DATABASE.to_owned();
    assert_eq!(contents, [&Content::PostgresGlobals, &Content::PostgresArchive { database }]);
    let fingerprint = |recipient: &&str| {
        Sha256::digest(recipient)
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .concat()
    };
    let recipients: BTreeSet<_> = parts.recipients().iter().map(fingerprint).collect();
    for object in &manifest.objects {
        assert_eq!(object.recipients.iter().cloned().collect::<BTreeSet<_>>(), recipients);
        assert!(
            object.key.starts_with(&format!("scheduled/database/{}/1/", manifest.timestamp)),
            "{}",
            object.key
        );
    }
    assert_eq!(manifest.size_bytes, manifest.objects.iter().map(|object| object.stored_bytes).sum::<u64>());
    assert!(manifest.source_bytes() > 50 << 20, "{} bytes are few", manifest.source_bytes());
}

/// The bucket holds what the manifests name, byte for byte, and nothing else.
async fn is_all_there_is(
    cluster: &Cluster,
    parts: &Parts,
    manifests: &[Manifest],
    status: &BackupPolicyStatus,
) -> Result<()> {
    let mut named = BTreeSet::new();
    for manifest in manifests {
        named.insert(format!("object scheduled/database/{}/manifest.json", manifest.timestamp));
        named.extend(manifest.objects.iter().map(|object| format!("object {}", object.key)));
    }
    let found = bucket::everything(cluster, parts, "").await?.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(found, named);
    let newest = manifests.last().context("no manifest")?;
    for object in &newest.objects {
        let script = format!("aws s3 cp --quiet 's3://{}/{}' - | sha256sum", s3::BUCKET, object.key);
        let digest = hand::aws(cluster, parts, &parts.s3.access, &parts.s3.secret, &script).await?;
        assert_eq!(digest.split_whitespace().next(), Some(&*object.stored_sha256), "{}", object.key);
    }
    let bytes: Vec<_> = status.available.iter().map(|entry| entry.bytes).collect();
    assert_eq!(bytes, manifests.iter().rev().map(|manifest| manifest.size_bytes).collect::<Vec<_>>());
    Ok(())
}

/// People see it by `kubectl get`, events and metrics, and no Job of a counted run is left.
async fn is_told(cluster: &Cluster, parts: &Parts, status: &BackupPolicyStatus) -> Result<()> {
    let namespace = &parts.namespace;
    assert!(
        status.last_backup_time.is_some()
            && status.last_size.as_ref().is_some_and(|size| size.contains("MiB"))
    );
    let events = cluster
        .kube(&format!("get events -n {namespace} --field-selector involvedObject.kind=BackupPolicy"))
        .await?;
    for reason in ["BackupStarted", "BackupSucceeded"] {
        assert!(events.contains(reason), "{events}");
    }
    let runs = status.available.len();
    let series = format!(
        "gl_backup_success_total{{backup=\"database\",namespace=\"{namespace}\",policy=\"scheduled\",schedule=\"weekly\"}} {runs}"
    );
    let metrics = operator::metrics(cluster).await?;
    assert!(metrics.contains(&series), "no line {series}");
    let what = "the Jobs of counted runs are deleted";
    greenlang_backup_tests::wait::until_in(cluster, namespace, what, LIMIT, async || {
        Ok(cluster.kube(&format!("get jobs -n {namespace} -o name")).await?.is_empty().then_some(()))
    })
    .await
}

#[tokio::test]
async fn first_run_and_annotation_make_one_backup_each() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "asked").await?;
    let namespace = &*parts.namespace;
    let recorder = Recorder::start(&cluster, namespace);
    let mut wanted = policy::small(&cluster, &parts, "asked").await?;
    wanted["spec"]["firstRun"] = json!("Immediately");
    wanted["spec"]["manualKeepDays"] = json!(7);
    let applied = policy::apply(&cluster, &wanted).await?;
    let made = |count: u64| {
        move |status: &BackupPolicyStatus| {
            status
                .backup("database")
                .is_some_and(|backup| backup.active.is_none() && backup.manual.succeeded == count)
        }
    };
    policy::until(&cluster, &applied, "the first run made a backup", LIMIT, made(1)).await?;
    // Each new token is one run, and the same token again is none.
    for (count, token) in [(2, "a"), (2, "a"), (3, "b with blanks, ä and $(HOME)")] {
        policy::run_now(&cluster, namespace, "asked", "database", token).await?;
        let what = format!("{count} backups after token {token}");
        policy::until(&cluster, &applied, &what, LIMIT, made(count)).await?;
    }
    // A restart begins with a look at every policy: a run that should not be would start now.
    operator::kill(&cluster).await?;
    operator::scale(&cluster, 1).await?;
    policy::run_now(&cluster, namespace, "asked", "database", "c").await?;
    let status = policy::until(&cluster, &applied, "4 backups", LIMIT, made(4)).await?;

    let manifests = bucket::manifests(&cluster, &parts, "asked/").await?;
    let triggers: Vec<_> = manifests.iter().map(|manifest| manifest.trigger).collect();
    assert_eq!(triggers, [Trigger::FirstRun, Trigger::Manual, Trigger::Manual, Trigger::Manual]);
    assert!(manifests.iter().all(|manifest| manifest.keep_days == 7 && manifest.schedules.is_empty()));
    assert_eq!(recorder.jobs("asked", labels::TASK_BACKUP).len(), 4);
    let history = &status.backup("database").unwrap().manual;
    assert_eq!((history.attempts, history.failed), (4, 0));
    Ok(())
}
