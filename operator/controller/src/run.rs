//! The life of the process: serve probes, wait for definitions, lead, reconcile, stop in order. I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future;
use kube::runtime::events::Reporter;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::cli::RunSettings;
use crate::context::Context;
use crate::errors::Error;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::passes::Passes;
use crate::restore_request::{self, Wake};
use crate::{backup_policy, cluster, crds, leader};

/// How long an answer of the API server may stay away. The server ends quiet watches after 290 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(295);
/// From SIGTERM on: how long passes that have begun may take. With what the Lease and open connections may take it is less
/// than the Pod's 30 s.
const PASSES_LIMIT: Duration = Duration::from_secs(10);
/// How long events that are still to be published may take then.
const EVENTS_LIMIT: Duration = Duration::from_secs(3);
/// How long clients may hold their connections open at the end.
const CONNECTIONS_LIMIT: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT, or until the Lease is lost.
pub async fn run(settings: RunSettings) -> Result<(), Error> {
    let stop = CancellationToken::new();
    tokio::spawn(cancel_on_signal(stop.clone()));
    let (metrics, reconciles) = Metrics::new().map_err(|error| Error::Settings(error.to_string()))?;
    let admin =
        Admin { ready: Arc::new(AtomicBool::new(false)), stop: stop.clone(), metrics: Arc::new(metrics) };
    let listener = admin::listen(settings.listen).await?;
    // The endpoints live longer than the work: a probe during shutdown gets an answer.
    let served = CancellationToken::new();
    let endpoints = tokio::spawn(admin::serve(listener, admin.clone(), served.clone()));

    let client = connect().await?;
    let worked = tokio::select! {
        ready = crds::wait(&client) => match ready {
            Ok(()) => work(client, &settings, &admin, reconciles).await,
            Err(error) => Err(error),
        },
        () = stop.cancelled() => Ok(()),
    };
    served.cancel();
    // A client that keeps its connection must not keep the process.
    let _ = tokio::time::timeout(CONNECTIONS_LIMIT, endpoints).await;
    worked
}

/// A client that gives up on an API server that is gone without a word: by itself it would wait for ever, and the pass that
/// asked would never end.
async fn connect() -> Result<Client, Error> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.read_timeout = Some(ANSWER_LIMIT);
    Ok(Client::try_from(config)?)
}

async fn work(
    client: Client,
    settings: &RunSettings,
    admin: &Admin,
    reconciles: crate::metrics::Reconciles,
) -> Result<(), Error> {
    // Asked before it leads: what is missing shows at once, in every replica.
    let cluster_uid = cluster::uid(&client).await?;
    // A standby is ready too: it could take over at any moment.
    admin.ready.store(true, Ordering::Relaxed);
    let Some(mut leadership) = leader::lead(client.clone(), settings, &admin.stop).await? else {
        return Ok(());
    };
    let reporter = Reporter {
        controller: "greenlang-backup-operator".into(),
        instance: Some(settings.identity.clone()),
    };
    let namespaces = settings.namespaces.iter().cloned().collect();
    let limit = settings.max_concurrent_runs.get();
    let (events, published) = Events::start(client.clone(), reporter);
    let (wake, woken) = Wake::new();
    let (controller, restores) = restore_request::watch(&client, &namespaces, woken, &events, &admin.metrics);
    let (policies, children, places) =
        backup_policy::watch(&client, &namespaces, limit, &wake, &admin.metrics);
    let passes = Passes::default();
    let context = Arc::new(Context {
        events,
        client,
        namespaces,
        lease_namespace: settings.lease_namespace.clone(),
        argo_cd_namespace: settings.argo_cd_namespace.clone(),
        children,
        restores,
        expected: backup_policy::Expected::default(),
        places,
        runner: settings.runner(cluster_uid),
        passes: passes.clone(),
        reconciles,
    });
    let controllers = future::join3(
        backup_policy::run(policies, context.clone(), admin.stop.clone()),
        restore_request::run(controller, context.clone(), admin.stop.clone()),
        restore_request::run_kept(context, &wake, admin.stop.clone()),
    );
    let led = tokio::select! {
        _ = controllers => Ok(()),
        // Whoever leads now may be acting already: nothing more may be written, not even by passes that have begun.
        () = leadership.lost() => Err(Error::LeaseLost),
        // A pass that is cut off is repeated by the next leader, as after a crash.
        () = overdue(&admin.stop) => {
            tracing::warn!("passes that had begun were cut off: they took too long");
            Ok(())
        }
    };
    passes.ended().await;
    led?;
    // With the last pass the last who could tell of one is gone.
    let _ = tokio::time::timeout(EVENTS_LIMIT, published).await;
    leadership.release().await;
    tracing::info!("stopped in order");
    Ok(())
}

/// Returns when the time is over in which passes should have ended.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(PASSES_LIMIT).await;
}

async fn cancel_on_signal(stop: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; the process can only be killed");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
}
