//! What the Jobs of the model do to its server and its bucket, as the runner would.

use greenlang_backup_api::digest::sha256;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::restore::{
    CheckReport, DropReport, KnownRestore, LoadReport, PlanAction, PlanReport, PlanSource, RecordState,
    RestoreAction, RestoreReport, RestoreTask, SwitchAction, SwitchReport,
};
use greenlang_backup_api::v1alpha1::{ChosenBackup, NamedDatabase, RestoredData};
use greenlang_backup_plan::job::CONTAINER;
use greenlang_backup_plan::job_state::{Ended, JobState, job_state};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::{DATABASE, Database, Fate, World};

/// The plan for people, as it stands in the log.
const PLAN_LINE: &str = concat!(
    r#"{"detail":{"feasible":true,"backup":{"choice":"it was named","time":"2025-11-07T02:00:00Z","#,
    r#""serverVersion":"17","storedBytes":1000,"sourceBytes":4000}}}"#,
    "\n"
);

impl World {
    fn fate(&mut self, kind: &str) -> Fate {
        let at = self.fates.iter().position(|(of, _)| *of == kind);
        at.map_or(Fate::Succeeds, |at| self.fates.remove(at).1)
    }

    pub(super) fn run(&mut self, at: usize) {
        let Some(task) = self.jobs[at].task.clone() else {
            let fate = self.fate("check-job");
            if self.hangs(at, fate) {
                return;
            }
            let passes = fate == Fate::Succeeds;
            let report = RunReport::new(Outcome::Retryable, reasons::REPORT_LOST, "no report");
            self.end(at, report, String::new(), Some(i32::from(!passes)));
            return;
        };
        let kind = match &task.action {
            RestoreAction::Plan(_) => "plan",
            RestoreAction::Load(_) => "load",
            RestoreAction::Switch(_) => "switch",
            RestoreAction::Drop(_) => "drop",
            RestoreAction::Check(_) => "check",
        };
        let fate = self.fate(kind);
        if self.hangs(at, fate) {
            return;
        }
        let lost = || RunReport::new(Outcome::Retryable, reasons::REPORT_LOST, "no report");
        let (report, details) = match fate {
            Fate::Succeeds => self.act(&task),
            Fate::SucceedsUnheard => {
                self.act(&task);
                (lost(), String::new())
            }
            Fate::FailsToRecord => {
                let record = self.record.clone();
                let (done, details) = self.act(&task);
                self.record = record;
                let report = RunReport::new(Outcome::Failed, "AccessDenied", "it is gone; no right to write");
                (RunReport { restore: done.restore, ..report }, details)
            }
            Fate::IsKilled | Fate::NeverStarts | Fate::IsLost | Fate::RunsOut => (lost(), String::new()),
            Fate::FailsForNow => {
                (RunReport::new(Outcome::Retryable, "ConnectionFailed", "away"), String::new())
            }
            Fate::Fails => {
                let mut report = RunReport::new(Outcome::Failed, "PermissionDenied", "no");
                if let RestoreAction::Switch(switch) = &task.action
                    && self
                        .databases
                        .get(&switch.incoming.oid)
                        .is_some_and(|database| database.name != task.database)
                {
                    report.restore = Some(RestoreReport::NotSwitched);
                }
                (report, String::new())
            }
        };
        self.end(at, report, details, None);
    }

    /// Whether it does not come to an end of its own.
    fn hangs(&mut self, at: usize, fate: Fate) -> bool {
        self.jobs[at].seen.state = match fate {
            Fate::NeverStarts => JobState::Pending(Some("Unschedulable: no node has room".into())),
            Fate::IsLost => {
                let report = RunReport::new(Outcome::Retryable, reasons::NODE_LOST, "its node is lost");
                let ended = Ended { report, container_ended: false, exit_code: None };
                JobState::Ended(Box::new(ended))
            }
            Fate::RunsOut => self.run_out(at),
            _ => return false,
        };
        true
    }

    /// How a Job is read that Kubernetes has stopped at its time limit.
    fn run_out(&self, at: usize) -> JobState {
        let name = Some(&self.jobs[at].seen.name);
        let mut job = self.made.iter().find(|job| job.metadata.name.as_ref() == name).unwrap().clone();
        let failed = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        job.status = serde_json::from_value(failed).unwrap();
        let state = json!({"terminated": {"exitCode": 0}});
        let container = json!({"name": CONTAINER, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        let status = json!({"reason": "DeadlineExceeded", "containerStatuses": [container]});
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
        job_state(&job, Some(&pod))
    }

    fn end(&mut self, at: usize, report: RunReport, details: String, exit_code: Option<i32>) {
        let ended = Ended { report, container_ended: true, exit_code };
        self.jobs[at].seen.state = JobState::Ended(Box::new(ended));
        self.jobs[at].seen.details = details;
    }

    fn act(&mut self, task: &RestoreTask) -> (RunReport, String) {
        let mark = task.request.mark();
        let mut details = String::new();
        let found = match &task.action {
            RestoreAction::Plan(plan) => {
                let Some(found) = self.plan(task, plan) else {
                    let reason = reasons::restore::ALREADY_CARRIED_OUT;
                    return (RunReport::new(Outcome::Failed, reason, "done before"), details);
                };
                details.push_str(PLAN_LINE);
                RestoreReport::Plan(found)
            }
            RestoreAction::Load(load) => {
                self.databases.retain(|_, database| {
                    database.name != load.temporary || database.mark.as_ref() != Some(&mark)
                });
                if let Some(first) = &load.drop_first {
                    assert!(
                        self.status().switch_started_time.is_some(),
                        "dropped before the point of no return"
                    );
                    self.record = Some((task.request.uid.clone(), RecordState::Switching));
                    self.record_pair = (None, Some(first.clone()));
                    self.databases.remove(&first.oid);
                }
                self.next_oid += 1;
                let oid = self.next_oid;
                self.databases.insert(oid, Database { name: load.temporary.clone(), mark: Some(mark) });
                let data = RestoredData {
                    tables: 1,
                    rows: 1,
                    bytes: 1,
                    verified: Some("rows and content of 1 table".into()),
                    largest: vec![],
                    warnings: 0,
                    left_out: load.include.as_ref().map_or(0, |_| 7),
                };
                RestoreReport::Load(LoadReport {
                    database: NamedDatabase { name: load.temporary.clone(), oid },
                    data,
                })
            }
            RestoreAction::Switch(switch) => RestoreReport::Switch(self.switch(task, switch)),
            RestoreAction::Drop(drop) => {
                let before = self.databases.len();
                self.databases.retain(|oid, database| {
                    database.name != drop.name
                        || database.mark.as_ref() != Some(&mark)
                        || drop.oid.is_some_and(|wanted| wanted != *oid)
                });
                if drop.rolls_back {
                    self.record = Some((task.request.uid.clone(), RecordState::RolledBack));
                }
                RestoreReport::Drop(DropReport { dropped: before > self.databases.len(), freed_bytes: 0 })
            }
            RestoreAction::Check(_) => RestoreReport::Check(CheckReport::default()),
        };
        let mut report = RunReport::new(Outcome::Done, reasons::SUCCEEDED, "done");
        report.restore = Some(found);
        (report, details)
    }

    fn plan(&mut self, task: &RestoreTask, plan: &PlanAction) -> Option<PlanReport> {
        if self.record.as_ref().is_some_and(|(uid, _)| *uid != task.request.uid) {
            return None;
        }
        if plan.claim && self.record.is_none() {
            self.record = Some((task.request.uid.clone(), RecordState::Started));
        }
        let known = self.record.clone();
        let is_undo = matches!(plan.source, PlanSource::Undo { .. });
        let backup = ChosenBackup {
            path: "database".into(),
            id: "20251107-020000".parse().unwrap(),
            database: DATABASE.into(),
            manifest_sha256: None,
        };
        let before = self.databases.iter().find(|(_, database)| database.name.contains("_before_"));
        Some(PlanReport {
            backup: (!is_undo).then_some(backup),
            target_oid: self.named(&task.database),
            comes_back: before
                .filter(|_| is_undo)
                .map(|(oid, database)| NamedDatabase { name: database.name.clone(), oid: *oid }),
            known: known.map(|(_, state)| KnownRestore {
                state,
                restored: self.record_pair.0.clone(),
                previous: self.record_pair.1.clone(),
            }),
            details: 1,
            details_sha256: sha256(PLAN_LINE),
        })
    }

    fn switch(&mut self, task: &RestoreTask, switch: &SwitchAction) -> SwitchReport {
        assert!(self.status().switch_started_time.is_some(), "renamed before the point of no return");
        self.record = Some((task.request.uid.clone(), RecordState::Switching));
        self.record_pair = (Some(switch.incoming.clone()), switch.outgoing.clone());
        if self.named(&task.database) != Some(switch.incoming.oid) {
            assert_eq!(self.named(&task.database), switch.outgoing.as_ref().map(|outgoing| outgoing.oid));
            if let Some(outgoing) = &switch.outgoing {
                assert!(self.kept.is_some(), "nobody would drop it later");
                let left = Database { name: outgoing.name.clone(), mark: Some(task.request.mark()) };
                self.databases.insert(outgoing.oid, left).unwrap();
            }
            let came = Database { name: task.database.clone(), mark: None };
            self.databases.insert(switch.incoming.oid, came).unwrap();
            self.count("rename".into());
        }
        self.record = Some((task.request.uid.clone(), RecordState::Switched));
        let serving = NamedDatabase { name: task.database.clone(), oid: switch.incoming.oid };
        SwitchReport { serving, previous: switch.outgoing.clone(), closed_milliseconds: Some(9) }
    }
}
