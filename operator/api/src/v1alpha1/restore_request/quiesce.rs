//! Which applications a RestoreRequest stops, and when. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Applications that stop while the database is replaced.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quiesce {
    /// When they stop: `BeforeRestore`, so that nothing is written that the restore would lose unseen; `BeforeSwitch`, when all but the
    /// rename is done, so that they are away for seconds only; not with strategy Replace, which drops what they use. An undo loads
    /// nothing, so both are the same. Default: `BeforeRestore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<QuiesceWhen>,
    /// What stops, up to 50, in the order in which it stops; it comes back in the opposite order.
    #[schemars(length(min = 1, max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub workloads: Vec<WorkloadRef>,
    /// Seconds to wait after the last Pod is gone, for what it left on its way. 0 to 3600. Default: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3_600))]
    pub drain_seconds: Option<u32>,
    /// What becomes of Applications of Argo CD that heal themselves (`spec.syncPolicy.automated.selfHeal`) and would start again what
    /// stops: `Refuse` makes a plan that finds one impossible; `SkipReconcile` annotates it with
    /// `argocd.argoproj.io/skip-reconcile: "true"` until the applications are back, for all that the Application has, and never changes
    /// its spec. For this the operator needs rights in the namespace of the Application, which its chart gives on request.
    /// Default: `Refuse`.
    #[serde(rename = "argoCD", default, skip_serializing_if = "Option::is_none")]
    pub argo_cd: Option<QuiesceArgoCd>,
}

/// What becomes of Applications of Argo CD that would start again what stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum QuiesceArgoCd {
    /// The plan is refused.
    #[default]
    Refuse,
    /// They are told to leave everything as it is until the applications are back.
    SkipReconcile,
}

/// When applications stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum QuiesceWhen {
    /// Before anything is restored.
    #[default]
    BeforeRestore,
    /// Before the databases are renamed.
    BeforeSwitch,
}

/// A workload in the namespace of the request.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// What it is: a `Deployment` or a `StatefulSet` is scaled to 0 and back, a `CronJob` suspended until it is resumed, and its
    /// Jobs that have not ended are awaited; one that is suspended itself is not. What KEDA scales is left to KEDA: its ScaledObject is paused at 0.
    pub kind: WorkloadKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// Kinds of workloads that can be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum WorkloadKind {
    /// `apps/v1`.
    Deployment,
    /// `apps/v1`.
    StatefulSet,
    /// `batch/v1`.
    CronJob,
}

impl WorkloadKind {
    /// As Kubernetes calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::CronJob => "CronJob",
        }
    }
}

impl std::fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}
