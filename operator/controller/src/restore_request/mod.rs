//! RestoreRequest: wires the watches to the steps of a pass: gather, validate, decide, act, status. I/O.
//!
//! Restores are few, and a mistake costs a database: unlike a pass over a policy, a pass over a request asks the API server for all that
//! it decides on. The watches only say when.

mod act;
mod argo_cd;
mod cron_jobs;
mod gather;
mod keda;
mod kept;
mod lock;
mod managers;
mod workloads;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{StreamExt as _, TryStreamExt as _};
use greenlang_backup_api::v1alpha1::{RestorePhase, RestoreRequest};
use greenlang_backup_plan::backup_policy::OngoingRestore;
use greenlang_backup_plan::restore_request::{self as plan, PastLoad, Step, farewell, reject, step};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use tokio_util::sync::CancellationToken;

pub use kept::run as run_kept;

use crate::context::Context;
use crate::errors::Error;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::passes::run_out;
use crate::time::{now, pause};
use crate::{cache, unreadable, writes};

/// Passes at the same time, over different requests.
const CONCURRENCY: u16 = 8;
/// Requests of a list that are read at once.
const PAGE: u32 = 10;

/// A request as the controller names it.
type RequestRef = ObjectRef<DeserializeGuard<RestoreRequest>>;
/// The controller of all requests, not yet running.
pub type Restores = Controller<DeserializeGuard<RestoreRequest>>;

/// Asks for a pass over a request because of what became of a Job or Pod of it, or of the ConfigMap of what it replaced.
pub struct Wake(UnboundedSender<RequestRef>);

impl Wake {
    /// A sender, and what it sends.
    pub fn new() -> (Self, UnboundedReceiver<RequestRef>) {
        let (wake, woken) = unbounded();
        (Self(wake), woken)
    }

    /// Takes in news of objects that name their request in this label.
    pub fn on<K: Resource<DynamicType = ()>>(&self, label: &'static str) -> impl FnMut(&Event<K>) + use<K> {
        let wake = self.0.clone();
        move |news| {
            let (Event::Apply(child) | Event::InitApply(child) | Event::Delete(child)) = news else { return };
            let namespace = child.meta().namespace.as_deref().unwrap_or_default();
            if let Some(name) = child.labels().get(label) {
                // Fails only when the controller has ended.
                let _ = wake.unbounded_send(ObjectRef::new(name).within(namespace));
            }
        }
    }
}

/// The requests that there are, as the watch has them.
pub struct Requests(Store<DeserializeGuard<RestoreRequest>>);

impl Requests {
    /// What policies of a namespace have to mind.
    pub fn ongoing(&self, namespace: &str) -> Vec<OngoingRestore> {
        self.all(namespace, OngoingRestore::of)
    }

    /// What requests of a namespace tell of the time that loading takes. Nothing depends on it, so the watch is good enough.
    pub fn past(&self, namespace: &str) -> Vec<PastLoad> {
        self.all(namespace, PastLoad::of)
    }

    fn all<T>(&self, namespace: &str, of: fn(&RestoreRequest) -> Option<T>) -> Vec<T> {
        let all = self.0.state();
        let readable = all.iter().filter_map(|request| request.0.as_ref().ok());
        let here = readable.filter(|request| request.metadata.namespace.as_deref() == Some(namespace));
        here.filter_map(of).collect()
    }
}

/// Begins the watch. Whoever scrapes metrics sees the requests from now on.
pub fn watch(
    client: &Client,
    namespaces: &BTreeSet<String>,
    woken: UnboundedReceiver<RequestRef>,
    events: &Events,
    metrics: &Metrics,
) -> (Restores, Requests) {
    let requests: Api<cache::Brought<RestoreRequest>> = Api::all(client.clone());
    let (store, writer) = reflector::store();
    let (events, served) = (events.clone(), namespaces.clone());
    let seen = watcher(requests, watcher::Config::default().page_size(PAGE))
        .map_ok(move |news| cache::keep(news, &served))
        .reflect(writer)
        .inspect(move |news| {
            if let Ok(Event::Delete(DeserializeGuard(Ok(gone)))) = news {
                say_farewell(gone, &events);
            }
        })
        .applied_objects();
    metrics.restores(store.clone());
    let requests = Requests(store.clone());
    let controller = Controller::for_stream(seen, store)
        .reconcile_on(woken)
        .with_config(Config::default().concurrency(CONCURRENCY));
    (controller, requests)
}

fn say_farewell(gone: &RestoreRequest, events: &Events) {
    if let Some(event) = farewell(gone) {
        events.tell(&gone.object_ref(&()), &event);
    }
}

/// Carries out all requests until told to stop; passes that have begun are finished.
pub async fn run(controller: Restores, context: Arc<Context>, stop: CancellationToken) {
    let passes = controller.graceful_shutdown_on(stop.cancelled_owned()).run(
        in_own_task,
        |_, error, _| Action::requeue(error.pause()),
        context,
    );
    run_out(passes).await;
}

async fn in_own_task(
    request: Arc<DeserializeGuard<RestoreRequest>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let passes = context.passes.clone();
    passes.run(Box::pin(reconcile(request, context))).await.unwrap_or_else(|| Ok(Action::await_change()))
}

async fn reconcile(
    request: Arc<DeserializeGuard<RestoreRequest>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let began = Instant::now();
    let passed = match &request.0 {
        Ok(request) => Box::pin(pass(request, &context)).await,
        Err(invalid) => unreadable::tell::<RestoreRequest>(&context.client, invalid, now())
            .await
            .map(|()| Action::await_change()),
    };
    context.reconciles.observe(passed.as_ref().map_or_else(Error::reason, |_| "ok"), began.elapsed());
    passed
}

/// One pass over one request: a look at everything, a decision, and its doing.
#[tracing::instrument(skip_all, fields(namespace = cached.namespace(), name = cached.name_any()))]
async fn pass(cached: &RestoreRequest, context: &Context) -> Result<Action, Error> {
    let namespace = cached.namespace().unwrap_or_default();
    if !context.namespaces.contains(&namespace) {
        return unserved(cached, &namespace, context).await;
    }
    let read = Instant::now();
    let Some(seen) = Box::pin(gather::gather(cached, context, now())).await? else {
        return Ok(Action::await_change());
    };
    let before = seen.request.status.clone().unwrap_or_default();
    let (valid, observed, runner) = (&seen.valid, &seen.observed, &context.runner);
    let decided = match &seen.invalid {
        None => step(valid, observed, &before, runner),
        Some(invalid) => reject(valid, observed, &before, runner, invalid),
    };
    let acted = Box::pin(act::act(&seen, read, &decided.effects, context)).await?;
    let decided = if acted.was_refused() {
        decided.refused(valid, observed, &before, runner, &acted.jobs, &acted.patches)
    } else {
        decided
    };
    let Some(request) = acted.request else { return Ok(Action::await_change()) };
    say(&request, &decided, context).await?;
    Ok(again(&decided, &request))
}

/// Of a request where nothing may be made it is said so, and nothing else is asked about it: anybody may make any number of these.
async fn unserved(cached: &RestoreRequest, namespace: &str, context: &Context) -> Result<Action, Error> {
    let before = cached.status.clone().unwrap_or_default();
    let after = plan::unserved(&before, namespace, cached.generation(), now());
    if after != before {
        writes::conditions::<RestoreRequest>(&cached.metadata, &after.conditions, &context.client).await?;
    }
    Ok(Action::await_change())
}

/// Writes the status if it differs from what the request has, and only then tells people what it says.
async fn say(request: &RestoreRequest, decided: &Step, context: &Context) -> Result<(), Error> {
    if request.status.as_ref() == Some(&decided.status)
        || writes::replace_status(request, decided.status.clone(), &context.client).await?.is_none()
    {
        return Ok(());
    }
    let about = request.object_ref(&());
    for event in &decided.events {
        context.events.tell(&about, event);
    }
    Ok(())
}

/// When to come back. Of a request that has ended nothing is expected but what it says itself.
fn again(decided: &Step, request: &RestoreRequest) -> Action {
    let ended = decided.status.phase.is_some_and(RestorePhase::is_end);
    match decided.wake {
        None if ended => Action::await_change(),
        wake => Action::requeue(pause(wake, &request.metadata).max(SHORTEST)),
    }
}

/// Between two passes over a request: each asks for much, and what a status announced is done by the next.
const SHORTEST: Duration = Duration::from_millis(20);
