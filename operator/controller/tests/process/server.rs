//! Plays what Kubernetes, a database server and a bucket do for restores: Jobs of requests do what their Tasks ask, Deployments are ready.
//! The log of a plan is answered by the proxy, since no kubelet is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::restore::{
    CheckReport, DropReport, KnownRestore, LoadReport, PlanReport, RecordState, RestoreAction, RestoreReport,
    RestoreTask, SwitchReport,
};
use greenlang_backup_api::task::{TASK_ENV, Task};
use greenlang_backup_api::v1alpha1::{ChosenBackup, NamedDatabase, RestoredData};
use greenlang_backup_api::{labels, reasons};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::kubelet::{self, Watched};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use crate::replica::SERVED;

/// The plan as it stands in a log.
pub const PLAN_LINE: &str = "{\"detail\":{\"feasible\":true}}\n";
/// OID of the database that is there at the beginning.
const OLD: u32 = 16_400;

/// What the double knows and does.
#[derive(Default)]
struct Known {
    /// Databases by OID.
    databases: BTreeMap<u32, String>,
    /// Actions that do not end for now.
    held: BTreeSet<&'static str>,
    /// How often each action of each request was carried out.
    done: BTreeMap<String, u32>,
    /// Codes that programs of the user's end with, by their image, where they do not end well.
    codes: BTreeMap<&'static str, i32>,
    next: u32,
}

/// Plays until it is dropped.
pub struct Server {
    known: Arc<Mutex<Known>>,
    _task: JoinSet<()>,
}

impl Server {
    pub fn play(api: &ApiServer, database: &str) -> Self {
        let databases = [(OLD, database.to_owned())].into();
        let known = Arc::new(Mutex::new(Known { databases, next: 20_000, ..Known::default() }));
        let mut task = JoinSet::new();
        task.spawn(play(api.cluster.client.clone(), known.clone()));
        Self { known, _task: task }
    }

    /// No action of this kind ends until it is let go.
    pub fn hold(&self, action: &'static str, held: bool) {
        let mut known = lock(&self.known);
        if held {
            known.held.insert(action);
        } else {
            known.held.remove(action);
        }
    }

    /// From now on the user's program of this image ends with this code.
    pub fn end_with(&self, image: &'static str, code: i32) {
        lock(&self.known).codes.insert(image, code);
    }

    /// OID of the database that has a name.
    pub fn named(&self, name: &str) -> Option<u32> {
        lock(&self.known).named(name)
    }

    /// Names of all databases.
    pub fn databases(&self) -> Vec<String> {
        lock(&self.known).databases.values().cloned().collect()
    }

    /// How often each action of a request was carried out.
    pub fn done(&self, request: &str) -> Vec<(String, u32)> {
        let known = lock(&self.known);
        let of = known.done.iter().filter_map(|(what, times)| Some((what.strip_prefix(request)?, *times)));
        of.map(|(what, times)| (what.trim_start().to_owned(), times)).collect()
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn play(client: Client, known: Arc<Mutex<Known>>) {
    let (mut pods, mut ended) = (BTreeMap::new(), BTreeSet::new());
    loop {
        // What fails now is done in the next round: a Job may have been deleted meanwhile.
        let _ = round(&client, &known, &mut pods, &mut ended).await;
        let _ = make_ready(&client).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn round(
    client: &Client,
    known: &Mutex<Known>,
    pods: &mut BTreeMap<String, Pod>,
    ended: &mut BTreeSet<String>,
) -> Result<()> {
    let jobs = Api::<Job>::namespaced(client.clone(), SERVED);
    let jobs = jobs.list(&ListParams::default().labels(labels::RESTORE)).await?.items;
    let there: BTreeSet<_> = jobs.iter().filter_map(ResourceExt::uid).collect();
    for uid in pods.keys().filter(|uid| !there.contains(*uid)).cloned().collect::<Vec<_>>() {
        if let Some(pod) = pods.remove(&uid) {
            let all = Api::<Pod>::namespaced(client.clone(), SERVED);
            all.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
        }
    }
    for job in jobs {
        let uid = job.uid().unwrap_or_default();
        if ended.contains(&uid) {
            continue;
        }
        if !pods.contains_key(&uid) {
            pods.insert(uid.clone(), kubelet::start(client, &job, Watched::Yes).await?);
        }
        let action = job.labels().get(labels::ACTION).cloned().unwrap_or_default();
        if lock(known).held.contains(action.as_str()) {
            continue;
        }
        let (report, code) = lock(known).carry_out(&job)?;
        ended.insert(uid.clone());
        match code {
            Some(code) => kubelet::exit(client, &pods[&uid], code).await?,
            None => kubelet::end(client, &pods[&uid], &report).await?,
        }
        kubelet::count(client, &job, &report).await?;
    }
    Ok(())
}

/// As if a kubelet ran all replicas.
async fn make_ready(client: &Client) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), SERVED);
    for deployment in deployments.list(&ListParams::default()).await? {
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas);
        set_ready(&deployments, &deployment, wanted, ready).await?;
    }
    let sets = Api::<StatefulSet>::namespaced(client.clone(), SERVED);
    for set in sets.list(&ListParams::default()).await? {
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas);
        let ready = set.status.as_ref().and_then(|status| status.ready_replicas);
        set_ready(&sets, &set, wanted, ready).await?;
    }
    Ok(())
}

async fn set_ready<K>(all: &Api<K>, one: &K, wanted: Option<i32>, ready: Option<i32>) -> Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + ResourceExt,
{
    let wanted = wanted.unwrap_or(1);
    if wanted != ready.unwrap_or_default() {
        let status = json!({"status": {"replicas": wanted, "readyReplicas": wanted}});
        all.patch_status(&one.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    Ok(())
}

/// What a Job is told to do; none where it is a program of the user's.
pub fn task(job: &Job) -> Result<Option<RestoreTask>> {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).context("no Pod")?;
    let variables = pod.containers.iter().flat_map(|container| container.env.iter().flatten());
    let value = variables.filter(|variable| variable.name == TASK_ENV).find_map(|found| found.value.clone());
    let Some(value) = value else { return Ok(None) };
    match Task::decode(&value)? {
        Task::Restore(task) => Ok(Some(task)),
        other => anyhow::bail!("no restore: {other:?}"),
    }
}

fn image(job: &Job) -> Option<&str> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.first()?.image.as_deref()
}

impl Known {
    fn named(&self, name: &str) -> Option<u32> {
        self.databases.iter().find(|(_, known)| *known == name).map(|(oid, _)| *oid)
    }

    /// What a Job reports, and of a program of the user's the code that it ends with.
    fn carry_out(&mut self, job: &Job) -> Result<(RunReport, Option<i32>)> {
        let label = |key: &str| job.labels().get(key).with_context(|| format!("no label {key}"));
        *self.done.entry(format!("{} {}", label(labels::RESTORE)?, label(labels::ACTION)?)).or_default() += 1;
        let mut report = RunReport::new(Outcome::Done, reasons::SUCCEEDED, "done");
        let Some(task) = task(job)? else {
            let code = image(job).and_then(|image| self.codes.get(image).copied()).unwrap_or_default();
            report.outcome = if code == 0 { Outcome::Done } else { Outcome::Failed };
            return Ok((report, Some(code)));
        };
        report.restore = Some(self.act(&task)?);
        Ok((report, None))
    }

    fn act(&mut self, task: &RestoreTask) -> Result<RestoreReport> {
        Ok(match &task.action {
            RestoreAction::Plan(plan) => RestoreReport::Plan(PlanReport {
                backup: Some(ChosenBackup {
                    path: "database".into(),
                    id: "20251107-020000".parse()?,
                    database: task.database.clone(),
                    manifest_sha256: None,
                }),
                target_oid: self.named(&task.database),
                known: plan.claim.then_some(KnownRestore {
                    state: RecordState::Started,
                    restored: None,
                    previous: None,
                }),
                details: 1,
                details_sha256: base16ct::lower::encode_string(&Sha256::digest(PLAN_LINE)),
                ..PlanReport::default()
            }),
            RestoreAction::Load(load) => {
                self.next += 1;
                self.databases.insert(self.next, load.temporary.clone());
                let database = NamedDatabase { name: load.temporary.clone(), oid: self.next };
                let data = RestoredData {
                    tables: 1,
                    rows: 1,
                    bytes: 1,
                    verified: Some("rows and content of 1 table".into()),
                    largest: vec![],
                    warnings: 0,
                    left_out: 0,
                };
                RestoreReport::Load(LoadReport { database, data })
            }
            RestoreAction::Switch(switch) => {
                if let Some(outgoing) = &switch.outgoing {
                    self.databases.insert(outgoing.oid, outgoing.name.clone());
                }
                self.databases.insert(switch.incoming.oid, task.database.clone());
                RestoreReport::Switch(SwitchReport {
                    serving: NamedDatabase { name: task.database.clone(), oid: switch.incoming.oid },
                    previous: switch.outgoing.clone(),
                    closed_milliseconds: Some(9),
                })
            }
            RestoreAction::Drop(drop) => {
                let before = self.databases.len();
                self.databases.retain(|_, name| *name != drop.name);
                RestoreReport::Drop(DropReport { dropped: before > self.databases.len(), freed_bytes: 1 })
            }
            RestoreAction::Check(_) => RestoreReport::Check(CheckReport::default()),
        })
    }
}
