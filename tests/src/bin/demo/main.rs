//! `make demo`: from an empty cluster to a backup, from the backup back to an equal database by hand, and, after a bad migration, by a
//! RestoreRequest; at last one from a backup of the old shell scripts. Ends with 0 only if all are equal.
#![expect(clippy::print_stdout, reason = "it talks to the person who started it")]

mod old_backup;
mod progress;
mod restore;
mod show;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use greenlang_backup_api::v1alpha1::SucceededRun;
use greenlang_backup_tests::cluster::{self, Cluster};
use greenlang_backup_tests::compare::Fingerprint;
use greenlang_backup_tests::parts::{self, Parts};
use greenlang_backup_tests::{bucket, by_hand, dataset, namespaces, operator, policy, random};
use kube::ResourceExt as _;

/// Namespace that the example policy names.
const NAMESPACE: &str = "greenlang";
/// Namespace of the empty server.
const BY_HAND: &str = "greenlang-by-hand";
/// Name of the backup in the example policy.
const BACKUP: &str = "database";
/// How long the backup may take; it takes seconds.
const BACKUP_LIMIT: Duration = Duration::from_mins(10);

/// Prints what happens, each line with the seconds since the start.
struct Clock(Instant);

impl Clock {
    fn say(&self, text: &str) {
        println!("[{:4}s] {text}", self.0.elapsed().as_secs());
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let clock = Clock(Instant::now());
    match demo(&clock).await {
        Ok(true) => {
            clock.say("EQUAL: what was restored, by hand and by request, is what was backed up");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            clock.say("NOT EQUAL: see the differences above");
            ExitCode::FAILURE
        }
        Err(error) => {
            clock.say(&format!("FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn demo(clock: &Clock) -> Result<bool> {
    clock.say("waiting until no test uses the cluster");
    let _lock = cluster::lock().await?;
    let cluster = Cluster::connect().await?;
    clock.say(&format!(
        "installing PostgreSQL and S3 with TLS in the namespace {NAMESPACE}, an empty PostgreSQL in {BY_HAND}"
    ));
    let (parts, place) = tokio::try_join!(install(clock, &cluster), by_hand::prepare(&cluster, BY_HAND))?;
    clock.say(&format!("installing the operator with Helm, image {}", cluster.image));
    operator::install(&cluster).await?;

    let run = back_up(clock, &cluster, &parts).await?;
    clock.say(&format!("backup {} is made, {} bytes in the bucket", run.id, run.bytes));
    println!("\n$ kubectl get backuppolicy -n {NAMESPACE}");
    println!("{}", cluster.kube(&format!("get backuppolicy -n {NAMESPACE}")).await?);
    let directory = format!("database/{}/", run.id);
    show::objects(&bucket::objects(&cluster, &parts, &directory).await?);
    let manifests = bucket::manifests(&cluster, &parts, &directory).await?;
    let manifest = manifests.first().context("the bucket has no manifest of this backup")?;

    clock.say("restoring it by hand in a plain Debian with aws, age, zstd, psql and pg_restore: the manifest's commands");
    println!("{}", show::indented(&by_hand::commands(manifest)));
    by_hand::restore(&cluster, &place, &parts, manifest).await?;
    clock.say("restored; comparing both servers");
    let (source, restored) = tokio::try_join!(
        Fingerprint::take(&cluster, NAMESPACE, dataset::DATABASE),
        Fingerprint::take(&cluster, BY_HAND, dataset::DATABASE),
    )?;
    let by_hand = show::comparison(&source, &restored);
    let by_request = restore::demonstrate(clock, &cluster, &parts, &source).await?;
    let from_scripts = old_backup::demonstrate(clock, &cluster, &parts, &source).await?;
    Ok(by_hand && by_request && from_scripts)
}

async fn install(clock: &Clock, cluster: &Cluster) -> Result<Parts> {
    namespaces::ensure_served(cluster, NAMESPACE).await?;
    let parts = parts::install(cluster, NAMESPACE).await?;
    clock.say("loading the data set: tables of the npm package vega-datasets");
    let loaded = dataset::ensure(cluster, NAMESPACE).await?;
    clock.say(if loaded { "the data set is loaded" } else { "the data set is there from an earlier run" });
    Ok(parts)
}

/// A new policy makes a backup by itself (`firstRun: Immediately`); one that is there is asked to by annotation.
async fn back_up(clock: &Clock, cluster: &Cluster, parts: &Parts) -> Result<SucceededRun> {
    let policies = policy::api(cluster, NAMESPACE);
    let example = policy::example(parts)?;
    let name = example["metadata"]["name"].as_str().context("the example has no name")?.to_owned();
    let before = policies.get_opt(&name).await?;
    policy::apply(cluster, &example).await?;
    let token = match &before {
        None => {
            clock.say(&format!(
                "applied examples/backup-policy.yaml: {name} is new and makes its first backup at once"
            ));
            None
        }
        Some(before) => {
            let token = format!("demo-{}", random::word(6)?);
            policy::run_now(cluster, NAMESPACE, &name, BACKUP, &token).await?;
            clock.say(&format!(
                "{} is there: asked for a backup by the annotation run.backup.greenlang.io/{BACKUP}={token}",
                before.name_any()
            ));
            Some(token)
        }
    };
    progress::follow(clock, cluster, &name, token.as_deref()).await
}
