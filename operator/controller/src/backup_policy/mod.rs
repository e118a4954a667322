//! BackupPolicy: wires the watches to the five steps of a pass: gather, validate, decide, act, status. I/O.

mod act;
mod gather;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_plan::backup_policy::{decide, reject, validate};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::errors::Error;
use crate::metrics::Metrics;

/// Passes at the same time, over different policies.
const CONCURRENCY: u16 = 8;
/// A policy is looked at this often even when nothing seems to change.
const SAFETY_NET: Duration = Duration::from_hours(1);

/// Reconciles all policies until told to stop; passes that have begun are finished.
pub async fn run(context: Arc<Context>, metrics: &Metrics, stop: CancellationToken) {
    let policies: Api<DeserializeGuard<BackupPolicy>> = Api::all(context.client.clone());
    let mut controller = Controller::new(policies, watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stop.cancelled_owned());
    // One watch for each namespace: the operator has no right to watch Jobs anywhere else.
    for namespace in &context.namespaces {
        controller =
            controller.owns(Api::<Job>::namespaced(context.client.clone(), namespace), gather::our_jobs());
    }
    metrics.lead(controller.store());
    let passes = controller.run(reconcile, |_, error, _| Action::requeue(error.pause()), context);
    passes
        .for_each(|pass| async move {
            if let Err(error) = pass {
                tracing::warn!(%error, "a pass failed");
            }
        })
        .await;
}

async fn reconcile(
    policy: Arc<DeserializeGuard<BackupPolicy>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let began = Instant::now();
    let passed = match &policy.0 {
        Ok(policy) => pass(policy, &context).await,
        Err(invalid) => status::unreadable(&context, invalid).await.map(|()| Action::await_change()),
    };
    context.reconciles.observe(passed.as_ref().map_or_else(Error::reason, |_| "ok"), began.elapsed());
    passed
}

/// One pass over one policy.
#[tracing::instrument(skip_all, fields(namespace = cached.namespace(), name = cached.name_any()))]
async fn pass(cached: &BackupPolicy, context: &Context) -> Result<Action, Error> {
    let now = now();
    let Some(gathered) = gather::gather(cached, context, now).await? else {
        return Ok(Action::await_change());
    };
    let before = gathered.policy.status.clone().unwrap_or_default();
    let decision = match validate(&gathered.policy) {
        Err(invalid) => reject(&before, gathered.policy.generation(), &invalid, now),
        Ok(valid) => {
            let decision = decide(&valid, &gathered.seen, &before, &context.runner);
            let refusals = act::act(&gathered.policy, &decision.effects, context).await?;
            refusals.iter().fold(decision, |decision, refusal| {
                decision.refused(&valid, &gathered.seen, &context.runner, refusal)
            })
        }
    };
    status::write(&gathered.policy, &decision, context).await?;
    Ok(Action::requeue(pause(decision.wake, now)))
}

/// The time of a pass, in whole seconds as the API writes them. The only reading of the clock for decisions.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How long to wait for a time. `now` was cut to whole seconds, so the wait ends at that time or within the second after it.
fn pause(wake: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(wake) = wake else { return SAFETY_NET };
    match u64::try_from(wake.duration_since(now).as_secs()) {
        Ok(0) | Err(_) => Duration::ZERO,
        Ok(seconds) => Duration::from_secs(seconds).min(SAFETY_NET),
    }
}
