//! Deleting a policy, or its namespace, in the middle of a run too: no Job and no Pod is left, and nothing that was finished in the
//! bucket is touched.

use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_tests::{bucket, held, namespaces, policy, suite, wait};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;

const NAMES: &[&str] = &["delete", "parts", "doomed"];
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

/// Database and bucket are elsewhere and stay, so the runner can clean up.
#[tokio::test]
async fn a_namespace_goes_with_its_active_job_within_a_minute() -> Result<()> {
    let (cluster, parts) = suite::enter_with_parts(NAMES, "parts").await?;
    let (_, doomed) = suite::enter(NAMES, "doomed").await?;
    namespaces::copy_secrets(&cluster, &parts.namespace, &doomed).await?;
    let mut wanted = held::policy(&cluster, &parts, "doomed").await?;
    wanted["metadata"]["namespace"] = (*doomed).into();
    policy::apply(&cluster, &wanted).await?;
    policy::run_now(&cluster, &doomed, "doomed", "database", "one").await?;
    let dump = held::hold(&cluster, &parts).await?;

    let all = Api::<Namespace>::all(cluster.client.clone());
    all.delete(&doomed, &DeleteParams::default()).await?;
    let gone =
        wait::until_in(&cluster, &doomed, "the namespace is gone", Duration::from_mins(1), async || {
            Ok(all.get_opt(&doomed).await?.is_none().then_some(()))
        })
        .await;
    dump.let_go(&cluster, &parts).await?;
    gone?;
    assert_eq!(bucket::uploads(&cluster, &parts).await?.len(), 0, "the runner had time to clean up");
    assert_eq!(bucket::manifests(&cluster, &parts, "doomed/").await?.len(), 0);

    // The operator goes on elsewhere.
    let applied = policy::apply(&cluster, &policy::small(&cluster, &parts, "after").await?).await?;
    policy::run_now(&cluster, &parts.namespace, "after", "database", "one").await?;
    policy::until(&cluster, &applied, "a backup is made", LIMIT, |status| {
        status.backup("database").is_some_and(|backup| backup.manual.succeeded == 1)
    })
    .await
    .map(drop)
}
