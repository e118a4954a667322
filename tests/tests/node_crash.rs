//! The operator dies between any two writes of a run's life. The run still ends in exactly one backup, counted once.
//!
//! The image must have the feature `crash-points`, as `tests/image.sh dev` builds it: at the cut point that
//! `GREENLANG_CRASH_AT` names the process aborts, as by SIGKILL.

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions::{READY, State, is};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE};
use greenlang_backup_tests::{bucket, dataset, policy, suite, wait};

const NAMES: &[&str] = &["crash"];
/// Each run takes some seconds; what takes long is that a killed operator's Lease must run out.
const LIMIT: Duration = Duration::from_mins(3);
/// The points, in the order of a run's life.
const CUTS: &[&str] = &["run-decided", "job-created", "run-ended", "run-counted"];

#[tokio::test]
async fn a_run_survives_the_operators_death_at_every_cut_point() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "crash").await?;
    dataset::ensure(&cluster, &parts.namespace).await?;
    let applied = policy::apply(&cluster, &policy::for_test(&parts, "crash")?).await?;
    policy::until(&cluster, &applied, "ready", LIMIT, |status| is(&status.conditions, READY, State::True))
        .await?;

    for (at, cut) in CUTS.iter().enumerate() {
        let crashed = crash_in_a_run(&cluster, &parts.namespace, cut).await;
        crash_at(&cluster, None).await?;
        crashed?;

        let made = at as u64 + 1;
        let status =
            policy::until(&cluster, &applied, &format!("the run cut at {cut} is over"), LIMIT, |status| {
                status
                    .backups
                    .first()
                    .is_some_and(|backup| backup.active.is_none() && backup.manual.attempts >= made)
            })
            .await?;
        let history = &status.backups[0].manual;
        assert_eq!((history.attempts, history.succeeded, history.failed), (made, made, 0), "cut at {cut}");
        assert_eq!(status.available.len() as u64, made, "cut at {cut}");
        // Of a run that succeeded; deleting it is a cut point, too, which is for the next run to meet.
        wait::until("no Job is left", LIMIT, async || {
            let jobs = cluster.kube(&format!("get jobs -n {} -o name", parts.namespace)).await?;
            Ok(jobs.trim().is_empty().then_some(()))
        })
        .await?;
    }

    let manifests = bucket::manifests(&cluster, &parts, "crash/").await?;
    assert_eq!(manifests.len(), CUTS.len());
    assert!(manifests.iter().all(|manifest| manifest.attempt == 1), "no run needed a second attempt");
    let strays: Vec<_> = bucket::everything(&cluster, &parts, "crash/").await?;
    let known = |line: &String| line.starts_with("object") && !line.contains("/2/");
    assert!(strays.iter().all(known), "{strays:#?}");
    Ok(())
}

/// Asks for a run, and waits until the operator has died at a cut point of it.
async fn crash_in_a_run(cluster: &Cluster, namespace: &str, cut: &str) -> Result<()> {
    crash_at(cluster, Some(cut)).await?;
    policy::run_now(cluster, namespace, "crash", "database", cut).await?;
    wait::until(&format!("the operator dies at {cut}"), LIMIT, async || {
        Ok((restarts(cluster).await? > 0).then_some(()))
    })
    .await
}

/// Makes the operator die at a cut point, or live again; waits until a Pod with that setting has come up.
async fn crash_at(cluster: &Cluster, cut: Option<&str>) -> Result<()> {
    let setting =
        cut.map_or_else(|| "GREENLANG_CRASH_AT-".to_owned(), |cut| format!("GREENLANG_CRASH_AT={cut}"));
    cluster.kube(&format!("set env -n {NAMESPACE} deployment/{RELEASE} {setting}")).await?;
    wait::rollout(cluster, NAMESPACE, &format!("deployment/{RELEASE}"), LIMIT).await
}

/// How often the operator's container was started again.
async fn restarts(cluster: &Cluster) -> Result<u32> {
    let question = format!(
        "get pods -n {NAMESPACE} -l app.kubernetes.io/component=operator -o jsonpath={{.items[*].status.containerStatuses[*].restartCount}}"
    );
    let counts = cluster.kube(&question).await?;
    counts.split_whitespace().map(|count| count.parse::<u32>().context("a count")).sum()
}
