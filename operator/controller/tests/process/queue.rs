//! More runs are due than may go on at once: never are there more Jobs than the limit says, policies take turns, a restart keeps to
//! the limit, and all runs come to their end.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use greenlang_backup_api::conditions::{RECONCILING, find};
use greenlang_backup_api::labels;
use greenlang_backup_api::reasons;
use greenlang_backup_plan::job_state::has_ended;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::jobs::Recorder;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE, install_chart};
use greenlang_backup_tests::{kubelet, policy, wait};
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::replica::{LIMIT, Replica, SERVED, clock_off, install};
use crate::runs::{carry_out, jobs, stray, until};
use crate::{apply_changed, until_leads};

/// Backups of the policy that has many.
const FLOOD: [&str; 6] = ["b0", "b1", "b2", "b3", "b4", "b5"];
const OTHERS: [&str; 3] = ["one", "two", "three"];

/// An API server with policies whose checks and prunes end well at once, while runs end when the test says so.
struct Stage {
    api: ApiServer,
    kubeconfig: String,
    recorder: Recorder,
    /// The most Jobs of runs that were there at once.
    most: Arc<AtomicUsize>,
    /// UIDs of the Jobs of runs that `next` has told of.
    known: Mutex<BTreeSet<String>>,
    _tasks: JoinSet<Result<()>>,
}

impl Stage {
    async fn new() -> Result<Self> {
        let api = ApiServer::start().await?;
        install(&api).await?;
        install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
        let kubeconfig = api.as_service_account(NAMESPACE, RELEASE).await?;
        let recorder = Recorder::start(&api.cluster, SERVED);
        let mut tasks = JoinSet::new();
        let most = Arc::<AtomicUsize>::default();
        let counted = count(jobs(&api), most.clone());
        tasks.spawn(async {
            counted.await;
            Ok(())
        });
        tasks.spawn(side_jobs(jobs(&api)));
        Ok(Self { api, kubeconfig, recorder, most, known: Mutex::default(), _tasks: tasks })
    }

    async fn operator(&self, name: &'static str, more: &[(&str, &str)]) -> Result<Replica> {
        let variables: Vec<_> = [("MAX_CONCURRENT_RUNS", "2")].iter().chain(more).copied().collect();
        let operator = Replica::start_with(&self.kubeconfig, name, &variables)?;
        until_leads(&self.api, &operator).await?;
        Ok(operator)
    }

    /// Policies that run on request only, checked and at rest.
    async fn policies(&self, wanted: &[(&str, &[&str])]) -> Result<()> {
        for (name, backups) in wanted {
            let backup = |name: &&str| json!({"name": name, "path": name, "postgresDump": {}});
            let backups: Value = backups.iter().map(backup).collect();
            apply_changed(&self.api, name, |policy| policy["spec"]["backups"] = backups).await?;
        }
        for (name, _) in wanted {
            until(&self.api, name, "checked", |status| {
                status.probe.as_ref().is_some_and(|probe| probe.last_probe_time.is_some())
            })
            .await?;
        }
        Ok(())
    }

    /// Asks for runs of these backups, all in one write.
    async fn ask(&self, name: &str, backups: &[&str]) -> Result<()> {
        let annotations: serde_json::Map<_, _> =
            backups.iter().map(|backup| (format!("{}{backup}", labels::RUN_PREFIX), json!("now"))).collect();
        policy::change(&self.api.cluster, SERVED, name, json!({"metadata": {"annotations": annotations}}))
            .await
            .map(drop)
    }

    /// Jobs of runs that are there and have not ended, as far as the test has let them.
    async fn going_on(&self) -> Result<Vec<Job>> {
        let found = jobs(&self.api).list(&ListParams::default().labels(labels::BACKUP)).await?.items;
        Ok(found.into_iter().filter(|job| !has_ended(job)).collect())
    }

    /// Waits until a run goes on that was not there before, and gives its policy.
    async fn next(&self) -> Result<String> {
        let job = wait::until("another run begins", LIMIT, async || {
            let found = self.going_on().await?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(found.into_iter().find(|job| known.insert(job.uid().unwrap_or_default())))
        })
        .await?;
        job.labels().get(labels::POLICY).cloned().context("a policy")
    }

    /// One of the runs that go on ends well; one of this policy, if it matters.
    async fn end(&self, of: Option<&str>) -> Result<()> {
        let is_its = |job: &Job| of.is_none_or(|of| job.labels()[labels::POLICY] == of);
        let job = self.going_on().await?.into_iter().find(is_its).context("no run goes on")?;
        carry_out(&self.api, &job).await
    }

    /// Waits until metrics say how many runs go on and wait.
    async fn shows(&self, operator: &Replica, active: usize, waiting: usize) -> Result<()> {
        let lines = [("limit", 2), ("active", active), ("waiting", waiting)]
            .map(|(what, count)| format!("greenlang_backup_operator_runs_{what} {count}"));
        wait::until(&format!("{lines:?}"), LIMIT, async || {
            let (_, text) = operator.get("/metrics").await?.context("no metrics")?;
            Ok(lines.iter().all(|line| text.lines().any(|shown| shown == line)).then_some(()))
        })
        .await
    }

    /// Every run had one Job, succeeded, and there were two at a time, and never more.
    async fn all_are_over(&self, wanted: &[(&str, &[&str])]) -> Result<()> {
        for (name, backups) in wanted {
            until(&self.api, name, "all runs are over", |status| {
                status.backups.iter().all(|backup| backup.active.is_none() && backup.manual.succeeded == 1)
                    && status.available.len() == backups.len()
            })
            .await?;
            let made = self.recorder.jobs(name, labels::TASK_BACKUP);
            ensure!(made.len() == backups.len(), "{name}: {} Jobs", made.len());
        }
        let most = self.most.load(Ordering::Relaxed);
        ensure!(most == 2, "{most} runs went on at once");
        Ok(())
    }
}

/// Counts the Jobs of runs at each change of one.
async fn count(jobs: Api<Job>, most: Arc<AtomicUsize>) {
    let mut seen =
        std::pin::pin!(watcher(jobs, watcher::Config::default().labels(labels::BACKUP)).default_backoff());
    let mut live = BTreeSet::new();
    while let Some(event) = seen.next().await {
        // A watch that breaks off begins anew.
        let Ok(event) = event else { continue };
        match event {
            watcher::Event::Apply(job) | watcher::Event::InitApply(job) if !has_ended(&job) => {
                live.insert(job.uid());
            }
            watcher::Event::Apply(job) | watcher::Event::InitApply(job) | watcher::Event::Delete(job) => {
                live.remove(&job.uid());
            }
            watcher::Event::Init | watcher::Event::InitDone => {}
        }
        most.fetch_max(live.len(), Ordering::Relaxed);
    }
}

/// Whatever is no run ends well at once.
async fn side_jobs(jobs: Api<Job>) -> Result<()> {
    let client = jobs.clone().into_client();
    let mut done = BTreeSet::new();
    loop {
        for job in jobs.list(&ListParams::default()).await?.items {
            if !job.labels().contains_key(labels::BACKUP) && done.insert(job.uid()) {
                let report = greenlang_backup_tests::kubelet::good_report(&job)?;
                greenlang_backup_tests::kubelet::carry_out(&client, &job, &report).await?;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn never_more_than_the_limit_go_on_and_nobody_is_starved_not_even_by_a_restart() -> Result<()> {
    let stage = Stage::new().await?;
    let mut operator = stage.operator("first", &[]).await?;
    let wanted: Vec<(&str, &[&str])> =
        std::iter::once(("flood", &FLOOD[..])).chain(OTHERS.map(|name| (name, &["database"][..]))).collect();
    stage.policies(&wanted).await?;
    stage.ask("flood", &FLOOD).await?;
    assert_eq!([stage.next().await?, stage.next().await?], ["flood", "flood"]);
    for name in OTHERS {
        stage.ask(name, &["database"]).await?;
        let status = until(&stage.api, name, "it says that it waits", |status| {
            status
                .progress
                .as_ref()
                .is_some_and(|now| now.ends_with(": waiting until fewer than 2 runs go on"))
        })
        .await?;
        let told = find(&status.conditions, RECONCILING).context("a condition")?;
        assert_eq!((&*told.status, &*told.reason), ("False", reasons::WAITING_FOR_CAPACITY));
    }
    stage.shows(&operator, 2, 7).await?;
    // The others are next, one after the other, before any more of the flood.
    stage.end(Some("flood")).await?;
    assert_eq!(stage.next().await?, "one");

    operator.signal("KILL").await?;
    operator.ended(LIMIT).await?;
    let operator = stage.operator("second", &[]).await?;
    stage.shows(&operator, 2, 6).await?;
    assert_eq!(stage.going_on().await?.len(), 2, "what goes on counts before anything begins");
    // Whose turn it was is forgotten; each policy has one before any has a second.
    let mut order = Vec::new();
    for _ in 0..6 {
        stage.end(None).await?;
        order.push(stage.next().await?);
    }
    let first: BTreeSet<_> = order[..3].iter().map(String::as_str).collect();
    assert_eq!((first, &*order[3]), (["flood", "three", "two"].into(), "flood"), "{order:?}");
    for _ in 0..2 {
        stage.end(None).await?;
    }
    stage.all_are_over(&wanted).await?;
    stage.shows(&operator, 0, 0).await
}

/// A Job that no status names yet counts.
#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_job_that_was_made_just_before_a_crash_has_its_place_in_the_next_process() -> Result<()> {
    let stage = Stage::new().await?;
    let mut operator = stage.operator("first", &[("GREENLANG_CRASH_AT", "job-created")]).await?;
    let wanted = ["one", "two"].map(|name| (name, &["b0", "b1"][..]));
    stage.policies(&wanted).await?;
    stage.ask("one", &["b0"]).await?;
    operator.ended(LIMIT).await?;
    stage.ask("two", &["b0", "b1"]).await?;
    stage.ask("one", &["b1"]).await?;
    let operator = stage.operator("second", &[]).await?;
    stage.shows(&operator, 2, 2).await?;
    for _ in 0..2 {
        stage.next().await?;
    }
    for _ in 0..2 {
        stage.end(None).await?;
        stage.next().await?;
    }
    for _ in 0..2 {
        stage.end(None).await?;
    }
    stage.all_are_over(&wanted).await
}

/// What holds a place and goes, without any run of it ending: its policy is deleted.
#[tokio::test]
async fn the_places_of_a_deleted_policy_are_given_on() -> Result<()> {
    let stage = Stage::new().await?;
    let operator = stage.operator("operator", &[]).await?;
    stage.policies(&[("doomed", &FLOOD[..3]), ("one", &["database"])]).await?;
    stage.ask("doomed", &FLOOD[..3]).await?;
    assert_eq!([stage.next().await?, stage.next().await?], ["doomed", "doomed"]);
    stage.ask("one", &["database"]).await?;
    stage.shows(&operator, 2, 2).await?;
    policy::delete(&stage.api.cluster, SERVED, "doomed").await?;
    assert_eq!(stage.next().await?, "one");
    stage.shows(&operator, 1, 0).await?;
    stage.end(Some("one")).await?;
    until(&stage.api, "one", "its run is over", |status| status.available.len() == 1).await.map(drop)
}

/// Whoever may make Jobs in a served namespace, and nothing else, holds up no run.
#[tokio::test]
async fn jobs_that_are_not_ours_take_no_place() -> Result<()> {
    let stage = Stage::new().await?;
    let make = format!("create configmap -n {SERVED} x -o jsonpath={{.metadata.uid}}");
    let uid = stage.api.cluster.kube(&make).await?;
    let ours =
        json!({"app.kubernetes.io/managed-by": labels::MANAGED_BY, labels::POLICY: "x", labels::BACKUP: "y"});
    let owners = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": uid}]);
    for number in 0..3 {
        stray(&stage.api, &format!("x-{number}"), ours.clone(), owners.clone()).await?;
    }
    let operator = stage.operator("operator", &[]).await?;
    stage.policies(&[("one", &["database"])]).await?;
    stage.shows(&operator, 0, 0).await?;
    stage.ask("one", &["database"]).await?;
    until(&stage.api, "one", "its run begins", |status| {
        status.backup("database").and_then(|backup| backup.active.as_ref()?.job_uid.as_ref()).is_some()
    })
    .await?;
    stage.shows(&operator, 1, 0).await
}

/// A policy whose Pods no node takes: to the operator, whose clock is ahead, its Jobs are older than five minutes.
#[tokio::test]
async fn jobs_that_do_not_start_take_the_place_of_nobody_and_count_once_they_do() -> Result<()> {
    let stage = Stage::new().await?;
    let operator = stage.operator("operator", &clock_off("+6m")).await?;
    let wanted: [(&str, &[&str]); 2] = [("flood", &FLOOD[..3]), ("one", &["database"])];
    stage.policies(&wanted).await?;
    stage.ask("flood", &FLOOD[..3]).await?;
    for _ in 0..3 {
        assert_eq!(stage.next().await?, "flood");
    }
    stage.ask("one", &["database"]).await?;
    assert_eq!(stage.next().await?, "one");
    stage.shows(&operator, 0, 0).await?;
    // Three start after all, which is one more than the limit; what comes now waits for two of them.
    let mut pods = Vec::new();
    for job in stage.going_on().await?.into_iter().filter(|job| job.labels()[labels::POLICY] == "flood") {
        let pod = kubelet::start(&stage.api.cluster.client, &job, kubelet::Watched::Yes).await?;
        kubelet::run(&stage.api.cluster.client, &pod).await?;
        pods.push((job, pod));
    }
    stage.shows(&operator, 3, 0).await?;
    stage.end(Some("one")).await?;
    policy::run_now(&stage.api.cluster, SERVED, "one", "database", "again").await?;
    stage.shows(&operator, 3, 1).await?;
    for (left, (job, pod)) in pods.into_iter().enumerate().map(|(ended, pair)| (2 - ended, pair)) {
        let report = kubelet::good_report(&job)?;
        kubelet::end(&stage.api.cluster.client, &pod, &report).await?;
        kubelet::count(&stage.api.cluster.client, &job, &report).await?;
        stage.shows(&operator, left, usize::from(left == 2)).await?;
    }
    assert_eq!(stage.next().await?, "one");
    Ok(())
}
