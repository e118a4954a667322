//! A database comes back by a RestoreRequest on a real node, while applications use it, and goes again by a second one; whatever dies
//! meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails may panic")]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::v1alpha1::{BackupPolicyStatus, RestorePhase, RestoreRequestStatus};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::compare::Fingerprint;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::parts::{Parts, postgres};
use greenlang_backup_tests::{operator, policy, restore, secrets_search, suite, wait};
use serde_json::json;

const NAMES: &[&str] = &["restored", "cut"];
/// Longer than any step takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(8);

/// A small database with a backup, and applications that use it. Gives the fingerprint of what was backed up.
async fn prepare(cluster: &Cluster, parts: &Parts, name: &str) -> Result<Fingerprint> {
    let namespace = &*parts.namespace;
    let mut wanted = policy::small(cluster, parts, name).await?;
    wanted["spec"]["firstRun"] = json!("Immediately");
    let applied = policy::apply(cluster, &wanted).await?;
    let before = Fingerprint::take(cluster, namespace, name).await?;
    restore::secrets(cluster, parts).await?;
    policy::until(cluster, &applied, "a backup", LIMIT, |status: &BackupPolicyStatus| {
        status
            .backup("database")
            .is_some_and(|backup| backup.active.is_none() && backup.manual.succeeded == 1)
    })
    .await?;
    restore::start_applications(cluster, namespace, name).await?;
    Ok(before)
}

/// What a bad migration does.
async fn damage(cluster: &Cluster, parts: &Parts, name: &str) -> Result<Fingerprint> {
    let namespace = &*parts.namespace;
    postgres::psql(cluster, namespace, name, "DROP TABLE note; CREATE TABLE left_over (id int)").await?;
    Fingerprint::take(cluster, namespace, name).await
}

fn is_true(status: &RestoreRequestStatus, type_: &str) -> bool {
    conditions::is(&status.conditions, type_, State::True)
}

async fn databases(cluster: &Cluster, namespace: &str) -> Result<BTreeSet<String>> {
    let rows = postgres::psql(cluster, namespace, "postgres", "SELECT datname FROM pg_database").await?;
    Ok(rows.lines().map(str::to_owned).collect())
}

async fn expect_equal(cluster: &Cluster, namespace: &str, name: &str, wanted: &Fingerprint) -> Result<()> {
    let now = Fingerprint::take(cluster, namespace, name).await?;
    let differences: Vec<_> = wanted.differences(&now).iter().map(ToString::to_string).collect();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// All applications have what they had, and carry nothing of ours.
async fn expect_resumed(cluster: &Cluster, namespace: &str) -> Result<()> {
    assert_eq!(restore::replicas(cluster, namespace).await?, [(6, 6), (4, 4)]);
    let question = format!("get deployments -n {namespace} -o jsonpath={{.items[*].metadata.annotations}}");
    let annotations = cluster.kube(&question).await?;
    assert!(!annotations.contains("backup.greenlang.io/quiesced"), "{annotations}");
    Ok(())
}

#[tokio::test]
async fn a_database_comes_back_by_a_request_and_goes_again_by_another() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "restored").await?;
    let namespace = &*parts.namespace;
    let recorder = Recorder::start(&cluster, namespace);
    let before = prepare(&cluster, &parts, "restored").await?;
    let damaged = damage(&cluster, &parts, "restored").await?;

    // The plan alone touches nothing.
    let mut dry = restore::request(&parts, "dry", "restored", "restored");
    dry["spec"]["dryRun"] = json!(true);
    restore::apply(&cluster, &dry).await?;
    let planned = restore::ended(&cluster, namespace, "dry", LIMIT).await?;
    assert_eq!(planned.phase, Some(RestorePhase::Planned), "{planned:#?}");
    let plan = planned.plan.context("no plan")?;
    let counts: Vec<_> = plan.workloads.iter().map(|workload| workload.replicas).collect();
    assert!(plan.feasible && counts == [Some(6), Some(4)], "{plan:#?}");
    expect_equal(&cluster, namespace, "restored", &damaged).await?;

    restore::apply(&cluster, &restore::request(&parts, "back", "restored", "restored")).await?;
    let status = restore::ended(&cluster, namespace, "back", LIMIT).await?;
    assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
    let all =
        ["Planning", "Quiescing", "Restoring", "Verifying", "Switching", "Resuming", "Checking", "Succeeded"];
    let phases: Vec<_> = restore::phases(&status).into_iter().filter(|phase| *phase != "Verifying").collect();
    assert_eq!(phases, all.into_iter().filter(|phase| *phase != "Verifying").collect::<Vec<_>>());
    for type_ in ["Ready", "Planned", "Restored", "Verified", "Switched", "Resumed", "Finished"] {
        assert!(is_true(&status, type_), "{type_}: {:#?}", status.conditions);
    }
    expect_equal(&cluster, namespace, "restored", &before).await?;
    expect_resumed(&cluster, namespace).await?;
    let previous = status.previous.context("nothing was kept")?;
    assert!(databases(&cluster, namespace).await?.contains(&previous.name), "{previous:?}");

    // The same name does not restore again.
    cluster.kube(&format!("delete restorerequest -n {namespace} back")).await?;
    restore::apply(&cluster, &restore::request(&parts, "back", "restored", "restored")).await?;
    let again = restore::ended(&cluster, namespace, "back", LIMIT).await?;
    let failure = again.failure.context("it should have been refused")?;
    assert_eq!((again.phase, &*failure.reason), (Some(RestorePhase::Failed), "AlreadyCarriedOut"));
    expect_equal(&cluster, namespace, "restored", &before).await?;

    restore::apply(&cluster, &restore::undo(&parts, "forth", "restored", "restored", "back")).await?;
    let undone = restore::ended(&cluster, namespace, "forth", LIMIT).await?;
    assert_eq!(undone.phase, Some(RestorePhase::Succeeded), "{undone:#?}");
    expect_equal(&cluster, namespace, "restored", &damaged).await?;
    expect_resumed(&cluster, namespace).await?;

    let metrics = operator::metrics(&cluster).await?;
    let series = format!("gl_restore_workloads_scaled_down{{namespace=\"{namespace}\",request=\"forth\"}} 0");
    assert!(metrics.contains(&series), "{metrics}");
    let mut secrets = parts.secrets();
    secrets.retain(|secret| !secret.is_empty());
    let found = secrets_search::find(&secrets_search::gather(&cluster, &parts, &recorder).await?, &secrets);
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// In each phase once, at a moment that nobody chose.
#[tokio::test]
async fn a_restore_goes_on_to_its_end_although_the_operator_is_killed_in_each_phase() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "cut").await?;
    let namespace = &*parts.namespace;
    let before = prepare(&cluster, &parts, "cut").await?;
    damage(&cluster, &parts, "cut").await?;
    restore::apply(&cluster, &restore::request(&parts, "back", "cut", "cut")).await?;
    let mut killed = BTreeSet::new();
    let status = wait::until_in(&cluster, namespace, "the restore ends", LIMIT * 2, async || {
        let status = restore::status(&cluster, namespace, "back").await?;
        let phase = status.phase.unwrap_or_default();
        if phase.is_end() {
            return Ok(Some(status));
        }
        if killed.insert(phase) {
            operator::kill(&cluster).await?;
        }
        Ok(None)
    })
    .await?;
    assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
    // Those that last longer than a look; the others may pass between two.
    let lasting: BTreeSet<_> = {
        use RestorePhase::{Planning, Quiescing, Restoring, Resuming, Switching};
        [Planning, Quiescing, Restoring, Switching, Resuming].into()
    };
    assert!(killed.is_superset(&lasting), "only killed in {killed:?}");
    expect_equal(&cluster, namespace, "cut", &before).await?;
    expect_resumed(&cluster, namespace).await?;
    let temporary = databases(&cluster, namespace).await?;
    assert_eq!(
        temporary.len(),
        5,
        "template0, template1, postgres, what is served and what was replaced: {temporary:?}"
    );
    Ok(())
}
