//! A restore goes on to its end whatever of the node fails, in each of its phases once: the API server, the kubelet, or everything as by a
//! loss of power. Only on the local node. (The operator alone is killed by `node_restore`.)

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequestStatus};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::node::{self, Part};
use greenlang_backup_tests::story::Story;
use greenlang_backup_tests::{restore, suite, wait};
use serde_json::json;
use tokio::sync::Mutex;

const NAMES: &[&str] = &["api", "kubelet", "power"];
/// Every phase that a restore must go through, but for the one in which it waits for its turn.
const PHASES: [RestorePhase; 6] = [
    RestorePhase::Planning,
    RestorePhase::Quiescing,
    RestorePhase::Restoring,
    RestorePhase::Switching,
    RestorePhase::Resuming,
    RestorePhase::Checking,
];
/// How long a part of the node is away.
const AWAY: Duration = Duration::from_secs(20);
/// Six faults, each followed by pauses of whatever is restarted.
const LIMIT: Duration = Duration::from_mins(30);
/// An index that takes some seconds, so that loading has a middle.
const SLOW_INDEX: &str = "
    CREATE FUNCTION slow(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(2); RETURN $1; END';
    CREATE INDEX slow ON note (slow(text));";
const REQUEST: &str = "back";
/// What fails is everybody's, so one test waits for another.
static NODE: Mutex<()> = Mutex::const_new(());

#[tokio::test]
#[ignore = "slow: make test-all runs it"]
async fn a_restore_goes_on_to_its_end_although_the_api_server_hangs_in_each_phase() -> Result<()> {
    outlives("api", Part::ApiServer).await
}

#[tokio::test]
#[ignore = "slow: make test-all runs it"]
async fn a_restore_goes_on_to_its_end_although_the_kubelet_is_away_in_each_phase() -> Result<()> {
    outlives("kubelet", Part::Kubelet).await
}

/// Kubelet, containerd and all containers: operator, API server, etcd, PostgreSQL, bucket and the Job of the phase among them.
#[tokio::test]
#[ignore = "slow: make test-all runs it"]
async fn a_restore_goes_on_to_its_end_although_the_node_loses_power_in_each_phase() -> Result<()> {
    outlives("power", Part::All).await
}

async fn outlives(name: &str, part: Part) -> Result<()> {
    let _alone = NODE.lock().await;
    let (cluster, parts) = suite::enter_with_parts(NAMES, name).await?;
    let story = Story::begin(cluster, parts, name, SLOW_INDEX).await?;
    story.damage().await?;
    let mut request = story.request(REQUEST);
    request["spec"]["quiesce"]["drainSeconds"] = json!(10);
    request["spec"]["checks"] = json!({
        "health": [{"url": "http://greenlang-api/health", "timeoutSeconds": 300}],
        "sql": [{"query": "SELECT count(*) FROM note, pg_sleep(10)", "expect": "2"}],
    });
    story.apply(&request).await?;

    let (status, failed_in) = fail_in_each_phase(&story.cluster, story.namespace(), part).await?;
    assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
    assert_eq!(failed_in, BTreeSet::from(PHASES), "phases in which it failed");
    // Whatever was restarted last, the applications too, comes back by itself.
    wait::until_in(&story.cluster, story.namespace(), "all applications are back", LIMIT, async || {
        story.expect_running().await.map(Some)
    })
    .await?;
    story.expect_equal(&story.before).await?;
    let previous = status.previous.context("nothing was kept")?;
    let wanted = ["template0", "template1", "postgres", name, &previous.name];
    assert_eq!(story.databases().await?, BTreeSet::from(wanted.map(str::to_owned)));
    let kept = format!("get configmaps -n {} -l {} -o name", story.namespace(), labels::KEPT_DATABASE);
    assert_eq!(story.cluster.kube(&kept).await?.lines().count(), 1, "one replaced database is remembered");
    // The next test's faults have less to restart.
    story.close().await
}

/// Waits for the end of the request, and lets a part of the node fail once in each phase. Gives the last status, and those phases.
async fn fail_in_each_phase(
    cluster: &Cluster,
    namespace: &str,
    part: Part,
) -> Result<(RestoreRequestStatus, BTreeSet<RestorePhase>)> {
    let mut failed_in = BTreeSet::new();
    let status = wait::until_in(cluster, namespace, "the restore ends", LIMIT, async || {
        let status = restore::status(cluster, namespace, REQUEST).await?;
        let phase = status.phase.unwrap_or_default();
        if phase.is_end() {
            return Ok(Some(Ok(status)));
        }
        if PHASES.contains(&phase)
            && !failed_in.contains(&phase)
            && is_in_its_middle(cluster, namespace, phase).await?
        {
            failed_in.insert(phase);
            // A node that does not come back is no reason to look again.
            if let Err(error) = fail(cluster, part).await {
                return Ok(Some(Err(error.context(format!("{part:?} in {phase:?}")))));
            }
        }
        Ok(None)
    })
    .await??;
    Ok((status, failed_in))
}

/// Loading and checking are slow here, so that the Job itself is hit; other phases are hit as soon as they are seen.
async fn is_in_its_middle(cluster: &Cluster, namespace: &str, phase: RestorePhase) -> Result<bool> {
    if !matches!(phase, RestorePhase::Restoring | RestorePhase::Checking) {
        return Ok(true);
    }
    let question = format!(
        "get pods -n {namespace} -l {}={REQUEST} --field-selector=status.phase=Running -o name",
        labels::RESTORE
    );
    Ok(!cluster.kube(&question).await?.is_empty())
}

async fn fail(cluster: &Cluster, part: Part) -> Result<()> {
    let stopped = node::stop(cluster, part).await;
    let answers = answers(cluster, part).await;
    tokio::time::sleep(AWAY).await;
    // Also where only half of it was stopped.
    node::start(cluster).await.and(stopped)?;
    ensure!(!answers, "it answered although it was stopped");
    Ok(())
}

async fn answers(cluster: &Cluster, part: Part) -> bool {
    let path = match part {
        Part::Kubelet => "/api/v1/nodes/greenlang-local/proxy/healthz",
        Part::ApiServer | Part::All => "/readyz",
    };
    cluster.kube(&format!("get --raw {path} --request-timeout=3s")).await.is_ok()
}
