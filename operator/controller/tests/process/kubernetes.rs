//! Plays what Kubernetes does with Jobs, for tests that do not care when: each Job gets its Pod and ends as it is told, and Pods
//! of Jobs that are gone are removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use greenlang_backup_api::labels;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::kubelet::{self, Watched};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use tokio::task::JoinSet;

use crate::replica::SERVED;

/// How the attempts of a run end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The first one well.
    Well,
    /// The first one badly, the second one well.
    Retried,
    /// The first one for good, and it cannot remove what it wrote.
    Untidily,
}

/// Plays until it is dropped.
pub struct Kubernetes {
    /// While it is set no backup ends.
    held: Arc<AtomicBool>,
    /// Milliseconds that each Job takes at least.
    least: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Kubernetes {
    pub fn play(api: &ApiServer, ends: Ends) -> Self {
        let (held, least) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut task = JoinSet::new();
        let stage =
            Stage { client: api.cluster.client.clone(), ends, held: held.clone(), least: least.clone() };
        task.spawn(stage.play());
        Self { held, least, _task: task }
    }

    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// From now on each Job takes so long at least.
    pub fn slow_down(&self, least: Duration) {
        self.least.store(least.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

struct Stage {
    client: Client,
    ends: Ends,
    held: Arc<AtomicBool>,
    least: Arc<AtomicU64>,
}

impl Stage {
    async fn play(self) {
        let (mut started, mut ended) = (BTreeMap::new(), BTreeSet::new());
        loop {
            // What fails now is done in the next round: the API server may be away, or the Job deleted.
            let _ = self.round(&mut started, &mut ended).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn round(
        &self,
        started: &mut BTreeMap<String, (Pod, Instant)>,
        ended: &mut BTreeSet<String>,
    ) -> Result<()> {
        let jobs =
            Api::<Job>::namespaced(self.client.clone(), SERVED).list(&ListParams::default()).await?.items;
        let uids: BTreeSet<_> = jobs.iter().filter_map(ResourceExt::uid).collect();
        let gone: Vec<_> = started.keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
        for uid in gone {
            if let Some((pod, _)) = started.remove(&uid) {
                let pods = Api::<Pod>::namespaced(self.client.clone(), SERVED);
                pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
            }
        }
        for job in &jobs {
            let uid = job.uid().unwrap_or_default();
            if ended.contains(&uid) {
                continue;
            }
            let (pod, since) = match started.get(&uid) {
                Some(known) => known.clone(),
                None => (kubelet::start(&self.client, job, Watched::Yes).await?, Instant::now()),
            };
            started.insert(uid.clone(), (pod.clone(), since));
            let is_held = self.held.load(Ordering::Relaxed) && job.labels().contains_key(labels::BACKUP);
            if is_held || since.elapsed() < Duration::from_millis(self.least.load(Ordering::Relaxed)) {
                continue;
            }
            let report = self.report(job)?;
            kubelet::end(&self.client, &pod, &report).await?;
            kubelet::count(&self.client, job, &report).await?;
            ended.insert(uid);
        }
        Ok(())
    }

    fn report(&self, job: &Job) -> Result<RunReport> {
        let first = job.labels().get(labels::ATTEMPT).is_some_and(|attempt| attempt == "1");
        let is_backup = job.labels().get(labels::TASK).is_some_and(|task| task == labels::TASK_BACKUP);
        match self.ends {
            Ends::Retried if first && is_backup => {
                Ok(RunReport::new(Outcome::Retryable, reasons::DUMP_FAILED, "for now"))
            }
            Ends::Untidily if is_backup => {
                let report = RunReport::new(Outcome::Failed, reasons::ACCESS_DENIED, "for good");
                Ok(RunReport { leftovers: true, ..report })
            }
            _ => kubelet::good_report(job),
        }
    }
}
