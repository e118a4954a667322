//! The life of the operator's process on a real API server that the test has for itself: it waits for its definitions, stops in
//! order, and one of several leads; and its runs end as they should whatever happens meanwhile. Its service account and rights are those
//! of the chart.

mod away;
mod clock;
mod conditions;
mod crowd;
#[cfg(feature = "crash-points")]
mod cuts;
mod gitops;
mod hang;
mod history;
#[cfg_attr(not(feature = "crash-points"), allow(dead_code, reason = "the lives that are cut use all of it"))]
mod kubernetes;
#[cfg(feature = "crash-points")]
mod life;
mod mid_run;
mod obstacles;
mod proxy;
mod queue;
mod replica;
mod restore_owners;
mod restores;
mod runs;
mod server;
mod tools;
mod traffic;
mod upgrade;

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE, checkout, first_slice, install_chart};
use greenlang_backup_tests::{policy, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use replica::{LIMIT, Replica, SERVED, install};

/// What the chart gives the Pod from SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(30);
const WAITS_FOR_DEFINITION: &str =
    "waiting for the BackupPolicy definition: install or upgrade the chart greenlang-backup-crds";

/// A valid policy, which nothing here can carry out.
async fn apply_policy(api: &ApiServer, name: &str) -> Result<BackupPolicy> {
    apply_changed(api, name, |_| {}).await
}

/// As [`apply_policy`], changed before it is applied.
async fn apply_changed(api: &ApiServer, name: &str, change: impl FnOnce(&mut Value)) -> Result<BackupPolicy> {
    let table: Value =
        serde_yaml::from_str(&std::fs::read_to_string(checkout().join("operator/api/tests/cases.yaml"))?)?;
    let mut wanted = table["base"].clone();
    wanted["metadata"] = json!({"name": name, "namespace": SERVED});
    change(&mut wanted);
    // The definition is served a moment after it was installed.
    wait::until("the policy is accepted", LIMIT, async || {
        Ok(Some(policy::apply(&api.cluster, &wanted).await?))
    })
    .await
}

fn leases(api: &ApiServer) -> Api<Lease> {
    Api::namespaced(api.cluster.client.clone(), NAMESPACE)
}

async fn holder(api: &ApiServer) -> Result<Option<String>> {
    Ok(leases(api).get_opt(RELEASE).await?.and_then(|lease| lease.spec?.holder_identity))
}

async fn until_leads(api: &ApiServer, replica: &Replica) -> Result<()> {
    replica.said("this replica leads").await?;
    assert_eq!(holder(api).await?.as_deref(), Some(replica.name));
    wait::until("its metrics say that it leads", LIMIT, async || Ok(replica.leads().await?.then_some(())))
        .await
}

#[tokio::test]
async fn it_waits_for_its_definitions_and_then_works_without_a_restart() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    let mut operator = Replica::start(&api, "early").await?;
    operator.said(WAITS_FOR_DEFINITION).await?;
    wait::until("it looks again", LIMIT, async || {
        Ok((operator.lines(WAITS_FOR_DEFINITION).len() > 1).then_some(()))
    })
    .await?;
    operator.answers("/livez", 200, "ok").await?;
    operator.answers("/readyz", 503, "waiting for the definitions").await?;
    assert!(!operator.leads().await?, "it must not hold the Lease while it cannot work");
    assert!(operator.runs()?);

    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let ready = wait::until("ready", LIMIT, async || {
        Ok(operator.get("/readyz").await?.filter(|(code, _)| *code == 200))
    });
    assert_eq!(ready.await?.1, "ok");
    let applied = apply_policy(&api, "first").await?;
    let jobs = Api::<Job>::namespaced(api.cluster.client.clone(), SERVED);
    let job = wait::until("it makes the Job of the probe", LIMIT, async || {
        Ok(jobs.list(&ListParams::default()).await?.items.pop())
    })
    .await?;
    assert!(job.owner_references().iter().any(|owner| Some(&owner.uid) == applied.metadata.uid.as_ref()));
    assert!(operator.runs()?, "without a restart");
    operator.signal("TERM").await?;
    operator.ended_well(GRACE).await
}

/// The API server drops what an old definition does not have: a new policy would wait for its history for ever.
#[tokio::test]
async fn it_waits_for_the_definition_of_its_own_release() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    let apply = async |folder: &std::path::Path| {
        let folder = folder.join("crds");
        api.cluster.kube(&format!("apply --server-side --force-conflicts -f {}", folder.display())).await
    };
    let policies = checkout().join("crds").join(BackupPolicy::CRD_FILE);
    apply(&first_slice()).await?;
    let operator = Replica::start(&api, "newer").await?;
    let older = "waiting for the BackupPolicy definition of this release";
    operator.said_part(older).await?;
    operator.answers("/readyz", 503, "waiting for the definitions").await?;
    // As after an upgrade from a release that had no restores.
    api.cluster.kube(&format!("apply --server-side --force-conflicts -f {}", policies.display())).await?;
    operator.said_part("waiting for the RestoreRequest definition: install or upgrade the chart").await?;
    apply(&checkout()).await?;
    until_leads(&api, &operator).await
}

#[tokio::test]
async fn a_missing_right_and_a_taken_address_end_it_with_a_reason() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    // Another account of the same namespace, with no role.
    api.cluster.kube(&format!("create serviceaccount -n {NAMESPACE} stranger")).await?;
    let stranger = api.as_service_account(NAMESPACE, "stranger").await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let taken = listener.local_addr()?.to_string();
    let known = api.as_service_account(NAMESPACE, RELEASE).await?;
    for (kubeconfig, listen, reason, word) in [
        (&stranger, "127.0.0.1:0", "Forbidden", "backuppolicies"),
        (&known, &*taken, "CannotListen", &*taken),
    ] {
        let mut operator = Replica::start_with(kubeconfig, reason, &[("LISTEN", listen)])?;
        let ended = operator.ended(LIMIT).await?;
        let said = operator.said("the operator stops").await?;
        assert_eq!((ended.code(), &said["reason"]), (Some(1), &json!(reason)), "{said}");
        assert!(said["error"].as_str().is_some_and(|error| error.contains(word)), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn one_of_several_leads_and_hands_over() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let mut first = Replica::start(&api, "first").await?;
    until_leads(&api, &first).await?;
    // As the others are told, the Lease runs for hours: whoever waits for its end does not take over in this test.
    let far = json!({"spec": {"leaseDurationSeconds": 36_000}});
    leases(&api).patch(RELEASE, &PatchParams::default(), &Patch::Merge(far)).await?;
    let second = Replica::start(&api, "second").await?;
    second.said("waiting for the Lease").await?;
    second.answers("/readyz", 200, "ok").await?;
    assert!(!second.leads().await?);

    // An orderly stop gives the Lease back at once, whatever connections are open.
    let address = first.said("serving /livez, /readyz and /metrics").await?["address"].clone();
    let idle = TcpStream::connect(address.as_str().context("an address")?).await?;
    first.signal("TERM").await?;
    first.ended_well(GRACE).await?;
    drop(idle);
    first.said("stopped in order").await?;
    until_leads(&api, &second).await?;

    // One that is killed is replaced when its Lease has run out.
    let mut third = Replica::start(&api, "third").await?;
    third.said("waiting for the Lease").await?;
    second.signal("KILL").await?;
    until_leads(&api, &third).await?;
    apply_policy(&api, "anyone").await?;
    wait::until("the new leader works", LIMIT, async || {
        let status = policy::status(&api.cluster, SERVED, "anyone").await?;
        Ok(status.probe.map(drop))
    })
    .await?;

    // One that finds its Lease taken stops at once, and says why.
    let taken = json!({"spec": {"holderIdentity": "somebody-else"}});
    leases(&api).patch(RELEASE, &PatchParams::default(), &Patch::Merge(taken)).await?;
    let ended = third.ended(LIMIT).await?;
    let said = third.said("the operator stops").await?;
    assert_eq!((ended.code(), &said["reason"]), (Some(1), &json!("LeaseLost")), "{said}");
    assert_eq!(holder(&api).await?.as_deref(), Some("somebody-else"));
    Ok(())
}

#[tokio::test]
async fn it_stops_in_time_although_the_api_server_does_not_answer() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let mut leader = Replica::start(&api, "leader").await?;
    until_leads(&api, &leader).await?;
    leader.answers("/readyz", 200, "ok").await?;

    api.freeze().await?;
    leader.signal("TERM").await?;
    // It tries to give the Lease back for a while. Until it ends, probes get an answer.
    leader.said("stopping").await?;
    leader.answers("/readyz", 503, "stopping").await?;
    leader.answers("/livez", 200, "ok").await?;
    leader.ended_well(GRACE).await?;

    // The Lease runs out, and the next one takes over.
    api.thaw().await?;
    let next = Replica::start(&api, "next").await?;
    until_leads(&api, &next).await
}
