//! An API server that is away, has too much to do, has forgotten, or lets somebody else write first, and a kubelet that does not answer it:
//! the operator recovers alone, and every run counts once.

use std::time::Duration;

use anyhow::{Result, ensure};
use greenlang_backup_api::labels;
use greenlang_backup_api::prune::CatalogueReport;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::operator::install_chart;
use greenlang_backup_tests::{kubelet, wait};
use serde_json::json;

use crate::apply_policy;
use crate::proxy::{Fault, Proxy};
use crate::replica::{LIMIT, Replica, SERVED, install};
use crate::runs::{carry_out, job, manual, over, probed, run, start, until};

/// Longer than the Lease runs (15 s) and than the client waits between its tries.
const AWAY: Duration = Duration::from_mins(1);

/// An operator that reaches its API server through a proxy.
async fn by_proxy() -> Result<(ApiServer, Proxy, Replica)> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let proxy = Proxy::start(&api).await?;
    let operator = Replica::start_with(&proxy.kubeconfig, "operator", &[])?;
    operator.said("this replica leads").await?;
    Ok((api, proxy, operator))
}

/// The same, and a policy at rest.
async fn start_by_proxy(name: &str) -> Result<(ApiServer, Proxy, Replica)> {
    let (api, proxy, operator) = by_proxy().await?;
    probed(&api, name).await?;
    Ok((api, proxy, operator))
}

#[tokio::test]
async fn an_api_server_that_was_away_finds_the_run_where_it_was() -> Result<()> {
    let (mut api, mut operator) = start().await?;
    probed(&api, "away").await?;
    let mut known = Vec::new();
    for (at, how) in ["it is killed and started again", "it hangs"].into_iter().enumerate() {
        let made = run(&api, "away", how, &known.iter().collect::<Vec<_>>()).await?;
        if at == 0 {
            api.stop().await?;
            tokio::time::sleep(AWAY).await;
            api.start_again().await?;
        } else {
            api.freeze().await?;
            tokio::time::sleep(AWAY).await;
            api.thaw().await?;
        }
        carry_out(&api, &made).await?;
        known.push(made);
        let ended = at as u64 + 1;
        let status = until(&api, "away", how, |status| over(status, ended)).await?;
        assert_eq!(manual(&status)?, (ended, ended, 0), "{how}");
    }
    assert!(operator.runs()?, "without a restart");
    Ok(())
}

#[tokio::test]
async fn watches_that_have_expired_are_begun_anew() -> Result<()> {
    let (mut api, proxy, mut operator) = start_by_proxy("expired").await?;
    let made = run(&api, "expired", "a", &[]).await?;
    // All watches are lost at once; those of policies, Jobs and Pods are told that it is too late to go on.
    for part in ["/backuppolicies?", "/jobs?", "/pods?"] {
        proxy.inject(Fault::Expired, "GET", part, 2);
    }
    api.stop().await?;
    api.start_again().await?;
    carry_out(&api, &made).await?;
    let status = until(&api, "expired", "the run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (1, 1, 0));
    wait::until("all watches were begun anew", LIMIT, async || Ok((proxy.to_come() == 0).then_some(())))
        .await?;
    let next = run(&api, "expired", "b", &[&made]).await?;
    carry_out(&api, &next).await?;
    let status = until(&api, "expired", "the next run is over", |status| over(status, 2)).await?;
    assert_eq!(manual(&status)?, (2, 2, 0));
    ensure!(operator.runs()?, "without a restart");
    Ok(())
}

#[tokio::test]
async fn a_server_with_too_much_to_do_is_asked_again() -> Result<()> {
    let (api, proxy, mut operator) = start_by_proxy("many").await?;
    let recorder = Recorder::start(&api.cluster, SERVED);
    // Whatever is asked, be it about the Lease, is refused, so nothing goes on before the last of them: at the start of the run, and at its end.
    proxy.inject(Fault::TooMany, "", "", 8);
    let made = run(&api, "many", "a", &[]).await?;
    proxy.inject(Fault::TooMany, "", "", 8);
    carry_out(&api, &made).await?;
    let status = until(&api, "many", "the run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (1, 1, 0));
    assert_eq!(proxy.to_come(), 0);
    assert_eq!(recorder.jobs("many", labels::TASK_BACKUP).len(), 1);
    ensure!(operator.runs()?, "without a restart");
    Ok(())
}

#[tokio::test]
async fn a_status_write_that_somebody_overtakes_is_decided_anew() -> Result<()> {
    let (api, proxy, _operator) = start_by_proxy("overtaken").await?;
    let recorder = Recorder::start(&api.cluster, SERVED);
    let overtake = || proxy.inject(Fault::Overtaken("overtaken".into()), "PUT", "/status", 3);
    // The write that decides a run, then the one that counts its end.
    overtake();
    let made = run(&api, "overtaken", "a", &[]).await?;
    until(&api, "overtaken", "its Job is known", |status| {
        status.backup("database").and_then(|backup| backup.active.as_ref()?.job_uid.as_ref()).is_some()
    })
    .await?;
    overtake();
    carry_out(&api, &made).await?;
    let status = until(&api, "overtaken", "the run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (1, 1, 0));
    assert_eq!(status.available.len(), 1);
    assert_eq!(
        (proxy.to_come(), proxy.answered("PUT", 409)),
        (0, 6),
        "the server refused what was overtaken"
    );
    assert_eq!(recorder.jobs("overtaken", labels::TASK_BACKUP).len(), 1);
    let events = format!("get events -n {SERVED} --field-selector reason=BackupSucceeded -o name");
    let told = wait::until("it is told", LIMIT, async || {
        Ok(Some(api.cluster.kube(&events).await?).filter(|told| !told.trim().is_empty()))
    });
    assert_eq!(told.await?.lines().count(), 1, "a decision that was not written is not told");
    Ok(())
}

/// The client gives an answer up after five minutes, longer than this test waits.
#[tokio::test]
async fn a_kubelet_that_does_not_answer_holds_nothing_up() -> Result<()> {
    let (api, proxy, _operator) = by_proxy().await?;
    let client = &api.cluster.client;
    // Of a Job that has ended: what should stand in its log counts as lost, and it is done again.
    proxy.inject(Fault::Silent, "GET", "/log?", 1);
    apply_policy(&api, "silent").await?;
    let first = job(&api, "silent", labels::TASK_CATALOGUE, &[]).await?;
    let mut ended = kubelet::good_report(&first)?;
    ended.catalogue = Some(CatalogueReport { found: 1, details: 1, ..CatalogueReport::default() });
    kubelet::carry_out(client, &first, &ended).await?;
    until(&api, "silent", "its history could not be read", |status| {
        status.catalogue.as_ref().is_some_and(|catalogue| catalogue.failures == 1)
    })
    .await?;
    assert_eq!(proxy.to_come(), 0);
    carry_out(&api, &job(&api, "silent", labels::TASK_CATALOGUE, &[&first]).await?).await?;
    carry_out(&api, &job(&api, "silent", labels::TASK_PROBE, &[]).await?).await?;

    // Of one that goes on: its end is counted as soon as it is there.
    let made = run(&api, "silent", "a", &[]).await?;
    proxy.inject(Fault::Silent, "GET", "/log?", 1_000);
    let pod = kubelet::start(client, &made, kubelet::Watched::Yes).await?;
    kubelet::run(client, &pod).await?;
    wait::until("its log is asked for", LIMIT, async || Ok((proxy.to_come() < 1_000).then_some(()))).await?;
    let report = kubelet::good_report(&made)?;
    kubelet::end(client, &pod, &report).await?;
    kubelet::count(client, &made, &report).await?;
    let status = until(&api, "silent", "the run is over", |status| over(status, 1)).await?;
    assert_eq!(manual(&status)?, (1, 1, 0));
    Ok(())
}
