//! The queue of all policies' runs, as passes and watches tell of it, and whom to wake when a run may begin. No I/O but the list of
//! a namespace whose watch does not work at the start; who goes next is a decision of `plan`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::Stream;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use greenlang_backup_api::labels;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_plan::backup_policy::{Granted, Observed};
use greenlang_backup_plan::job_state::has_ended;
use greenlang_backup_plan::overdue::is_late;
use greenlang_backup_plan::queue::{Member, Queue, Report, Wanted};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource as _, ResourceExt as _};

use crate::pages::{LightJob, each};
use crate::time::now;

/// A policy as the controller names it.
type PolicyRef = ObjectRef<DeserializeGuard<BackupPolicy>>;

/// Which runs go on, of all policies.
pub struct Places {
    /// Namespaces in which runs may go on.
    namespaces: BTreeSet<String>,
    state: Mutex<State>,
    wake: UnboundedSender<PolicyRef>,
}

struct State {
    queue: Queue,
    /// Namespaces of which it is not known yet what goes on there. Until then no run is let in.
    unlisted: BTreeSet<String>,
}

impl Places {
    /// So many places, and a stream of the policies that are to be looked at because one of their runs may begin.
    pub fn new(
        limit: usize,
        namespaces: &BTreeSet<String>,
    ) -> (Arc<Self>, impl Stream<Item = PolicyRef> + use<>) {
        let (wake, woken): (_, UnboundedReceiver<_>) = unbounded();
        let mut state = State { queue: Queue::new(limit), unlisted: namespaces.clone() };
        state.open_if_known();
        (Arc::new(Self { namespaces: namespaces.clone(), state: Mutex::new(state), wake }), woken)
    }

    /// Takes in what a pass has seen and wants, and says which of its runs have a place.
    pub fn ask(&self, policy: &BackupPolicy, seen: &Observed, wanted: &BTreeSet<Wanted>) -> Granted {
        let member = member(&policy.metadata);
        let version = policy.metadata.resource_version.as_ref();
        let version = version.and_then(|version| version.parse().ok()).unwrap_or_default();
        let report = Report { version, live: seen.live_runs(), wanted: wanted.clone() };
        let mut state = self.lock();
        let let_in = state.queue.report(&member, report);
        let taken = state.queue.places(&member);
        // Whoever asks needs no call.
        self.wake(let_in.into_iter().filter(|other| *other != member));
        Granted { limit: state.queue.limit(), taken }
    }

    /// A policy that no run can begin of now.
    pub fn rest(&self, policy: &ObjectMeta) {
        let mut state = self.lock();
        let let_in = state.queue.rest(&member(policy));
        self.wake(let_in);
    }

    /// A pass failed, perhaps while it made a Job.
    pub fn failed(&self, policy: &ObjectMeta) {
        let let_in = self.lock().queue.failed(&member(policy));
        self.wake(let_in);
    }

    /// Takes in news of policies; `all` are those that there are.
    pub fn policies(
        &self,
        news: &Event<DeserializeGuard<BackupPolicy>>,
        all: impl FnOnce() -> Vec<Arc<DeserializeGuard<BackupPolicy>>>,
    ) {
        let mut state = self.lock();
        let let_in = match news {
            Event::Apply(policy) if self.may_run(policy.meta()) => {
                state.queue.add(member(policy.meta()));
                return;
            }
            Event::Apply(gone) | Event::Delete(gone) => state.queue.forget(&member(gone.meta())),
            Event::InitDone => {
                let all = all();
                let there = all.iter().map(|policy| policy.meta()).filter(|policy| self.may_run(policy));
                state.queue.keep(there.map(member))
            }
            Event::Init | Event::InitApply(_) => return,
        };
        self.wake(let_in);
    }

    /// Whether a policy may have runs. Of one that is being deleted nobody sweeps up what bears its name.
    fn may_run(&self, policy: &ObjectMeta) -> bool {
        policy.deletion_timestamp.is_none()
            && policy.namespace.as_ref().is_some_and(|namespace| self.namespaces.contains(namespace))
    }

    /// Takes in news of Jobs; `all` are those that there are in their namespace.
    pub fn jobs(&self, namespace: &str, news: &Event<Job>, all: impl FnOnce() -> Vec<Arc<Job>>) {
        match news {
            Event::Apply(job) if has_ended(job) => self.job(job, false),
            // A Pod that has just started shows in the Job a while later: passes know it, and so they say it.
            Event::Apply(job) if is_late(job, now()) => {}
            Event::Apply(job) => self.job(job, true),
            Event::Delete(job) => self.job(job, false),
            Event::InitDone => self.listed(namespace, all().iter().map(AsRef::as_ref)),
            Event::Init | Event::InitApply(_) => {}
        }
    }

    /// How many places there are, how many are taken, and how many runs wait for one.
    pub fn count(&self) -> [usize; 3] {
        let queue = &self.lock().queue;
        [queue.limit(), queue.taken(), queue.waiting()]
    }

    /// Asks for the Jobs of the namespaces whose watch has not told of any yet. Where that fails, too, no Job can be made either.
    pub async fn list_the_rest(&self, client: &Client) {
        let unlisted = self.lock().unlisted.clone();
        for namespace in unlisted {
            let jobs: Api<LightJob> = Api::namespaced(client.clone(), &namespace);
            let mut found: Vec<Job> = vec![];
            let runs = ListParams::default().labels(labels::BACKUP);
            match each(&jobs, &runs, |job| found.push(job.into())).await {
                Ok(()) => self.listed(&namespace, &found),
                Err(error) => {
                    tracing::warn!(%error, namespace, "it is not known which runs go on there; they are not counted");
                    self.known(&namespace);
                }
            }
        }
    }

    fn job(&self, job: &Job, is_live: bool) {
        let Some((member, name)) = run_of(job) else { return };
        let mut state = self.lock();
        if is_live {
            state.queue.seen(&member, &name);
        } else {
            let let_in = state.queue.gone(&member, &name);
            self.wake(let_in);
        }
    }

    fn listed<'a>(&self, namespace: &str, jobs: impl IntoIterator<Item = &'a Job>) {
        let now = now();
        let goes_on = |job: &&Job| !has_ended(job) && !is_late(job, now);
        let live = jobs.into_iter().filter(goes_on).filter_map(run_of).collect();
        let let_in = self.lock().queue.listed(namespace, &live);
        self.wake(let_in);
        self.known(namespace);
    }

    fn known(&self, namespace: &str) {
        let mut state = self.lock();
        state.unlisted.remove(namespace);
        let let_in = state.open_if_known();
        self.wake(let_in);
    }

    fn wake(&self, let_in: impl IntoIterator<Item = Member>) {
        for Member { namespace, name, .. } in let_in {
            // Fails only when the controller has ended.
            let _ = self.wake.unbounded_send(ObjectRef::new(&name).within(&namespace));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open_if_known(&mut self) -> Vec<Member> {
        if self.unlisted.is_empty() { self.queue.open() } else { vec![] }
    }
}

fn member(policy: &ObjectMeta) -> Member {
    Member {
        namespace: policy.namespace.clone().unwrap_or_default(),
        name: policy.name.clone().unwrap_or_default(),
        uid: policy.uid.clone().unwrap_or_default(),
    }
}

/// Whose run a Job is, and the Job's name; none if it is for something else, or somebody else's.
fn run_of(job: &Job) -> Option<(Member, String)> {
    job.labels().get(labels::BACKUP)?;
    let name = job.labels().get(labels::POLICY)?;
    let owner = job.owner_references().iter().find(|owner| owner.name == *name && is_policy(owner))?;
    let namespace = job.namespace().unwrap_or_default();
    Some((Member { namespace, name: name.clone(), uid: owner.uid.clone() }, job.name_any()))
}

/// Whether an owner is a policy, of whatever version, that has the Job made.
fn is_policy(owner: &OwnerReference) -> bool {
    let group = owner.api_version.split_once('/').map(|(group, _)| group);
    owner.controller == Some(true)
        && owner.kind == BackupPolicy::kind(&())
        && group == Some(&*BackupPolicy::group(&()))
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
