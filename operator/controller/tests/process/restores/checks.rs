//! Programs of the user's that judge a restore (`checks.jobs`), as Jobs of their own.

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions::{SWITCHED, find};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::RestorePhase;
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::{REPLICAS, World, works};
use crate::runs::jobs;

const FIRST: &str = "localhost/first:1";
const SECOND: &str = "localhost/second:1";

fn with_programs(wanted: &mut Value) {
    let first = json!({"name": "first", "image": FIRST, "command": ["/first", "-v"], "env": [{"name": "A", "value": "b"}]});
    let second = json!({"name": "second", "image": SECOND, "timeoutSeconds": 42});
    wanted["spec"]["checks"] = json!({"jobs": [first, second]});
}

async fn programs(world: &World, request: &str) -> Result<Vec<Job>> {
    let which = format!("{}={request},{}=check-job", labels::RESTORE, labels::ACTION);
    Ok(jobs(&world.api).list(&ListParams::default().labels(&which)).await?.items)
}

#[tokio::test]
async fn programs_run_one_after_the_other_once_the_applications_are_back() -> Result<()> {
    let mut world = World::start().await?;
    world.server.hold("check-job", true);
    world.apply("back", with_programs).await?;
    let status = world.until("back", "the first runs", works(RestorePhase::Checking)).await?;
    let active = status.active.context("no Job")?;
    assert_eq!(active.check.as_deref(), Some("first"));
    assert!(world.replicas().await?.starts_with(&REPLICAS.to_string()), "what it asks is there");
    let running = programs(&world, "back").await?;
    assert_eq!(running.len(), 1, "{running:#?}");
    let pod = serde_json::to_value(&running[0])?["spec"]["template"]["spec"].clone();
    let container = &pod["containers"][0];
    assert_eq!((&container["image"], &container["command"]), (&json!(FIRST), &json!(["/first", "-v"])));
    assert_eq!(container["env"], json!([{"name": "A", "value": "b"}]), "nothing of ours");
    assert_eq!((&pod["automountServiceAccountToken"], pod.get("volumes")), (&json!(false), None));
    world.server.hold("check-job", false);
    world.phase("back", RestorePhase::Succeeded).await?;
    world.at_rest("back").await?;
    let done = world.server.done("back");
    assert!(done.contains(&("check-job".to_owned(), 2)), "{done:?}");

    // One that ends badly is not tried again, and what was restored stays.
    world.server.end_with(FIRST, 3);
    world.apply("fails", with_programs).await?;
    let status = world.phase("fails", RestorePhase::Failed).await?;
    let failure = status.failure.context("no reason")?;
    assert_eq!(failure.reason, "CheckFailed");
    for part in ["first ended with code 3", "spec.source.undoOf.name: fails"] {
        assert!(failure.message.contains(part), "{part}: {}", failure.message);
    }
    assert!(find(&status.conditions, SWITCHED).is_some_and(|switched| switched.status == "True"));
    let done = world.server.done("fails");
    assert!(done.contains(&("check-job".to_owned(), 1)), "the second does not run: {done:?}");
    let left = programs(&world, "fails").await?;
    assert_eq!(left.len(), 1, "it stays for its log");
    world.at_rest("fails").await
}
