//! A request that names bucket and server itself, in a namespace without a policy, for a database that the server does not have.

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::RestorePhase;
use greenlang_backup_tests::{policy, wait};
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use super::{ALL, DATABASE, World, once, works};
use crate::replica::{LIMIT, SERVED};
use crate::runs::jobs;
use crate::server::task;

#[tokio::test]
async fn bucket_and_server_are_those_of_the_request_and_a_database_that_is_missing_only_gets_its_name()
-> Result<()> {
    let mut world = World::start().await?;
    policy::delete(&world.api.cluster, SERVED, "main").await?;
    world.server.hold("load", true);
    world
        .apply("elsewhere", |wanted| {
            if let Some(spec) = wanted["spec"].as_object_mut() {
                spec.remove("policyRef");
            }
            let spec = &mut wanted["spec"];
            let s3 = json!({"bucket": "of-the-lost-cluster", "endpoint": "https://s3.elsewhere:9000",
                "credentialsSecretRef": {"name": "their-keys"}});
            spec["storage"] = json!({"s3": s3});
            spec["source"] = json!({"backup": {"path": "database", "id": "20251107-020000"}});
            spec["database"]["target"] = json!({"host": "db.elsewhere", "port": 5433, "name": "missing"});
            spec["confirm"] = json!("missing");
        })
        .await?;
    world.until("elsewhere", "it loads", works(RestorePhase::Restoring)).await?;
    let ours = ListParams::default().labels(&format!("{}=elsewhere", labels::RESTORE));
    let job = jobs(&world.api).list(&ours).await?.items.pop().context("no Job")?;
    assert_eq!(job.labels()[labels::ACTION], "load");
    let told = task(&job)?.context("no Task")?;
    assert_eq!((&*told.server.host, told.server.port, &*told.database), ("db.elsewhere", 5433, "missing"));
    assert_eq!(told.bucket.name, "of-the-lost-cluster");
    let pod = serde_json::to_string(&job.spec)?;
    for secret in ["their-keys", "admin", "identity"] {
        assert!(pod.contains(&format!("\"secretName\":\"{secret}\"")), "{secret}: {pod}");
    }
    assert!(!pod.contains("db-backup"), "a Secret of the policy");

    world.server.hold("load", false);
    let status = world.phase("elsewhere", RestorePhase::Succeeded).await?;
    assert_eq!(status.target.map(|target| target.host).as_deref(), Some("db.elsewhere"));
    assert!(status.previous.is_none() && world.kept().await?.is_empty(), "nothing was replaced");
    assert_eq!(world.server.databases(), [DATABASE, "missing"]);
    assert_eq!(world.server.done("elsewhere"), once(&ALL));
    world.at_rest("elsewhere").await?;
    let left = wait::until("its Jobs are gone", LIMIT, async || {
        Ok(jobs(&world.api).list(&ours).await?.items.is_empty().then_some(()))
    });
    left.await
}
