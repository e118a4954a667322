//! Lists of what others may have made, in any number and of any size: a few objects at a time, and of Jobs and Pods without specs. I/O:
//! the lists.

use std::fmt::Debug;

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::runtime::watcher::Event;
use kube::{Api, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Objects of a list that are read at once; the answer is in memory as a whole, and each may have 1.5 MB.
pub const PAGE: u32 = 10;

/// A Job as it is read: its spec holds the Task, and of somebody else's Job anything.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Job)]
pub struct LightJob {
    metadata: ObjectMeta,
    status: Option<JobStatus>,
}

/// A Pod as it is read.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub struct LightPod {
    metadata: ObjectMeta,
    spec: Option<LightPodSpec>,
    status: Option<PodStatus>,
}

/// What is read of a Pod's spec.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LightPodSpec {
    node_name: Option<String>,
}

impl From<LightJob> for Job {
    fn from(LightJob { metadata, status }: LightJob) -> Self {
        Self { metadata, spec: None, status }
    }
}

impl From<LightPod> for Pod {
    fn from(LightPod { metadata, spec, status }: LightPod) -> Self {
        let spec = spec.map(|LightPodSpec { node_name }| PodSpec { node_name, ..PodSpec::default() });
        Self { metadata, spec, status }
    }
}

/// Hands over every object of a list.
pub async fn each<K>(objects: &Api<K>, which: &ListParams, mut take: impl FnMut(K)) -> Result<(), kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut page = which.clone().limit(PAGE);
    loop {
        let found = objects.list(&page).await?;
        found.items.into_iter().for_each(&mut take);
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// What a watch tells, as what it was read for.
pub fn turned<K, L: Into<K>>(news: Event<L>) -> Event<K> {
    match news {
        Event::Apply(object) => Event::Apply(object.into()),
        Event::Delete(object) => Event::Delete(object.into()),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(object.into()),
        Event::InitDone => Event::InitDone,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_jobs_and_pods_all_is_read_but_what_runs_in_them() {
        let metadata = json!({"name": "a", "namespace": "n", "uid": "u", "labels": {"a": "b"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "y"}]});
        let containers = json!([{"name": "runner", "env": [{"name": "A", "value": "b"}]}]);
        let job = json!({"metadata": metadata, "spec": {"template": {"spec": {"containers": containers}}},
            "status": {"ready": 1, "conditions": [{"type": "Complete", "status": "True"}]}});
        let full: Job = serde_json::from_value(job.clone()).unwrap();
        let read = Job::from(serde_json::from_value::<LightJob>(job).unwrap());
        assert_eq!(read, Job { spec: None, ..full });

        let pod = json!({"metadata": metadata, "spec": {"nodeName": "n1", "containers": containers},
            "status": {"phase": "Running"}});
        let full: Pod = serde_json::from_value(pod.clone()).unwrap();
        let read = Pod::from(serde_json::from_value::<LightPod>(pod).unwrap());
        let spec = PodSpec { node_name: Some("n1".into()), ..PodSpec::default() };
        assert_eq!(read, Pod { spec: Some(spec), ..full });
    }
}
