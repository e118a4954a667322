//! RestoreRequests for applications that KEDA scales or Argo CD heals, on a real API server with the rights of the chart. Both tools are
//! doubles ([`crate::tools`]).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use greenlang_backup_api::labels::{ARGO_CD_SKIP_RECONCILE, KEDA_PAUSED_REPLICAS, LEDGER};
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequestStatus};
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE, install_chart};
use greenlang_backup_tests::wait;
use kube::api::DynamicObject;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::replica::{LIMIT, SERVED};
#[cfg(feature = "crash-points")]
use crate::restores::LIFE;
use crate::restores::{ALL, REPLICAS, World, autoscaler, once};
use crate::tools::{self, ARGO_CD, Double};

/// What the double of the other tool has the time to do wrong.
const A_WHILE: Duration = Duration::from_secs(2);

/// What an annotation of an object says, and whether it carries a ledger.
async fn said(objects: &Api<DynamicObject>, name: &str, key: &str) -> Result<(Option<String>, bool)> {
    let found = objects.get(name).await?;
    Ok((found.annotations().get(key).cloned(), found.annotations().contains_key(LEDGER)))
}

fn yes(said: &str) -> (Option<String>, bool) {
    (Some(said.to_owned()), true)
}

/// The chart with further values for other tools.
async fn allow(world: &World, quiesce: Value) -> Result<()> {
    let values = json!({"namespaces": [SERVED], "quiesce": quiesce});
    install_chart(&world.api.cluster, RELEASE, values).await
}

/// Waits until the operator may or may not do this: the API server learns of a Role a moment after it was written.
async fn until_may(world: &World, may: bool, what: &str) -> Result<()> {
    let account = format!("system:serviceaccount:{NAMESPACE}:{RELEASE}");
    let question = format!("auth can-i {what} --as={account}");
    wait::until(&format!("{what}: {may}"), LIMIT, async || {
        Ok((world.api.cluster.kube(&question).await.is_ok() == may).then_some(()))
    })
    .await
}

/// With a right to this Application of Argo CD, or to all of them.
async fn allow_applications(world: &World, names: &[&str]) -> Result<()> {
    let applications = json!([{"namespace": ARGO_CD, "names": names}]);
    allow(world, json!({"argoCD": {"applications": applications}})).await?;
    until_may(world, true, &format!("patch applications.argoproj.io/shop -n {ARGO_CD}")).await
}

async fn until_loads(world: &World, name: &str) -> Result<RestoreRequestStatus> {
    let loads = world.until(name, "it loads", |status| {
        status.phase == Some(RestorePhase::Restoring)
            && status.active.as_ref().is_some_and(|active| active.job_uid.is_some())
    });
    loads.await
}

async fn until_back(world: &World) -> Result<()> {
    wait::until("the application has what it had", LIMIT, async || {
        Ok(world.replicas().await?.starts_with(&REPLICAS.to_string()).then_some(()))
    })
    .await
}

fn skipping(wanted: &mut Value) {
    wanted["spec"]["quiesce"]["argoCD"] = json!("SkipReconcile");
}

async fn failed(world: &World, name: &str) -> Result<(String, String)> {
    let status = world.phase(name, RestorePhase::Failed).await?;
    let failure = status.failure.context("no reason")?;
    Ok((failure.reason, failure.message))
}

#[tokio::test]
async fn keda_stops_and_starts_what_it_scales() -> Result<()> {
    let mut world = World::start().await?;
    tools::define(&world.api).await?;
    let keda = Double::keda(&world.api, REPLICAS);
    tools::scale(&world.api, "api-by-queue", "api").await?;
    let scaled = tools::scaled_objects(&world.api.cluster.client);
    world.server.hold("load", true);
    world.apply("back", |_| {}).await?;
    let status = until_loads(&world, "back").await?;
    assert_eq!(said(&scaled, "api-by-queue", KEDA_PAUSED_REPLICAS).await?, yes("0"));
    let recorded = status.quiesced[0].scaled_object.clone().context("it is not recorded")?;
    assert_eq!((recorded.name.as_str(), recorded.paused_replicas), ("api-by-queue", None));
    assert!(world.replicas().await?.starts_with('0'));
    world.server.hold("load", false);
    world.phase("back", RestorePhase::Succeeded).await?;
    world.at_rest("back").await?;
    assert_eq!(said(&scaled, "api-by-queue", KEDA_PAUSED_REPLICAS).await?, (None, false));
    let asked = world.api.requests(NAMESPACE, RELEASE)?;
    assert!(asked.iter().any(|request| request == "patch scaledobjects api-by-queue"), "{asked:#?}");
    assert!(!asked.iter().any(|request| request.starts_with("patch deployments")), "{asked:#?}");

    // By the end nothing triggers it any more.
    world.server.hold("load", true);
    world.apply("idle", |_| {}).await?;
    until_loads(&world, "idle").await?;
    keda.want(0);
    world.server.hold("load", false);
    world.phase("idle", RestorePhase::Succeeded).await?;
    assert!(world.replicas().await?.starts_with('0'));
    assert_eq!(said(&scaled, "api-by-queue", KEDA_PAUSED_REPLICAS).await?, (None, false));
    Ok(())
}

#[tokio::test]
async fn whoever_unpauses_what_keda_scales_is_named_and_all_is_undone() -> Result<()> {
    let mut world = World::start().await?;
    tools::define(&world.api).await?;
    let _keda = Double::keda(&world.api, REPLICAS);
    tools::scale(&world.api, "api-by-queue", "api").await?;
    let scaled = tools::scaled_objects(&world.api.cluster.client);
    let before = world.server.databases();
    world.server.hold("load", true);
    world.apply("contested", |_| {}).await?;
    until_loads(&world, "contested").await?;
    let annotate =
        format!("annotate scaledobject -n {SERVED} api-by-queue --overwrite {KEDA_PAUSED_REPLICAS}=2");
    world.api.cluster.kube(&annotate).await?;
    world.server.hold("load", false);
    let (reason, message) = failed(&world, "contested").await?;
    assert_eq!(reason, "ScaleContested", "{message}");
    assert!(message.contains("ScaledObject api-by-queue was told by kubectl-annotate"), "{message}");
    until_back(&world).await?;
    world.at_rest("contested").await?;
    assert_eq!(said(&scaled, "api-by-queue", KEDA_PAUSED_REPLICAS).await?, (None, false));
    assert_eq!(world.server.databases(), before);
    Ok(())
}

#[tokio::test]
async fn what_keda_cannot_be_told_to_stop_is_refused_and_nothing_is_touched() -> Result<()> {
    let mut world = World::start().await?;
    tools::define(&world.api).await?;
    tools::scale(&world.api, "api-by-queue", "api").await?;
    // Somebody has paused it with replicas.
    let paused = format!("{KEDA_PAUSED_REPLICAS}={REPLICAS}");
    world.api.cluster.kube(&format!("annotate scaledobject -n {SERVED} api-by-queue {paused}")).await?;
    world.apply("paused", |_| {}).await?;
    let (reason, message) = failed(&world, "paused").await?;
    assert_eq!(reason, "ScaledByKeda");
    assert!(message.contains(&paused) && message.contains("ScaledObject api-by-queue"), "{message}");

    // The chart gives no right, and all that can be read is the autoscaler.
    allow(&world, json!({"keda": false})).await?;
    until_may(&world, false, &format!("list scaledobjects.keda.sh -n {SERVED}")).await?;
    let owner = json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "api-by-queue", "uid": "u"}]);
    world.api.cluster.apply(&autoscaler(&owner).to_string()).await?;
    world.apply("forbidden", |_| {}).await?;
    let (reason, message) = failed(&world, "forbidden").await?;
    assert_eq!(reason, "ScaledByKeda");
    assert!(message.contains("quiesce.keda: true"), "{message}");
    for name in ["paused", "forbidden"] {
        assert_eq!(world.server.done(name), once(&["plan"]));
        world.at_rest(name).await?;
    }
    // Where nothing is scaled by KEDA the right is not missed.
    world.api.cluster.kube(&format!("delete hpa -n {SERVED} api-by-load")).await?;
    world.apply("back", |_| {}).await?;
    world.phase("back", RestorePhase::Succeeded).await?;
    world.at_rest("back").await
}

#[tokio::test]
async fn argo_cd_is_told_to_leave_alone_what_it_would_start_again() -> Result<()> {
    let mut world = World::start().await?;
    tools::define(&world.api).await?;
    let _argo_cd = Double::argo_cd(&world.api, REPLICAS);
    tools::deploy(&world.api, "shop", "api").await?;
    let applications = tools::applications(&world.api.cluster.client);
    let before = applications.get("shop").await?;

    // By default the chart gives no right to Applications.
    world.apply("forbidden", skipping).await?;
    let (reason, message) = failed(&world, "forbidden").await?;
    assert_eq!(reason, "HealedByArgoCD");
    let way_out = format!("quiesce.argoCD.applications: [{{namespace: {ARGO_CD}, names: [shop]}}]");
    assert!(message.contains(&way_out), "{message}");
    allow_applications(&world, &["shop"]).await?;
    world.apply("unasked", |_| {}).await?;
    let (reason, message) = failed(&world, "unasked").await?;
    assert_eq!(reason, "HealedByArgoCD");
    assert!(message.contains("spec.quiesce.argoCD: SkipReconcile"), "{message}");
    for name in ["forbidden", "unasked"] {
        assert_eq!(world.server.done(name), once(&["plan"]));
        world.at_rest(name).await?;
    }

    world.server.hold("load", true);
    world.apply("back", skipping).await?;
    let status = until_loads(&world, "back").await?;
    assert_eq!(said(&applications, "shop", ARGO_CD_SKIP_RECONCILE).await?, yes("true"));
    assert_eq!(status.skipped_applications[0].name, "shop");
    tokio::time::sleep(A_WHILE).await;
    assert!(world.replicas().await?.starts_with('0'), "nobody starts it again");
    world.server.hold("load", false);
    world.phase("back", RestorePhase::Succeeded).await?;
    world.at_rest("back").await?;
    assert_eq!(world.server.done("back"), once(&ALL));
    let after = applications.get("shop").await?;
    assert_eq!((&after.data, after.annotations()), (&before.data, before.annotations()));
    Ok(())
}

#[tokio::test]
async fn whoever_lets_argo_cd_go_on_is_named_and_all_is_undone() -> Result<()> {
    let mut world = World::start().await?;
    tools::define(&world.api).await?;
    allow_applications(&world, &[]).await?;
    let _argo_cd = Double::argo_cd(&world.api, REPLICAS);
    tools::deploy(&world.api, "shop", "api").await?;
    world.server.hold("load", true);
    world.apply("contested", skipping).await?;
    until_loads(&world, "contested").await?;
    let annotate =
        format!("annotate application -n {ARGO_CD} shop --overwrite {ARGO_CD_SKIP_RECONCILE}=false");
    world.api.cluster.kube(&annotate).await?;
    world.server.hold("load", false);
    let (reason, message) = failed(&world, "contested").await?;
    assert_eq!(reason, "ScaleContested", "{message}");
    // Either is true: who told Argo CD, or that it has started the application already.
    ensure!(["kubectl-annotate", "argocd-controller"].iter().any(|who| message.contains(who)), "{message}");
    until_back(&world).await?;
    world.at_rest("contested").await?;
    let applications = tools::applications(&world.api.cluster.client);
    assert_eq!(said(&applications, "shop", ARGO_CD_SKIP_RECONCILE).await?, (None, false));
    Ok(())
}

/// The next life is cut one write later, until it ends uncut.
#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_restore_beside_keda_and_argo_cd_survives_a_kill_before_each_write() -> Result<()> {
    let mut world = World::start().await?;
    tools::define(&world.api).await?;
    allow_applications(&world, &[]).await?;
    let (_keda, _argo_cd) = (Double::keda(&world.api, REPLICAS), Double::argo_cd(&world.api, REPLICAS));
    tools::scale(&world.api, "api-by-queue", "api").await?;
    tools::deploy(&world.api, "shop", "api").await?;
    let (scaled, applications) =
        (tools::scaled_objects(&world.api.cluster.client), tools::applications(&world.api.cluster.client));
    let file = world.folder.path().join("cut");
    for writes in 0.. {
        std::fs::write(&file, format!("abort {writes}"))?;
        let name = format!("back-{writes}");
        world.apply(&name, skipping).await?;
        let what = format!("{name} ends");
        let ended = wait::until(&what, LIFE, async || {
            world.tend()?;
            let found = world.requests().get(&name).await?.status.unwrap_or_default();
            Ok(found.phase.is_some_and(RestorePhase::is_end).then_some(found))
        });
        let status = match ended.await {
            Ok(status) => status,
            Err(error) => return Err(error.context(format!("{:#?}", world.status(&name).await?))),
        };
        ensure!(status.phase == Some(RestorePhase::Succeeded), "{name}: {status:#?}");
        world.at_rest(&name).await.context(name.clone())?;
        assert_eq!(world.server.done(&name), once(&ALL), "{name}");
        assert_eq!(said(&scaled, "api-by-queue", KEDA_PAUSED_REPLICAS).await?, (None, false), "{name}");
        assert_eq!(said(&applications, "shop", ARGO_CD_SKIP_RECONCILE).await?, (None, false), "{name}");
        if file.exists() {
            ensure!(writes >= 22, "only {writes} writes were cut");
            return Ok(());
        }
    }
    Ok(())
}
