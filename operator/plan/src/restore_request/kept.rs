//! A replaced database is dropped once its time is over, also if the request is gone: a ConfigMap without owner remembers it. Pure.

use greenlang_backup_api::labels;
use greenlang_backup_api::names::job_name;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::RunReport;
use greenlang_backup_api::restore::{KEPT_KEY, KeptDatabase, RequestIdentity, RestoreReport};
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequest, RestoreRequestStatus};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use super::observe::Kept;
use super::task::drop_previous_job;
use crate::backup_policy::Event;
use crate::job::RunnerSettings;
use crate::job_state::JobState;
use crate::jobs::{ObservedJob, PROGRESS_SECONDS, Refusal};
use crate::pause::seconds_later;

/// Seconds between two attempts.
const ATTEMPT_SECONDS: i64 = 3_600;
/// Seconds between two looks at an attempt that does not start: so often people are told.
const STUCK_SECONDS: i64 = 600;
/// Seconds between two looks whether a request still needs the database.
const HELD_SECONDS: i64 = 60;

/// What to do for one kept database.
#[derive(Clone, Debug, Default)]
pub struct KeptStep {
    /// A Job to make.
    pub create: Option<Box<Job>>,
    /// Jobs to delete, by name and UID: attempts of earlier hours that failed, or came to nothing.
    pub delete: Vec<(String, String)>,
    /// The database is gone, dropped or not: delete the ConfigMap, and with it the Jobs.
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

impl Kept {
    /// What is to be seen of a ConfigMap.
    pub fn of(config_map: Option<&ConfigMap>) -> Self {
        let Some(config_map) = config_map else { return Self::Absent };
        read_kept(config_map).map_or(Self::Unreadable, |kept| Self::Until(kept.drop_after))
    }

    /// When the database is dropped, where that is said.
    pub(super) const fn until(self) -> Option<Timestamp> {
        match self {
            Self::Until(time) => Some(time),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// The status of a request once the database that it replaced is gone; none where it says so already, or is of another one. It is written
/// before the ConfigMap goes: one that goes without it was deleted by a person, who wants to keep the database.
pub fn without_previous(
    request: &RestoreRequest,
    kept: &KeptDatabase,
    now: Timestamp,
) -> Option<RestoreRequestStatus> {
    let mut status =
        request.status.clone().filter(|_| request.metadata.uid.as_ref() == Some(&kept.request.uid))?;
    let previous = status.previous.as_mut().filter(|previous| previous.dropped_time.is_none())?;
    if (&previous.name, previous.oid) != (&kept.previous.name, kept.previous.oid) {
        return None;
    }
    previous.dropped_time = Some(Time(now));
    previous.message = None;
    Some(status)
}

/// Whether a request keeps a replaced database from being dropped: the one that replaced it, or that is about to, and one that is to
/// bring it back. None does once it has ended.
pub fn holds(request: &RestoreRequest, kept: &KeptDatabase) -> bool {
    let (metadata, spec) = (&request.metadata, &request.spec);
    let own = metadata.uid.as_ref() == Some(&kept.request.uid);
    let undone = spec.source.undo_of.as_ref().filter(|_| !spec.dry_run);
    let undoes = metadata.namespace.as_ref() == Some(&kept.request.namespace)
        && undone.is_some_and(|undone| undone.name == kept.request.name);
    let phase = request.status.as_ref().and_then(|status| status.phase);
    (own || undoes) && !phase.is_some_and(RestorePhase::is_end)
}

/// Decides for one kept database. Each hour has one attempt, named after it, so nothing needs to be remembered. `held` says whether
/// a request still needs it ([`holds`]).
pub fn kept_step(
    config_map: &ConfigMap,
    jobs: &[ObservedJob],
    held: bool,
    now: Timestamp,
    runner: &RunnerSettings,
) -> KeptStep {
    let Some(kept) = read_kept(config_map) else { return KeptStep::default() };
    if now < kept.drop_after {
        return not_now(jobs, kept.drop_after);
    }
    if held {
        return not_now(jobs, seconds_later(now, HELD_SECONDS));
    }
    match jobs.iter().find_map(succeeded) {
        Some(report) => gone(&kept, report),
        None => attempt(&kept, config_map, jobs, now, runner),
    }
}

impl KeptStep {
    /// Takes in that the API server refused the Job: that was the attempt of this hour.
    #[must_use]
    pub fn refused(self, config_map: &ConfigMap, refusal: &Refusal, now: Timestamp) -> Self {
        let Some(kept) = read_kept(config_map) else { return self };
        not_dropped(&kept, &refusal.message, self.delete, hour(&kept, now).1)
    }
}

/// Nothing is dropped now: an attempt that was made before somebody needed the database, or moved its time, is stopped.
fn not_now(jobs: &[ObservedJob], wake: Timestamp) -> KeptStep {
    let unfinished = jobs.iter().filter(|job| !job.deleting && !matches!(job.state, JobState::Ended(_)));
    let delete = unfinished.map(|job| (job.name.clone(), job.uid.clone())).collect();
    KeptStep { delete, wake: Some(wake), ..KeptStep::default() }
}

fn succeeded(job: &ObservedJob) -> Option<&RunReport> {
    match &job.state {
        JobState::Ended(ended) if ended.report.outcome.is_success() => Some(&ended.report),
        _ => None,
    }
}

/// A Job has looked, and the database is not there any more.
fn gone(kept: &KeptDatabase, report: &RunReport) -> KeptStep {
    let (name, request) = (&kept.previous.name, &kept.request.name);
    let dropped = matches!(&report.restore, Some(RestoreReport::Drop(drop)) if drop.dropped);
    let (reason, message) = if dropped {
        let message = format!("database {name}, which RestoreRequest {request} had replaced, was dropped");
        (reasons::restore::PREVIOUS_DROPPED, message)
    } else {
        let message = format!("there is no database {name} of RestoreRequest {request}: nothing was dropped");
        (reasons::restore::PREVIOUS_GONE, message)
    };
    KeptStep { forget: true, event: Some(Event { warning: false, reason, message }), ..KeptStep::default() }
}

/// The hour that it is, which names its attempt, and the next one.
fn hour(kept: &KeptDatabase, now: Timestamp) -> (Timestamp, Timestamp) {
    let passed = now.duration_since(kept.drop_after).as_secs() / ATTEMPT_SECONDS;
    let slot = seconds_later(kept.drop_after, passed * ATTEMPT_SECONDS);
    (slot, seconds_later(slot, ATTEMPT_SECONDS))
}

/// The attempt of this hour. One that has not begun to work, or should be over, makes room for the next.
fn attempt(
    kept: &KeptDatabase,
    config_map: &ConfigMap,
    jobs: &[ObservedJob],
    now: Timestamp,
    runner: &RunnerSettings,
) -> KeptStep {
    let (slot, next) = hour(kept, now);
    let job = match drop_previous_job(kept, owner(config_map), slot, runner) {
        Ok(job) => job,
        Err(error) => return not_dropped(kept, &error.to_string(), vec![], next),
    };
    let (current, earlier): (Vec<_>, Vec<_>) =
        jobs.iter().partition(|seen| Some(&seen.name) == job.metadata.name.as_ref());
    let works = |job: &&ObservedJob| {
        job.state == JobState::Running && now < seconds_later(job.created, 2 * ATTEMPT_SECONDS)
    };
    let (working, over): (Vec<_>, Vec<_>) = earlier.into_iter().partition(works);
    let stays = over.iter().any(|job| !matches!(job.state, JobState::Ended(_)));
    let over = over.into_iter().filter(|job| !job.deleting);
    let delete: Vec<_> = over.map(|job| (job.name.clone(), job.uid.clone())).collect();
    let soon = Some(seconds_later(now, PROGRESS_SECONDS));
    match current.first().map(|job| &job.state) {
        Some(JobState::Ended(ended)) => not_dropped(kept, &ended.report.message, delete, next),
        Some(JobState::Stuck(why) | JobState::Pending(Some(why))) => {
            let why = format!("its Job does not start: {why}");
            not_dropped(kept, &why, delete, next.min(seconds_later(now, STUCK_SECONDS)))
        }
        Some(JobState::Running | JobState::Pending(None)) => {
            KeptStep { delete, wake: soon, ..KeptStep::default() }
        }
        None if stays || !working.is_empty() => KeptStep { delete, wake: soon, ..KeptStep::default() },
        None => KeptStep { create: Some(Box::new(job)), delete, wake: soon, ..KeptStep::default() },
    }
}

fn not_dropped(kept: &KeptDatabase, why: &str, delete: Vec<(String, String)>, wake: Timestamp) -> KeptStep {
    let name = &kept.previous.name;
    let message = format!("database {name} could not be dropped yet: {why}; it is tried again each hour");
    let event = Event { warning: true, reason: reasons::restore::DROP_FAILED, message };
    KeptStep { delete, event: Some(event), wake: Some(wake), ..KeptStep::default() }
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
