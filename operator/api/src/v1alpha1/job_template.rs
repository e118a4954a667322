//! Settings of the Pods that Jobs run. Only what is safe to hand on; security settings are ours. No I/O.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Settings of the Pods that Jobs run.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobTemplate {
    /// Resources of the container. Default: requests of 100m CPU and 128Mi memory, and a limit of memory: of a restore 256Mi, at
    /// any size of the database; of a policy 512Mi or, for backups of large databases, with several streams or high compression
    /// levels, what they need at most (see "Memory of a backup" in docs/operations.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved")]
    pub resources: Option<ResourceRequirements>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the Pods tolerate, as in a Pod's `tolerations`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "preserved_list")]
    pub tolerations: Vec<Toleration>,
    /// Scheduling rules, as in a Pod's `affinity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved")]
    pub affinity: Option<Affinity>,
    /// Priority class of the Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Labels added to Jobs and Pods; keys of ours (`backup.greenlang.io/…`, `app.kubernetes.io/…`) and of Argo CD
    /// (`argocd.argoproj.io/…`) are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations added to the Pods; the same keys are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An object whose fields the API server checks when the Pod is made; spelling them out here would add some 60 KiB to the
/// CRD (its limit is 200 KiB) and freeze one Kubernetes version's fields.
fn preserved(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn preserved_list(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "array", "items": preserved(generator)})
}
