//! An upgrade from the charts and the definition of the first slice, with what its operator had written: nothing of it is lost, and the next
//! run counts on. With the old image, and in the middle of a run, it is a node test (`node_upgrade`).

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::operator::{RELEASE, checkout, first_slice, install_chart_from};
use greenlang_backup_tests::{policy, wait};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::apply_policy;
use crate::replica::{LIMIT, Replica, SERVED};
use crate::runs::{carry_out, job, manual, over, run, until};

/// Both charts of a checkout, in the order of the documents.
async fn charts(api: &ApiServer, checkout: &std::path::Path) -> Result<()> {
    install_chart_from(&api.cluster, checkout, "greenlang-backup-crds", json!({})).await?;
    install_chart_from(&api.cluster, checkout, RELEASE, json!({"namespaces": [SERVED]})).await
}

/// As that operator left it: fields that came later are none of its definition.
fn written() -> Value {
    let success = |id: &str, time: &str| json!({"id": id, "time": time, "durationSeconds": 100, "bytes": 123_456_789, "verified": "Stored"});
    json!({
        "observedGeneration": 1,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "fine", "observedGeneration": 1, "lastTransitionTime": "2025-11-07T02:00:00Z"}],
        "backups": [{
            "name": "database", "lastId": "20251107-101112", "manualToken": "before",
            "manual": {"attempts": 4, "succeeded": 2, "failed": 1, "lastSuccess": success("20251107-101112", "2025-11-07T10:13:00Z")},
            "schedules": [{"name": "daily", "accepted": "0 2 * * * Etc/UTC", "acceptedTime": "2025-10-01T00:00:00Z", "attempts": 30, "succeeded": 29, "failed": 1,
                "lastScheduleTime": "2025-11-07T02:00:00Z", "lastSuccess": success("20251107-020000", "2025-11-07T02:01:40Z")}],
        }],
        "available": [
            {"backup": "database", "id": "20251107-101112", "time": "2025-11-07T10:13:00Z", "bytes": 123_456_789, "verified": "Stored"},
            {"backup": "database", "id": "20251107-020000", "time": "2025-11-07T02:01:40Z", "bytes": 123_456_789, "verified": "Stored"}],
    })
}

#[tokio::test]
async fn what_the_first_slice_wrote_is_kept_and_counted_on() -> Result<()> {
    let api = ApiServer::start().await?;
    api.cluster.kube(&format!("create namespace {SERVED}")).await?;
    charts(&api, &first_slice()).await?;
    let applied = apply_policy(&api, "old").await?;
    let policies = policy::api(&api.cluster, SERVED);
    let patch = json!({"metadata": {"annotations": {format!("{}database", labels::RUN_PREFIX): "before"}}, "spec": {"suspend": true}});
    policy::change(&api.cluster, SERVED, "old", patch).await?;
    let status = Patch::Merge(json!({"status": written()}));
    policies.patch_status("old", &PatchParams::default(), &status).await?;
    let before = policies.get("old").await?;
    let known = |status: &Option<_>| serde_json::to_value(status).map(|status| status["available"].clone());
    assert_eq!(known(&before.status)?, written()["available"], "the old definition has these fields");

    charts(&api, &checkout()).await?;
    let after = policies.get("old").await?;
    assert_eq!((after.uid(), &after.spec, &after.status), (applied.uid(), &before.spec, &before.status));

    let recorder = Recorder::start(&api.cluster, SERVED);
    let operator = Replica::start(&api, "operator").await?;
    carry_out(&api, &job(&api, "old", labels::TASK_PROBE, &[]).await?).await?;
    let next = run(&api, "old", "after", &[]).await?;
    carry_out(&api, &next).await?;
    let status = until(&api, "old", "the next run is over", |status| over(status, 4)).await?;
    assert_eq!(manual(&status)?, (5, 3, 1));
    assert_eq!(status.available.len(), 3);
    assert_eq!(
        known(&Some(status.clone()))?.as_array().map(|all| all[1..].to_vec()),
        written()["available"].as_array().cloned()
    );
    let backup = status.backup("database").context("no status")?;
    assert_eq!(
        serde_json::to_value(&backup.schedules[0])?["acceptedTime"],
        "2025-10-01T00:00:00Z",
        "it is no new schedule"
    );
    let kinds = [labels::TASK_CATALOGUE, labels::TASK_BACKUP].map(|task| recorder.jobs("old", task).len());
    assert_eq!(kinds, [0, 1], "the history is known, and nothing runs again");
    wait::until("counters go on", LIMIT, async || {
        let (_, text) = operator.get("/metrics").await?.context("no metrics")?;
        let series = |name: &str, schedule: &str| {
            format!(
                "{name}{{backup=\"database\",namespace=\"{SERVED}\",policy=\"old\",schedule=\"{schedule}\"}}"
            )
        };
        let lines = [
            format!("{} 3", series("gl_backup_success_total", "manual")),
            format!("{} 30", series("gl_backup_attempts_total", "daily")),
        ];
        Ok(lines.iter().all(|line| text.lines().any(|other| other == line)).then_some(()))
    })
    .await
}
