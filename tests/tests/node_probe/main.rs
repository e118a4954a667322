//! What is wrong with a policy's bucket, database or keys shows within a minute, each with a reason of its own, without a storm
//! of retries; and once it is mended the policy becomes ready.

mod cases;

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

use cases::{Case, cases, surroundings};

const NAMES: &[&str] = &["probe"];
/// What people are promised.
const MINUTE: Duration = Duration::from_mins(1);
/// Failing probes wait 30 s, 60 s, 120 s, … between each other; recovery without a change of the spec waits for the next.
const NEXT_PROBE: Duration = Duration::from_mins(4);

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
