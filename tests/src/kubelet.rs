//! Plays Job controller and kubelet on an API server without nodes: gives a Job its Pod, and lets it end with a report.

use anyhow::{Context as _, Result};
use greenlang_backup_api::labels;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::prune::{CatalogueEntry, CatalogueReport, PruneReport};
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{BackupReport, Finding, Outcome, ProbeReport, RunReport};
use greenlang_backup_api::v1alpha1::Verification;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What the runner of this Job would say if all went well.
pub fn good_report(job: &Job) -> Result<RunReport> {
    let label = |key: &str| job.labels().get(key).map(String::as_str);
    let mut report = RunReport::new(Outcome::Done, reasons::SUCCEEDED, "done");
    let fine = || Finding { ok: true, reason: reasons::SUCCEEDED.into(), message: "fine".into() };
    match label(labels::TASK) {
        Some(labels::TASK_PROBE) => {
            report.probe = Some(ProbeReport {
                storage: fine(),
                database: Some(fine()),
                encryption: fine(),
                largest_database_bytes: Some(1 << 20),
            });
        }
        Some(labels::TASK_BACKUP) => {
            let id: BackupId = label(labels::ID).context("a Job without id")?.parse()?;
            let now = Timestamp::now();
            report.backup = Some(BackupReport {
                id,
                path: "database".into(),
                stored_bytes: 1 << 20,
                source_bytes: 1 << 21,
                start_time: now,
                end_time: now,
                verified: Verification::ReadBack,
                manifest_sha256: "0".repeat(64),
                warnings: 0,
            });
        }
        Some(labels::TASK_CATALOGUE) => {
            // Nothing is in the bucket, so nothing stands in the log.
            report.catalogue = Some(catalogue(&[])?.0);
        }
        Some(labels::TASK_PRUNE) => report.prune = Some(PruneReport::default()),
        _ => {}
    }
    Ok(report)
}

/// What the runner reports that found these in the bucket, and its log.
pub fn catalogue(entries: &[CatalogueEntry]) -> Result<(CatalogueReport, String)> {
    let mut details = String::new();
    for entry in entries {
        details += &json!({"detail": entry}).to_string();
        details.push('\n');
    }
    let count = u32::try_from(entries.len())?;
    let details_sha256 = base16ct::lower::encode_string(&Sha256::digest(&details));
    let report = CatalogueReport { found: count, skipped: 0, details: count, details_sha256 };
    Ok((report, format!("{{\"level\":\"INFO\",\"message\":\"begins\"}}\n{details}")))
}

/// Whether the operator's watch of Pods has news of a Pod.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// As always.
    Yes,
    /// Never, as if it lagged behind: the Pod lacks the labels that it asks for.
    No,
}

/// Makes the Pod of a Job, as the Job controller does.
pub async fn start(client: &Client, job: &Job, watched: Watched) -> Result<Pod> {
    let (name, namespace) = (job.name_any(), job.namespace().context("a namespace")?);
    let uid = job.uid().context("a UID")?;
    let template = &job.spec.as_ref().context("a spec")?.template;
    let mut labels = json!({"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name});
    if let (Watched::Yes, Some(map)) = (watched, labels.as_object_mut()) {
        map.extend(job.labels().iter().map(|(key, value)| (key.clone(), json!(value))));
    }
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": format!("{name}-abcde"), "namespace": namespace, "labels": labels, "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid, "controller": true}]},
        "spec": template.spec,
    }))?;
    Ok(Api::namespaced(client.clone(), &namespace).create(&PostParams::default(), &pod).await?)
}

/// The container runs.
pub async fn run(client: &Client, pod: &Pod) -> Result<()> {
    let running = json!({"running": {"startedAt": Timestamp::now()}});
    container(client, pod, "Running", &running).await
}

/// The container has ended with this report.
pub async fn end(client: &Client, pod: &Pod, report: &RunReport) -> Result<()> {
    let now = Timestamp::now();
    let phase = if report.outcome.is_success() { "Succeeded" } else { "Failed" };
    let ended = json!({"terminated": {"exitCode": report.outcome.exit_code(), "message": report.encode(), "startedAt": now, "finishedAt": now}});
    container(client, pod, phase, &ended).await
}

/// The container of a program that reports nothing has ended with this code.
pub async fn exit(client: &Client, pod: &Pod, code: i32) -> Result<()> {
    let now = Timestamp::now();
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let ended = json!({"terminated": {"exitCode": code, "startedAt": now, "finishedAt": now}});
    container(client, pod, phase, &ended).await
}

async fn container(client: &Client, pod: &Pod, phase: &str, state: &Value) -> Result<()> {
    let status = json!({"status": {"phase": phase, "containerStatuses": [
        {"name": "runner", "image": "none", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}});
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().context("a namespace")?);
    pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

/// The Job controller has seen the end. The operator may have: it reads a success from the Pod, and deletes the Job.
pub async fn count(client: &Client, job: &Job, report: &RunReport) -> Result<()> {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |type_: &str, reason: &str| json!({"type": type_, "status": "True", "reason": reason, "message": "", "lastProbeTime": now, "lastTransitionTime": now});
    let status = if report.outcome.is_success() {
        json!({"startTime": now, "completionTime": now, "succeeded": 1, "conditions": [
            condition("SuccessCriteriaMet", "CompletionsReached"), condition("Complete", "CompletionsReached")]})
    } else {
        json!({"startTime": now, "failed": 1, "conditions": [
            condition("FailureTarget", "BackoffLimitExceeded"), condition("Failed", "BackoffLimitExceeded")]})
    };
    let jobs: Api<Job> = Api::namespaced(client.clone(), &job.namespace().context("a namespace")?);
    let patch = Patch::Merge(json!({"status": status}));
    match jobs.patch_status(&job.name_any(), &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(error)) if error.is_not_found() && report.outcome.is_success() => Ok(()),
        patched => Ok(patched.map(|_| ())?),
    }
}

/// A Job from its Pod to its end.
pub async fn carry_out(client: &Client, job: &Job, report: &RunReport) -> Result<()> {
    let pod = start(client, job, Watched::Yes).await?;
    end(client, &pod, report).await?;
    count(client, job, report).await
}
