//! A model of a cluster that carries out decisions, can be cut between any two writes, and counts what came of it.

mod reports;

use std::collections::{BTreeMap, BTreeSet};

use greenlang_backup_api::labels;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::owner::Claim;
use greenlang_backup_api::prune::{CatalogueTask, PruneTask};
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Finding, ProbeReport};
use greenlang_backup_api::task::{CleanUpTask, TASK_ENV, Task};
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus, BackupStatus};
use greenlang_backup_plan::backup_policy::{
    Decision, Effect, Granted, Observed, OngoingRestore, decide, reject, validate,
};
use greenlang_backup_plan::job::RunnerSettings;
use greenlang_backup_plan::job_state::{Ended, JobState};
use greenlang_backup_plan::jobs::ObservedJob;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Container;

use reports::side_report;

/// Where a pass is cut: the process dies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Not at all.
    Nowhere,
    /// After so many effects; with all of them done, just before the status write.
    AfterEffects(usize),
}

/// What a Job does when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Makes the backup and says so.
    Succeeds,
    /// Makes the backup, but its report is lost.
    SucceedsUnheard,
    /// Fails, and may be tried again.
    FailsForNow,
    /// Fails for good.
    Fails,
    /// Is deleted by somebody, with all that it knew.
    IsDeleted,
    /// Is killed in its middle: what it wrote stays, and nobody hears of it.
    IsKilled,
    /// Fails, and cannot remove what it wrote.
    FailsUntidily,
}

impl Fate {
    pub const ALL: [Self; 7] = [
        Self::Succeeds,
        Self::SucceedsUnheard,
        Self::FailsForNow,
        Self::Fails,
        Self::IsDeleted,
        Self::IsKilled,
        Self::FailsUntidily,
    ];
}

/// What a Job is there for.
#[derive(Clone, Debug)]
enum Work {
    Probe,
    /// An attempt of a run.
    Backup(BackupId, u32, Vec<String>),
    CleanUp(Box<CleanUpTask>),
    Prune(Box<PruneTask>),
    Catalogue(Box<CatalogueTask>),
}

pub struct World {
    pub now: Timestamp,
    pub policy: BackupPolicy,
    pub jobs: Vec<ObservedJob>,
    /// Ids of backups in the bucket.
    pub bucket: Vec<BackupId>,
    /// The attempt that each of them names in its manifest.
    pub manifests: BTreeMap<BackupId, u32>,
    /// Attempts below whose prefix something lies.
    pub objects: BTreeSet<(BackupId, u32)>,
    /// How often each attempt's Job was made.
    pub made: BTreeMap<String, u32>,
    /// Memory limit of each attempt's Job.
    pub limits: BTreeMap<String, String>,
    /// Findings of every probe to come.
    pub findings: ProbeReport,
    /// Reasons of all events, in order.
    pub told: Vec<&'static str>,
    /// Messages of the events that say so of clean-ups which are not tried again.
    pub dropped: Vec<String>,
    /// Jobs that were deleted while they ran, with Pods that are still there.
    pub ghosts: BTreeMap<String, String>,
    /// Whether prunes and catalogues end at once, and well; stories that are about them switch it off.
    pub bucket_answers: bool,
    /// The schedules that each backup in the bucket serves.
    pub served: BTreeMap<BackupId, Vec<String>>,
    /// All prunes that were made.
    pub prunes: Vec<PruneTask>,
    /// Backups that every prune to come leaves for the next one.
    pub held_back: u32,
    /// Who each Job said that it is for, by what it is.
    pub claims: Vec<(&'static str, Claim)>,
    /// Restores that go on in the namespace.
    pub restores: Vec<OngoingRestore>,
    /// How many runs may go on at once.
    pub places: usize,
    /// Whether so many passes go on that what can wait should.
    pub busy: bool,
    work: BTreeMap<String, Work>,
    uids: u64,
}

pub fn policy(extra: serde_json::Value) -> BackupPolicy {
    let mut policy: serde_json::Value = serde_yaml::from_str(
        r#"
        apiVersion: backup.greenlang.io/v1alpha1
        kind: BackupPolicy
        metadata: {name: p, namespace: n, uid: u, generation: 1, creationTimestamp: "2025-11-07T00:00:30Z"}
        spec:
          storage: {s3: {bucket: backups, credentialsSecretRef: {name: s3}}}
          encryption: {age: {recipients: [age1a, age1b]}}
          postgres: {host: db, database: shop, credentialsSecretRef: {name: db}}
          backups:
            - name: database
              postgresDump: {}
              schedules:
                - {name: often, cron: "*/5 * * * *", keepDays: 1}
                - {name: seldom, cron: "*/10 * * * *", keepDays: 9}
        "#,
    )
    .unwrap();
    merge(&mut policy, extra);
    serde_json::from_value(policy).unwrap()
}

pub fn merge(into: &mut serde_json::Value, from: serde_json::Value) {
    match (into, from) {
        (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn runner() -> RunnerSettings {
    RunnerSettings {
        image: "i".into(),
        image_pull_policy: "Never".into(),
        cluster_uid: "c".into(),
        service_account: "s".into(),
    }
}

fn finding() -> Finding {
    Finding { ok: true, reason: reasons::SUCCEEDED.into(), message: "fine".into() }
}

impl World {
    pub fn new(policy: BackupPolicy) -> Self {
        Self {
            now: at("2025-11-07T00:00:31Z"),
            policy,
            jobs: vec![],
            bucket: vec![],
            manifests: BTreeMap::new(),
            objects: BTreeSet::new(),
            made: BTreeMap::new(),
            limits: BTreeMap::new(),
            findings: ProbeReport {
                storage: finding(),
                database: Some(finding()),
                encryption: finding(),
                largest_database_bytes: None,
            },
            told: vec![],
            dropped: vec![],
            ghosts: BTreeMap::new(),
            bucket_answers: true,
            served: BTreeMap::new(),
            prunes: vec![],
            held_back: 0,
            claims: vec![],
            restores: vec![],
            places: usize::MAX,
            busy: false,
            work: BTreeMap::new(),
            uids: 0,
        }
    }

    pub fn status(&self) -> BackupPolicyStatus {
        self.policy.status.clone().unwrap_or_default()
    }

    pub fn later(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    /// One pass of the operator. Says whether it left nothing to do at once.
    pub fn pass(&mut self, cut: Cut) -> bool {
        let decision = self.decide();
        let steps = match cut {
            Cut::Nowhere => usize::MAX,
            Cut::AfterEffects(steps) => steps,
        };
        for effect in decision.effects.iter().take(steps) {
            self.carry_out(effect);
        }
        let still = decision.effects.is_empty() && self.status() == decision.status;
        if cut == Cut::Nowhere {
            self.policy.status = Some(decision.status);
            self.told.extend(decision.events.iter().map(|event| event.reason));
            let dropped = decision.events.iter().filter(|event| event.reason == reasons::CLEAN_UP_DROPPED);
            self.dropped.extend(dropped.map(|event| event.message.clone()));
        }
        still && decision.wake.is_none_or(|wake| wake > self.now)
    }

    /// Passes until nothing is left to do at this time; Jobs that are waited for do not count.
    pub fn settle(&mut self) {
        for _ in 0..50 {
            if self.pass(Cut::Nowhere) {
                return;
            }
        }
        panic!("the operator never comes to rest: {:#?}", self.status());
    }

    pub fn decide(&self) -> Decision {
        let mut seen = self.seen();
        match validate(&self.policy) {
            Ok(valid) => {
                // As the controller does: what would begin takes places as far as there are any, and then may.
                let wanted = decide(&valid, &seen, &self.status(), &runner()).wanted;
                let free = self.places.saturating_sub(seen.live_runs().len());
                seen.places.taken = wanted.into_iter().take(free).map(|wanted| wanted.job).collect();
                decide(&valid, &seen, &self.status(), &runner())
            }
            Err(invalid) => reject(&self.status(), self.policy.generation(), &invalid, self.now),
        }
    }

    pub fn seen(&self) -> Observed {
        Observed {
            now: self.now,
            jobs: self.jobs.clone(),
            remains: self.ghosts.iter().flat_map(|(uid, name)| [uid, name]).cloned().collect(),
            restores: self.restores.clone(),
            places: Granted { limit: self.places, ..Granted::default() },
            busy: self.busy,
        }
    }

    fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::CreateJob(job) => self.create(job),
            Effect::DeleteJob { name, uid } => {
                let this = |job: &&ObservedJob| job.name == *name && job.uid == *uid;
                if self.jobs.iter().find(this).is_some_and(|job| job.state == JobState::Running) {
                    self.ghosts.insert(uid.clone(), name.clone());
                }
                self.jobs.retain(|job| !this(&job));
            }
        }
    }

    fn create(&mut self, job: &Job) {
        let name = job.metadata.name.clone().unwrap();
        // As the API server: a second POST of the same name changes nothing.
        if self.jobs.iter().any(|job| job.name == name) {
            return;
        }
        let labels = job.metadata.labels.clone().unwrap();
        *self.made.entry(name.clone()).or_default() += 1;
        let (work, claim) = work(job);
        self.claims.push(claim);
        if matches!(work, Work::Backup(..)) {
            self.limits.insert(name.clone(), memory_limit(job));
        }
        self.assert_apart(&work);
        if let Work::Prune(task) = &work {
            self.prunes.push((**task).clone());
        }
        self.work.insert(name.clone(), work);
        self.uids += 1;
        self.jobs.push(ObservedJob {
            name,
            uid: format!("uid-{}", self.uids),
            created: self.now,
            backup: labels.get(labels::BACKUP).cloned(),
            deleting: false,
            state: JobState::Running,
            progress: None,
            details: String::new(),
        });
        if self.bucket_answers {
            self.side_jobs_end();
        }
    }

    /// No clean-up begins beside another, and none while a run of its id goes on, nor the other way round.
    fn assert_apart(&self, new: &Work) {
        let running = self.jobs.iter().filter(|job| job.state == JobState::Running).map(|job| &job.name);
        for old in running.chain(self.ghosts.values()).filter_map(|name| self.work.get(name)) {
            match (old, new) {
                (Work::CleanUp(old), Work::CleanUp(new)) => panic!("two clean-ups at once: {old:?} {new:?}"),
                (Work::Backup(id, ..), Work::CleanUp(new)) => assert_ne!(new.id, *id),
                (Work::CleanUp(old), Work::Backup(id, ..)) => assert_ne!(old.id, *id),
                _ => {}
            }
        }
    }

    /// What lies in the bucket and no manifest names.
    pub fn leftovers(&self) -> Vec<(BackupId, u32)> {
        let named = |entry: &&(BackupId, u32)| self.manifests.get(&entry.0) == Some(&entry.1);
        self.objects.iter().filter(|entry| !named(entry)).cloned().collect()
    }

    /// Pods of deleted Jobs go; what they wrote stays.
    pub fn ghosts_go(&mut self) {
        for name in std::mem::take(&mut self.ghosts).into_values() {
            if let Some(Work::Backup(id, attempt, _)) = self.work.get(&name) {
                self.objects.insert((id.clone(), *attempt));
            }
        }
    }

    /// Every running Job meets its fate.
    pub fn jobs_end(&mut self, fate: Fate) {
        let running = self.jobs.iter().filter(|job| job.state == JobState::Running);
        for name in running.map(|job| job.name.clone()).collect::<Vec<_>>() {
            self.job_ends(&name, fate);
        }
    }

    /// A running Job meets its fate.
    pub fn job_ends(&mut self, name: &str, fate: Fate) {
        let report = match self.work[name].clone() {
            Work::Probe => Some(self.probe_report()),
            Work::Backup(id, attempt, served) => {
                self.served.insert(id.clone(), served);
                self.backup_report(&id, attempt, fate)
            }
            Work::CleanUp(task) => self.clean_up_report(&task, fate),
            Work::Prune(task) => side_report(fate, self.prune_report(&task)),
            Work::Catalogue(task) => {
                let (report, details) = self.catalogue_report(&task);
                self.jobs.iter_mut().find(|job| job.name == name).unwrap().details = details;
                side_report(fate, report)
            }
        };
        match report {
            None => self.delete_by_hand(name),
            Some(report) => {
                let job = self.jobs.iter_mut().find(|job| job.name == name).unwrap();
                job.state =
                    JobState::Ended(Box::new(Ended { report, container_ended: true, exit_code: None }));
            }
        }
    }

    /// A Job that vanishes before any status has named it leaves no trace: making it again is right, and not counted.
    fn delete_by_hand(&mut self, name: &str) {
        let status = self.status();
        let runs = status.backups.iter().flat_map(BackupStatus::runs).filter_map(|run| run.job_uid.as_ref());
        let clean_ups = status.backups.iter().flat_map(|backup| &backup.clean_ups);
        let clean_ups = clean_ups.filter_map(|entry| entry.active.as_ref()?.job_uid.as_ref());
        let uid = self.jobs.iter().find(|job| job.name == name).map(|job| &job.uid);
        if !runs.chain(clean_ups).any(|known| Some(known) == uid) {
            self.made.remove(name);
        }
        self.jobs.retain(|job| job.name != name);
    }

    /// Prunes and catalogues that run, and nothing else, end well.
    fn side_jobs_end(&mut self) {
        let side = |job: &&ObservedJob| {
            let work = self.work.get(&job.name);
            job.state == JobState::Running && matches!(work, Some(Work::Prune(_) | Work::Catalogue(_)))
        };
        for name in self.jobs.iter().filter(side).map(|job| job.name.clone()).collect::<Vec<_>>() {
            self.job_ends(&name, Fate::Succeeds);
        }
    }
}

fn container(job: &Job) -> &Container {
    &job.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0]
}

fn memory_limit(job: &Job) -> String {
    container(job).resources.as_ref().unwrap().limits.as_ref().unwrap()["memory"].0.clone()
}

/// Read from the Job's own Task, as the runner does, with who it is for.
fn work(job: &Job) -> (Work, (&'static str, Claim)) {
    let task = container(job).env.as_ref().unwrap().iter().find(|env| env.name == TASK_ENV).unwrap();
    match Task::decode(task.value.as_ref().unwrap()).unwrap() {
        Task::Probe(task) => (Work::Probe, ("probe", task.claim)),
        Task::PostgresDump(task) => {
            let served = task.run.schedules.into_iter().map(|schedule| schedule.name).collect();
            (Work::Backup(task.run.id, task.run.attempt, served), ("backup", task.claim))
        }
        Task::CleanUp(task) => (Work::CleanUp(Box::new(task.clone())), ("clean-up", task.claim)),
        Task::Prune(task) => (Work::Prune(Box::new(task.clone())), ("prune", task.claim)),
        Task::Catalogue(task) => (Work::Catalogue(Box::new(task.clone())), ("catalogue", task.claim)),
        Task::Restore(_) => panic!("a policy restores nothing"),
    }
}
