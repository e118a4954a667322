//! Builds the Job that runs one Task. Pure.

use std::collections::BTreeMap;

use greenlang_backup_api::labels;
use greenlang_backup_api::task::TASK_ENV;
use greenlang_backup_api::v1alpha1::JobTemplate;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements,
    SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Name of the one container.
pub const CONTAINER: &str = "runner";
/// The program in the image.
const PROGRAM: &str = "/usr/local/bin/greenlang-backup-runner";
/// User and group of the image; group of mounted Secrets, so that they need no wider mode than 0440.
const USER: i64 = 65_532;
/// Seconds from SIGTERM to SIGKILL: time to abort uploads and delete what was written.
const GRACE_SECONDS: i64 = 60;
/// Seconds by which the Job's limit is longer than the Pod's: a Job that reaches its own deletes the Pod with its report.
const JOB_LIMIT_MARGIN: i64 = 300;

/// What is the same for all Jobs of this operator.
#[derive(Clone, Debug)]
pub struct RunnerSettings {
    /// Image with the runner.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// UID of the namespace `kube-system`, by which buckets know the cluster.
    pub cluster_uid: String,
    /// Service account in the namespace of the policy; needs no rights.
    pub service_account: String,
}

/// What differs from Job to Job.
pub struct JobRequest<'a> {
    /// Deterministic name.
    pub name: String,
    /// Namespace of the policy.
    pub namespace: &'a str,
    /// The policy.
    pub owner: OwnerReference,
    /// Labels of ours.
    pub labels: BTreeMap<String, String>,
    /// Encoded Task.
    pub task: String,
    /// Secrets to mount, by directory.
    pub secrets: BTreeMap<String, String>,
    /// Seconds until the Pod is stopped.
    pub active_deadline_seconds: u32,
    /// Memory limit in bytes where the user names no resources.
    pub memory: u64,
    /// The user's wishes.
    pub template: &'a JobTemplate,
}

/// Builds a Job. It never retries by itself (attempts are counted by the operator), never deletes itself (the operator
/// deletes it once its end is counted), and meets the `restricted` Pod Security Standard.
pub fn build_job(request: JobRequest<'_>, runner: &RunnerSettings) -> Job {
    let JobRequest {
        name,
        namespace,
        owner,
        labels: ours,
        task,
        secrets,
        active_deadline_seconds,
        memory,
        template,
    } = request;
    let deadline = i64::from(active_deadline_seconds);
    let labels = all_labels(ours, template);
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            // By default a Pod that is being deleted gets a replacement at once, and two would work on one attempt.
            pod_replacement_policy: Some("Failed".into()),
            active_deadline_seconds: Some(deadline + JOB_LIMIT_MARGIN),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations(template)).filter(|map| !map.is_empty()),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(task, secrets, deadline, memory, template, runner)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// Keys that users cannot set: the operator finds its Jobs by its own, and Argo CD takes what carries its keys for an object that
/// it should compare with Git and prune.
const RESERVED: &[&str] = &["backup.greenlang.io/", "app.kubernetes.io/", "argocd.argoproj.io/"];

fn is_free(key: &str) -> bool {
    !RESERVED.iter().any(|prefix| key.starts_with(prefix))
}

fn annotations(template: &JobTemplate) -> BTreeMap<String, String> {
    let mut annotations = template.annotations.clone();
    annotations.retain(|key, _| is_free(key));
    annotations
}

fn all_labels(ours: BTreeMap<String, String>, template: &JobTemplate) -> BTreeMap<String, String> {
    let mut labels = template.labels.clone();
    labels.retain(|key, _| is_free(key));
    labels.extend(ours);
    labels.insert("app.kubernetes.io/name".into(), "greenlang-backup".into());
    labels.insert("app.kubernetes.io/component".into(), CONTAINER.into());
    labels.insert("app.kubernetes.io/managed-by".into(), labels::MANAGED_BY.into());
    labels
}

fn pod_spec(
    task: String,
    secrets: BTreeMap<String, String>,
    deadline: i64,
    memory: u64,
    template: &JobTemplate,
    runner: &RunnerSettings,
) -> PodSpec {
    let (volumes, mounts) = secrets
        .into_iter()
        .enumerate()
        .map(|(at, (directory, secret))| mount(at, &directory, secret))
        .unzip();
    PodSpec {
        restart_policy: Some("Never".into()),
        active_deadline_seconds: Some(deadline),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        service_account_name: Some(runner.service_account.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        containers: vec![Container {
            name: CONTAINER.into(),
            image: Some(runner.image.clone()),
            image_pull_policy: Some(runner.image_pull_policy.clone()),
            command: Some(vec![PROGRAM.into()]),
            env: Some(vec![EnvVar { name: TASK_ENV.into(), value: Some(task), value_from: None }]),
            resources: Some(template.resources.clone().unwrap_or_else(|| default_resources(memory))),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
                ..SecurityContext::default()
            }),
            volume_mounts: Some(mounts),
            ..Container::default()
        }],
        volumes: Some(volumes),
        node_selector: Some(template.node_selector.clone()).filter(|map| !map.is_empty()),
        tolerations: Some(template.tolerations.clone()).filter(|list| !list.is_empty()),
        affinity: template.affinity.clone(),
        priority_class_name: template.priority_class_name.clone(),
        ..PodSpec::default()
    }
}

/// An optional mount: a missing Secret must be reported by the runner, not leave the Pod in `ContainerCreating`.
fn mount(at: usize, directory: &str, secret: String) -> (Volume, VolumeMount) {
    let name = format!("secret-{at}");
    let source = SecretVolumeSource {
        secret_name: Some(secret),
        optional: Some(true),
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    (
        Volume { name: name.clone(), secret: Some(source), ..Volume::default() },
        VolumeMount {
            name,
            mount_path: directory.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        },
    )
}

/// Whole MiB, as people write it.
fn default_resources(memory: u64) -> ResourceRequirements {
    let limit = format!("{}Mi", memory.div_ceil(1 << 20));
    let quantities = |pairs: &[(&str, &str)]| {
        Some(
            pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect(),
        )
    };
    ResourceRequirements {
        requests: quantities(&[("cpu", "100m"), ("memory", "128Mi")]),
        limits: quantities(&[("memory", &limit)]),
        claims: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn build(template: &JobTemplate) -> serde_json::Value {
        let request = JobRequest {
            name: "j".into(),
            namespace: "n",
            owner: OwnerReference { name: "p".into(), uid: "u".into(), ..OwnerReference::default() },
            labels: [(labels::POLICY.to_owned(), "p".to_owned())].into(),
            task: "e30".into(),
            secrets: [("/run/secrets/a", "one"), ("/run/secrets/b", "two")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .into(),
            active_deadline_seconds: 600,
            memory: (600 << 20) + 1,
            template,
        };
        let runner = RunnerSettings {
            image: "i".into(),
            image_pull_policy: "Never".into(),
            cluster_uid: "c".into(),
            service_account: "s".into(),
        };
        serde_json::to_value(build_job(request, &runner)).unwrap()
    }

    #[test]
    fn limits_secrets_and_security() {
        let job = build(&JobTemplate::default());
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(
            (&job["spec"]["backoffLimit"], &job["spec"]["activeDeadlineSeconds"]),
            (&json!(0), &json!(900))
        );
        assert_eq!(job["spec"].get("ttlSecondsAfterFinished"), None);
        assert_eq!(job["spec"]["podReplacementPolicy"], json!("Failed"));
        assert_eq!((&pod["activeDeadlineSeconds"], &pod["restartPolicy"]), (&json!(600), &json!("Never")));
        assert_eq!(pod["containers"][0]["resources"]["limits"], json!({"memory": "601Mi"}));
        assert_eq!(pod["automountServiceAccountToken"], json!(false));
        assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true));
        assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], json!(true));
        let volumes = pod["volumes"].as_array().unwrap();
        assert_eq!(volumes.len(), 2);
        assert!(volumes.iter().all(|volume| volume["secret"]["optional"] == json!(true)
            && volume["secret"]["defaultMode"] == json!(0o440)));
    }

    #[test]
    fn nothing_makes_a_gitops_tool_take_a_job_for_its_own() {
        let tracked = json!({"team": "db", "argocd.argoproj.io/instance": "a", "argocd.argoproj.io/tracking-id": "a:batch/Job:n/j",
            "argocd.argoproj.io/hook": "Sync", "app.kubernetes.io/instance": "a"});
        let template: JobTemplate =
            serde_json::from_value(json!({"labels": tracked, "annotations": tracked})).unwrap();
        let job = build(&template);
        let pod = &job["spec"]["template"]["metadata"];
        for map in [&job["metadata"]["labels"], &pod["labels"], &pod["annotations"]] {
            assert_eq!(map["team"], json!("db"));
            let keys: Vec<&String> = map.as_object().unwrap().keys().collect();
            assert!(
                keys.iter().all(|key| !key.contains("argoproj") && *key != "app.kubernetes.io/instance"),
                "{keys:?}"
            );
        }
        assert_eq!(job["metadata"].get("annotations"), None);
    }

    #[test]
    fn users_labels_are_added_but_ours_stay() {
        let template: JobTemplate = serde_json::from_value(json!({"labels":
            {"team": "db", "backup.greenlang.io/policy": "stolen", "app.kubernetes.io/managed-by": "me", "backup.greenlang.io/backup": "x"}}))
        .unwrap();
        let job = build(&template);
        for labels in [&job["metadata"]["labels"], &job["spec"]["template"]["metadata"]["labels"]] {
            assert_eq!((&labels["team"], &labels[labels::POLICY]), (&json!("db"), &json!("p")));
            assert_eq!(labels["app.kubernetes.io/managed-by"], json!(labels::MANAGED_BY));
            assert_eq!(labels.get(labels::BACKUP), None);
        }
    }
}
