//! What must be true after a backup: of its Jobs, its manifest, the bucket, and what people see.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::manifest::{Content, Manifest};
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus, Trigger, Verification};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::parts::{Parts, hand, s3};
use greenlang_backup_tests::{bucket, dataset, operator, wait};
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};

use crate::LIMIT;

/// One Job and one manifest for each slot, counted once by each schedule that had the slot.
pub fn counted_once(status: &BackupPolicyStatus, manifests: &[Manifest], recorder: &Recorder) {
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
pub fn describes(manifest: &Manifest, policy: &BackupPolicy, parts: &Parts) {
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
    assert!(manifest.verified == Verification::ReadBack);
    assert!(manifest.server_version.contains("17."), "{}", manifest.server_version);
    let tool =
        |name: &str| manifest.tools.iter().any(|tool| tool.name == name && tool.version.contains(" 17."));
    assert!(tool("pg_dump") && tool("pg_dumpall"), "{:?}", manifest.tools);
    let contents: Vec<_> = manifest.objects.iter().map(|object| &object.content).collect();
    let database = dataset::DATABASE.to_owned();
    assert_eq!(
        contents,
        [
            &Content::PostgresGlobals,
            &Content::PostgresGlobalsData,
            &Content::PostgresSettings,
            &Content::PostgresArchive { database },
            &Content::PostgresContents,
        ]
    );
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
pub async fn is_all_there_is(
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
pub async fn is_told(cluster: &Cluster, parts: &Parts, status: &BackupPolicyStatus) -> Result<()> {
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
    wait::until_in(cluster, namespace, what, LIMIT, async || {
        Ok(cluster.kube(&format!("get jobs -n {namespace} -o name")).await?.is_empty().then_some(()))
    })
    .await
}
