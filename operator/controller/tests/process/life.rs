//! The life of runs, from the token that asks for them to rest, with an operator that can be cut before any of its writes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::{ActiveRun, BackupPolicyStatus, BackupStatus, RunHistory};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE, install_chart};
use greenlang_backup_tests::{policy, wait};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::apply_changed;
use crate::kubernetes::{Ends, Kubernetes};
use crate::replica::{LIMIT, Replica, SERVED, install};
use crate::runs::jobs;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// Longer than a decision stays fresh.
pub const HANGS: Duration = Duration::from_secs(2);
/// The variable that names the file which arms a cut.
const CUT_FILE: &str = "GREENLANG_CUT_FILE";

/// The variable that says how many runs may go on at once.
const PLACES: &str = "MAX_CONCURRENT_RUNS";

/// What happens in a life.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub name: &'static str,
    pub rule: &'static str,
    pub ends: Ends,
    /// Whether a second run is asked for while the first one goes on.
    pub second: bool,
    /// Runs that may go on at once.
    pub places: &'static str,
    /// Attempts, successes and failures that are counted.
    pub counts: (u64, u64, u64),
    /// Jobs of clean-ups.
    pub clean_ups: u64,
    /// Whether each life is that of a new policy, with its first check and the look for its history.
    pub fresh: bool,
}

/// What cuts the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is killed, and started again as Kubernetes does it.
    Abort,
    /// It hangs, and wakes up when another one has done all.
    Stop,
}

/// An API server with a policy whose life is repeated.
pub struct Stage {
    life: Life,
    policy: String,
    api: ApiServer,
    kubernetes: Kubernetes,
    recorder: Recorder,
    kubeconfig: String,
    operator: Replica,
    second: Option<Replica>,
    folder: TempDir,
}

impl Stage {
    /// Everything at rest: probed, with a known history, and no run so far.
    pub async fn new(life: Life) -> Result<Self> {
        let api = ApiServer::start().await?;
        install(&api).await?;
        install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
        // The Lease of a second operator that leads at the same time.
        for right in [
            "create role leases --verb=create,get,list,watch,patch,update --resource=leases.coordination.k8s.io",
            &format!("create rolebinding leases --role=leases --serviceaccount={NAMESPACE}:{RELEASE}"),
        ] {
            api.cluster.kube(&format!("{right} -n {SERVED}")).await?;
        }
        let kubernetes = Kubernetes::play(&api, life.ends);
        let recorder = Recorder::start(&api.cluster, SERVED);
        let kubeconfig = api.as_service_account(NAMESPACE, RELEASE).await?;
        let folder = tempfile::tempdir()?;
        let cut_file = folder.path().join("cut").display().to_string();
        let variables = [(CUT_FILE, &*cut_file), (PLACES, life.places)];
        let operator = Replica::start_with(&kubeconfig, "operator", &variables)?;
        apply_changed(&api, life.name, |wanted| {
            wanted["spec"]["backups"][0]["schedules"][0]["concurrencyPolicy"] = json!(life.rule);
        })
        .await?;
        let policy = life.name.to_owned();
        let mut stage =
            Self { life, policy, api, kubernetes, recorder, kubeconfig, operator, second: None, folder };
        stage
            .until("at rest", |status| {
                status
                    .probe
                    .as_ref()
                    .is_some_and(|probe| probe.active.is_none() && probe.last_probe_time.is_some())
                    && status.backup("database").is_some()
            })
            .await?;
        stage.no_job_is_left().await?;
        Ok(stage)
    }

    fn cut_file(&self) -> PathBuf {
        self.folder.path().join("cut")
    }

    fn is_cut(&self) -> bool {
        !self.cut_file().exists()
    }

    /// A life in which the operator is cut after so many writes; says whether it was, or had nothing more to write.
    pub async fn live(&mut self, cut: Cut, writes: u64) -> Result<bool> {
        let how = if cut == Cut::Abort { "abort" } else { "stop" };
        std::fs::write(self.cut_file(), format!("{how} {writes}"))?;
        let before = if self.life.fresh { RunHistory::default() } else { self.history().await? };
        self.ask(&format!("{how}-{writes}")).await?;
        self.is_over(&before).await?;
        let was_cut = self.is_cut();
        if cut == Cut::Stop && was_cut {
            // What it was about to do, it does now, and goes on as if it still led. A Lease that runs out takes longer.
            tokio::time::sleep(HANGS).await;
            std::fs::write(self.cut_file().with_extension("over"), "")?;
            self.operator.signal("CONT").await?;
            wait::until("it is awake", LIMIT, async || self.operator.get("/readyz").await).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            self.is_over(&before).await?;
            ensure!(self.operator.runs()?, "it is not its Lease that stops it here");
            self.second = None;
        }
        for file in [self.cut_file(), self.cut_file().with_extension("over")] {
            let _ = std::fs::remove_file(file);
        }
        self.jobs_are_single().await?;
        Ok(was_cut)
    }

    /// A life with two operators that both believe to lead.
    pub async fn live_with_two(&mut self, token: &str) -> Result<()> {
        self.start_second().await?;
        // A Job of an instant could be made, counted and deleted by one while the other is on its way to make it.
        self.kubernetes.slow_down(HANGS);
        let before = self.history().await?;
        self.ask(token).await?;
        self.is_over(&before).await?;
        self.jobs_are_single().await
    }

    async fn ask(&mut self, token: &str) -> Result<()> {
        if self.life.fresh {
            self.policy = format!("{}-{token}", self.life.name);
            let first_run = |wanted: &mut Value| wanted["spec"]["firstRun"] = json!("Immediately");
            return apply_changed(&self.api, &self.policy, first_run).await.map(drop);
        }
        let (name, cluster) = (self.policy.clone(), self.api.cluster.clone());
        self.kubernetes.hold(self.life.second);
        policy::run_now(&cluster, SERVED, &name, "database", token).await?;
        if self.life.second {
            let is_known = |run: Option<&ActiveRun>| {
                run.is_some_and(|run| run.job_uid.is_some() && run.stopping.is_none())
            };
            let status = self.until("the first run has a Job", |status| is_known(first(status))).await?;
            let id = first(&status).map(|run| run.run.id.clone());
            policy::run_now(&cluster, SERVED, &name, "database", &format!("{token}-b")).await?;
            let replaces = self.life.rule == "Replace";
            self.until("the second run waits, or has a Job in place of the first", |status| {
                let waits = status.backup("database").is_some_and(|backup| !backup.waiting.is_empty());
                let waits = waits || backup_waits_for_place(status);
                let is_second = first(status).is_some_and(|run| Some(&run.run.id) != id.as_ref());
                if replaces { is_second && is_known(first(status)) } else { waits }
            })
            .await?;
        }
        self.kubernetes.hold(false);
        Ok(())
    }

    async fn history(&self) -> Result<RunHistory> {
        let status = policy::status(&self.api.cluster, SERVED, &self.policy).await?;
        Ok(status.backup("database").context("no status")?.manual.clone())
    }

    /// All has ended, and counts as it should.
    async fn is_over(&mut self, before: &RunHistory) -> Result<()> {
        let (attempts, succeeded, failed) = self.life.counts;
        let ended = before.succeeded + before.failed + succeeded + failed;
        let status = self
            .until("the life is over", |status| {
                status.backup("database").is_some_and(|backup| {
                    backup.manual.succeeded + backup.manual.failed >= ended && is_at_rest(backup)
                })
            })
            .await?;
        let backup = status.backup("database").context("no status")?;
        let now = &backup.manual;
        let counts =
            (now.attempts - before.attempts, now.succeeded - before.succeeded, now.failed - before.failed);
        ensure!(counts == (attempts, succeeded, failed), "{counts:?}: {backup:#?}");
        ensure!(status.available.len() as u64 == now.succeeded, "{:#?}", status.available);
        let newest = now.last_success.as_ref().map(|run| run.id.clone());
        ensure!(backup.prune.as_ref().and_then(|prune| prune.after.clone()) == newest, "{:#?}", backup.prune);
        self.no_job_is_left().await
    }

    /// But for failed ones, which are kept for their logs.
    async fn no_job_is_left(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            self.tend().await?;
            let left = jobs(&self.api).list(&ListParams::default()).await?.items;
            let failed = |job: &&k8s_openapi::api::batch::v1::Job| {
                job.status.as_ref().and_then(|status| status.failed).unwrap_or_default() > 0
            };
            if left.iter().filter(|job| !failed(job)).count() == 0 && left.len() <= 3 {
                return Ok(());
            }
            ensure!(start.elapsed() < LIMIT, "Jobs are left: {left:#?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whatever was cut, each attempt, prune and clean-up had one Job, and there are no more than were counted.
    async fn jobs_are_single(&mut self) -> Result<()> {
        let history = self.history().await?;
        let lives = history.attempts / self.life.counts.0;
        let expected = [
            (labels::TASK_BACKUP, history.attempts),
            (labels::TASK_PRUNE, lives * u64::from(self.life.counts.1 > 0)),
            (labels::TASK_CLEAN_UP, lives * self.life.clean_ups),
            (labels::TASK_PROBE, 1),
            (labels::TASK_CATALOGUE, 1),
        ];
        let start = Instant::now();
        for (task, expected) in expected {
            loop {
                let made: Vec<_> =
                    self.recorder.jobs(&self.policy, task).iter().map(ResourceExt::name_any).collect();
                let late = start.elapsed() > Duration::from_secs(5);
                ensure!(
                    made.len() as u64 <= expected && !late,
                    "{task}: {expected} expected, made: {made:#?}"
                );
                if made.len() as u64 == expected {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Waits until the status says something. Meanwhile an operator that died is started again, one that hangs gets a
    /// successor, and pauses are taken out of the status: waiting is not what is tested.
    async fn until(
        &mut self,
        what: &str,
        is_so: impl Fn(&BackupPolicyStatus) -> bool,
    ) -> Result<BackupPolicyStatus> {
        let start = Instant::now();
        loop {
            self.tend().await?;
            let policies = policy::api(&self.api.cluster, SERVED);
            let mut found = policies.get(&self.policy).await?;
            let mut status = found.status.clone().unwrap_or_default();
            if is_so(&status) {
                return Ok(status);
            }
            if start.elapsed() > LIMIT {
                bail!("{what}: not so after {} s: {status:#?}", LIMIT.as_secs());
            }
            if skip_pauses(&mut status) {
                found.status = Some(status);
                // Refused if the operator was faster; then there is another look.
                let _ = policies.replace_status(&self.policy, &PostParams::default(), &found).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn tend(&mut self) -> Result<()> {
        let file = self.cut_file().display().to_string();
        if !self.operator.runs()? {
            let variables = [(CUT_FILE, &*file), (PLACES, self.life.places)];
            self.operator = Replica::start_with(&self.kubeconfig, "operator", &variables)?;
        }
        let hangs = self.second.is_none() && self.operator.is_stopped()?;
        if hangs { self.start_second().await } else { Ok(()) }
    }

    async fn start_second(&mut self) -> Result<()> {
        let apart = [("POD_NAMESPACE", SERVED)];
        let second = Replica::start_with(&self.kubeconfig, "second", &apart)?;
        second.said("this replica leads").await?;
        self.second = Some(second);
        Ok(())
    }
}

fn first(status: &BackupPolicyStatus) -> Option<&ActiveRun> {
    status.backup("database")?.active.as_ref()
}

/// Whether a run goes on beside the first in status, and has no Job.
fn backup_waits_for_place(status: &BackupPolicyStatus) -> bool {
    let mut beside = status.backup("database").into_iter().flat_map(|backup| &backup.alongside);
    beside.any(|run| run.job_uid.is_none())
}

/// No run goes on or waits, no prune, and no clean-up but of what nobody saw end, which has to wait for its time limit.
fn is_at_rest(backup: &BackupStatus) -> bool {
    let far = Timestamp::now() + Duration::from_mins(10);
    backup.runs().next().is_none()
        && backup.waiting.is_empty()
        && backup.prune.as_ref().is_none_or(|prune| {
            let newest = backup.manual.last_success.as_ref().map(|run| &run.id);
            prune.active.is_none() && prune.after.as_ref() == newest
        })
        && backup
            .clean_ups
            .iter()
            .all(|entry| entry.active.is_none() && entry.next_time.as_ref().is_some_and(|time| time.0 > far))
}

/// Takes out the pauses before retries and clean-ups; says whether there were any.
fn skip_pauses(status: &mut BackupPolicyStatus) -> bool {
    let near = Timestamp::now() + Duration::from_mins(10);
    let mut any = false;
    for backup in &mut status.backups {
        any |= backup.active.as_mut().is_some_and(|run| run.not_before.take().is_some());
        for entry in &mut backup.clean_ups {
            let short = entry.next_time.as_ref().is_some_and(|time| time.0 <= near);
            any |= short && entry.active.is_none();
            if short {
                entry.next_time = None;
            }
        }
    }
    any
}
