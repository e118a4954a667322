//! A model of a cluster, a server and a bucket that carries out what is decided for one RestoreRequest. It can be cut before any
//! write, and counts what was done.

mod jobs;
mod kept;
mod objects;
mod owners;
mod patches;

use std::collections::{BTreeMap, BTreeSet};

use greenlang_backup_api::restore::{KeptDatabase, RecordState, RestoreTask};
use greenlang_backup_api::task::{TASK_ENV, Task};
use greenlang_backup_api::v1alpha1::{
    BackupPolicy, NamedDatabase, RestorePhase, RestoreRequest, RestoreRequestStatus, WorkloadKind,
    WorkloadRef,
};
use greenlang_backup_api::{labels, reasons};
use greenlang_backup_plan::job_state::JobState;
use greenlang_backup_plan::jobs::{ObservedJob, Refusal};
use greenlang_backup_plan::restore_request::{
    ApplicationRef, ApplicationState, Effect, Invalid, Lock, Observed, ObservedWorkload, OngoingDump,
    PastLoad, PatchRefusal, ScaledObjectState, Step, ValidatedRestore, WorkloadState, kept_name, leftover,
    reject, step, validate,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use serde_json::Value;

pub use objects::{merge, part_of_shop, request, runner, shop};
use objects::{policy, workload};

pub const DATABASE: &str = "greenlang";
/// OID of the database that is there at the beginning.
pub const OLD: u32 = 16_400;

/// What a Job does when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// What it is asked.
    Succeeds,
    /// Nothing, and it may be tried again.
    FailsForNow,
    /// Nothing, and it says that it cannot be done.
    Fails,
    /// What it is asked, but its report is lost.
    SucceedsUnheard,
    /// What it is asked, but for the record in the bucket, which cannot be written.
    FailsToRecord,
    /// Nothing, and its report is lost.
    IsKilled,
    /// Its Pod waits for a node for ever.
    NeverStarts,
    /// Nobody hears of its node any more.
    IsLost,
    /// Kubernetes stops it at its time limit, and its program then ends well.
    RunsOut,
}

/// What comes from outside, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The operator dies.
    Cut,
    /// `spec.cancel`.
    Cancel,
    /// `kubectl delete`.
    Delete,
    /// Status is lost.
    Wipe,
    /// The policy is deleted.
    PolicyGone,
    /// Status is lost, and the policy is deleted.
    WipeAndPolicyGone,
    /// A release comes that refuses the spec.
    Refuse,
    /// A person deletes the Jobs.
    JobsGone,
    /// A person deletes the Lease.
    LeaseGone,
    /// Another request has the Lease.
    LeaseTaken,
}

/// A database of the model: its name and whose mark it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    pub name: String,
    pub mark: Option<String>,
}

/// A Job that was made, with its Task; none for a program of the user's.
struct Made {
    seen: ObservedJob,
    task: Option<RestoreTask>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is turned by itself")]
pub struct World {
    pub now: Timestamp,
    pub policy: Option<BackupPolicy>,
    pub request: RestoreRequest,
    /// Deleted, with no finalizer left.
    pub gone: bool,
    pub workloads: BTreeMap<(WorkloadKind, String), WorkloadState>,
    /// ScaledObjects by name, and whether the operator may read them.
    pub scaled_objects: BTreeMap<String, ScaledObjectState>,
    pub reads_scaled_objects: bool,
    /// Replicas that KEDA wants of what it scales, and whether it works.
    pub keda_wants: i32,
    pub keda_works: bool,
    /// Applications of Argo CD, and whether the operator may read them.
    pub applications: BTreeMap<ApplicationRef, ApplicationState>,
    pub reads_applications: bool,
    /// Counts as Argo CD has them in Git.
    git: BTreeMap<(WorkloadKind, String), (Option<i32>, Option<bool>)>,
    pub databases: BTreeMap<u32, Database>,
    pub record: Option<(String, RecordState)>,
    pub record_pair: (Option<NamedDatabase>, Option<NamedDatabase>),
    pub lock: Lock,
    pub kept: Option<KeptDatabase>,
    /// Whether somebody has written something else to its ConfigMap.
    pub kept_is_unreadable: bool,
    /// Dumps that go on.
    pub dumps: Vec<OngoingDump>,
    /// What earlier requests tell.
    pub past: Vec<PastLoad>,
    pub events: Vec<&'static str>,
    /// How often each Job was made, each workload stopped, and databases renamed.
    pub done: BTreeMap<String, u32>,
    /// What jobs do, by what they are for; else they succeed.
    pub fates: Vec<(&'static str, Fate)>,
    /// Jobs that the API server refuses, by what they are for.
    pub refused: Vec<&'static str>,
    /// When it refused one.
    pub refusals: Vec<Timestamp>,
    /// Whether it refuses the ConfigMap of what is replaced.
    pub refuses_kept: bool,
    /// Whether it refuses to change workloads.
    pub refuses_workloads: bool,
    /// After so many writes this happens.
    pub blow: Option<(usize, Blow)>,
    /// Every Job that was made, as it was built.
    pub made: Vec<Job>,
    jobs: Vec<Made>,
    next_oid: u32,
    pub writes: usize,
}

/// The pass ends here, as if the process had died.
pub struct Died;

impl World {
    pub fn new(change: &Value) -> Self {
        let workloads = [
            ((WorkloadKind::Deployment, "api".to_owned()), workload(Some(6), None)),
            ((WorkloadKind::StatefulSet, "worker".to_owned()), workload(Some(4), None)),
            ((WorkloadKind::CronJob, "nightly".to_owned()), workload(None, Some(false))),
        ];
        Self {
            now: "2025-11-07T10:00:00Z".parse().unwrap(),
            policy: Some(policy()),
            request: request(change),
            gone: false,
            git: workloads
                .iter()
                .map(|(key, state)| (key.clone(), (state.replicas, state.suspend)))
                .collect(),
            workloads: workloads.into(),
            scaled_objects: BTreeMap::new(),
            reads_scaled_objects: true,
            keda_wants: 4,
            keda_works: true,
            applications: BTreeMap::new(),
            reads_applications: true,
            databases: [(OLD, Database { name: DATABASE.into(), mark: None })].into(),
            record: None,
            record_pair: (None, None),
            lock: Lock::Free,
            kept: None,
            kept_is_unreadable: false,
            dumps: vec![],
            past: vec![],
            events: vec![],
            done: BTreeMap::new(),
            fates: vec![],
            refused: vec![],
            refusals: vec![],
            refuses_kept: false,
            refuses_workloads: false,
            blow: None,
            made: vec![],
            jobs: vec![],
            next_oid: 20_000,
            writes: 0,
        }
    }

    pub fn status(&self) -> RestoreRequestStatus {
        self.request.status.clone().unwrap_or_default()
    }

    pub fn phase(&self) -> RestorePhase {
        self.status().phase.unwrap_or_default()
    }

    pub fn condition(&self, type_: &str) -> (String, String) {
        let status = self.status();
        let condition = greenlang_backup_api::conditions::find(&status.conditions, type_).unwrap();
        (condition.status.clone(), condition.reason.clone())
    }

    /// OID of the database that has a name.
    pub fn named(&self, name: &str) -> Option<u32> {
        self.databases.iter().find(|(_, database)| database.name == name).map(|(oid, _)| *oid)
    }

    pub fn counts(&self) -> (Option<i32>, Option<i32>, Option<bool>) {
        let get = |kind, name: &str| self.workloads.get(&(kind, name.to_owned()));
        (
            get(WorkloadKind::Deployment, "api").and_then(|state| state.replicas),
            get(WorkloadKind::StatefulSet, "worker").and_then(|state| state.replicas),
            get(WorkloadKind::CronJob, "nightly").and_then(|state| state.suspend),
        )
    }

    pub fn carries_nothing(&self) -> bool {
        self.workloads.values().all(|state| state.ledger.is_none())
            && self.scaled_objects.values().all(|state| state.ledger.is_none())
            && self.applications.values().all(|state| state.ledger.is_none())
    }

    fn has_finalizer(&self) -> bool {
        self.request.metadata.finalizers.iter().flatten().any(|name| name == labels::RESUME_FINALIZER)
    }

    pub fn observe(&self) -> Observed {
        let workloads = self.workloads.iter().map(|((kind, name), state)| ObservedWorkload {
            workload: WorkloadRef { kind: *kind, name: name.clone() },
            state: Some(state.clone()),
        });
        Observed {
            now: self.now,
            deleting: self.request.metadata.deletion_timestamp.is_some(),
            namespace_deleting: false,
            has_finalizer: self.has_finalizer(),
            jobs: self.jobs.iter().map(|made| made.seen.clone()).collect(),
            remains: BTreeSet::new(),
            lock: self.lock.clone(),
            workloads: workloads.collect(),
            scaled_objects: self.observe_scaled_objects(),
            applications: self.observe_applications(),
            kept: self.observe_kept(),
            dumps: self.dumps.clone(),
            past: self.past.clone(),
        }
    }

    /// As the controller: what cannot be carried out is looked at all the same.
    fn read(&self) -> (ValidatedRestore, Option<Invalid>) {
        match validate(&self.request, self.policy.as_ref()) {
            Ok(valid) => (valid, None),
            Err(invalid) => (leftover(&self.request), Some(invalid)),
        }
    }

    pub fn decide(&self) -> Step {
        let (before, seen) = (self.status(), self.observe());
        match self.read() {
            (valid, None) => step(&valid, &seen, &before, &runner()),
            (rest, Some(invalid)) => reject(&rest, &seen, &before, &runner(), &invalid),
        }
    }

    /// A write is about to happen; the blow may come first.
    fn before_write(&mut self) -> Result<(), Died> {
        self.writes += 1;
        match self.blow {
            Some((at, blow)) if self.writes > at => {
                self.blow = None;
                self.strike(blow)
            }
            _ => Ok(()),
        }
    }

    pub fn cancel(&mut self) {
        self.request.spec.cancel = true;
        self.request.metadata.generation = Some(self.request.generation() + 1);
    }

    pub fn delete_jobs(&mut self) {
        self.jobs.clear();
    }

    pub fn strike(&mut self, blow: Blow) -> Result<(), Died> {
        match blow {
            Blow::Cut => return Err(Died),
            Blow::Cancel => self.cancel(),
            Blow::Delete => {
                let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now);
                self.request.metadata.deletion_timestamp = Some(time);
            }
            Blow::Wipe => self.request.status = None,
            Blow::PolicyGone => self.policy = None,
            Blow::WipeAndPolicyGone => (self.request.status, self.policy) = (None, None),
            Blow::Refuse => self.request.spec.confirm = Some("another".into()),
            Blow::JobsGone => self.delete_jobs(),
            Blow::LeaseGone => self.lock = Lock::Free,
            Blow::LeaseTaken => self.lock = Lock::Other("greenlang/other".into()),
        }
        // What was decided was decided on the object as it was: its write is refused.
        Err(Died)
    }

    /// One pass; none when nothing changed and nothing is to be looked at now.
    fn pass(&mut self) -> Option<Timestamp> {
        let step = self.decide();
        let before = self.status();
        self.carry_out(&step, &before).unwrap_or(Some(self.now))
    }

    /// Returns when to look again.
    fn carry_out(&mut self, step: &Step, before: &RestoreRequestStatus) -> Result<Option<Timestamp>, Died> {
        let seen = self.observe();
        let (mut jobs, mut patches) = (vec![], vec![]);
        for effect in &step.effects {
            self.before_write()?;
            match effect {
                Effect::CreateJob(job) if self.refuses(job) => {
                    self.refusals.push(self.now);
                    jobs.push(Refusal {
                        job: job.metadata.name.clone().unwrap(),
                        reason: reasons::JOB_REFUSED,
                        message: "exceeded quota".into(),
                    });
                }
                Effect::KeepDatabase(kept) if self.refuses_kept => jobs.push(Refusal {
                    job: kept_name(&kept.request),
                    reason: reasons::restore::CONFIG_MAP_REFUSED,
                    message: "exceeded quota".into(),
                }),
                Effect::Patch { target, .. } if self.refuses_workloads => {
                    patches.push(PatchRefusal {
                        target: target.clone(),
                        message: format!("denied by a webhook {}", "on Fridays ".repeat(1_000)),
                    });
                }
                effect => self.effect(effect)?,
            }
        }
        let mut step = step.clone();
        if !jobs.is_empty() || !patches.is_empty() {
            step = step.refused(&self.read().0, &seen, before, &runner(), &jobs, &patches);
        }
        if step.status != *before {
            self.before_write()?;
            self.request.status = Some(step.status.clone());
            if self.request.metadata.deletion_timestamp.is_none() && !self.phase().is_end() {
                let is_past_return = step.status.switch_started_time.is_some();
                assert!(self.has_finalizer() || !is_past_return, "a deletion would stop it half way");
            }
            let told = step.status.quiesced.iter().filter_map(|entry| entry.message.as_ref());
            assert!(told.map(String::len).all(|length| length <= 1_024), "a text without bound");
            self.events.extend(step.events.iter().map(|event| event.reason));
        }
        Ok(step.wake)
    }

    fn refuses(&self, job: &Job) -> bool {
        let action = &job.metadata.labels.as_ref().unwrap()[labels::ACTION];
        self.refused.contains(&action.as_str())
    }

    fn count(&mut self, what: String) {
        *self.done.entry(what).or_default() += 1;
    }

    fn effect(&mut self, effect: &Effect) -> Result<(), Died> {
        match effect {
            Effect::CreateJob(job) => self.create(job),
            Effect::DeleteJob { uid, .. } => self.jobs.retain(|made| made.seen.uid != *uid),
            Effect::AddFinalizer => {
                assert!(self.request.metadata.deletion_timestamp.is_none(), "too late for a finalizer");
                self.request.metadata.finalizers = Some(vec![labels::RESUME_FINALIZER.into()]);
            }
            Effect::RemoveFinalizer => self.request.metadata.finalizers = None,
            Effect::AcquireLock => self.lock = Lock::Ours,
            Effect::ReleaseLock => self.lock = Lock::Free,
            Effect::KeepDatabase(kept) => {
                (self.kept, self.kept_is_unreadable) = (Some((**kept).clone()), false);
            }
            Effect::Patch { target, patch } => return self.patch(target, patch),
        }
        Ok(())
    }

    fn create(&mut self, job: &Job) {
        let name = job.metadata.name.clone().unwrap();
        if self.jobs.iter().any(|made| made.seen.name == name) {
            return;
        }
        self.count(format!("job {name}"));
        self.made.push(job.clone());
        let env = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0].env.clone();
        let task = env.unwrap().into_iter().find(|variable| variable.name == TASK_ENV);
        let task = task.map(|variable| Task::decode(&variable.value.unwrap()).unwrap());
        let task = task.map(|task| match task {
            Task::Restore(task) => task,
            task => panic!("{task:?}"),
        });
        self.jobs.push(Made {
            seen: ObservedJob {
                uid: format!("{name}-uid-{}", self.writes),
                name,
                created: self.now,
                backup: None,
                deleting: false,
                state: JobState::Running,
                progress: None,
                details: String::new(),
            },
            task,
        });
    }

    /// Time passes: Pods come and go, and Jobs end.
    fn world_turns(&mut self, wake: Option<Timestamp>) {
        let later = self.now + SignedDuration::from_secs(5);
        self.now = wake.map_or(later, |wake| wake.max(later).min(later + SignedDuration::from_secs(600)));
        self.keda_acts();
        self.argo_cd_acts();
        for state in self.workloads.values_mut() {
            state.pods = state.replicas.unwrap_or(0).unsigned_abs();
            state.ready_replicas = state.replicas.unwrap_or(0);
        }
        for at in 0..self.jobs.len() {
            if matches!(self.jobs[at].seen.state, JobState::Running) {
                self.run(at);
            }
        }
    }

    /// Runs until the request has ended and nothing is to do any more, or is gone.
    pub fn run_to_end(&mut self) {
        assert!(self.ends(), "it does not end: {:#?}", self.status());
    }

    /// As [`Self::run_to_end`]; false where it waits for a person.
    pub fn ends(&mut self) -> bool {
        let ended = (0..400).any(|_| self.comes_to_rest());
        // What was told to go on does so some time.
        self.keda_acts();
        ended
    }

    /// One pass. True when the request has ended and nothing is to do any more, or is gone.
    fn comes_to_rest(&mut self) -> bool {
        let (before, writes) = (self.status(), self.writes);
        let wake = self.pass();
        if self.request.metadata.deletion_timestamp.is_some() && !self.has_finalizer() {
            // The garbage collector takes the Jobs; the runner drops what it was making.
            self.gone = true;
            return true;
        }
        let quiet = self.writes == writes && self.status() == before;
        if quiet && self.phase().is_end() {
            return true;
        }
        if quiet || wake.is_some_and(|wake| wake > self.now) {
            self.world_turns(wake);
        }
        false
    }

    /// Runs until a phase has begun.
    pub fn run_until(&mut self, phase: RestorePhase) {
        for _ in 0..200 {
            if self.phase() == phase {
                return;
            }
            let writes = self.writes;
            let wake = self.pass();
            if self.writes == writes || wake.is_some_and(|wake| wake > self.now) {
                self.world_turns(wake);
            }
        }
        panic!("{phase:?} is not reached: {:#?}", self.status());
    }

    /// One pass, and time passes.
    pub fn turn(&mut self) {
        let wake = self.pass();
        if wake.is_none_or(|wake| wake > self.now) {
            self.world_turns(wake);
        }
    }
}
