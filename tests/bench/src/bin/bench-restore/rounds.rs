//! One round: every measurement once, one after the other, each while nothing else goes on, so that what disturbs the machine disturbs all
//! of them. Talks to the cluster.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use greenlang_backup_api::v1alpha1::{PreviousDatabase, RestorePhase, RestoreRequest};
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::parts::{Parts, postgres};
use greenlang_backup_tests::{restore, wait};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use tokio::time::timeout;

use crate::instrument::Instrument;
use crate::place::idle;
use crate::{DATABASE, POLICY};

/// Longest that a request may take.
const LIMIT: Duration = Duration::from_mins(20);

/// What one round measured.
pub struct Round {
    /// From the apply of a dry run to its plan.
    pub planned: Duration,
    /// How long the applications are away when they are stopped and started again.
    pub bare: Duration,
    /// How long they are away in a restore.
    pub restored: Duration,
    /// Length of the dump that is restored.
    pub dump_bytes: u64,
}

/// Measures everything once.
pub async fn round(cluster: &Cluster, parts: &Parts, number: u32) -> Result<Round> {
    let namespace = &*parts.namespace;
    idle(cluster, namespace).await?;
    let (planned, dump_bytes) = plan(cluster, parts, &format!("plan-{number}")).await?;
    println!("  a plan after {:.2} s", planned.as_secs_f64());
    idle(cluster, namespace).await?;
    let bare = stop_and_start(cluster, namespace).await?;
    println!("  away for {:.2} s without a restore", bare.as_secs_f64());
    idle(cluster, namespace).await?;
    let restored = restore_beside(cluster, parts, &format!("restore-{number}")).await?;
    println!("  away for {:.2} s in a restore", restored.as_secs_f64());
    Ok(Round { planned, bare, restored, dump_bytes })
}

/// A dry run: how long it took, and the length of the dump that it has chosen.
async fn plan(cluster: &Cluster, parts: &Parts, name: &str) -> Result<(Duration, u64)> {
    let namespace = &*parts.namespace;
    let mut request = restore::request(parts, name, POLICY, DATABASE);
    request["spec"]["dryRun"] = json!(true);
    let start = Instant::now();
    restore::apply(cluster, &request).await?;
    let ended = await_condition(restore::api(cluster, namespace), name, has_ended);
    let Ok(ended) = timeout(LIMIT, ended).await else {
        bail!("{name}: no plan\n{}", wait::diagnosis(cluster, namespace).await);
    };
    let took = start.elapsed();
    let status = ended?.and_then(|request| request.status).context("the request is gone")?;
    ensure!(status.phase == Some(RestorePhase::Planned), "{name}: {:?}", status.failure);
    let planned = status.plan.and_then(|plan| plan.backup).context("a plan without a backup")?;
    Ok((took, planned.source_bytes))
}

fn has_ended(request: Option<&RestoreRequest>) -> bool {
    let phase = request.and_then(|request| request.status.as_ref()?.phase);
    phase.is_some_and(RestorePhase::is_end)
}

/// Stops the applications as the operator does, and starts them as soon as the last Pod is gone.
async fn stop_and_start(cluster: &Cluster, namespace: &str) -> Result<Duration> {
    let mut instrument = Instrument::start(cluster, namespace).await?;
    for (name, _) in restore::APPLICATIONS {
        scale(cluster, namespace, name, 0).await?;
    }
    instrument.stopped().await?;
    for (name, replicas) in restore::APPLICATIONS.into_iter().rev() {
        scale(cluster, namespace, name, replicas).await?;
    }
    let away = instrument.away().await?;
    restore::applications_ready(cluster, namespace).await?;
    Ok(away)
}

async fn scale(cluster: &Cluster, namespace: &str, name: &str, replicas: i32) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// A restore beside which the applications are up until the switch.
async fn restore_beside(cluster: &Cluster, parts: &Parts, name: &str) -> Result<Duration> {
    let namespace = &*parts.namespace;
    let mut request = restore::request(parts, name, POLICY, DATABASE);
    let spec = &mut request["spec"];
    spec["database"]["strategy"] = json!("Swap");
    // The server need not have room for a database of each round.
    spec["database"]["keepPreviousHours"] = json!(0);
    spec["quiesce"]["when"] = json!("BeforeSwitch");
    spec["quiesce"]["drainSeconds"] = json!(0);
    let mut instrument = Instrument::start(cluster, namespace).await?;
    restore::apply(cluster, &request).await?;
    let status = restore::ended(cluster, namespace, name, LIMIT).await?;
    ensure!(status.phase == Some(RestorePhase::Succeeded), "{name}: {:?}", status.failure);
    println!("  {}", restore::durations(&status));
    let away = instrument.away().await?;
    let replaced = status.previous.context("nothing was replaced")?;
    dropped(cluster, namespace, &replaced).await?;
    restore::applications_ready(cluster, namespace).await?;
    Ok(away)
}

/// Waits until a replaced database is gone.
async fn dropped(cluster: &Cluster, namespace: &str, replaced: &PreviousDatabase) -> Result<()> {
    let what = format!("the replaced database {} is dropped", replaced.name);
    let question = format!("SELECT count(*) FROM pg_database WHERE oid = {}", replaced.oid);
    wait::until_in(cluster, namespace, &what, LIMIT, async || {
        let there = postgres::psql(cluster, namespace, "postgres", question.as_str()).await?;
        Ok((there.trim() == "0").then_some(()))
    })
    .await
}
