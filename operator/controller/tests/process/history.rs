//! A policy that is deleted and made again, as Argo CD does it: its history comes back out of the bucket, and until it has nothing is
//! decided, shown or told. The log of the Job that reads the bucket is answered by a proxy, since no kubelet is there.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use greenlang_backup_api::conditions::BACKUPS_CURRENT;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::prune::CatalogueEntry;
use greenlang_backup_api::v1alpha1::{BackupPolicyStatus, Verification};
use greenlang_backup_api::{labels, reasons};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::operator::install_chart;
use greenlang_backup_tests::{kubelet, policy, wait};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::apply_changed;
use crate::proxy::{Fault, Proxy};
use crate::replica::{LIMIT, Replica, SERVED, install};
use crate::runs::{carry_out, job, until};

const NAME: &str = "again";

/// A backup that began so many minutes ago.
fn entry(minutes: i64, schedules: &[&str], bytes: u64) -> Result<CatalogueEntry> {
    let id = BackupId::from_slot(Timestamp::now() - SignedDuration::from_mins(minutes));
    let start_time = id.slot()?;
    Ok(CatalogueEntry {
        backup: "database".to_owned(),
        id,
        schedules: schedules.iter().map(|&name| name.to_owned()).collect(),
        start_time,
        end_time: start_time + SignedDuration::from_secs(90),
        bytes,
        verified: Verification::ReadBack,
    })
}

/// The world of this test.
struct World {
    api: ApiServer,
    proxy: Proxy,
    operator: Replica,
    recorder: Recorder,
    /// What the runner finds in the bucket.
    found: Vec<CatalogueEntry>,
}

impl World {
    async fn start() -> Result<Self> {
        let api = ApiServer::start().await?;
        install(&api).await?;
        install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
        let proxy = Proxy::start(&api).await?;
        let operator = Replica::start_with(&proxy.kubeconfig, "operator", &[])?;
        operator.said("this replica leads").await?;
        let recorder = Recorder::start(&api.cluster, SERVED);
        let found = vec![entry(20 * 60 + 30, &["daily"], 2_000_000)?, entry(30 * 60, &[], 1_000_000)?];
        Ok(Self { api, proxy, operator, recorder, found })
    }

    async fn kube(&self, arguments: &str) -> Result<String> {
        self.api.cluster.kube(arguments).await
    }

    async fn current(&self, status: &str) -> Result<()> {
        let wait = format!("wait -n {SERVED} backuppolicy/{NAME} --for=condition={BACKUPS_CURRENT}={status}");
        self.kube(&(wait + " --timeout=120s")).await.map(drop)
    }

    fn nothing_runs(&self) {
        assert_eq!(self.recorder.jobs(NAME, labels::TASK_BACKUP).len(), 0);
    }

    /// Applies the policy, which asks for a run at once by an annotation and by `firstRun`, and gives it its history.
    async fn make(&self) -> Result<()> {
        apply_changed(&self.api, NAME, |wanted| {
            // Not within minutes of this test, whenever that is.
            let hour = Timestamp::now().to_zoned(TimeZone::UTC).hour();
            let far = json!(format!("0 {} * * *", (i16::from(hour) + 12) % 24));
            wanted["spec"]["backups"][0]["schedules"][0]["cron"] = far;
            wanted["spec"]["firstRun"] = json!("Immediately");
            let token = format!("{}database", labels::RUN_PREFIX);
            wanted["metadata"]["annotations"] = json!({token: "before"});
        })
        .await?;
        let reading = job(&self.api, NAME, labels::TASK_CATALOGUE, &[]).await?;
        carry_out(&self.api, &job(&self.api, NAME, labels::TASK_PROBE, &[]).await?).await?;
        until(&self.api, NAME, "probed", |status| {
            status.probe.as_ref().is_some_and(|probe| probe.last_probe_time.is_some())
        })
        .await?;
        self.current("Unknown").await?;
        assert_eq!(self.series().await?, BTreeMap::new(), "nothing is known, so nothing is shown");
        self.nothing_runs();

        let (report, log) = kubelet::catalogue(&self.found)?;
        // No more of a log is asked for than may be read: any Pod can say that there is much.
        self.proxy.inject(Fault::Text(log), "GET", "container=runner&limitBytes=1048576", 1);
        let mut ended = kubelet::good_report(&reading)?;
        ended.catalogue = Some(report);
        kubelet::carry_out(&self.api.cluster.client, &reading, &ended).await?;
        self.current("True").await
    }

    /// Series about backups: name and schedule, with the value.
    async fn series(&self) -> Result<BTreeMap<String, String>> {
        let (_, text) = self.operator.get("/metrics").await?.context("no metrics")?;
        let ours = text.lines().filter(|line| line.starts_with("gl_backup_"));
        let ours = ours.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{')?;
            let schedule = labels.split("schedule=\"").nth(1)?.split('"').next()?;
            Some((format!("{name} {schedule}"), value.to_owned()))
        });
        Ok(ours.collect())
    }

    /// What people see by `kubectl get`, and Prometheus.
    async fn is_shown(&self, status: &BackupPolicyStatus) -> Result<()> {
        let table = self.kube(&format!("get bkp -n {SERVED} {NAME}")).await?;
        let (head, row) = table.split_once('\n').context("a row")?;
        let columns: Vec<_> = head.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
        let expected = ["NAME", "READY", "STATUS", "PROGRESS", "LAST BACKUP", "SIZE", "NEXT BACKUP", "AGE"];
        assert_eq!(columns, expected);
        for part in ["True", "Succeeded", "20h", "1.9 MiB", "T"] {
            assert!(row.contains(part), "{part} is not in {row}");
        }
        let last = wait::until("the history is shown", LIMIT, async || {
            Ok(self.series().await?.get("gl_backup_last_success_timestamp daily").cloned())
        });
        let seconds = status.last_backup_time.as_ref().map(|time| time.0.as_second().to_string());
        assert_eq!(Some(last.await?), seconds);
        Ok(())
    }

    async fn delete(&self) -> Result<()> {
        policy::delete(&self.api.cluster, SERVED, NAME).await?;
        wait::until("its series are gone", LIMIT, async || Ok(self.series().await?.is_empty().then_some(())))
            .await?;
        // Without a garbage collector.
        self.kube(&format!("delete jobs -n {SERVED} --all --wait")).await.map(drop)
    }
}

/// What of a status is history.
fn history(status: &BackupPolicyStatus) -> Result<Value> {
    let backup = status.backup("database").context("no status")?;
    let daily = backup.schedules.first().context("no schedule")?;
    Ok(json!({
        "available": status.available, "time": status.last_backup_time, "size": status.last_size,
        "daily": [daily.history.last_success], "slot": daily.last_schedule_time, "manual": backup.manual.last_success,
    }))
}

#[tokio::test]
async fn a_policy_that_is_made_again_has_its_history_again_and_raises_no_alarm() -> Result<()> {
    let world = World::start().await?;
    let mut before = None;
    for time in ["made", "made again"] {
        world.make().await?;
        let status = policy::status(&world.api.cluster, SERVED, NAME).await?;
        let known = history(&status)?;
        assert_eq!(before.get_or_insert_with(|| known.clone()), &known, "{time}");
        assert_eq!(status.available.len(), 2, "{time}");
        world.is_shown(&status).await?;
        world.delete().await?;
    }
    // What was asked for before is not run again, and nobody is alarmed.
    world.nothing_runs();
    let of_policies =
        format!("get events -n {SERVED} --field-selector involvedObject.kind=BackupPolicy -o jsonpath=");
    let told = world.kube(&(of_policies.clone() + "{.items[*].reason}")).await?;
    assert!(told.contains(reasons::HISTORY_RESTORED), "{told}");
    let kinds = world.kube(&(of_policies + "{.items[*].type}")).await?;
    assert!(!kinds.contains("Warning"), "{told}");
    Ok(())
}
