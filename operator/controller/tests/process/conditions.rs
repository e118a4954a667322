//! Every condition that is documented comes true, and false again, so that `kubectl wait` ends: on a real API server, with kubelet and
//! Job controller played.

use std::time::Duration;

use anyhow::Result;
use greenlang_backup_api::conditions::{self, BACKUPS_CURRENT, DATABASE_REACHABLE, ENCRYPTION_READY};
use greenlang_backup_api::conditions::{READY, RECONCILING, RETENTION_ACTIVE, STALLED, STORAGE_REACHABLE};
use greenlang_backup_api::report::{Finding, Outcome, RunReport};
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_api::{labels, reasons};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::install_chart;
use greenlang_backup_tests::{command, kubelet, policy, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::apply_policy;
use crate::replica::{LIMIT, Replica, SERVED, install};

const NAME: &str = "waits";
/// From a slot to the next one, on a busy machine.
const SLOT: Duration = Duration::from_mins(3);

/// The world of this test.
struct World {
    api: ApiServer,
    _operator: Replica,
    /// Every condition with every status that was waited for.
    seen: Vec<(String, String)>,
}

impl World {
    async fn start() -> Result<Self> {
        let api = ApiServer::start().await?;
        install(&api).await?;
        install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
        let operator = Replica::start(&api, "operator").await?;
        Ok(Self { api, _operator: operator, seen: vec![] })
    }

    /// What people and pipelines type.
    async fn kubectl_wait(&mut self, namespace: &str, name: &str, wanted: &[(&str, &str)]) -> Result<()> {
        for (type_, status) in wanted {
            let mut kubectl = self.api.cluster.kubectl();
            kubectl.args(["wait", "-n", namespace, &format!("backuppolicy/{name}")]);
            kubectl.args([&format!("--for=condition={type_}={status}"), "--timeout=180s"]);
            command::run(&mut kubectl, "").await?;
            self.seen.push(((*type_).to_owned(), (*status).to_owned()));
        }
        Ok(())
    }

    async fn wait(&mut self, wanted: &[(&str, &str)]) -> Result<()> {
        self.kubectl_wait(SERVED, NAME, wanted).await
    }

    async fn reason(&self, type_: &str) -> Result<String> {
        let found = policy::status(&self.api.cluster, SERVED, NAME).await?.conditions;
        Ok(conditions::find(&found, type_).map(|found| found.reason.clone()).unwrap_or_default())
    }

    async fn change(&self, patch: Value) -> Result<BackupPolicy> {
        policy::change(&self.api.cluster, SERVED, NAME, patch).await
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.api.cluster.client.clone(), SERVED)
    }

    /// The next Job of a kind, which has no Pod yet.
    async fn job(&self, task: &str, limit: Duration) -> Result<Job> {
        let ours =
            ListParams::default().labels(&format!("{}={NAME},{}={task}", labels::POLICY, labels::TASK));
        wait::until(&format!("a Job for {task}"), limit, async || {
            let mut found = self.jobs().list(&ours).await?.items.into_iter();
            Ok(found.find(is_new))
        })
        .await
    }

    async fn ends(&self, job: &Job, report: &RunReport) -> Result<()> {
        kubelet::carry_out(&self.api.cluster.client, job, report).await
    }

    /// The next Job of a kind succeeds.
    async fn goes_well(&self, task: &str, limit: Duration) -> Result<()> {
        let job = self.job(task, limit).await?;
        self.ends(&job, &kubelet::good_report(&job)?).await
    }

    /// The spec as it is now is checked, with findings that are all good, or all bad, or with none because the check itself fails.
    async fn is_checked(&self, finds: Finds) -> Result<()> {
        let probes = format!("{}={NAME},{}={}", labels::POLICY, labels::TASK, labels::TASK_PROBE);
        wait::until("the spec is checked", LIMIT, async || {
            let policy = policy::api(&self.api.cluster, SERVED).get(NAME).await?;
            let probe = policy.status.as_ref().and_then(|status| status.probe.as_ref());
            if probe
                .is_some_and(|probe| probe.active.is_none() && probe.generation == policy.metadata.generation)
            {
                return Ok(Some(()));
            }
            for job in self.jobs().list(&ListParams::default().labels(&probes)).await?.items {
                if is_new(&job) {
                    self.ends(&job, &finds.report(&job)?).await?;
                }
            }
            Ok(None)
        })
        .await
    }
}

fn is_new(job: &Job) -> bool {
    job.status.as_ref().is_none_or(|status| status.start_time.is_none())
}

/// What a check finds.
#[derive(Clone, Copy)]
enum Finds {
    Good,
    Bad,
    Nothing,
}

impl Finds {
    fn report(self, job: &Job) -> Result<RunReport> {
        let mut report = kubelet::good_report(job)?;
        match (self, &mut report.probe) {
            (Self::Good, _) => {}
            (Self::Bad, Some(probe)) => {
                let reason = reasons::ACCESS_DENIED.to_owned();
                let bad = Finding { ok: false, reason, message: "bad".to_owned() };
                (probe.storage, probe.encryption, probe.database) = (bad.clone(), bad.clone(), Some(bad));
            }
            _ => report = RunReport::new(Outcome::Retryable, reasons::INTERNAL_ERROR, "broken"),
        }
        Ok(report)
    }
}

const FINDINGS: [&str; 3] = [STORAGE_REACHABLE, DATABASE_REACHABLE, ENCRYPTION_READY];

fn all(status: &'static str) -> Vec<(&'static str, &'static str)> {
    FINDINGS.map(|type_| (type_, status)).to_vec()
}

async fn of_checks(world: &mut World) -> Result<()> {
    world
        .wait(&[(READY, "Unknown"), (RECONCILING, "True"), (STALLED, "False"), (BACKUPS_CURRENT, "Unknown")])
        .await?;
    assert_eq!(world.reason(BACKUPS_CURRENT).await?, reasons::HISTORY_UNKNOWN);
    world.goes_well(labels::TASK_CATALOGUE, LIMIT).await?;
    world.is_checked(Finds::Good).await?;
    world.wait(&all("True")).await?;
    world
        .wait(&[
            (READY, "True"),
            (RECONCILING, "False"),
            (BACKUPS_CURRENT, "Unknown"),
            (RETENTION_ACTIVE, "True"),
        ])
        .await?;

    // Each change of the spec is checked anew.
    world.change(json!({"spec": {"stallSeconds": 601}})).await?;
    world.wait(&[(RECONCILING, "True")]).await?;
    world.is_checked(Finds::Bad).await?;
    world.wait(&all("False")).await?;
    world.wait(&[(READY, "False")]).await?;
    assert_eq!(world.reason(READY).await?, reasons::ACCESS_DENIED);
    world.change(json!({"spec": {"stallSeconds": 602}})).await?;
    world.is_checked(Finds::Nothing).await?;
    world.wait(&all("Unknown")).await?;
    world.change(json!({"spec": {"stallSeconds": null}})).await?;
    world.is_checked(Finds::Good).await?;
    world.wait(&all("True")).await?;
    world.wait(&[(READY, "True")]).await
}

async fn of_a_spec_that_is_wrong(world: &mut World) -> Result<()> {
    world.change(json!({"spec": {"timeZone": "Mars/Olympus"}})).await?;
    world.wait(&[(STALLED, "True"), (READY, "False"), (RECONCILING, "False")]).await?;
    world.change(json!({"spec": {"timeZone": null}})).await?;
    world.is_checked(Finds::Good).await?;
    world.wait(&[(STALLED, "False"), (READY, "True")]).await
}

async fn of_retention(world: &mut World) -> Result<()> {
    let pin = "pin.backup.greenlang.io/database.yesterday";
    world.change(json!({"metadata": {"annotations": {pin: "audit"}}})).await?;
    world.wait(&[(RETENTION_ACTIVE, "False")]).await?;
    assert_eq!(world.reason(RETENTION_ACTIVE).await?, reasons::PIN_UNREADABLE);
    let events: Api<Event> = Api::namespaced(world.api.cluster.client.clone(), SERVED);
    wait::until("an event names the annotation", LIMIT, async || {
        let told = events.list(&ListParams::default()).await?.items;
        let names = |event: &Event| {
            event.reason.as_deref() == Some(reasons::PIN_UNREADABLE)
                && event.message.as_deref().is_some_and(|message| message.contains(&format!("{pin}-")))
        };
        Ok(told.iter().any(names).then_some(()))
    })
    .await?;
    world.change(json!({"metadata": {"annotations": {pin: null}}})).await?;
    world.wait(&[(RETENTION_ACTIVE, "True")]).await
}

/// The policy has a schedule for every minute.
async fn of_runs(world: &mut World) -> Result<()> {
    let schedules = json!([{"name": "often", "cron": "* * * * *", "keepDays": 1, "backoffLimit": 0}]);
    let mut wanted = policy::api(&world.api.cluster, SERVED).get(NAME).await?.spec.backups[0].clone();
    wanted.schedules = serde_json::from_value(schedules)?;
    world.change(json!({"spec": {"backups": [wanted]}})).await?;
    world.is_checked(Finds::Good).await?;
    let job = world.job(labels::TASK_BACKUP, SLOT).await?;
    world.ends(&job, &RunReport::new(Outcome::Failed, reasons::DUMP_FAILED, "no")).await?;
    world.wait(&[(BACKUPS_CURRENT, "False")]).await?;
    assert_eq!(world.reason(BACKUPS_CURRENT).await?, reasons::BACKUP_FAILED);
    world.goes_well(labels::TASK_BACKUP, SLOT).await?;
    world.wait(&[(BACKUPS_CURRENT, "True")]).await
}

#[tokio::test]
async fn every_condition_can_be_waited_for() -> Result<()> {
    let mut world = World::start().await?;
    apply_policy(&world.api, NAME).await?;
    of_checks(&mut world).await?;
    of_a_spec_that_is_wrong(&mut world).await?;
    of_retention(&mut world).await?;
    Box::pin(of_runs(&mut world)).await?;

    // Where nobody works, a policy says so.
    let mut elsewhere = serde_json::to_value(policy::api(&world.api.cluster, SERVED).get(NAME).await?)?;
    elsewhere["metadata"] = json!({"name": NAME, "namespace": "default"});
    elsewhere.as_object_mut().map(|fields| fields.remove("status"));
    policy::apply(&world.api.cluster, &elsewhere).await?;
    let wanted = [(STALLED, "True"), (READY, "False"), (RETENTION_ACTIVE, "False")];
    world.kubectl_wait("default", NAME, &wanted).await?;

    for type_ in conditions::OF_POLICIES {
        for status in ["True", "False"] {
            let pair = ((*type_).to_owned(), status.to_owned());
            assert!(world.seen.contains(&pair), "{type_}={status} was never waited for");
        }
    }
    Ok(())
}
