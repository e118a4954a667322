//! What a CronJob has under way: its Jobs that have not ended, and their Pods. I/O, no decisions.
//!
//! Pods alone do not tell: a Job waits for its next one after a failure, or for room in a quota, with none at all.

use std::collections::BTreeMap;

use greenlang_backup_plan::job_state::has_ended;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use serde::Deserialize;

use crate::context::Context;
use crate::errors::Error;
use crate::pages::{LightPod, each};

/// What is under way.
#[derive(Default)]
pub struct UnderWay {
    /// Names of the Jobs that may still start a Pod.
    pub jobs: Vec<String>,
    /// Pods of all its Jobs, ended ones too.
    pub pods: Vec<Pod>,
}

/// A Job as it is read here.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Job)]
struct ShortJob {
    metadata: ObjectMeta,
    spec: Option<ShortSpec>,
    status: Option<JobStatus>,
}

/// What is read of a Job's spec.
#[derive(Clone, Debug, Deserialize)]
struct ShortSpec {
    suspend: Option<bool>,
}

impl ShortJob {
    /// Whether it may start a Pod: it has not ended, is not suspended, and does not go.
    fn may_start(self) -> bool {
        let suspended = self.spec.is_some_and(|spec| spec.suspend == Some(true));
        let goes = self.metadata.deletion_timestamp.is_some();
        !suspended && !goes && !has_ended(&Job { metadata: self.metadata, spec: None, status: self.status })
    }
}

/// Looks at what a CronJob has made.
pub async fn look(cron_job: &ObjectMeta, namespace: &str, context: &Context) -> Result<UnderWay, Error> {
    let uid = cron_job.uid.clone().unwrap_or_default();
    // By UID, with the name of those that may start a Pod.
    let mut made: BTreeMap<String, Option<String>> = BTreeMap::new();
    let jobs: Api<ShortJob> = Api::namespaced(context.client.clone(), namespace);
    each(&jobs, &ListParams::default(), |job| {
        if is_of(&job.metadata, &uid) {
            let (own, name) = (job.uid().unwrap_or_default(), job.name_any());
            made.insert(own, job.may_start().then_some(name));
        }
    })
    .await?;
    let mut found = UnderWay::default();
    if made.is_empty() {
        return Ok(found);
    }
    let pods: Api<LightPod> = Api::namespaced(context.client.clone(), namespace);
    each(&pods, &ListParams::default().labels("batch.kubernetes.io/job-name"), |pod| {
        let pod = Pod::from(pod);
        found.pods.extend(Some(pod).filter(|pod| made.keys().any(|job| is_of(&pod.metadata, job))));
    })
    .await?;
    found.jobs = made.into_values().flatten().collect();
    found.jobs.sort_unstable();
    Ok(found)
}

fn is_of(owned: &ObjectMeta, uid: &str) -> bool {
    owned.owner_references.iter().flatten().any(|reference| reference.uid == uid)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_may_start_a_pod_until_it_ends_is_suspended_or_goes() {
        let condition = |type_: &str| json!({"conditions": [{"type": type_, "status": "True"}]});
        let gone = json!({"deletionTimestamp": "2025-11-07T02:00:00Z"});
        for (metadata, spec, status, expected) in [
            (json!({}), json!({}), json!({}), true),
            // Its Pod failed, and it waits before it starts the next one.
            (json!({}), json!({"suspend": false}), json!({"failed": 1}), true),
            (json!({}), json!({}), condition("Complete"), false),
            (json!({}), json!({}), condition("Failed"), false),
            (json!({}), json!({"suspend": true}), json!({}), false),
            (gone, json!({}), json!({}), false),
        ] {
            let job = json!({"metadata": metadata, "spec": spec, "status": status});
            let read: ShortJob = serde_json::from_value(job.clone()).unwrap();
            assert_eq!(read.may_start(), expected, "{job}");
        }
    }
}
