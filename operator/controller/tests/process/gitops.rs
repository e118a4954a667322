//! What tools that apply from Git rely on: the same manifest again is no change and no difference, nothing that the operator makes
//! looks as if it came from Git, and what is deleted there leaves nothing here.

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE, checkout, install_chart};
use greenlang_backup_tests::{command, kubelet, policy, wait};
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::replica::{LIMIT, Replica, SERVED, install};

/// Every policy of the examples, in the served namespace.
fn examples() -> Result<Vec<Value>> {
    let mut policies = Vec::new();
    for file in std::fs::read_dir(checkout().join("examples"))? {
        let text = std::fs::read_to_string(file?.path())?;
        for document in text.split("\n---\n") {
            let mut object: Value = serde_yaml::from_str(document)?;
            if object["kind"] == BackupPolicy::KIND {
                object["metadata"]["namespace"] = json!(SERVED);
                policies.push(object);
            }
        }
    }
    Ok(policies)
}

async fn kubectl(api: &ApiServer, arguments: &str, manifest: &str) -> Result<command::Output> {
    let mut kubectl = api.cluster.kubectl();
    kubectl.args(arguments.split(' ')).args(["-f", "-"]);
    command::output(&mut kubectl, manifest).await
}

/// The policy once the operator has said all that it has to say about it for now.
async fn settled(api: &ApiServer, name: &str) -> Result<BackupPolicy> {
    let get = async || anyhow::Ok(policy::api(&api.cluster, SERVED).get(name).await?);
    wait::until(&format!("{name} is at rest"), LIMIT, async || {
        let first = get().await?;
        let probe = first.status.as_ref().and_then(|status| status.probe.as_ref()?.active.as_ref());
        if probe.is_none_or(|probe| probe.job_uid.is_none()) {
            return Ok(None);
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        Ok((get().await?.resource_version() == first.resource_version()).then_some(first))
    })
    .await
}

#[tokio::test]
async fn applying_again_is_no_change_and_no_difference() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let _operator = Replica::start(&api, "operator").await?;
    let policies = examples()?;
    assert!(policies.len() >= 3, "{policies:#?}");
    for (number, wanted) in policies.into_iter().enumerate() {
        for (how, diff) in [
            // As Argo CD and Flux do, and as people do.
            (
                "apply --server-side --field-manager=argocd-controller",
                "diff --server-side --field-manager=argocd-controller",
            ),
            ("apply", "diff"),
        ] {
            let mut wanted = wanted.clone();
            let name = format!("example-{number}-{}", how.len());
            wanted["metadata"]["name"] = json!(name);
            let manifest = wanted.to_string();
            let first = kubectl(&api, how, &manifest).await?;
            assert!(first.ok, "{}", first.quote());
            let before = settled(&api, &name).await?;
            assert_eq!(serde_json::to_value(&before.spec)?, wanted["spec"], "no default may be added");

            let difference = kubectl(&api, diff, &manifest).await?;
            assert!(difference.ok, "{name}: {}{}", difference.stdout, difference.stderr);
            assert_eq!(difference.stdout, "");
            let again = kubectl(&api, how, &manifest).await?;
            assert!(again.ok, "{}", again.quote());
            let after = policy::api(&api.cluster, SERVED).get(&name).await?;
            assert_eq!(after.resource_version(), before.resource_version(), "{name}: something changed");
            let own = after
                .managed_fields()
                .iter()
                .filter(|entry| entry.manager.as_deref() == Some(labels::FIELD_MANAGER));
            assert!(
                own.clone().count() > 0
                    && own.into_iter().all(|entry| entry.subresource.as_deref() == Some("status")),
                "the operator owns nothing but status"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_made_carries_no_mark_of_argo_and_goes_with_its_policy() -> Result<()> {
    let api = ApiServer::start().await?;
    install(&api).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    let _collector = api.start_controllers(&["garbage-collector-controller"])?;
    let _operator = Replica::start(&api, "operator").await?;
    let mut wanted = examples()?.pop().context("an example")?;
    let marks = json!({"argocd.argoproj.io/instance": "platform", "app.kubernetes.io/instance": "platform"});
    let tracking = "platform:backup.greenlang.io/BackupPolicy:served/tracked";
    wanted["metadata"] = json!({"name": "tracked", "namespace": SERVED, "labels": marks,
        "annotations": {"argocd.argoproj.io/tracking-id": tracking}});
    wanted["spec"]["jobTemplate"] =
        json!({"labels": marks, "annotations": {"argocd.argoproj.io/tracking-id": tracking, "team": "db"}});
    wanted["spec"]["firstRun"] = json!("Immediately");
    policy::apply(&api.cluster, &wanted).await?;
    let jobs = Api::<Job>::namespaced(api.cluster.client.clone(), SERVED);
    let list = async || anyhow::Ok(jobs.list(&ListParams::default()).await?.items);
    let job = async |task: &str| {
        wait::until(&format!("a Job for {task}"), LIMIT, async || {
            Ok(list().await?.into_iter().find(|job| job.labels()[labels::TASK] == task))
        })
        .await
    };
    let probe = job(labels::TASK_PROBE).await?;
    let catalogue = job(labels::TASK_CATALOGUE).await?;
    // The backup waits for what they find.
    for job in [&probe, &catalogue] {
        kubelet::carry_out(&api.cluster.client, job, &kubelet::good_report(job)?).await?;
    }
    let made = [probe, catalogue, job(labels::TASK_BACKUP).await?];
    for job in &made {
        let template = job.spec.as_ref().and_then(|spec| spec.template.metadata.clone()).unwrap_or_default();
        assert_eq!(template.annotations, Some([("team".to_owned(), "db".to_owned())].into()));
        for map in
            [Some(job.labels()), Some(job.annotations()), template.labels.as_ref()].into_iter().flatten()
        {
            let marked =
                map.keys().find(|key| key.contains("argoproj") || *key == "app.kubernetes.io/instance");
            assert_eq!(marked, None);
        }
    }

    // Nothing holds the policy back, and nothing of it remains.
    let tracked = policy::api(&api.cluster, SERVED).get("tracked").await?;
    assert!(tracked.finalizers().is_empty(), "{:?}", tracked.finalizers());
    policy::delete(&api.cluster, SERVED, "tracked").await?;
    wait::until("no Job is left", LIMIT, async || Ok(list().await?.is_empty().then_some(()))).await?;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(list().await?.is_empty(), "the operator must not make Jobs of a policy that is gone");
    // It deletes Jobs only by their names, never what a user made; and a policy's deletion it leaves to Kubernetes.
    let asked = api.requests(NAMESPACE, RELEASE)?;
    assert!(asked.iter().all(|request| !request.starts_with("deletecollection")), "{asked:#?}");
    Ok(())
}
