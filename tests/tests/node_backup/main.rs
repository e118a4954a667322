//! The main road on a real node: backups by schedule, by `firstRun` and by annotation, and the way back by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

mod checks;

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::{BackupPolicyStatus, Trigger};
use greenlang_backup_tests::compare::Fingerprint;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::{bucket, by_hand, dataset, operator, policy, suite};
use serde_json::json;

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
    checks::counted_once(&status, &manifests, &recorder);
    let manifest = manifests.last().context("no manifest")?;
    checks::describes(manifest, &applied, &parts);
    checks::is_all_there_is(&cluster, &parts, &manifests, &status).await?;
    checks::is_told(&cluster, &parts, &status).await?;

    by_hand::restore(&cluster, &place, &parts, manifest).await?;
    let source = Fingerprint::take(&cluster, &parts.namespace, dataset::DATABASE).await?;
    let restored = Fingerprint::take(&cluster, &place.namespace, dataset::DATABASE).await?;
    let differences: Vec<_> = source.differences(&restored).iter().map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
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
