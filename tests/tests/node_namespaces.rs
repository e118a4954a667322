//! The operator works in the namespaces that it was told, and has no rights anywhere else.

use std::time::Duration;

use anyhow::Result;
use greenlang_backup_api::conditions::READY;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE};
use greenlang_backup_tests::{command, namespaces, operator, policy, suite};

const NAMES: &[&str] = &["one", "two"];
const LIMIT: Duration = Duration::from_mins(2);

#[tokio::test]
async fn policies_work_where_the_operator_serves_and_say_so_where_not() -> Result<()> {
    let (cluster, one) = suite::enter_with_parts(NAMES, "one").await?;
    let (_, two) = suite::enter(NAMES, "two").await?;
    let outside = two.replace("two", "outside");
    namespaces::ensure_other(&cluster, &outside).await?;
    // Parts of one namespace, policies in three.
    for namespace in [&two, &outside] {
        namespaces::copy_secrets(&cluster, &one.namespace, namespace).await?;
    }
    let recorder = Recorder::start(&cluster, &outside);
    let mut wanted = policy::small(&cluster, &one, "served").await?;
    for namespace in [&one.namespace, &two] {
        wanted["metadata"]["namespace"] = (**namespace).into();
        let applied = policy::apply(&cluster, &wanted).await?;
        policy::until(&cluster, &applied, "ready", LIMIT, |status| {
            policy::shows(status, 1, READY, "True", "Succeeded")
        })
        .await?;
    }
    wanted["metadata"]["namespace"] = (*outside).into();
    let applied = policy::apply(&cluster, &wanted).await?;
    policy::until(&cluster, &applied, "not served", LIMIT, |status| {
        policy::shows(status, 1, READY, "False", "NamespaceNotServed")
    })
    .await?;
    assert!(recorder.jobs("served", "probe").is_empty() && recorder.jobs("served", "backup").is_empty());
    rights(&cluster, &two, &outside).await?;

    // Told of it, the operator serves it.
    namespaces::ensure_served(&cluster, &outside).await?;
    operator::install(&cluster).await?;
    policy::until(&cluster, &applied, "ready", LIMIT, |status| {
        policy::shows(status, 1, READY, "True", "Succeeded")
    })
    .await
    .map(drop)
}

/// No Secret anywhere, no Job outside of what it serves; and what its Jobs run as may do nothing at all.
async fn rights(cluster: &Cluster, served: &str, outside: &str) -> Result<()> {
    let operator = format!("system:serviceaccount:{NAMESPACE}:{RELEASE}");
    let runner = format!("system:serviceaccount:{served}:backup-runner");
    for (who, what, namespace, may) in [
        (&operator, "create jobs", served, true),
        (&operator, "create jobs", outside, false),
        (&operator, "get pods", outside, false),
        (&operator, "get secrets", served, false),
        (&operator, "get secrets", outside, false),
        (&operator, "list secrets", NAMESPACE, false),
        (&operator, "create pods --subresource=exec", served, false),
        (&operator, "patch backuppolicies --subresource=status", outside, true),
        (&operator, "delete backuppolicies", served, false),
        (&runner, "get secrets", served, false),
        (&runner, "get pods", served, false),
    ] {
        let mut kubectl = cluster.kubectl();
        kubectl.args(["auth", "can-i", "--as", who, "-n", namespace]).args(what.split(' '));
        let answer = command::output(&mut kubectl, "").await?;
        assert_eq!(answer.stdout.trim() == "yes", may, "{who}: {what} in {namespace}: {}", answer.stdout);
    }
    Ok(())
}
