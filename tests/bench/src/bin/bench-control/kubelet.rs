//! Carries out every Job by reporting success, as [`greenlang_backup_tests::kubelet`] does; runs are held until their Jobs have
//! been counted.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use greenlang_backup_api::labels;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::kubelet::{carry_out, good_report};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::SERVED;

/// Jobs that are carried out at the same time.
const AT_ONCE: usize = 8;

/// The watch of Jobs and what carries them out; both end when this is dropped.
pub struct Kubelet {
    seen: Arc<Mutex<Seen>>,
    todo: mpsc::UnboundedSender<Job>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    /// Jobs of runs that are there, by name, with the time at which each was first seen.
    runs: BTreeMap<String, (Job, Timestamp)>,
    /// Whether Jobs of runs wait.
    held: bool,
}

impl Kubelet {
    /// Starts to watch and to carry out; runs are held.
    pub fn start(cluster: &Cluster) -> Self {
        let seen = Arc::new(Mutex::new(Seen { held: true, ..Seen::default() }));
        let (todo, jobs) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(watch(cluster.client.clone(), seen.clone(), todo.clone()));
        tasks.spawn(work(cluster.client.clone(), jobs));
        Self { seen, todo, _tasks: tasks }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs of runs that are there.
    pub fn runs(&self) -> usize {
        self.seen().runs.len()
    }

    /// Lets Jobs of runs wait from now on.
    pub fn hold_runs(&self) {
        self.seen().held = true;
    }

    /// Waits for as many Jobs of runs, at most so long after the slot, and gives the delay of each.
    pub async fn delays(&self, slot: Timestamp, jobs: usize, limit: Duration) -> Vec<Duration> {
        let end = slot + limit;
        while self.runs() < jobs && Timestamp::now() < end {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let seen = self.seen();
        // One that is there before its slot is no success.
        seen.runs
            .values()
            .filter_map(|(_, time)| Duration::try_from(time.duration_since(slot)).ok())
            .collect()
    }

    /// Carries out the Jobs of runs that wait, and those to come.
    pub fn carry_out_runs(&self) {
        let mut seen = self.seen();
        seen.held = false;
        for (job, _) in seen.runs.values() {
            // It is received as long as this lives.
            let _ = self.todo.send(job.clone());
        }
    }
}

async fn watch(client: Client, seen: Arc<Mutex<Seen>>, todo: mpsc::UnboundedSender<Job>) {
    let jobs: Api<Job> = Api::namespaced(client.clone(), SERVED);
    let mut events = pin!(watcher::watcher(jobs, watcher::Config::default()));
    let pods: Api<Pod> = Api::namespaced(client, SERVED);
    let mut known = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(job) | Event::InitApply(job)) => {
                let is_new = known.insert(job.uid());
                if !is_new {
                    continue;
                }
                let is_run = job.labels().get(labels::TASK).is_some_and(|task| task == labels::TASK_BACKUP);
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if is_run {
                    seen.runs.insert(job.name_any(), (job.clone(), Timestamp::now()));
                }
                if !(is_run && seen.held) {
                    let _ = todo.send(job);
                }
            }
            Ok(Event::Delete(job)) => {
                seen.lock().unwrap_or_else(PoisonError::into_inner).runs.remove(&job.name_any());
                // What the garbage collector does.
                let now = DeleteParams::default().grace_period(0);
                let (pods, pod) = (pods.clone(), format!("{}-abcde", job.name_any()));
                tokio::spawn(async move { pods.delete(&pod, &now).await });
            }
            Ok(_) | Err(_) => {}
        }
    }
}

async fn work(client: Client, jobs: mpsc::UnboundedReceiver<Job>) {
    let jobs = stream::unfold(jobs, |mut jobs| async move { Some((jobs.recv().await?, jobs)) });
    let carried_out = jobs.map(anyhow::Ok).try_for_each_concurrent(AT_ONCE, |job| {
        let client = client.clone();
        async move { carry_out(&client, &job, &good_report(&job)?).await }
    });
    if let Err(error) = carried_out.await {
        // The policy then never comes to rest, which ends the bench.
        eprintln!("error: a Job cannot be carried out: {error:#}");
    }
}
