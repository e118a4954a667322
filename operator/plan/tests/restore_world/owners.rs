//! What KEDA and Argo CD do in the model: doubles that act on what is documented of them, no more.

use greenlang_backup_api::v1alpha1::{WorkloadKind, WorkloadRef};
use greenlang_backup_plan::restore_request::{
    ApplicationRef, Forbidden, ObservedApplication, ScaledObjectState,
};

use super::objects::{application, part_of_shop, scaled_object};
use super::{World, shop};

impl World {
    /// The StatefulSet is scaled by KEDA.
    pub fn with_keda(&mut self) {
        let state = scaled_object(WorkloadKind::StatefulSet, "worker");
        self.scaled_objects.insert(state.name.clone(), state);
    }

    /// All are parts of an Application of Argo CD that heals itself.
    pub fn with_argo_cd(&mut self) {
        let all = self.workloads.keys().map(|(kind, name)| WorkloadRef { kind: *kind, name: name.clone() });
        self.applications.insert(shop(), application(all.collect()));
        for state in self.workloads.values_mut() {
            state.part_of = Some(part_of_shop());
        }
    }

    pub(super) fn observe_scaled_objects(&self) -> Result<Vec<ScaledObjectState>, Forbidden> {
        let all = self.scaled_objects.values().cloned().collect();
        if self.reads_scaled_objects { Ok(all) } else { Err(Forbidden) }
    }

    pub(super) fn observe_applications(&self) -> Vec<ObservedApplication> {
        let of = |application: ApplicationRef| {
            let state = self.applications.get(&application).cloned();
            let state = if self.reads_applications { Ok(state) } else { Err(Forbidden) };
            ObservedApplication { application, state }
        };
        let marked = self.workloads.values().any(|state| state.part_of.is_some());
        marked.then(|| of(shop())).into_iter().collect()
    }

    /// Paused at a count it scales to that and says so; else to what it wants.
    pub(super) fn keda_acts(&mut self) {
        for scaler in self.scaled_objects.values_mut().filter(|_| self.keda_works) {
            let at = scaler.paused_replicas.as_ref().map(|count| count.parse().unwrap());
            if scaler.paused_at != at {
                scaler.paused_at = at;
                scaler.resource_version.push('k');
            }
            let Some(count) = at.or((!scaler.paused).then_some(self.keda_wants)) else { continue };
            scaler.active = at.map_or(Some(self.keda_wants > 0), |_| scaler.active);
            let target = scaler.target.clone().unwrap();
            let Some(workload) = self.workloads.get_mut(&(target.kind, target.name)) else { continue };
            if workload.replicas != Some(count) {
                workload.replicas = Some(count);
                workload.managed_by = Some("keda".into());
                workload.resource_version.push('k');
            }
        }
    }

    /// Gives what it has the counts of Git, unless it is told to leave everything as it is.
    pub(super) fn argo_cd_acts(&mut self) {
        for application in self.applications.values() {
            if application.skip_reconcile.as_deref() == Some("true") {
                continue;
            }
            for workload in &application.heals {
                let key = (workload.kind, workload.name.clone());
                let Some(state) = self.workloads.get_mut(&key) else { continue };
                let (replicas, suspend) = self.git[&key];
                if (state.replicas, state.suspend) != (replicas, suspend) {
                    (state.replicas, state.suspend) = (replicas, suspend);
                    state.managed_by = Some("argocd-controller".into());
                    state.resource_version.push('g');
                }
            }
        }
    }
}
