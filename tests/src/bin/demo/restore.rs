//! The second part of the demo: a bad migration while applications run, a restore by the example request, an undo by the example undo.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use greenlang_backup_api::v1alpha1::RestorePhase;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::compare::Fingerprint;
use greenlang_backup_tests::parts::{Parts, postgres};
use greenlang_backup_tests::{dataset, operator, random, restore, wait};
use serde_json::{Value, json};

use crate::{Clock, NAMESPACE, show};

/// Longest that a request may take; it takes a minute.
const LIMIT: Duration = Duration::from_mins(15);
/// What a bad migration does, here.
const MIGRATION: &str = "DELETE FROM transport.departure WHERE delay > 0; DROP TABLE transport.route CASCADE";

/// Damages the database, restores it, undoes that, and undoes the undo. Says whether each time all was as it should be; at the end
/// the database is what was backed up.
pub async fn demonstrate(
    clock: &Clock,
    cluster: &Cluster,
    parts: &Parts,
    source: &Fingerprint,
) -> Result<bool> {
    restore::secrets(cluster, parts).await?;
    clock.say("starting greenlang-api (6 replicas) and greenlang-worker (4): each Pod has a session in the database");
    restore::start_applications(cluster, NAMESPACE, dataset::DATABASE).await?;
    clock.say(&format!("a bad migration, while they run: {MIGRATION}"));
    postgres::psql(cluster, NAMESPACE, dataset::DATABASE, MIGRATION).await?;
    let damaged = Fingerprint::take(cluster, NAMESPACE, dataset::DATABASE).await?;
    ensure!(!source.differences(&damaged).is_empty(), "the migration has changed nothing");

    // A name restores once, so each run of the demo takes new ones.
    let suffix = random::word(5)?;
    let names = ["after-bad-migration", "undo", "redo"].map(|name| format!("{name}-{suffix}"));
    let request = example("restore-request.yaml", &names[0], None)?;
    carry_out(clock, cluster, "examples/restore-request.yaml", &request).await?;
    let restored = Fingerprint::take(cluster, NAMESPACE, dataset::DATABASE).await?;
    let is_back = show::comparison(source, &restored);
    clock.say(if is_back { "EQUAL: the request brought back what was backed up" } else { "NOT EQUAL" });

    let undo = example("restore-undo.yaml", &names[1], Some(&names[0]))?;
    carry_out(clock, cluster, "examples/restore-undo.yaml", &undo).await?;
    let undone = Fingerprint::take(cluster, NAMESPACE, dataset::DATABASE).await?;
    let differences = undone.differences(source).len();
    let is_undone = damaged.differences(&undone).is_empty();
    clock
        .say(&format!("undone: {differences} differences to what was backed up, as after the bad migration"));

    let redo = example("restore-undo.yaml", &names[2], Some(&names[1]))?;
    carry_out(clock, cluster, "the undo of the undo", &redo).await?;
    let again = Fingerprint::take(cluster, NAMESPACE, dataset::DATABASE).await?;
    Ok(is_back && is_undone && source.differences(&again).is_empty())
}

/// An example under another name; the request that it undoes has got another one, too.
pub fn example(file: &str, name: &str, undo_of: Option<&str>) -> Result<Value> {
    let path = operator::checkout().join("examples").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut request: Value = serde_yaml::from_str(&text).with_context(|| path.display().to_string())?;
    request["metadata"]["name"] = json!(name);
    if let Some(of) = undo_of {
        request["spec"]["source"]["undoOf"]["name"] = json!(of);
    }
    Ok(request)
}

/// Applies a request and tells its phases as they come. It must succeed, and all applications must be there afterwards.
pub async fn carry_out(clock: &Clock, cluster: &Cluster, what: &str, request: &Value) -> Result<()> {
    let name = request["metadata"]["name"].as_str().context("a request without name")?;
    restore::apply(cluster, request).await?;
    clock.say(&format!("applied {what} as {name}"));
    let mut last = None;
    let status = wait::until_in(cluster, NAMESPACE, &format!("{name} ends"), LIMIT, async || {
        let status = restore::status(cluster, NAMESPACE, name).await?;
        if status.phase != last {
            last = status.phase;
            clock.say(status.phase.unwrap_or_default().as_str());
        }
        Ok(status.phase.is_some_and(RestorePhase::is_end).then_some(status))
    })
    .await?;
    clock.say(&restore::durations(&status));
    println!("\n$ kubectl get restorerequest -n {NAMESPACE} {name}");
    println!("{}", cluster.kube(&format!("get restorerequest -n {NAMESPACE} {name}")).await?);
    ensure!(status.phase == Some(RestorePhase::Succeeded), "{name}: {:?}", status.failure);
    let replicas = restore::replicas(cluster, NAMESPACE).await?;
    ensure!(replicas == [(6, 6), (4, 4)], "the applications are not back: {replicas:?}");
    Ok(())
}
