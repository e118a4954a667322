//! What the operator asks the API server, and that what it does not ask, because its watches tell, leads to no wrong count.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::kubelet::{self, Watched};
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE, install_chart};
use greenlang_backup_tests::{policy, wait};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::replica::{LIMIT, Replica, SERVED, install};
use crate::runs::{carry_out, job, jobs, manual, over, probed, run, start, stray, until};

/// Longer than an active run or probe is left alone.
const QUIET: Duration = Duration::from_secs(12);
/// What a run may ask with its prune, of which its log is read once.
const MOST: usize = 20;

fn others(requests: Vec<String>) -> Vec<String> {
    requests.into_iter().filter(|request| !request.contains("leases")).collect()
}

#[tokio::test]
async fn policies_at_rest_cost_no_request_and_a_run_costs_few() -> Result<()> {
    let (api, _operator) = start().await?;
    for name in ["one", "two"] {
        probed(&api, name).await?;
    }
    let asked = || api.requests(NAMESPACE, RELEASE).map(others);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = asked()?.len();
    tokio::time::sleep(QUIET).await;
    assert_eq!(asked()?[before..], [] as [String; 0]);
    // A change that leads to nothing is no reason to ask either.
    let patch = json!({"metadata": {"labels": {"team": "db"}}});
    policy::change(&api.cluster, SERVED, "one", patch).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(asked()?[before..], [] as [String; 0]);

    let made = run(&api, "one", "a", &[]).await?;
    until(&api, "one", "its Job is known", |status| {
        status.backup("database").and_then(|backup| backup.active.as_ref()?.job_uid.as_ref()).is_some()
    })
    .await?;
    // A Job whose Pod has not come is waited for without a question.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = asked()?.len();
    tokio::time::sleep(QUIET).await;
    assert_eq!(asked()?[waiting..], [] as [String; 0]);
    carry_out(&api, &made).await?;
    let status = until(&api, "one", "the run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (1, 1, 0));
    // Its prune belongs to it.
    carry_out(&api, &job(&api, "one", labels::TASK_PRUNE, &[]).await?).await?;
    wait::until("both Jobs are gone", LIMIT, async || {
        Ok(jobs(&api).list(&ListParams::default()).await?.items.is_empty().then_some(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let of_run = &asked()?[before..];
    assert!(of_run.len() <= MOST, "{} requests: {of_run:#?}", of_run.len());
    // Nothing is asked or told between the intent and the Job.
    let job_made = of_run.iter().position(|request| request.starts_with("create jobs")).context("no Job")?;
    assert_eq!(of_run[..=job_made], ["update backuppolicies/status one", "create jobs "], "{of_run:#?}");
    assert!(of_run.iter().all(|request| !request.starts_with("list ")), "{of_run:#?}");
    Ok(())
}

#[tokio::test]
async fn a_watch_that_lags_behind_leads_to_no_wrong_count() -> Result<()> {
    let (api, _operator) = start().await?;
    probed(&api, "lag").await?;
    let client = &api.cluster.client;
    let recorder = Recorder::start(&api.cluster, SERVED);

    // The Job has ended, and the watch knows nothing of its Pod: what the Pod says counts all the same.
    let first = run(&api, "lag", "a", &[]).await?;
    let report = kubelet::good_report(&first)?;
    let pod = kubelet::start(client, &first, Watched::No).await?;
    kubelet::end(client, &pod, &report).await?;
    kubelet::count(client, &first, &report).await?;
    let status = until(&api, "lag", "the first run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (1, 1, 0));

    // A Job that somebody deletes is one lost attempt, and there is one Job for each.
    let second = run(&api, "lag", "b", &[&first]).await?;
    until(&api, "lag", "the second Job is known", |status| {
        status.backup("database").and_then(|backup| backup.active.as_ref()?.job_uid.clone()) == second.uid()
    })
    .await?;
    jobs(&api).delete(&second.name_any(), &DeleteParams::background()).await?;
    let third = job(&api, "lag", labels::TASK_BACKUP, &[&first, &second]).await?;
    assert_eq!(third.labels().get(labels::ATTEMPT).map(String::as_str), Some("2"));
    carry_out(&api, &third).await?;
    let status = until(&api, "lag", "the second run is over", |status| over(status, 2)).await?;
    assert_eq!(manual(&status)?, (3, 2, 0));
    // Those of one second are in no order.
    let attempts: BTreeSet<_> =
        recorder.jobs("lag", labels::TASK_BACKUP).iter().map(ResourceExt::uid).collect();
    assert_eq!(attempts, [first.uid(), second.uid(), third.uid()].into());
    Ok(())
}

#[tokio::test]
async fn without_a_watch_the_api_server_is_asked() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    // As after an upgrade whose Role was not applied.
    let pods = json!([{"op": "replace", "path": "/rules/1/verbs", "value": ["get", "list"]}]).to_string();
    let mut kubectl = api.cluster.kubectl();
    kubectl.args(["patch", "role", "-n", SERVED, RELEASE, "--type=json", "-p", &pods]);
    greenlang_backup_tests::command::run(&mut kubectl, "").await?;
    let operator = Replica::start(&api, "operator").await?;
    operator.said("a watch does not work now").await?;
    probed(&api, "blind").await?;
    // Its own Jobs come after these, and are on no first page.
    for number in 0..12 {
        let named = json!({"app.kubernetes.io/managed-by": labels::MANAGED_BY, labels::POLICY: "blind"});
        stray(&api, &format!("a-{number}"), named, json!([])).await?;
    }
    let made = run(&api, "blind", "a", &[]).await?;
    carry_out(&api, &made).await?;
    let status = until(&api, "blind", "the run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (1, 1, 0));
    Ok(())
}

#[tokio::test]
async fn without_news_of_policies_the_api_server_is_asked() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    // The operator sees the policy as it was first, and never again: what it writes on that alone is refused.
    let policies = json!([{"op": "replace", "path": "/rules/0/verbs", "value": ["get", "list"]}]).to_string();
    let mut kubectl = api.cluster.kubectl();
    kubectl.args(["patch", "clusterrole", RELEASE, "--type=json", "-p", &policies]);
    greenlang_backup_tests::command::run(&mut kubectl, "").await?;
    crate::apply_policy(&api, "deaf").await?;
    let _operator = Replica::start(&api, "operator").await?;
    probed(&api, "deaf").await?;
    // With the Jobs gone the policy looks like a new one. The write for that is refused; then it is read, and that is all.
    let asked = || {
        let of_policy = |request: &String| request.ends_with(" deaf");
        api.requests(NAMESPACE, RELEASE).map(|all| all.into_iter().filter(of_policy).collect::<Vec<_>>())
    };
    let refused = ["update backuppolicies/status deaf", "get backuppolicies deaf"];
    wait::until("a write is refused", LIMIT, async || {
        Ok(asked()?.ends_with(&refused.map(str::to_owned)).then_some(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = asked()?.len();
    tokio::time::sleep(QUIET).await;
    assert_eq!(asked()?[before..], [] as [String; 0]);
    Ok(())
}
