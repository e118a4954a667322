//! The operator's definitions: prints them, and waits for them at start. I/O.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use greenlang_backup_api::v1alpha1::BackupPolicy;
use kube::api::{GetParams, ListParams, Request};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, CustomResourceExt as _, Resource as _};
use serde_json::Value;

use crate::errors::Error;

/// Longest pause between two looks.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// Why the operator cannot work yet.
#[derive(Debug, thiserror::Error)]
enum Unready {
    /// Without the definition a watch would fail for ever.
    #[error("waiting for the BackupPolicy definition: install the chart greenlang-backup-crds")]
    Absent,
    /// The API server drops what the definition does not have, so what the operator must remember would be lost.
    #[error(
        "waiting for the BackupPolicy definition of this release: the one in use has no field {0}; upgrade the chart greenlang-backup-crds"
    )]
    Older(String),
    /// The API server, or a missing right.
    #[error("waiting for the API server: {0}")]
    Api(#[source] Box<kube::Error>),
}

impl From<kube::Error> for Unready {
    fn from(error: kube::Error) -> Self {
        match error {
            // By its code: without any resource of the group the server answers 404 in plain text.
            kube::Error::Api(status) if status.code == 404 => Self::Absent,
            error => Self::Api(Box::new(error)),
        }
    }
}

/// Prints every definition as one YAML stream.
#[expect(clippy::print_stdout, reason = "printing is what the command is for")]
pub fn print() -> Result<(), Error> {
    print!("{}", serde_yaml::to_string(&BackupPolicy::crd())?);
    Ok(())
}

/// Waits until the API server serves our resources with all fields of this release. Only that, and the API server, is waited
/// for: a missing right is an error that a person must see.
pub async fn wait(client: &Client) -> Result<(), Error> {
    let waiting = ExponentialBuilder::default().with_max_delay(MAX_PAUSE).without_max_times();
    let forbidden = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.is_forbidden());
    let looked = (|| async { look(client).await })
        .retry(waiting)
        .when(|unready| !matches!(unready, Unready::Api(error) if forbidden(error)))
        .notify(|unready, pause| tracing::warn!(?pause, "{unready}"))
        .await;
    match looked {
        Ok(()) => Ok(()),
        Err(Unready::Api(error)) => Err(Error::Kubernetes(error)),
        Err(unready) => Err(Error::Settings(unready.to_string())),
    }
}

async fn look(client: &Client) -> Result<(), Unready> {
    let policies: Api<PartialObjectMeta<BackupPolicy>> = Api::all(client.clone());
    policies.list_metadata(&ListParams::default().limit(1)).await?;
    let group = format!("/openapi/v3/apis/{}", BackupPolicy::group(&()));
    let request = Request::new(group).get(&BackupPolicy::version(&()), &GetParams::default());
    let request = request.map_err(|error| Unready::Api(Box::new(kube::Error::BuildRequest(error))))?;
    let document: Value = client.request(request).await?;
    match missing_field(&document) {
        None => Ok(()),
        Some(field) => Err(Unready::Older(field)),
    }
}

/// The first field of this release that the API server's description of our resources lacks.
fn missing_field(document: &Value) -> Option<String> {
    let kind = BackupPolicy::kind(&());
    let is_ours = |schema: &&Value| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|known| known["kind"] == *kind))
    };
    let served = document["components"]["schemas"].as_object();
    let served = served.and_then(|schemas| schemas.values().find(is_ours)).unwrap_or(&Value::Null);
    let definition = serde_json::to_value(BackupPolicy::crd()).unwrap_or_default();
    missing(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], served, "")
}

fn missing(ours: &Value, served: &Value, path: &str) -> Option<String> {
    let fields = ours["properties"].as_object().into_iter().flatten();
    let mut missing_fields = fields.filter_map(|(name, field)| {
        let path = format!("{path}.{name}");
        match served["properties"].get(name) {
            Some(known) => missing(field, known, &path),
            None => Some(path),
        }
    });
    missing_fields.next().or_else(|| {
        ours.get("items").and_then(|items| missing(items, &served["items"], &format!("{path}[]")))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        let definition = serde_json::to_value(BackupPolicy::crd()).unwrap();
        let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        schema["x-kubernetes-group-version-kind"] = json!([{"kind": "BackupPolicy"}]);
        json!({"components": {"schemas": {"list": {}, "policy": schema}}})
    }

    #[test]
    fn a_field_that_is_not_served_is_named() {
        assert_eq!(missing_field(&document()), None);
        for (at, field, named) in [
            ("/properties/status/properties", "catalogue", ".status.catalogue"),
            ("/properties/status/properties/backups/items/properties", "prune", ".status.backups[].prune"),
        ] {
            let mut older = document();
            let fields = older.pointer_mut(&format!("/components/schemas/policy{at}")).unwrap();
            assert!(fields.as_object_mut().unwrap().remove(field).is_some());
            assert_eq!(missing_field(&older).as_deref(), Some(named));
        }
        assert!(missing_field(&json!({})).is_some(), "nothing is served yet");
    }
}
