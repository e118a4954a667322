//! Databases that were replaced and are dropped when their time is over: wires the watches of their ConfigMaps to the decisions of
//! `plan`. I/O. Each namespace has a watch of its own: the operator has no right to watch them anywhere else.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use futures::future::join_all;
use greenlang_backup_api::labels;
use greenlang_backup_api::restore::KeptDatabase;
use greenlang_backup_api::v1alpha1::RestoreRequest;
use greenlang_backup_plan::backup_policy::Event;
use greenlang_backup_plan::restore_request::{KeptStep, holds, kept_step, read_kept, without_previous};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Resource as _, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use super::Wake;
use crate::context::Context;
use crate::errors::Error;
use crate::family::Family;
use crate::pages::{PAGE, each};
use crate::passes::run_out;
use crate::time::{now, pause};
use crate::{cache, crash, writes};

/// Passes at the same time in a namespace; each reads its ConfigMap.
const CONCURRENCY: u16 = 4;

/// A ConfigMap as the watch has it.
type Named = PartialObjectMeta<ConfigMap>;

/// Looks after the kept databases of all served namespaces until told to stop. What becomes of a ConfigMap is told to its request.
pub async fn run(context: Arc<Context>, requests: &Wake, stop: CancellationToken) {
    let namespaces = context.namespaces.iter();
    join_all(namespaces.map(|namespace| in_namespace(namespace, &context, requests, &stop))).await;
}

async fn in_namespace(namespace: &str, context: &Arc<Context>, requests: &Wake, stop: &CancellationToken) {
    // Anybody may make ConfigMaps with this label, of a MB each: all that is held of them is that they are there.
    let config_maps: Api<Named> = Api::namespaced(context.client.clone(), namespace);
    let ours = watcher::Config::default().labels(labels::KEPT_DATABASE).page_size(PAGE);
    let (store, writer) = reflector::store();
    let mut tell = requests.on(labels::KEPT_DATABASE);
    let seen = watcher(config_maps, ours)
        .modify(trim)
        .inspect(move |news| {
            if let Ok(news) = news {
                tell(news);
            }
        })
        .reflect(writer)
        .applied_objects();
    let passes = Controller::for_stream(seen, store)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(in_own_task, |_, error: &Error, _| Action::requeue(error.pause()), context.clone());
    run_out(passes).await;
}

fn trim(named: &mut Named) {
    named.metadata.managed_fields = None;
    named.metadata.annotations = None;
}

async fn in_own_task(kept: Arc<Named>, context: Arc<Context>) -> Result<Action, Error> {
    let passes = context.passes.clone();
    passes.run(async move { pass(&kept, &context).await }).await.unwrap_or_else(|| Ok(Action::await_change()))
}

#[tracing::instrument(skip_all, fields(namespace = cached.namespace(), name = cached.name_any()))]
async fn pass(cached: &Named, context: &Context) -> Result<Action, Error> {
    let read = Instant::now();
    let namespace = cached.namespace().unwrap_or_default();
    let config_maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let Some(config_map) = config_maps.get_opt(&cached.name_any()).await? else {
        return Ok(Action::await_change());
    };
    let Some(kept) = read_kept(&config_map) else {
        tracing::warn!("this is no kept database: it is left alone");
        return Ok(Action::await_change());
    };
    let (uid, label) =
        (config_map.uid().unwrap_or_default(), (labels::RESTORE_UID, kept.request.uid.as_str()));
    let mut family = Family::list(&uid, &namespace, label, false, &context.client).await?;
    let now = now();
    for child in &mut family.children {
        child.ask_events(&namespace, &context.client, now).await;
    }
    let held = now >= kept.drop_after && is_held(&kept, context).await?;
    let step = kept_step(&config_map, &family.observe(now), held, now, &context.runner);
    let step = act(&config_map, read, &kept, step, now, context).await?;
    Ok(Action::requeue(pause(step.wake, &config_map.metadata)))
}

/// Whether a request still needs the database. Of one that cannot be read nobody knows that it has ended.
async fn is_held(kept: &KeptDatabase, context: &Context) -> Result<bool, Error> {
    let requests: Api<cache::Brought<RestoreRequest>> =
        Api::namespaced(context.client.clone(), &kept.request.namespace);
    let mut held = false;
    each(&requests, &ListParams::default(), |request| {
        held |= match cache::kept(request, &context.namespaces) {
            Ok(request) => holds(&request, kept),
            Err(invalid) => invalid.metadata.uid.as_ref() == Some(&kept.request.uid),
        };
    })
    .await?;
    Ok(held)
}

/// Carries out a step, and returns it as it is once the API server has said what it thinks of it.
async fn act(
    config_map: &ConfigMap,
    read: Instant,
    kept: &KeptDatabase,
    mut step: KeptStep,
    now: Timestamp,
    context: &Context,
) -> Result<KeptStep, Error> {
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &config_map.namespace().unwrap_or_default());
    for (name, uid) in &step.delete {
        writes::delete_job(name, uid, &jobs).await?;
    }
    if let Some(job) = &step.create {
        let label = (labels::RESTORE_UID, kept.request.uid.as_str());
        let refused = writes::create_job(config_map, read, label, job, &context.client).await?;
        if let Some(refusal) = refused {
            step = step.refused(config_map, &refusal, now);
        }
    }
    if step.event.is_some() || step.forget {
        let request = request(config_map, kept, context).await?;
        let gone = request.as_ref().filter(|_| step.forget);
        if let Some((request, status)) =
            gone.and_then(|found| Some((found, without_previous(found, kept, now)?)))
        {
            writes::replace_status(request, status, &context.client).await?;
        }
        if let Some(event) = &step.event {
            tell(config_map, request.as_ref(), event, context);
        }
    }
    if step.forget {
        forget(config_map, context).await?;
    }
    Ok(step)
}

/// The request that has replaced the database, if it is still there.
async fn request(
    config_map: &ConfigMap,
    kept: &KeptDatabase,
    context: &Context,
) -> Result<Option<RestoreRequest>, Error> {
    // Whatever the ConfigMap says, it is about its own namespace.
    let namespace = config_map.namespace().unwrap_or_default();
    let requests: Api<RestoreRequest> = Api::namespaced(context.client.clone(), &namespace);
    let found = requests.get_opt(&kept.request.name).await?;
    Ok(found.filter(|found| found.uid().as_ref() == Some(&kept.request.uid)))
}

/// On the ConfigMap, and on the request if it is still there.
fn tell(config_map: &ConfigMap, request: Option<&RestoreRequest>, event: &Event, context: &Context) {
    context.events.tell(&config_map.object_ref(&()), event);
    if let Some(request) = request {
        context.events.tell(&request.object_ref(&()), event);
    }
}

/// The database is gone: its ConfigMap goes, and with that the Jobs.
async fn forget(config_map: &ConfigMap, context: &Context) -> Result<(), Error> {
    let config_maps: Api<ConfigMap> =
        Api::namespaced(context.client.clone(), &config_map.namespace().unwrap_or_default());
    let this_one = Preconditions { uid: config_map.uid(), resource_version: None };
    crash::before_write();
    match config_maps
        .delete(&config_map.name_any(), &DeleteParams::background().preconditions(this_one))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
