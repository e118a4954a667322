//! The operator's definitions: prints them, and waits for them at start. I/O.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use greenlang_backup_api::v1alpha1::BackupPolicy;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, CustomResourceExt as _};

use crate::errors::Error;

/// Longest pause between two looks.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// Prints every definition as one YAML stream.
#[expect(clippy::print_stdout, reason = "printing is what the command is for")]
pub fn print() -> Result<(), Error> {
    print!("{}", serde_yaml::to_string(&BackupPolicy::crd())?);
    Ok(())
}

/// Waits until the API server serves our resources; without them a watch would fail for ever. Only their absence, and that of
/// the API server, is waited for: a missing right is an error that a person must see.
pub async fn wait(client: &Client) -> Result<(), Error> {
    let policies: Api<PartialObjectMeta<BackupPolicy>> = Api::all(client.clone());
    let waiting = ExponentialBuilder::default().with_max_delay(MAX_PAUSE).without_max_times();
    (|| async { policies.list_metadata(&ListParams::default().limit(1)).await })
        .retry(waiting)
        .when(|error| !matches!(error, kube::Error::Api(status) if status.is_forbidden()))
        .notify(|error, pause| match error {
            // By its code: without any resource of the group the server answers 404 in plain text.
            kube::Error::Api(status) if status.code == 404 => {
                tracing::warn!(
                    ?pause,
                    "waiting for the BackupPolicy definition: install the chart greenlang-backup-crds"
                );
            }
            error => tracing::warn!(%error, ?pause, "waiting for the API server"),
        })
        .await?;
    Ok(())
}
