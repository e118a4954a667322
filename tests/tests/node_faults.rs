//! A backup that is cut off in its middle leaves nothing in the bucket, and the next attempt makes it, counted once.

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::held::{self, HeldDump};
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::parts::{Parts, postgres};
use greenlang_backup_tests::{bucket, command, policy, process, suite, wait};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::process::Command;

const NAMES: &[&str] = &["deleted", "stopped", "killed", "gone", "lost", "hopeless", "memory"];
const LIMIT: Duration = Duration::from_mins(4);

/// A policy whose dump of the big table can be held, with a backup asked for.
struct Held {
    cluster: Cluster,
    parts: Parts,
    policy: BackupPolicy,
    recorder: Recorder,
    dump: HeldDump,
}

impl Held {
    /// Asks for a backup and holds its first attempt after parts of it were sent to the bucket.
    async fn new(name: &str) -> Result<Self> {
        let (cluster, parts) = suite::enter_with_parts(NAMES, name).await?;
        let namespace = &*parts.namespace;
        let wanted = held::policy(&cluster, &parts, name).await?;
        let recorder = Recorder::start(&cluster, namespace);
        let applied = policy::apply(&cluster, &wanted).await?;
        policy::run_now(&cluster, namespace, name, "database", "first").await?;
        let dump = held::hold(&cluster, &parts).await?;
        Ok(Self { cluster, parts, policy: applied, recorder, dump })
    }

    async fn let_go(&self) -> Result<()> {
        self.dump.let_go(&self.cluster, &self.parts).await
    }

    /// The Pod of the first attempt.
    async fn pod(&self) -> Result<String> {
        let question = format!(
            "get pods -n {} -l {}=1 -o jsonpath={{.items[0].metadata.name}}",
            self.parts.namespace,
            labels::ATTEMPT
        );
        self.cluster.kube(&question).await
    }

    /// The first attempt failed for one of these reasons, and left nothing in the bucket.
    async fn first_attempt_failed(&self, reasons: &[&str]) -> Result<()> {
        self.first_attempt_ended(reasons).await?;
        assert_eq!(self.left_by_first_attempt().await?, [""; 0]);
        Ok(())
    }

    async fn first_attempt_ended(&self, reasons: &[&str]) -> Result<()> {
        let what = format!("the first attempt failed with {reasons:?}");
        // From the event, which stays whatever the next attempt does meanwhile.
        let events = format!("get events -n {} --field-selector reason=BackupRetrying", self.parts.namespace);
        wait::until_in(&self.cluster, &self.parts.namespace, &what, LIMIT, async || {
            let events = self.cluster.kube(&events).await?;
            Ok(reasons.iter().any(|reason| events.contains(&format!("attempt 1: {reason}: "))).then_some(()))
        })
        .await
    }

    async fn left_by_first_attempt(&self) -> Result<Vec<String>> {
        let mut left = bucket::everything(&self.cluster, &self.parts, "").await?;
        left.retain(|line| line.contains("/1/"));
        Ok(left)
    }

    /// The second attempt made the backup: one manifest, whose objects are all that there is, counted once.
    async fn second_attempt_made_it(&self) -> Result<()> {
        let is_over = |status: &BackupPolicyStatus| {
            status.backup("database").is_some_and(|backup| backup.active.is_none())
        };
        let status = policy::until(&self.cluster, &self.policy, "the run is over", LIMIT, is_over).await?;
        let history = &status.backup("database").context("no status")?.manual;
        assert_eq!((history.attempts, history.succeeded, history.failed), (2, 1, 0), "{history:?}");
        assert_eq!(status.available.len(), 1);
        let manifests = bucket::manifests(&self.cluster, &self.parts, "").await?;
        let manifest = manifests.first().context("no manifest")?;
        assert_eq!((manifests.len(), manifest.attempt), (1, 2));
        let found = bucket::everything(&self.cluster, &self.parts, "").await?;
        assert_eq!(found.len(), manifest.objects.len() + 1, "{found:?}");
        let name = self.policy.metadata.name.as_deref().unwrap_or_default();
        assert_eq!(self.recorder.jobs(name, labels::TASK_BACKUP).len(), 2);
        Ok(())
    }
}

#[tokio::test]
async fn a_deleted_pod_leaves_nothing_and_is_tried_again() -> Result<()> {
    let held = Held::new("deleted").await?;
    let pod = held.pod().await?;
    // As a drained node does: SIGTERM, and time to clean up.
    held.cluster.kube(&format!("delete pod -n {} {pod} --wait=false", held.parts.namespace)).await?;
    // Whether the operator reads the report before the Pod is gone with it is a matter of luck.
    held.first_attempt_failed(&["Interrupted", "ReportLost"]).await?;
    let report = held.recorder.texts().into_iter().find(|(name, _)| *name == format!("Pod {pod}"));
    assert!(
        report.is_some_and(|(_, pod)| pod.contains("Interrupted")),
        "the Pod ended by itself, with a report"
    );
    held.let_go().await?;
    held.second_attempt_made_it().await
}

#[tokio::test]
async fn a_stopped_runner_leaves_nothing_and_is_tried_again() -> Result<()> {
    let held = Held::new("stopped").await?;
    let pod = held.pod().await?;
    held.cluster.script_ok(&held.parts.namespace, &pod, "kill -TERM 1").await?;
    held.first_attempt_failed(&["Interrupted"]).await?;
    held.let_go().await?;
    held.second_attempt_made_it().await
}

#[tokio::test]
async fn a_killed_pg_dump_leaves_nothing_and_is_tried_again() -> Result<()> {
    let held = Held::new("killed").await?;
    let pod = held.pod().await?;
    // Plain shell: the image has no pgrep.
    let kill = "for p in /proc/[0-9]*; do if [ \"$(cat $p/comm 2>/dev/null)\" = pg_dump ]; then kill -KILL ${p#/proc/}; echo killed; fi; done";
    let said = held.cluster.script_ok(&held.parts.namespace, &pod, kill).await?;
    assert!(said.contains("killed"), "no pg_dump in {pod}");
    held.first_attempt_failed(&["DumpFailed"]).await?;
    held.let_go().await?;
    held.second_attempt_made_it().await
}

/// As by a lack of memory: nobody cleans up, so the operator sends a Job that does, once the run is over.
#[tokio::test]
async fn a_killed_runner_leaves_nothing_in_the_end() -> Result<()> {
    let held = Held::new("gone").await?;
    // A container's first process cannot be killed from within it.
    if !held.cluster.is_local {
        return held.let_go().await;
    }
    let runner = process::find(&format!("HOSTNAME={}", held.pod().await?), "greenlang-backup-runner")?;
    command::run(Command::new("kill").args(["-s", "KILL", &runner]), "").await?;
    held.first_attempt_ended(&["ReportLost"]).await?;
    assert_ne!(held.left_by_first_attempt().await?, [""; 0], "there is something to remove");
    held.let_go().await?;
    let is_clean = |status: &BackupPolicyStatus| {
        let backup = status.backup("database");
        backup.is_some_and(|backup| backup.active.is_none() && backup.clean_ups.is_empty())
    };
    policy::until(&held.cluster, &held.policy, "the first attempt is cleaned up", LIMIT, is_clean).await?;
    assert_eq!(held.recorder.jobs("gone", labels::TASK_CLEAN_UP).len(), 1);
    held.second_attempt_made_it().await
}

#[tokio::test]
async fn a_lost_connection_leaves_nothing_and_is_tried_again() -> Result<()> {
    let held = Held::new("lost").await?;
    let end = format!("SELECT pg_terminate_backend({})", held.dump.server_process);
    postgres::psql(&held.cluster, &held.parts.namespace, "postgres", end).await?;
    // It ends when it runs again.
    held.let_go().await?;
    held.first_attempt_failed(&["DumpFailed"]).await?;
    held.second_attempt_made_it().await
}

/// What the probe cannot see and no retry can mend: the failure stays to be read, and nothing in the bucket.
#[tokio::test]
async fn a_run_that_cannot_succeed_fails_once_and_leaves_nothing() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "hopeless").await?;
    let namespace = &*parts.namespace;
    let recorder = Recorder::start(&cluster, namespace);
    let wanted = policy::small(&cluster, &parts, "hopeless").await?;
    let applied = policy::apply(&cluster, &wanted).await?;
    policy::until(&cluster, &applied, "ready", LIMIT, |status| {
        policy::shows(status, 1, "Ready", "True", "Succeeded")
    })
    .await?;
    // After the probe: a large object that the backup user may not read, which only pg_dump finds.
    postgres::psql(
        &cluster,
        namespace,
        "hopeless",
        "SELECT lo_from_bytea(0, 'secret'); SELECT lo_from_bytea(0, 'too')",
    )
    .await?;
    policy::run_now(&cluster, namespace, "hopeless", "database", "first").await?;
    let status = policy::until(&cluster, &applied, "the run failed", LIMIT, |status| {
        status.backup("database").is_some_and(|backup| backup.manual.failed == 1)
    })
    .await?;
    let history = &status.backup("database").context("no status")?.manual;
    let failure = history.last_failure.as_ref().context("no failure")?;
    assert!(failure.message.contains("large object"), "{failure:?}");
    assert_eq!(recorder.jobs("hopeless", labels::TASK_BACKUP).len() as u64, history.attempts);
    assert_eq!(bucket::everything(&cluster, &parts, "").await?, [""; 0]);
    let row =
        cluster.kube(&format!("get events -n {namespace} --field-selector reason=BackupFailed")).await?;
    assert!(row.contains("large object"), "{row}");
    Ok(())
}

/// The kernel kills the container with all that is in it, so the runner can neither report nor clean up.
#[tokio::test]
async fn a_run_without_enough_memory_says_so_and_leaves_nothing_in_the_end() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "memory").await?;
    let namespace = &*parts.namespace;
    let recorder = Recorder::start(&cluster, namespace);
    let mut wanted = policy::small(&cluster, &parts, "memory").await?;
    // Enough for the check and the clean-up. At this level the compressor alone takes 85 MiB, whatever comes.
    let memory = json!({"cpu": "10m", "memory": "64Mi"});
    wanted["spec"]["compression"] = json!({"level": 19});
    wanted["spec"]["jobTemplate"] = json!({"resources": {"requests": memory, "limits": {"memory": "64Mi"}}});
    let applied = policy::apply(&cluster, &wanted).await?;
    policy::until(&cluster, &applied, "ready", LIMIT, |status| {
        policy::shows(status, 1, "Ready", "True", "Succeeded")
    })
    .await?;
    policy::run_now(&cluster, namespace, "memory", "database", "first").await?;
    let status = policy::until(&cluster, &applied, "the run failed", LIMIT, |status| {
        status.backup("database").is_some_and(|backup| backup.manual.failed == 1)
    })
    .await?;
    let history = &status.backup("database").context("no status")?.manual;
    let failure = history.last_failure.as_ref().context("no failure")?;
    assert_eq!(failure.reason, "OutOfMemory", "{failure:?}");
    assert!(failure.message.contains("raise spec.jobTemplate.resources.limits.memory"), "{failure:?}");
    assert_eq!(
        (history.attempts, history.succeeded),
        (3, 0),
        "more memory may be had later, so it is tried again"
    );
    let pods = recorder.pods("memory", labels::TASK_BACKUP);
    let ends: Vec<_> = pods.iter().map(end_of_container).collect();
    assert_eq!(ends, [Some((137, "OOMKilled")); 3], "Kubernetes says the same");
    policy::until(&cluster, &applied, "the attempts are cleaned up", LIMIT, |status| {
        status.backup("database").is_some_and(|backup| backup.clean_ups.is_empty())
    })
    .await?;
    assert_eq!(recorder.jobs("memory", labels::TASK_CLEAN_UP).len(), 1);
    assert_eq!(bucket::everything(&cluster, &parts, "").await?, [""; 0], "no manifest, no object, no upload");
    Ok(())
}

/// Exit code and reason of a Pod's container that has ended.
fn end_of_container(pod: &Pod) -> Option<(i32, &str)> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ended = statuses.first()?.state.as_ref()?.terminated.as_ref()?;
    Some((ended.exit_code, ended.reason.as_deref()?))
}
