//! Leader election: one replica is active, and one that loses its Lease stops at once. I/O.

use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _, future};
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch::Receiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::RunSettings;
use crate::errors::Error;

/// Seconds after which a silent leader is replaced.
const DURATION_SECONDS: u64 = 15;
/// Seconds before that at which the leader renews.
const GRACE_SECONDS: u64 = 5;
/// How long giving the Lease back may take; then it is left to run out.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// A candidate for the Lease, or its holder.
pub struct Leadership {
    state: Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, kube_lease_manager::LeaseManagerError>>,
}

/// Waits until this replica leads; none when told to stop before.
pub async fn lead(
    client: Client,
    settings: &RunSettings,
    stop: &CancellationToken,
) -> Result<Option<Leadership>, Error> {
    let leases = Api::<Lease>::namespaced(client.clone(), &settings.lease_namespace);
    let mut releases = pin!(releases(leases, &settings.lease_name));
    tracing::info!(identity = settings.identity, "waiting for the Lease");
    loop {
        let mut leadership = tokio::select! {
            candidate = Leadership::apply(client.clone(), settings) => candidate?,
            () = stop.cancelled() => return Ok(None),
        };
        tokio::select! {
            led = async { leadership.state.wait_for(|leads| *leads).await.is_ok() } => {
                if !led {
                    return Err(Error::LeaseLost);
                }
                tracing::info!(identity = settings.identity, "this replica leads");
                return Ok(Some(leadership));
            }
            () = stop.cancelled() => {
                leadership.release().await;
                return Ok(None);
            }
            // A candidate sleeps until the Lease that it has seen runs out. A new one looks at once.
            Some(()) = releases.next() => leadership.withdraw(),
        }
    }
}

/// Each time when a holder gives the Lease back. Where the Lease cannot be watched there is none, and only its end is
/// waited for.
fn releases(leases: Api<Lease>, name: &str) -> impl Stream<Item = ()> {
    let mut was_held = false;
    watcher::watch_object(leases, name).default_backoff().filter_map(move |seen| {
        let freed = match seen {
            Ok(lease) => {
                let is_held = lease.and_then(|lease| lease.spec?.holder_identity).is_some();
                std::mem::replace(&mut was_held, is_held) && !is_held
            }
            Err(error) => {
                tracing::debug!(%error, "the Lease cannot be watched now");
                false
            }
        };
        future::ready(freed.then_some(()))
    })
}

impl Leadership {
    async fn apply(client: Client, settings: &RunSettings) -> Result<Self, Error> {
        let manager = LeaseManagerBuilder::new(client, &settings.lease_name)
            .with_namespace(&settings.lease_namespace)
            .with_identity(&settings.identity)
            .with_duration(DURATION_SECONDS)
            .with_grace(GRACE_SECONDS)
            .build()
            .await?;
        let (state, task) = manager.watch().await;
        Ok(Self { state, task })
    }

    /// Returns when the Lease is lost.
    pub async fn lost(&mut self) {
        // An error means that the task ended, which loses the Lease too.
        let _ = self.state.wait_for(|leads| !*leads).await;
    }

    /// Gives the Lease back, so that another replica need not wait for its end.
    pub async fn release(self) {
        drop(self.state);
        match tokio::time::timeout(RELEASE_LIMIT, self.task).await {
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the Lease was not released"),
            Ok(Err(error)) => tracing::warn!(%error, "the Lease was not released"),
            Err(_) => tracing::warn!("the Lease was not released: the API server does not answer"),
        }
    }

    /// Stops to wait without a word to the API server. A Lease that is got in this moment is found by the next candidate of
    /// the same identity.
    fn withdraw(self) {
        self.task.abort();
    }
}
