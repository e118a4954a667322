//! A server without room for the database twice.

use anyhow::Result;
use greenlang_backup_api::v1alpha1::RestorePhase;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::parts::{self, Parts, postgres};
use greenlang_backup_tests::story::Story;
use greenlang_backup_tests::suite;
use serde_json::json;

use super::{NAMES, expect_restored, failure};

/// Some 19 MiB of the small disk's 32.
const BIG: &str = "CREATE TABLE big TABLESPACE small AS SELECT gen_random_uuid() AS a, gen_random_uuid() AS b, gen_random_uuid() AS c, gen_random_uuid() AS d FROM generate_series(1, 200000)";

#[tokio::test]
#[ignore = "slow: make test-all runs it"]
async fn a_restore_that_fills_the_disk_is_undone_and_one_that_needs_less_room_succeeds() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "crowded").await?;
    let parts = with_a_small_disk(&cluster, &parts).await?;
    let story = Story::begin(cluster, parts, "crowded", BIG).await?;
    let damaged = story.damage().await?;

    let status = story.carry_out("beside", &story.request("beside")).await?;
    let failure = failure(&status)?;
    assert_eq!((failure.phase, &*failure.reason), (RestorePhase::Restoring, "NotEnoughSpace"), "{failure:?}");
    assert!(failure.message.contains("No space left on device"), "{failure:?}");
    assert!(failure.message.contains("restore with strategy Replace"), "{failure:?}");
    story.until_running().await?;
    story.expect_equal(&damaged).await?;
    story.expect_nothing_half_made().await?;

    // What the message says. It would not fit either beside what the first one made.
    let mut request = story.request("instead");
    request["spec"]["database"]["strategy"] = json!("Replace");
    request["spec"]["allowDataLossOnFailure"] = json!(true);
    let status = story.carry_out("instead", &request).await?;
    expect_restored(&story, &status).await?;
    assert_eq!(status.previous, None);
    story.close().await
}

/// Mounts a disk in the server, for a tablespace, and begins anew: the server's data lives as long as its Pod.
async fn with_a_small_disk(cluster: &Cluster, parts: &Parts) -> Result<Parts> {
    let namespace = &*parts.namespace;
    let patch = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "postgres", "volumeMounts": [{"name": "small", "mountPath": "/small"}]}],
        "volumes": [{"name": "small", "emptyDir": {"medium": "Memory", "sizeLimit": "32Mi"}}],
    }}}});
    cluster.kube(&format!("patch statefulset -n {namespace} db --type=strategic --patch={patch}")).await?;
    let parts = parts::install(cluster, namespace).await?;
    cluster.script_ok(namespace, postgres::POD, "mkdir /small/data").await?;
    let tablespace = "CREATE TABLESPACE small LOCATION '/small/data'";
    postgres::psql(cluster, namespace, "postgres", tablespace).await?;
    Ok(parts)
}
