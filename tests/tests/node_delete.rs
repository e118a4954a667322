//! Deleting a policy, in the middle of a run too: no Job and no Pod is left, and nothing that was finished in the bucket is touched.

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_tests::{bucket, held, policy, suite, wait};

const NAMES: &[&str] = &["delete"];
/// A backup on a busy machine.
const LIMIT: Duration = Duration::from_mins(4);
/// A deleted Job's Pod has a minute to stop.
const GONE: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_deleted_policy_leaves_no_job_and_all_its_backups() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "delete").await?;
    let namespace = &*parts.namespace;
    let wanted = held::policy(&cluster, &parts, "delete").await?;
    let applied = policy::apply(&cluster, &wanted).await?;
    policy::run_now(&cluster, namespace, "delete", "database", "one").await?;
    policy::until(&cluster, &applied, "a backup is made", LIMIT, |status| {
        status
            .backup("database")
            .is_some_and(|backup| backup.active.is_none() && backup.manual.succeeded == 1)
    })
    .await?;
    let made = bucket::objects(&cluster, &parts, "delete/").await?;
    policy::run_now(&cluster, namespace, "delete", "database", "two").await?;
    let dump = held::hold(&cluster, &parts).await?;

    policy::delete(&cluster, namespace, "delete").await?;
    let gone = wait::until_in(&cluster, namespace, "no Job and no Pod is left", GONE, async || {
        let left = cluster
            .kube(&format!("get jobs,pods -n {namespace} -l backup.greenlang.io/policy=delete -o name"))
            .await?;
        Ok(left.trim().is_empty().then_some(()))
    })
    .await;
    dump.let_go(&cluster, &parts).await?;
    gone?;
    let left = bucket::objects(&cluster, &parts, "delete/").await?;
    for object in &made {
        left.iter()
            .find(|other| (&other.key, other.size) == (&object.key, object.size))
            .with_context(|| format!("{} is gone or changed", object.key))?;
    }
    assert_eq!(bucket::manifests(&cluster, &parts, "delete/").await?.len(), 1);
    Ok(())
}
