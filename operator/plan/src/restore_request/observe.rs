//! What was seen of the cluster around a RestoreRequest, as plain data. Pure; the controller's `gather` fills it.

use std::collections::BTreeSet;

use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{WorkloadKind, WorkloadRef};
use jiff::Timestamp;

use super::dumps::OngoingDump;
use super::past::PastLoad;
use crate::jobs::ObservedJob;

/// What was seen in one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The time of the pass, in whole seconds.
    pub now: Timestamp,
    /// Whether the request is being deleted.
    pub deleting: bool,
    /// Whether its namespace is.
    pub namespace_deleting: bool,
    /// Whether the request has our finalizer.
    pub has_finalizer: bool,
    /// All Jobs that the request owns.
    pub jobs: Vec<ObservedJob>,
    /// UIDs and names of Jobs that are gone while a Pod of theirs is still there.
    pub remains: BTreeSet<String>,
    /// Who holds the Lease of the target database ([`super::lock_name`]). A holder that is gone or has ended holds nothing.
    pub lock: Lock,
    /// The workloads that spec and ledger name.
    pub workloads: Vec<ObservedWorkload>,
    /// The ScaledObjects of KEDA that scale them, or that the ledger names; none where the operator may not read them, which is an error
    /// only where there are any.
    pub scaled_objects: Result<Vec<ScaledObjectState>, Forbidden>,
    /// The Applications of Argo CD that these workloads are marked as parts of, or that the ledger names.
    pub applications: Vec<ObservedApplication>,
    /// What the ConfigMap says that remembers the replaced database.
    pub kept: Kept,
    /// Dumps that go on in the namespace; only asked for where one may be waited for ([`super::may_wait_for_dumps`]).
    pub dumps: Vec<OngoingDump>,
    /// What earlier requests of the namespace tell of the time that loading takes.
    pub past: Vec<PastLoad>,
}

/// The ConfigMap that remembers a replaced database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// There is none.
    Absent,
    /// It cannot be read: a person may have mistyped the time.
    Unreadable,
    /// The database is dropped at this time.
    Until(Timestamp),
}

/// Who works on a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody.
    Free,
    /// This request.
    Ours,
    /// Another, by namespace and name.
    Other(String),
}

/// A workload, or that it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedWorkload {
    /// Which one.
    pub workload: WorkloadRef,
    /// How it is; none where there is none.
    pub state: Option<WorkloadState>,
}

/// How a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadState {
    /// Its UID.
    pub uid: String,
    /// Its version: what a patch is based on.
    pub resource_version: String,
    /// Replicas that its spec asks for (1 where it does not say); of a Deployment or StatefulSet.
    pub replicas: Option<i32>,
    /// Replicas that are ready.
    pub ready_replicas: i32,
    /// Whether its spec is suspended; of a CronJob.
    pub suspend: Option<bool>,
    /// Pods of it that are there, those that are on their way out included; of a CronJob those of its Jobs.
    pub pods: u32,
    /// Jobs of a CronJob that have not ended, with or without a Pod: each may start one.
    pub jobs: Vec<String>,
    /// What it carries in the annotation `backup.greenlang.io/quiesced`.
    pub ledger: Option<Ledger>,
    /// Field manager that wrote its replicas, or whether it is suspended, last.
    pub managed_by: Option<String>,
    /// HorizontalPodAutoscaler that targets it.
    pub autoscaler: Option<String>,
    /// `ScaledObject` of KEDA that made this autoscaler, as the autoscaler says. KEDA has none while it is paused.
    pub autoscaled_for: Option<String>,
    /// Application of Argo CD that it is marked as a part of.
    pub part_of: Option<PartOf>,
    /// Whether its volumes are deleted when it is scaled down (`persistentVolumeClaimRetentionPolicy.whenScaled: Delete`).
    pub volumes_would_go: bool,
}

impl WorkloadState {
    /// Whether it is stopped: nothing is asked for any more. Its Pods may still be there.
    pub fn is_stopped(&self) -> bool {
        self.replicas.is_none_or(|replicas| replicas == 0) && self.suspend.unwrap_or(true)
    }

    /// What of it still works, in words; none where nothing does.
    pub(super) fn at_work(&self) -> Option<String> {
        match (&*self.jobs, self.pods) {
            ([], 0) => None,
            ([], pods) => Some(format!("{pods} Pods")),
            ([job], _) => Some(format!("Job {job}")),
            ([job, others @ ..], _) => Some(format!("Job {job} and {} more", others.len())),
        }
    }
}

/// The operator has no right to read something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden;

/// A ScaledObject of KEDA: unlike an autoscaler, it starts what has no replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaledObjectState {
    /// Its name, in the namespace of the request.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its version: what a patch is based on.
    pub resource_version: String,
    /// What it scales; none where that is of a kind that no request stops.
    pub target: Option<WorkloadRef>,
    /// What it carries in the annotation `backup.greenlang.io/quiesced`.
    pub ledger: Option<Ledger>,
    /// Its annotation `autoscaling.keda.sh/paused-replicas`.
    pub paused_replicas: Option<String>,
    /// Field manager that wrote this annotation last, and when. Whoever removes one leaves no name.
    pub paused_by: Option<(String, Timestamp)>,
    /// Whether its annotation `autoscaling.keda.sh/paused` tells KEDA to leave the workload as it is.
    pub paused: bool,
    /// Replicas that KEDA leaves where nothing triggers it (`idleReplicaCount`, or else `minReplicaCount`, or else 0).
    pub least: i32,
    /// Seconds between two looks of KEDA at its triggers.
    pub polling_seconds: u32,
    /// Replicas that KEDA says it has paused it at.
    pub paused_at: Option<i32>,
    /// Whether something triggers it, as KEDA said last.
    pub active: Option<bool>,
}

/// By what a workload is marked as a part of an Application of Argo CD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartOf {
    /// The Application.
    pub application: ApplicationRef,
    /// Whether the annotation of Argo CD says so, which nothing else writes; else the label `app.kubernetes.io/instance`, which others
    /// write as well.
    pub by_annotation: bool,
}

/// Names an Application of Argo CD.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApplicationRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An Application of Argo CD, that it is not there (or Argo CD is not), or that it may not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedApplication {
    /// Which one.
    pub application: ApplicationRef,
    /// How it is; none where there is none.
    pub state: Result<Option<ApplicationState>, Forbidden>,
}

/// How an Application of Argo CD is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationState {
    /// Its UID.
    pub uid: String,
    /// Its version: what a patch is based on.
    pub resource_version: String,
    /// What it carries in the annotation `backup.greenlang.io/quiesced`.
    pub ledger: Option<Ledger>,
    /// Its annotation `argocd.argoproj.io/skip-reconcile`.
    pub skip_reconcile: Option<String>,
    /// Field manager that wrote this annotation last. Whoever removes one leaves no name.
    pub skipped_by: Option<String>,
    /// Workloads of the request's namespace that it would start again: it heals itself, has them, and does not leave their replicas (or
    /// whether they are suspended) to others.
    pub heals: Vec<WorkloadRef>,
    /// Whether an operation of Argo CD goes on, which no annotation stops.
    pub operating: bool,
    /// ApplicationSet that it is made by, which may write its annotations anew.
    pub made_by: Option<String>,
}

impl Observed {
    /// The state of a workload.
    pub fn workload(&self, kind: WorkloadKind, name: &str) -> Option<&WorkloadState> {
        let mut seen = self.workloads.iter();
        let found = seen.find(|seen| seen.workload.kind == kind && seen.workload.name == name);
        found.and_then(|seen| seen.state.as_ref())
    }

    /// Every ScaledObject that was seen.
    pub fn scaled_objects(&self) -> impl Iterator<Item = &ScaledObjectState> {
        self.scaled_objects.iter().flatten()
    }

    /// An Application that was seen.
    pub fn application(&self, namespace: &str, name: &str) -> Result<Option<&ApplicationState>, Forbidden> {
        let mut seen = self.applications.iter();
        let is_it = |seen: &&ObservedApplication| {
            seen.application.namespace == namespace && seen.application.name == name
        };
        seen.find(is_it)
            .map_or(Ok(None), |seen| seen.state.as_ref().map(Option::as_ref).map_err(|error| *error))
    }
}

/// What is patched so that an application stops, or comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patched {
    /// The workload itself.
    Workload(WorkloadRef),
    /// The ScaledObject of this name that scales it.
    ScaledObject(String),
    /// The Application that it is a part of.
    Application(ApplicationRef),
}

impl std::fmt::Display for ApplicationRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl std::fmt::Display for Patched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Workload(workload) => workload.fmt(f),
            Self::ScaledObject(name) => write!(f, "ScaledObject {name}"),
            Self::Application(application) => write!(f, "Application {application}"),
        }
    }
}

/// Something that the API server would not have patched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchRefusal {
    /// What.
    pub target: Patched,
    /// What the API server said.
    pub message: String,
}
