//! Leader election: one replica is active, and one that loses its Lease stops at once. I/O.

use kube::Client;
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

/// A held Lease.
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
    let manager = LeaseManagerBuilder::new(client, &settings.lease_name)
        .with_namespace(&settings.lease_namespace)
        .with_identity(&settings.identity)
        .with_duration(DURATION_SECONDS)
        .with_grace(GRACE_SECONDS)
        .build()
        .await?;
    let (mut state, task) = manager.watch().await;
    let led = tokio::select! {
        led = state.wait_for(|leads| *leads) => led.is_ok(),
        () = stop.cancelled() => false,
    };
    let leadership = Leadership { state, task };
    if led {
        tracing::info!(identity = settings.identity, "this replica leads");
        return Ok(Some(leadership));
    }
    leadership.release().await;
    if stop.is_cancelled() { Ok(None) } else { Err(Error::LeaseLost) }
}

impl Leadership {
    /// Returns when the Lease is lost.
    pub async fn lost(&mut self) {
        // An error means that the task ended, which loses the Lease too.
        let _ = self.state.wait_for(|leads| !*leads).await;
    }

    /// Gives the Lease back, so that another replica need not wait for its end.
    pub async fn release(self) {
        drop(self.state);
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the lease was not released");
        }
    }
}
