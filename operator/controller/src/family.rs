//! Jobs of one object with their newest Pods, and what logs and events say of them. I/O: these readings; no decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use greenlang_backup_api::labels;
use greenlang_backup_api::progress::Progress;
use greenlang_backup_api::report::RunReport;
use greenlang_backup_api::restore::RestoreReport;
use greenlang_backup_plan::job::CONTAINER;
use greenlang_backup_plan::job_state::{JobState, job_state};
use greenlang_backup_plan::jobs::ObservedJob;
use greenlang_backup_plan::overdue::{NO_POD_SECONDS, by_now, newest_warning};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt as _};

use crate::errors::Error;
use crate::pages::{LightJob, LightPod, each};

/// Lines of a log in which a progress line is looked for.
const LOG_LINES: i64 = 5;
/// Most lines that a runner logs after its details.
const LINES_AFTER_DETAILS: i64 = 20;
/// Most bytes of a log that are read, more than details and a plan have: how many lines there are is said by whatever ran in the Pod.
const LOG_BYTES: i64 = 1 << 20;
/// How long a kubelet may take for a progress line, which is of no weight.
const PROGRESS_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take for details, without which what they are about is done again.
const DETAILS_LIMIT: Duration = Duration::from_secs(10);
/// Lines of a log file in which the plan of a restore stands: a long line is several there, of 16 KiB each.
const PLAN_LINES: i64 = 32;
/// Labels that the Job controller puts on Pods.
pub const JOB_UID: &str = "batch.kubernetes.io/controller-uid";
pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// What the Jobs of an object have made of themselves.
#[derive(Default)]
pub struct Family {
    pub children: Vec<Child>,
    /// UIDs and names of Jobs that are gone while a Pod of theirs is not.
    pub remains: BTreeSet<String>,
}

/// A Job with its newest Pod.
pub struct Child {
    pub job: Arc<Job>,
    pub pod: Option<Arc<Pod>>,
    progress: Option<Progress>,
    details: String,
    /// What events say of a start that takes long.
    told: Option<String>,
}

impl Family {
    /// The Jobs that an object owns, in the order of their names, each with its newest Pod: a Job whose Pod was replaced has more than one.
    pub fn new(owner: &str, mut jobs: Vec<Arc<Job>>, mut pods: Vec<Arc<Pod>>) -> Self {
        jobs.retain(|job| job.owner_references().iter().any(|reference| reference.uid == owner));
        jobs.sort_by_key(|job| job.name_any());
        pods.sort_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
        let mut newest: BTreeMap<String, Arc<Pod>> =
            pods.into_iter().filter_map(|pod| Some((pod.labels().get(JOB_UID)?.clone(), pod))).collect();
        let child = |job: Arc<Job>| {
            let pod = newest.remove(&job.uid().unwrap_or_default());
            Child { job, pod, progress: None, details: String::new(), told: None }
        };
        let children = jobs.into_iter().map(child).collect();
        let remains =
            newest.into_iter().flat_map(|(uid, pod)| [Some(uid), pod.labels().get(JOB_NAME).cloned()]);
        Self { children, remains: remains.flatten().collect() }
    }

    /// The family as the API server has it, by the label that Jobs and Pods carry. Jobs first: their Pods are as new or newer. Where there
    /// is no Job, Pods are asked for only if one may be waited for.
    pub async fn list(
        owner: &str,
        namespace: &str,
        label: (&str, &str),
        may_wait_for_a_pod: bool,
        client: &Client,
    ) -> Result<Self, Error> {
        let ours = ListParams::default().labels(&format!("{}={}", label.0, label.1));
        let (mut jobs, mut pods) = (vec![], vec![]);
        let job = |job: LightJob| jobs.push(Arc::new(job.into()));
        each(&Api::namespaced(client.clone(), namespace), &ours, job).await?;
        if jobs.is_empty() && !may_wait_for_a_pod {
            return Ok(Self::default());
        }
        let pod = |pod: LightPod| pods.push(Arc::new(pod.into()));
        each(&Api::namespaced(client.clone(), namespace), &ours, pod).await?;
        Ok(Self::new(owner, jobs, pods))
    }

    /// What was seen, as plain data.
    pub fn observe(&self, now: Timestamp) -> Vec<ObservedJob> {
        self.children.iter().map(|child| child.observe(now)).collect()
    }
}

impl Child {
    /// Reads how far it is, where it runs.
    pub async fn read_progress(&mut self, pods: &Api<Pod>) {
        if let (JobState::Running, Some(pod)) = (self.state(), &self.pod) {
            self.progress = progress(pods, &pod.name_any()).await;
        }
    }

    fn created(&self) -> Timestamp {
        self.job.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    }

    /// What became of it.
    pub fn state(&self) -> JobState {
        job_state(&self.job, self.pod.as_deref())
    }

    fn observe(&self, now: Timestamp) -> ObservedJob {
        let (pod, told) = (self.pod.as_deref(), self.told.as_deref());
        ObservedJob {
            name: self.job.name_any(),
            uid: self.job.uid().unwrap_or_default(),
            created: self.created(),
            backup: self.job.labels().get(labels::BACKUP).cloned(),
            deleting: self.job.metadata.deletion_timestamp.is_some(),
            state: by_now(self.state(), pod, self.created(), told, now),
            progress: self.progress.clone(),
            details: self.details.clone(),
        }
    }

    /// Whether neither its Pod nor its log has to be asked for.
    pub fn is_certain(&self) -> bool {
        match self.state() {
            JobState::Ended(ended) => ended.container_ended && lines_of_details(&ended.report).is_none(),
            _ => self.pod.is_none(),
        }
    }

    /// Reads the end of the log where its report has details there. A log that cannot be read does not match the report's digest,
    /// and what depends on it is tried again.
    pub async fn read_details(&mut self, pods: &Api<Pod>) {
        let JobState::Ended(ended) = self.state() else { return };
        let (Some(lines), Some(pod)) = (lines_of_details(&ended.report), &self.pod) else { return };
        let pod = pod.name_any();
        match end_of_log(pods, &pod, lines, DETAILS_LIMIT).await {
            Ok(log) => self.details = log,
            Err(why) => tracing::warn!(pod, why, "the log cannot be read now"),
        }
    }

    /// Reads why a Pod is not made, or does not start. Events that cannot be read are no news, and no error.
    pub async fn ask_events(&mut self, namespace: &str, client: &Client, now: Timestamp) {
        let late = now.duration_since(self.created()).as_secs() >= NO_POD_SECONDS;
        if !late || !matches!(self.state(), JobState::Pending(None)) {
            return;
        }
        let uid = self.pod.as_ref().map_or_else(|| self.job.uid(), |pod| pod.uid()).unwrap_or_default();
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        match events.list(&ListParams::default().fields(&format!("involvedObject.uid={uid}"))).await {
            Ok(found) => self.told = newest_warning(&found.items),
            Err(error) => tracing::debug!(uid, %error, "events cannot be read now"),
        }
    }

    /// Reads the Pod anew where it could have more to say than the cache knows.
    pub async fn confirm_pod(&mut self, pods: &Api<LightPod>) -> Result<(), Error> {
        let ended = match self.state() {
            JobState::Ended(ended) if ended.container_ended => return Ok(()),
            JobState::Ended(_) => true,
            _ => false,
        };
        if let Some(known) = &self.pod
            && let Some(pod) = pods.get_opt(&known.name_any()).await?
        {
            self.pod = Some(Arc::new(pod.into()));
        } else if ended || self.pod.is_some() {
            let of_job = format!("{JOB_UID}={}", self.job.uid().unwrap_or_default());
            let mut found: Vec<Pod> = vec![];
            each(pods, &ListParams::default().labels(&of_job), |pod| found.push(pod.into())).await?;
            found.sort_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
            self.pod = found.pop().map(Arc::new);
        }
        Ok(())
    }
}

/// Lines at the end of a log in which the details stand that a report has there; none where it has none.
fn lines_of_details(report: &RunReport) -> Option<i64> {
    let catalogue = report.catalogue.as_ref().map(|catalogue| i64::from(catalogue.details));
    let plan = matches!(report.restore, Some(RestoreReport::Plan(_))).then_some(PLAN_LINES);
    catalogue.filter(|lines| *lines > 0).or(plan).map(|lines| lines + LINES_AFTER_DETAILS)
}

/// So many lines at the end of a log, or why there are none. The API server asks the kubelet and waits for it: one that is gone without a
/// word must not hold up all that the pass is to do.
async fn end_of_log(pods: &Api<Pod>, pod: &str, lines: i64, limit: Duration) -> Result<String, String> {
    let end = LogParams {
        container: Some(CONTAINER.into()),
        tail_lines: Some(lines),
        limit_bytes: Some(LOG_BYTES),
        ..LogParams::default()
    };
    match tokio::time::timeout(limit, pods.logs(pod, &end)).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer in {} s", limit.as_secs())),
    }
}

/// The newest progress line. A log that cannot be read (rotation, a node that does not answer) is no news, and no error.
async fn progress(pods: &Api<Pod>, pod: &str) -> Option<Progress> {
    let read = end_of_log(pods, pod, LOG_LINES, PROGRESS_LIMIT).await;
    let log = read.inspect_err(|why| tracing::debug!(pod, why, "the log cannot be read now")).ok()?;
    Progress::newest(&log)
}
