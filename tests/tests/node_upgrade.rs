//! An upgrade from the charts and the definition of the first slice, in the middle of a run: nothing is lost, and the run counts once.
//!
//! `OLD_IMAGE` names the image of that time (`tests/old-image.sh` builds it; `make test-all` does). An upgrade in the wrong order is a
//! test of the operator's process: it waits for the definition of its own release.

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::parts::Parts;
use greenlang_backup_tests::{bucket, held, operator, policy, suite, wait};
use kube::ResourceExt as _;
use serde_json::{Value, json};

const NAMES: &[&str] = &["upgrade"];
/// A backup, or an operator that starts, on a busy machine.
const LIMIT: Duration = Duration::from_mins(4);
const NAME: &str = "upgrade";

#[tokio::test]
#[ignore = "builds an old image: make test-all"]
async fn an_upgrade_in_the_middle_of_a_run_loses_nothing() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, NAME).await?;
    let image = std::env::var("OLD_IMAGE").context("OLD_IMAGE must name the image of the first slice")?;
    let upgraded = match operator::install_from(&cluster, &operator::first_slice(), &image, json!({})).await {
        Ok(()) => upgrade(&cluster, &parts).await,
        Err(error) => Err(error.context("the charts of the first slice")),
    };
    // Whatever happened, the others expect the present ones.
    let installed = operator::install(&cluster).await;
    upgraded.and(installed)
}

async fn upgrade(cluster: &Cluster, parts: &Parts) -> Result<()> {
    let namespace = &*parts.namespace;
    assert!(!definition(cluster).await?.contains("streams"), "the old definition must be in use");
    let mut wanted = held::policy(cluster, parts, NAME).await?;
    wanted["spec"]["backups"][0]["schedules"] =
        json!([{"name": "leap", "cron": "0 0 29 2 *", "keepDays": 365}]);
    let applied = policy::apply(cluster, &wanted).await?;
    policy::run_now(cluster, namespace, NAME, "database", "one").await?;
    over(cluster, &applied, 1).await?;
    // The second run is in its middle when the operator is replaced.
    policy::run_now(cluster, namespace, NAME, "database", "two").await?;
    let dump = held::hold(cluster, parts).await?;
    let running = |status: &BackupPolicyStatus| {
        status.backup("database").and_then(|backup| backup.active.as_ref()?.job_uid.as_ref()).is_some()
    };
    policy::until(cluster, &applied, "the second run's Job is known", LIMIT, running).await?;
    let before = policy::api(cluster, namespace).get(NAME).await?;
    let objects = finished_objects(cluster, parts).await?;

    operator::install(cluster).await?;
    assert!(definition(cluster).await?.contains("streams"), "the new definition must be in use");
    let during = policy::api(cluster, namespace).get(NAME).await?;
    assert_eq!(during.spec, before.spec);
    assert_eq!((during.uid(), during.generation()), (before.uid(), before.generation()));
    dump.let_go(cluster, parts).await?;

    let after = over(cluster, &applied, 2).await?;
    kept(&before.status.clone().context("no status before")?, &after)?;
    let found = finished_objects(cluster, parts).await?;
    for object in &objects {
        assert!(found.contains(object), "{object:?} is gone or changed");
    }
    // Both the manifest of before and that of the run that went on can be read, and nothing was tried twice.
    let manifests = bucket::manifests(cluster, parts, &format!("{NAME}/")).await?;
    assert_eq!(manifests.iter().map(|manifest| manifest.attempt).collect::<Vec<_>>(), [1, 1]);

    // What comes next works as if nothing had been.
    policy::run_now(cluster, namespace, NAME, "database", "three").await?;
    let status = over(cluster, &applied, 3).await?;
    assert_eq!(status.available.len(), 3);
    wait::until("counters go on", LIMIT, async || {
        let series = format!(
            "gl_backup_success_total{{backup=\"database\",namespace=\"{namespace}\",policy=\"{NAME}\",schedule=\"manual\"}} 3"
        );
        Ok(operator::metrics(cluster).await?.lines().any(|line| line == series).then_some(()))
    })
    .await
}

/// What was known before is known after, and the run that went on was counted once.
fn kept(before: &BackupPolicyStatus, after: &BackupPolicyStatus) -> Result<()> {
    let backup =
        |status: &BackupPolicyStatus| status.backup("database").cloned().context("no status of the backup");
    let (old, new) = (backup(before)?, backup(after)?);
    assert_eq!((old.manual.attempts, old.manual.succeeded, old.manual.failed), (1, 1, 0));
    assert_eq!((new.manual.attempts, new.manual.succeeded, new.manual.failed), (2, 2, 0));
    assert_eq!(new.manual_token.as_deref(), Some("two"));
    assert_eq!(old.active.map(|active| active.run.id), new.manual.last_success.map(|run| run.id));
    let accepted = |schedule: &[greenlang_backup_api::v1alpha1::ScheduleStatus]| -> Vec<_> {
        schedule
            .iter()
            .map(|entry| (entry.name.clone(), entry.accepted.clone(), entry.accepted_time.clone()))
            .collect()
    };
    assert_eq!(accepted(&old.schedules), accepted(&new.schedules));
    for known in &before.available {
        assert!(after.available.contains(known), "{known:?} is available no more");
    }
    Ok(())
}

/// Waits until so many runs have ended and none goes on.
async fn over(cluster: &Cluster, applied: &BackupPolicy, runs: u64) -> Result<BackupPolicyStatus> {
    let what = format!("{runs} runs are over");
    policy::until(cluster, applied, &what, LIMIT, |status| {
        status.backup("database").is_some_and(|backup| {
            backup.active.is_none() && backup.manual.succeeded + backup.manual.failed >= runs
        })
    })
    .await
}

/// Keys and sizes of what a manifest names, and of manifests.
async fn finished_objects(cluster: &Cluster, parts: &Parts) -> Result<Vec<(String, u64)>> {
    let objects = bucket::objects(cluster, parts, &format!("{NAME}/")).await?;
    let folder = |key: &str| key.split('/').take(3).collect::<Vec<_>>().join("/");
    let finished: Vec<String> = objects
        .iter()
        .filter(|object| object.key.ends_with("/manifest.json"))
        .map(|object| folder(&object.key))
        .collect();
    assert!(!finished.is_empty(), "no backup was finished");
    Ok(objects
        .into_iter()
        .filter(|object| finished.contains(&folder(&object.key)))
        .map(|object| (object.key, object.size))
        .collect())
}

/// The fields of a dump, as the API server's definition has them now.
async fn definition(cluster: &Cluster) -> Result<String> {
    let crd: Value =
        serde_json::from_str(&cluster.kube("get crd backuppolicies.backup.greenlang.io -o json").await?)?;
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/backups/items/properties/postgresDump/properties";
    Ok(crd.pointer(spec).context("no fields of postgresDump")?.to_string())
}
