//! What was seen of the cluster around a RestoreRequest, as plain data. Pure; the controller's `gather` fills it.

use std::collections::BTreeSet;

use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::WorkloadRef;
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
    /// When the replaced database is dropped, as the ConfigMap says that remembers it ([`super::read_kept`]); none where there is
    /// none.
    pub kept: Option<Timestamp>,
    /// Dumps that go on in the namespace; only asked for where one may be waited for ([`super::may_wait_for_dumps`]).
    pub dumps: Vec<OngoingDump>,
    /// What earlier requests of the namespace tell of the time that loading takes.
    pub past: Vec<PastLoad>,
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
    /// What it carries in the annotation `backup.greenlang.io/quiesced`.
    pub ledger: Option<Ledger>,
    /// Field manager that wrote its replicas last.
    pub managed_by: Option<String>,
    /// HorizontalPodAutoscaler that targets it.
    pub autoscaler: Option<String>,
    /// `ScaledObject` of KEDA that made this autoscaler. Unlike the autoscaler, it starts what has no replicas.
    pub scaled_object: Option<String>,
    /// Whether its volumes are deleted when it is scaled down (`persistentVolumeClaimRetentionPolicy.whenScaled: Delete`).
    pub volumes_would_go: bool,
}

impl WorkloadState {
    /// Whether it is stopped: nothing is asked for any more. Its Pods may still be there.
    pub fn is_stopped(&self) -> bool {
        self.replicas.is_none_or(|replicas| replicas == 0) && self.suspend.unwrap_or(true)
    }
}

impl Observed {
    /// The state of a workload.
    pub fn workload(
        &self,
        kind: greenlang_backup_api::v1alpha1::WorkloadKind,
        name: &str,
    ) -> Option<&WorkloadState> {
        let mut seen = self.workloads.iter();
        let found = seen.find(|seen| seen.workload.kind == kind && seen.workload.name == name);
        found.and_then(|seen| seen.state.as_ref())
    }
}

/// A workload that the API server would not have patched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRefusal {
    /// Which one.
    pub workload: WorkloadRef,
    /// What the API server said.
    pub message: String,
}
