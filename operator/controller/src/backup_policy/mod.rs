//! BackupPolicy: wires the watches to the five steps of a pass: gather, validate, decide, act, status. I/O.

mod act;
mod carry_out;
mod children;
mod expected;
mod gather;
mod places;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _};
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_plan::backup_policy::{self as plan, Decision, Observed, decide, reject, validate};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use carry_out::{Done, carry_out};
pub use children::Children;
pub use expected::Expected;
pub use places::Places;

use crate::context::Context;
use crate::errors::Error;
use crate::metrics::Metrics;
use crate::passes::run_out;
use crate::restore_request::Wake;
use crate::time::{now, pause};
use crate::{cache, unreadable, writes};

/// Passes at the same time, over different policies. They wait for answers most of the time.
const CONCURRENCY: u16 = 32;
/// Policies of a list that are read at once; the answer is in memory as a whole, and each may have 1.5 MB.
const PAGE: u32 = 10;

/// The controller of all policies, not yet running.
pub type Policies = Controller<DeserializeGuard<BackupPolicy>>;

/// Begins the watches. Whoever scrapes metrics sees the policies from now on.
pub fn watch(
    client: &Client,
    namespaces: &BTreeSet<String>,
    limit: usize,
    restores: &Wake,
    metrics: &Metrics,
) -> (Policies, Children, Arc<Places>) {
    let policies: Api<cache::Brought<BackupPolicy>> = Api::all(client.clone());
    let (store, writer) = reflector::store();
    let (places, woken) = Places::new(limit, namespaces);
    let (all, told, served) = (store.clone(), places.clone(), namespaces.clone());
    let seen = watcher(policies, watcher::Config::default().page_size(PAGE))
        .map_ok(move |news| cache::keep(news, &served))
        .reflect(writer)
        .inspect(move |news| {
            if let Ok(news) = news {
                told.policies(news, || all.state());
            }
        })
        .applied_objects();
    let controller = Controller::for_stream(seen, store).reconcile_on(woken);
    metrics.lead(controller.store(), places.clone(), namespaces.clone());
    let (children, controller) = Children::watch(client, namespaces, &places, restores, controller);
    (controller.with_config(Config::default().concurrency(CONCURRENCY)), children, places)
}

/// Reconciles all policies until told to stop; passes that have begun are finished.
pub async fn run(controller: Policies, context: Arc<Context>, stop: CancellationToken) {
    let _listing = AbortOnDropHandle::new(tokio::spawn(list_late(context.clone())));
    let passes = controller.graceful_shutdown_on(stop.cancelled_owned()).run(
        in_own_task,
        |_, error, _| Action::requeue(error.pause()),
        context,
    );
    run_out(passes).await;
}

/// A namespace whose watch does not work from the start holds up the runs of others so long, and no longer.
async fn list_late(context: Arc<Context>) {
    tokio::time::sleep(children::FIRST_LISTS).await;
    context.places.list_the_rest(&context.client).await;
}

/// A pass as a task of its own: left to the controller, all would share its task, and so one core.
async fn in_own_task(
    policy: Arc<DeserializeGuard<BackupPolicy>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let passes = context.passes.clone();
    // One that was cut off has nobody any more who asks when to come back.
    passes.run(reconcile(policy, context)).await.unwrap_or_else(|| Ok(Action::await_change()))
}

async fn reconcile(
    policy: Arc<DeserializeGuard<BackupPolicy>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let began = Instant::now();
    let passed = match &policy.0 {
        Ok(policy) => pass(policy, &context).await,
        Err(invalid) => {
            context.places.rest(&invalid.metadata);
            unreadable::tell::<BackupPolicy>(&context.client, invalid, now())
                .await
                .map(|()| Action::await_change())
        }
    };
    // After a conflict the next pass follows at once.
    if passed.as_ref().is_err_and(|error| !error.is_conflict()) {
        context.places.failed(policy.meta());
    }
    context.reconciles.observe(passed.as_ref().map_or_else(Error::reason, |_| "ok"), began.elapsed());
    passed
}

/// One pass over one policy: a look that costs nothing, and where there is something to do, the doing.
#[tracing::instrument(skip_all, fields(namespace = cached.namespace(), name = cached.name_any()))]
async fn pass(cached: &BackupPolicy, context: &Context) -> Result<Action, Error> {
    if cached.metadata.deletion_timestamp.is_some() {
        context.places.rest(&cached.metadata);
        return Ok(Action::await_change());
    }
    let namespace = cached.namespace().unwrap_or_default();
    if !context.namespaces.contains(&namespace) {
        return unserved(cached, &namespace, context).await;
    }
    if let Some(left) = context.expected.left(cached, |effects| context.children.show(&namespace, effects)) {
        return Ok(Action::requeue(left));
    }
    let children = gather::look(cached, context).await?;
    // What became due while it looked is decided now, and not in the next pass.
    let now = now();
    let first = judge(cached, &mut gather::observe(&children, cached, context, now), context);
    if first.effects.is_empty() && cached.status.as_ref() == Some(&first.status) {
        return Ok(Action::requeue(pause(first.wake, &cached.metadata)));
    }
    let mut done = Done::default();
    let passed = carry_out(cached, children, first, now, context, &mut done).await;
    status::tell(cached, &done.events, context);
    context.expected.note(cached, done);
    passed
}

/// Of a policy where nothing may be made it is said so, and nothing else is asked about it: anybody may make any number of these.
async fn unserved(cached: &BackupPolicy, namespace: &str, context: &Context) -> Result<Action, Error> {
    context.places.rest(&cached.metadata);
    let before = cached.status.clone().unwrap_or_default();
    let after = plan::unserved(&before, namespace, cached.generation(), now());
    if after != before {
        writes::conditions::<BackupPolicy>(&cached.metadata, &after.conditions, &context.client).await?;
    }
    Ok(Action::await_change())
}

/// Validate and decide. Runs that are to begin take places first, so that no two passes take the last one.
fn judge(policy: &BackupPolicy, seen: &mut Observed, context: &Context) -> Decision {
    let before = policy.status.clone().unwrap_or_default();
    let valid = match validate(policy) {
        Ok(valid) => valid,
        Err(invalid) => {
            context.places.ask(policy, seen, &BTreeSet::new());
            return reject(&before, policy.generation(), &invalid, seen.now);
        }
    };
    let decision = decide(&valid, seen, &before, &context.runner);
    seen.places = context.places.ask(policy, seen, &decision.wanted);
    if decision.wanted.is_empty() { decision } else { decide(&valid, seen, &before, &context.runner) }
}
