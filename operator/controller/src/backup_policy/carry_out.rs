//! Steps 3 to 5 of a pass that has something to do, repeated while a write leads to more at once. I/O; decisions are those of `plan`.

use std::time::Instant;

use greenlang_backup_api::v1alpha1::BackupPolicy;
use greenlang_backup_plan::backup_policy::{Decision, Effect, Event, validate};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use super::{act, gather, judge, status};
use crate::context::Context;
use crate::errors::Error;
use crate::family::Family;
use crate::time::pause;

/// Most writes of one pass; what is left is for the next.
const WRITES: usize = 3;

/// What a pass has done.
#[derive(Default)]
pub struct Done {
    /// Events that are still to be told of.
    pub events: Vec<Event>,
    /// What was done in the cluster.
    pub effects: Vec<Effect>,
    /// resourceVersion of the newest status that was written.
    pub version: Option<String>,
}

/// Does what a first look has found to be done. A status by itself is written at once: the write is refused if the policy in
/// the cache is old, and then, as everywhere else, the API server is asked first.
pub async fn carry_out(
    cached: &BackupPolicy,
    children: Family,
    first: Decision,
    now: Timestamp,
    context: &Context,
    done: &mut Done,
) -> Result<Action, Error> {
    if first.effects.is_empty() && gather::is_certain(cached, &children) {
        match rounds(cached.clone(), Instant::now(), &children, Some(first), now, context, done).await {
            Err(error) if error.is_conflict() => {}
            carried_out => return carried_out,
        }
    }
    let read = Instant::now();
    let Some((policy, children)) = gather::confirm(cached, children, context).await? else {
        context.places.rest(&cached.metadata);
        return Ok(Action::await_change());
    };
    rounds(policy, read, &children, None, now, context, done).await
}

/// Decides, acts and writes. What a write has only announced is done at once: its answer is the policy as the API server has it,
/// and since nothing was done meanwhile, the children that it was decided on are still those to decide on. `first` is the
/// decision on these, where it is known; `read` is when the policy was.
async fn rounds(
    mut policy: BackupPolicy,
    mut read: Instant,
    children: &Family,
    mut first: Option<Decision>,
    now: Timestamp,
    context: &Context,
    done: &mut Done,
) -> Result<Action, Error> {
    let mut more = 1..WRITES;
    loop {
        let mut seen = gather::observe(children, &policy, context, now);
        let mut decision = first.take().unwrap_or_else(|| judge(&policy, &mut seen, context));
        let refusals = act::act(&policy, read, &decision.effects, context).await?;
        let effects = std::mem::take(&mut decision.effects);
        let announced = effects.is_empty() && decision.wake.is_some_and(|wake| wake <= now);
        if refusals.is_empty() {
            done.effects.extend(effects);
        }
        let decision = refusals.iter().fold(decision, |decision, refusal| match validate(&policy) {
            Ok(valid) => decision.refused(&valid, &seen, &context.runner, refusal),
            // Without a valid spec there were no effects.
            Err(_) => decision,
        });
        let wake = pause(decision.wake, &policy.metadata);
        read = Instant::now();
        let Some(written) = status::write(&policy, &decision, context).await? else {
            return Ok(Action::requeue(wake));
        };
        done.version = written.resource_version();
        done.events.extend(decision.events);
        if !announced || written.metadata.deletion_timestamp.is_some() || more.next().is_none() {
            return Ok(Action::requeue(wake));
        }
        policy = written;
    }
}
