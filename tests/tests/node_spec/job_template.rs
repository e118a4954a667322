//! `jobTemplate` reaches the Jobs and Pods; one that the API server refuses is said to be so, and mending it is enough.

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions::{READY, find};
use greenlang_backup_api::labels;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::{bucket, policy, suite};
use serde_json::{Value, json};

use crate::NAMES;

const LIMIT: Duration = Duration::from_mins(3);
/// Of the whole cluster, so it goes when the test ends well; else the next run finds it as it must be.
const PRIORITY_CLASS: &str = "greenlang-backup-test";

async fn ensure_priority_class(cluster: &Cluster) -> Result<()> {
    // It must not push other Pods aside.
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 7,
        "metadata": {"name": PRIORITY_CLASS}, "preemptionPolicy": "Never"});
    cluster.apply(&class.to_string()).await
}

fn template() -> Value {
    json!({
        "resources": {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"cpu": "2", "memory": "384Mi"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "greenlang.io/test", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": PRIORITY_CLASS,
        "labels": {"team": "databases"},
        "annotations": {"greenlang.io/note": "as the policy says"},
    })
}

#[tokio::test]
async fn it_reaches_the_pods_and_a_refused_one_can_be_mended() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "template").await?;
    let namespace = &*parts.namespace;
    ensure_priority_class(&cluster).await?;
    let recorder = Recorder::start(&cluster, namespace);
    let mut wanted = policy::small(&cluster, &parts, "template").await?;

    // More memory asked for than allowed: the API server sees that only when it is to make the Job.
    wanted["spec"]["jobTemplate"] =
        json!({"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Mi"}}});
    let applied = policy::apply(&cluster, &wanted).await?;
    let status = policy::until(&cluster, &applied, "its Jobs are refused", LIMIT, |status| {
        find(&status.conditions, READY).is_some_and(|ready| ready.reason == "JobRefused")
    })
    .await?;
    let ready = find(&status.conditions, READY).context("a condition")?;
    assert_ne!(ready.status, "True");
    assert!(ready.message.contains("must be less than or equal to memory limit"), "{}", ready.message);
    policy::run_now(&cluster, namespace, "template", "database", "one").await?;
    policy::until(&cluster, &applied, "an attempt is refused", LIMIT, |status| {
        let active = status.backup("database").and_then(|backup| backup.active.as_ref());
        active.is_some_and(|run| run.last_error.as_ref().is_some_and(|error| error.contains("JobRefused")))
    })
    .await?;
    assert!(recorder.jobs("template", labels::TASK_BACKUP).is_empty());

    wanted["spec"]["jobTemplate"] = template();
    let applied = policy::apply(&cluster, &wanted).await?;
    let generation = applied.metadata.generation.context("a generation")?;
    // On a slow machine the first run may have used its attempts up before the spec was mended.
    policy::run_now(&cluster, namespace, "template", "database", "two").await?;
    let status = policy::until(&cluster, &applied, "ready, and backups are made", LIMIT, |status| {
        let backup = status.backup("database");
        policy::shows(status, generation, READY, "True", "Succeeded")
            && backup.is_some_and(|backup| {
                backup.active.is_none()
                    && backup.manual_token.as_deref() == Some("two")
                    && backup
                        .manual
                        .last_success
                        .as_ref()
                        .is_some_and(|run| Some(&run.id) == backup.last_id.as_ref())
            })
    })
    .await?;
    let made = status.backup("database").map_or(0, |backup| backup.manual.succeeded);
    assert_eq!(bucket::manifests(&cluster, &parts, "template/").await?.len() as u64, made);
    for task in [labels::TASK_PROBE, labels::TASK_BACKUP] {
        let (jobs, pods) = (recorder.jobs("template", task), recorder.pods("template", task));
        assert!(!jobs.is_empty() && !pods.is_empty(), "{task}");
        for job in &jobs {
            assert_eq!(
                job.metadata.labels.as_ref().and_then(|labels| labels.get("team")).map(String::as_str),
                Some("databases")
            );
        }
        for pod in &pods {
            is_as_wished(&serde_json::to_value(pod)?);
        }
    }
    cluster.kube(&format!("delete priorityclass {PRIORITY_CLASS}")).await.map(drop)
}

fn is_as_wished(pod: &Value) {
    let (wish, spec) = (template(), &pod["spec"]);
    assert_eq!(spec["containers"][0]["resources"], wish["resources"]);
    assert_eq!(spec["nodeSelector"], wish["nodeSelector"]);
    // Kubernetes adds tolerations of its own, and looks the class's priority up.
    let tolerations = spec["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(tolerations.contains(&wish["tolerations"][0]), "{tolerations:?}");
    assert_eq!((&spec["priorityClassName"], &spec["priority"]), (&wish["priorityClassName"], &json!(7)));
    assert_eq!(pod["metadata"]["labels"]["team"], "databases");
    assert_eq!(pod["metadata"]["annotations"]["greenlang.io/note"], "as the policy says");
}
