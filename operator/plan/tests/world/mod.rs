//! A model of a cluster that carries out decisions, can be cut between any two writes, and counts what came of it.

use std::collections::BTreeMap;

use greenlang_backup_api::labels;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{BackupReport, Finding, Outcome, ProbeReport, RunReport};
use greenlang_backup_api::v1alpha1::{BackupPolicy, BackupPolicyStatus, Verification};
use greenlang_backup_plan::backup_policy::{
    Decision, Effect, Observed, ObservedJob, decide, reject, validate,
};
use greenlang_backup_plan::job::RunnerSettings;
use greenlang_backup_plan::job_state::{Ended, JobState};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;

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
    /// Is deleted by somebody.
    IsDeleted,
}

pub struct World {
    pub now: Timestamp,
    pub policy: BackupPolicy,
    pub jobs: Vec<ObservedJob>,
    /// Ids of backups in the bucket.
    pub bucket: Vec<BackupId>,
    /// How often each attempt's Job was made.
    pub made: BTreeMap<String, u32>,
    /// Findings of every probe to come.
    pub findings: ProbeReport,
    /// Reasons of all events, in order.
    pub told: Vec<&'static str>,
    ids: BTreeMap<String, BackupId>,
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

fn merge(into: &mut serde_json::Value, from: serde_json::Value) {
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
    RunnerSettings { image: "i".into(), image_pull_policy: "Never".into(), service_account: "s".into() }
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
            made: BTreeMap::new(),
            findings: ProbeReport {
                storage: finding(),
                database: Some(finding()),
                encryption: finding(),
                largest_database_bytes: None,
            },
            told: vec![],
            ids: BTreeMap::new(),
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
        let seen = Observed { now: self.now, served: true, jobs: self.jobs.clone() };
        match validate(&self.policy) {
            Ok(valid) => decide(&valid, &seen, &self.status(), &runner()),
            Err(invalid) => reject(&self.status(), self.policy.generation(), &invalid, self.now),
        }
    }

    fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::CreateJob(job) => self.create(job),
            Effect::DeleteJob { name, uid } => self.jobs.retain(|job| job.name != *name || job.uid != *uid),
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
        if let Some(id) = labels.get(labels::ID) {
            self.ids.insert(name.clone(), id.parse().unwrap());
        }
        self.uids += 1;
        self.jobs.push(ObservedJob {
            name,
            uid: format!("uid-{}", self.uids),
            created: self.now,
            backup: labels.get(labels::BACKUP).cloned(),
            deleting: false,
            state: JobState::Running,
            progress: None,
        });
    }

    /// Every running Job meets its fate.
    pub fn jobs_end(&mut self, fate: Fate) {
        let running = self.jobs.iter().filter(|job| job.state == JobState::Running);
        for name in running.map(|job| job.name.clone()).collect::<Vec<_>>() {
            let report = match self.ids.get(&name).cloned() {
                Some(id) => self.backup_report(&id, fate),
                None => Some(self.probe_report()),
            };
            match report {
                None => self.delete_by_hand(&name),
                Some(report) => {
                    let time = self.now;
                    let job = self.jobs.iter_mut().find(|job| job.name == name).unwrap();
                    job.state = JobState::Ended(Box::new(Ended { time, report }));
                }
            }
        }
    }

    /// A Job that vanishes before any status has named it leaves no trace: making it again is right, and not counted.
    fn delete_by_hand(&mut self, name: &str) {
        let known = self.status().backups.iter().any(|backup| {
            backup.active.as_ref().is_some_and(|active| {
                self.jobs.iter().any(|job| job.name == name && Some(&job.uid) == active.job_uid.as_ref())
            })
        });
        if !known {
            self.made.remove(name);
        }
        self.jobs.retain(|job| job.name != name);
    }

    fn probe_report(&self) -> RunReport {
        let mut report = RunReport::new(Outcome::Done, reasons::SUCCEEDED, "checked");
        report.probe = Some(self.findings.clone());
        report
    }

    fn backup_report(&mut self, id: &BackupId, fate: Fate) -> Option<RunReport> {
        if matches!(fate, Fate::Succeeds | Fate::SucceedsUnheard) && !self.bucket.contains(id) {
            self.bucket.push(id.clone());
        }
        match fate {
            Fate::IsDeleted => None,
            Fate::SucceedsUnheard => Some(RunReport::new(Outcome::Retryable, reasons::REPORT_LOST, "lost")),
            Fate::FailsForNow => Some(RunReport::new(Outcome::Retryable, reasons::DUMP_FAILED, "for now")),
            Fate::Fails => Some(RunReport::new(Outcome::Failed, reasons::ACCESS_DENIED, "for good")),
            Fate::Succeeds => {
                let mut report = RunReport::new(Outcome::Done, reasons::SUCCEEDED, "done");
                report.backup = Some(BackupReport {
                    id: id.clone(),
                    path: "database".into(),
                    stored_bytes: 10,
                    source_bytes: 100,
                    start_time: self.now,
                    end_time: self.now,
                    verified: Verification::Streamed,
                    manifest_sha256: String::new(),
                    warnings: 0,
                });
                Some(report)
            }
        }
    }
}
