//! What is patched in the model: workloads, ScaledObjects and Applications, each recorded before, and each only as it was seen.

use greenlang_backup_api::labels;
use greenlang_backup_api::restore::Ledger;
use greenlang_backup_api::v1alpha1::{WorkloadKind, WorkloadRef};
use greenlang_backup_plan::restore_request::{ApplicationRef, Patched};
use serde_json::Value;

use super::{Died, World};

impl World {
    pub(super) fn patch(&mut self, target: &Patched, patch: &Value) -> Result<(), Died> {
        let ledger = &patch["metadata"]["annotations"][labels::LEDGER];
        if ledger.is_string() {
            assert!(self.is_recorded(target), "{target} was stopped before it was recorded");
            assert!(self.has_finalizer(), "stopped before there was a finalizer");
            self.count(match target {
                Patched::Workload(workload) => format!("stop {}", workload.name),
                target => format!("stop {target}"),
            });
        }
        match target {
            Patched::Workload(workload) => self.patch_workload(workload, patch),
            Patched::ScaledObject(name) => self.patch_scaled_object(name, patch),
            Patched::Application(application) => self.patch_application(application, patch),
        }
    }

    fn patch_workload(&mut self, workload: &WorkloadRef, patch: &Value) -> Result<(), Died> {
        let key = (workload.kind, workload.name.clone());
        let Some(state) = self.workloads.get_mut(&key) else { return Err(Died) };
        if !is_of(patch, &state.uid, &state.resource_version) {
            return Err(Died);
        }
        state.ledger = ledger(patch);
        if workload.kind == WorkloadKind::CronJob {
            state.suspend = patch["spec"]["suspend"].as_bool();
        } else {
            state.replicas = patch["spec"]["replicas"].as_i64().map(|count| i32::try_from(count).unwrap());
        }
        state.resource_version.push('+');
        Ok(())
    }

    fn is_recorded(&self, target: &Patched) -> bool {
        let status = self.status();
        let mut workloads = status.quiesced.iter();
        match target {
            Patched::Workload(workload) => workloads.any(|entry| entry.name == workload.name),
            Patched::ScaledObject(name) => {
                workloads.any(|entry| entry.scaled_object.as_ref().is_some_and(|paused| paused.name == *name))
            }
            Patched::Application(application) => {
                let mut all = status.skipped_applications.iter();
                all.any(|entry| entry.name == application.name && entry.namespace == application.namespace)
            }
        }
    }

    fn patch_scaled_object(&mut self, name: &str, patch: &Value) -> Result<(), Died> {
        let now = self.now;
        let Some(state) = self.scaled_objects.get_mut(name) else { return Err(Died) };
        if !is_of(patch, &state.uid, &state.resource_version) {
            return Err(Died);
        }
        assert!(patch.get("spec").is_none(), "only annotations are ours: {patch}");
        state.ledger = ledger(patch);
        let said = &patch["metadata"]["annotations"][labels::KEDA_PAUSED_REPLICAS];
        state.paused_replicas = said.as_str().map(str::to_owned);
        state.paused_by = said.as_str().map(|_| (labels::FIELD_MANAGER.to_owned(), now));
        state.resource_version.push('+');
        Ok(())
    }

    fn patch_application(&mut self, application: &ApplicationRef, patch: &Value) -> Result<(), Died> {
        let Some(state) = self.applications.get_mut(application) else { return Err(Died) };
        if !is_of(patch, &state.uid, &state.resource_version) {
            return Err(Died);
        }
        assert!(patch.get("spec").is_none(), "its spec is never changed: {patch}");
        state.ledger = ledger(patch);
        let said = patch["metadata"]["annotations"][labels::ARGO_CD_SKIP_RECONCILE].as_str();
        state.skip_reconcile = said.map(str::to_owned);
        state.skipped_by = said.map(|_| labels::FIELD_MANAGER.to_owned());
        state.resource_version.push('+');
        Ok(())
    }
}

/// Whether a patch is of an object as it is.
fn is_of(patch: &Value, uid: &str, version: &str) -> bool {
    patch["metadata"]["resourceVersion"] == version && patch["metadata"]["uid"] == uid
}

/// The ledger that a patch writes.
fn ledger(patch: &Value) -> Option<Ledger> {
    patch["metadata"]["annotations"][labels::LEDGER].as_str().map(|text| Ledger::decode(text).unwrap())
}
