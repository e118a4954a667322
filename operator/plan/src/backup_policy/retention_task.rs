//! Builds the Task and the Job of a prune or a catalogue. Pure.

use std::collections::BTreeSet;

use greenlang_backup_api::labels;
use greenlang_backup_api::names::{BackupId, job_name};
use greenlang_backup_api::owner::{Claim, Owner};
use greenlang_backup_api::prune::{CataloguePath, CatalogueTask, PruneTask};
use greenlang_backup_api::retention::{Retention, ScheduleRetention};
use greenlang_backup_api::task::{Task, TaskError};
use greenlang_backup_api::v1alpha1::{ActiveCatalogue, ActivePrune, BackupStatus, MAX_AVAILABLE, RunHistory};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use super::decide::Pass;
use super::restores::{self, OngoingRestore};
use super::summary::newest_failed;
use super::task::Limits;
use super::validate::{ACTIVE_DEADLINE_SECONDS, ValidatedBackup, ValidatedPolicy};
use crate::job::RunnerSettings;

/// Stands for the backup in the names of Jobs. No backup can have these names: they have a dot.
const PRUNE_SUBJECT: &str = "prune.";
const CATALOGUE_SUBJECT: &str = "catalogue.";
/// Seconds until a prune or a catalogue is stopped: ten thousand manifests take some minutes.
const DEADLINE_SECONDS: u32 = 21_600;
/// Seconds that an attempt may take beyond its time limit, whoever saw it end.
const DEADLINE_MARGIN: u32 = 3_600;

impl ValidatedPolicy {
    /// Who the policy is to the bucket.
    pub(super) fn claim(&self, cluster_uid: &str) -> Claim {
        let owner = Owner {
            cluster_uid: cluster_uid.to_owned(),
            namespace: self.identity.namespace.clone(),
            policy: self.identity.name.clone(),
        };
        Claim { owner, adopt: self.adopt.clone() }
    }

    /// Name of the Job for a prune.
    pub(super) fn prune_job_name(&self, backup: &str, active: &ActivePrune) -> String {
        let start = BackupId::from_slot(active.start_time.0);
        let after = active.after.as_ref().map_or("none", BackupId::as_str);
        let mut key =
            format!("{backup}/{after}/{start}/{}", active.dry_run_token.as_deref().unwrap_or_default());
        // Of two in one second, each was told something else.
        key.extend(active.rules.iter().flat_map(|rules| ["/", rules]));
        job_name(&self.identity.uid, &self.identity.name, PRUNE_SUBJECT, &key, 1)
    }

    /// Name of the Job for a catalogue.
    pub(super) fn catalogue_job_name(&self, active: &ActiveCatalogue) -> String {
        let start = BackupId::from_slot(active.start_time.0);
        job_name(&self.identity.uid, &self.identity.name, CATALOGUE_SUBJECT, start.as_str(), 1)
    }

    /// The Job for a prune. `planned` is when the first one was decided that this one goes on with.
    pub(super) fn prune_job(
        &self,
        backup: &ValidatedBackup,
        status: &BackupStatus,
        active: &ActivePrune,
        planned: Option<Timestamp>,
        pass: &Pass<'_>,
    ) -> Result<Job, TaskError> {
        let running = status.runs().map(|active| active.run.id.clone());
        let waiting = status.waiting.iter().map(|run| run.id.clone());
        let cleaned = status.clean_ups.iter().map(|entry| entry.id.clone());
        // A run that no schedule asked for has the default limit.
        let available = pass.decision.status.available.iter().filter(|entry| entry.backup == backup.name);
        let limits = backup.schedules.iter().map(|schedule| schedule.active_deadline_seconds);
        let longest = limits.fold(ACTIVE_DEADLINE_SECONDS, u32::max);
        let task = Task::Prune(PruneTask {
            claim: self.claim(&pass.runner.cluster_uid),
            backup: backup.name.clone(),
            path: backup.path.clone(),
            id: BackupId::from_slot(planned.unwrap_or(active.start_time.0)),
            bucket: self.bucket.clone(),
            retention: self.retention(backup, status, &pass.seen.restores),
            busy: running.chain(waiting).chain(cleaned).collect(),
            garbage_after_seconds: longest.saturating_add(DEADLINE_MARGIN),
            shown: available.map(|entry| entry.id.clone()).collect(),
            dry_run: active.dry_run_token.is_some(),
        });
        let labels = [(labels::TASK, labels::TASK_PRUNE.to_owned())];
        let name = self.prune_job_name(&backup.name, active);
        self.job_of(name, labels, &task, Limits::least(DEADLINE_SECONDS), pass.runner)
    }

    /// The Job for a catalogue.
    pub(super) fn catalogue_job(
        &self,
        active: &ActiveCatalogue,
        runner: &RunnerSettings,
    ) -> Result<Job, TaskError> {
        let path = |backup: &ValidatedBackup| CataloguePath {
            backup: backup.name.clone(),
            path: backup.path.clone(),
            schedules: backup.schedules.iter().map(|schedule| schedule.name.clone()).collect(),
        };
        let task = Task::Catalogue(CatalogueTask {
            claim: self.claim(&runner.cluster_uid),
            bucket: self.bucket.clone(),
            backups: self.backups.iter().map(path).collect(),
            limit: u32::try_from(MAX_AVAILABLE).unwrap_or(u32::MAX),
        });
        let labels = [(labels::TASK, labels::TASK_CATALOGUE.to_owned())];
        let name = self.catalogue_job_name(active);
        self.job_of(name, labels, &task, Limits::least(DEADLINE_SECONDS), runner)
    }

    /// How long the backups of a backup are kept, and which are kept longer.
    pub(super) fn retention(
        &self,
        backup: &ValidatedBackup,
        status: &BackupStatus,
        restores: &[OngoingRestore],
    ) -> Retention {
        let history = |name: &str| -> Option<&RunHistory> {
            status.schedules.iter().find(|entry| entry.name == name).map(|entry| &entry.history)
        };
        let schedules = backup.schedules.iter().map(|schedule| ScheduleRetention {
            name: schedule.name.clone(),
            keep_days: schedule.keep_days,
            keep_at_least: schedule.keep_at_least,
            newest_failed: history(&schedule.name).is_some_and(newest_failed),
        });
        // Each once, in an order that follows from nothing but that.
        let others = self.pins.iter().filter(|(name, _)| **name != backup.name);
        let former_pins: BTreeSet<BackupId> = others.flat_map(|(_, ids)| ids).cloned().collect();
        Retention {
            schedules: schedules.collect(),
            manual_keep_days: self.manual_keep_days,
            manual_failed: newest_failed(&status.manual),
            pins: self.pins.get(&backup.name).cloned().unwrap_or_default(),
            former_pins: former_pins.into_iter().collect(),
            needed: restores::needed(restores, self, backup),
            hold: self.pin_problem(),
        }
    }
}
