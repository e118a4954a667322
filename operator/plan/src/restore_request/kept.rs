//! A replaced database is dropped once its time is over, also if the request is gone: a ConfigMap without owner remembers it. Pure.

use greenlang_backup_api::labels;
use greenlang_backup_api::names::job_name;
use greenlang_backup_api::reasons;
use greenlang_backup_api::restore::{KEPT_KEY, KeptDatabase, RequestIdentity};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::task::drop_previous_job;
use crate::backup_policy::Event;
use crate::job::RunnerSettings;
use crate::job_state::JobState;
use crate::jobs::{ObservedJob, PROGRESS_SECONDS};
use crate::pause::seconds_later;

/// Seconds between two attempts.
const ATTEMPT_SECONDS: i64 = 3_600;

/// What to do for one kept database.
#[derive(Clone, Debug, Default)]
pub struct KeptStep {
    /// A Job to make.
    pub create: Option<Box<Job>>,
    /// Jobs to delete, by name and UID: attempts that failed, and have another after them.
    pub delete: Vec<(String, String)>,
    /// The database is gone: delete the ConfigMap, and with it the Jobs.
    pub forget: bool,
    /// What to tell people, on the ConfigMap and on the request if it is there.
    pub event: Option<Event>,
    /// When to look again if nothing changes before.
    pub wake: Option<Timestamp>,
}

/// Name of the ConfigMap of a request.
pub fn kept_name(request: &RequestIdentity) -> String {
    job_name(&request.uid, &request.name, "kept", "", 1)
}

/// The ConfigMap that remembers a replaced database. It has no owner, so it outlives the request.
pub fn kept_config_map(kept: &KeptDatabase) -> ConfigMap {
    let ours = [
        (labels::KEPT_DATABASE, kept.request.name.clone()),
        (labels::RESTORE_UID, kept.request.uid.clone()),
        ("app.kubernetes.io/managed-by", labels::MANAGED_BY.to_owned()),
    ];
    let text = serde_json::to_string_pretty(kept).unwrap_or_default();
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(kept_name(&kept.request)),
            namespace: Some(kept.request.namespace.clone()),
            labels: Some(ours.map(|(key, value)| (key.to_owned(), value)).into()),
            ..ObjectMeta::default()
        },
        data: Some([(KEPT_KEY.to_owned(), text)].into()),
        ..ConfigMap::default()
    }
}

/// Reads a ConfigMap; none when it is not one of these.
pub fn read_kept(config_map: &ConfigMap) -> Option<KeptDatabase> {
    serde_json::from_str(config_map.data.as_ref()?.get(KEPT_KEY)?).ok()
}

/// Decides for one kept database. Each hour has one attempt, named after it, so nothing needs to be remembered.
pub fn kept_step(
    config_map: &ConfigMap,
    jobs: &[ObservedJob],
    now: Timestamp,
    runner: &RunnerSettings,
) -> KeptStep {
    let Some(kept) = read_kept(config_map) else { return KeptStep::default() };
    if now < kept.drop_after {
        return KeptStep { wake: Some(kept.drop_after), ..KeptStep::default() };
    }
    let name = &kept.previous.name;
    let done = jobs
        .iter()
        .any(|job| matches!(&job.state, JobState::Ended(ended) if ended.report.outcome.is_success()));
    if done {
        let message =
            format!("database {name}, which RestoreRequest {} had replaced, was dropped", kept.request.name);
        let event = Event { warning: false, reason: reasons::restore::PREVIOUS_DROPPED, message };
        return KeptStep { forget: true, event: Some(event), ..KeptStep::default() };
    }
    if jobs.iter().any(|job| !matches!(job.state, JobState::Ended(_))) {
        return KeptStep { wake: Some(seconds_later(now, PROGRESS_SECONDS)), ..KeptStep::default() };
    }
    let passed = now.duration_since(kept.drop_after).as_secs() / ATTEMPT_SECONDS;
    let slot = seconds_later(kept.drop_after, passed * ATTEMPT_SECONDS);
    let wake = Some(seconds_later(slot, ATTEMPT_SECONDS));
    let Some(job) = drop_previous_job(&kept, owner(config_map), slot, runner).ok() else {
        return KeptStep { wake, ..KeptStep::default() };
    };
    let (current, earlier): (Vec<_>, Vec<_>) =
        jobs.iter().partition(|seen| Some(&seen.name) == job.metadata.name.as_ref());
    let delete = earlier.iter().map(|job| (job.name.clone(), job.uid.clone())).collect();
    if let Some(failed) = current.first() {
        let why = match &failed.state {
            JobState::Ended(ended) => ended.report.message.clone(),
            _ => String::new(),
        };
        let message = format!("database {name} could not be dropped yet: {why}; it is tried again each hour");
        let event = Event { warning: true, reason: reasons::restore::DROP_FAILED, message };
        return KeptStep { delete, event: Some(event), wake, ..KeptStep::default() };
    }
    KeptStep {
        create: Some(Box::new(job)),
        delete,
        wake: Some(seconds_later(now, PROGRESS_SECONDS)),
        ..KeptStep::default()
    }
}

fn owner(config_map: &ConfigMap) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: config_map.metadata.name.clone().unwrap_or_default(),
        uid: config_map.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}
