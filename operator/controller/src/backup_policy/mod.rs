//! BackupPolicy: wires the watches to the five steps of a pass: gather, validate, decide, act, status. I/O.

mod act;
mod carry_out;
mod children;
mod expected;
mod gather;
mod places;
mod status;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_plan::backup_policy::{Decision, Observed, decide, reject, validate};
use jiff::Timestamp;
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

/// Passes at the same time, over different policies. They wait for answers most of the time.
const CONCURRENCY: u16 = 32;
/// A policy is looked at about this often even when nothing seems to change. It costs no request: what asks the API server
/// anew whatever the watches say is the hourly probe.
const SAFETY_NET: Duration = Duration::from_hours(1);
/// Policies of a list that are read at once; the answer is in memory as a whole.
const PAGE: u32 = 100;

/// The controller of all policies, not yet running.
pub type Policies = Controller<DeserializeGuard<BackupPolicy>>;

/// Begins the watches. Whoever scrapes metrics sees the policies from now on.
pub fn watch(
    client: &Client,
    namespaces: &BTreeSet<String>,
    limit: usize,
    metrics: &Metrics,
) -> (Policies, Children, Arc<Places>) {
    let policies: Api<DeserializeGuard<BackupPolicy>> = Api::all(client.clone());
    let (store, writer) = reflector::store();
    let (places, woken) = Places::new(limit, namespaces);
    let (all, told) = (store.clone(), places.clone());
    let seen = watcher(policies, watcher::Config::default().page_size(PAGE))
        .modify(children::trim_policy)
        .reflect(writer)
        .inspect(move |news| {
            if let Ok(news) = news {
                told.policies(news, || all.state());
            }
        })
        .applied_objects();
    let controller = Controller::for_stream(seen, store).reconcile_on(woken);
    metrics.lead(controller.store(), places.clone());
    let (children, controller) = Children::watch(client, namespaces, &places, controller);
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
    passes
        .for_each(|pass| async move {
            if let Err(error) = pass {
                tracing::warn!(%error, "a pass failed");
            }
        })
        .await;
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
            status::unreadable(&context, invalid).await.map(|()| Action::await_change())
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
    if let Some(left) = context.expected.left(cached, |effects| context.children.show(&namespace, effects)) {
        return Ok(Action::requeue(left));
    }
    let now = now();
    let children = gather::look(cached, context, now).await?;
    let first = judge(cached, &mut gather::observe(&children, cached, context, now), context);
    if first.effects.is_empty() && cached.status.as_ref() == Some(&first.status) {
        return Ok(Action::requeue(pause(first.wake, cached)));
    }
    let mut done = Done::default();
    let passed = carry_out(cached, children, first, now, context, &mut done).await;
    status::tell(cached, &done.events, context);
    context.expected.note(cached, done);
    passed
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

/// The time of a pass, in whole seconds as the API writes them. The only reading of the clock for decisions.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How long to wait for a time, which is to the point: 200 slots of one second have no second to lose.
fn pause(wake: Option<Timestamp>, policy: &BackupPolicy) -> Duration {
    let safety_net = spread(SAFETY_NET, &policy.uid().unwrap_or_default());
    let Some(wake) = wake else { return safety_net };
    // A time that has passed is no duration.
    Duration::try_from(wake.duration_since(Timestamp::now())).unwrap_or_default().min(safety_net)
}

/// A duration and up to a quarter of it, the same for the same key: what began together at a start does not come back together.
fn spread(duration: Duration, key: &str) -> Duration {
    let mut hash = DefaultHasher::new();
    key.hash(&mut hash);
    let quarter = duration.as_secs() / 4;
    duration + Duration::from_secs(hash.finish() % quarter.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn what_begins_together_does_not_come_back_together() {
        let times: BTreeSet<Duration> =
            (0..1000).map(|number| spread(SAFETY_NET, &format!("uid-{number}"))).collect();
        assert!(times.len() > 500, "{} different times", times.len());
        assert!(times.iter().all(|time| (SAFETY_NET..SAFETY_NET * 5 / 4).contains(time)));
        assert_eq!(spread(SAFETY_NET, "a"), spread(SAFETY_NET, "a"));
    }

    #[test]
    fn a_time_is_waited_for_to_the_point_and_one_that_has_passed_not_at_all() {
        let policy = fixture::policy("greenlang", "main");
        let soon = Timestamp::now() + Duration::from_millis(700);
        let waited = pause(Some(soon), &policy);
        assert!(waited <= Duration::from_millis(700) && waited > Duration::from_millis(300), "{waited:?}");
        assert_eq!(pause(Some(Timestamp::UNIX_EPOCH), &policy), Duration::ZERO);
        assert!(pause(Some(Timestamp::MAX), &policy) >= SAFETY_NET);
        assert!(pause(None, &policy) < SAFETY_NET * 5 / 4);
    }
}
