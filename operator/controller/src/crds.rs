//! The operator's definitions: prints them, and waits for them at start. I/O.

use std::path::Path;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use greenlang_backup_api::v1alpha1::{BackupPolicy, RestoreRequest};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GetParams, ListParams, Request};
use kube::{Api, Client, CustomResourceExt as _};
use serde_json::Value;

use crate::errors::Error;

/// Longest pause between two looks.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// A definition of this release.
struct Definition {
    resource: ApiResource,
    content: CustomResourceDefinition,
    /// Name of the generated file.
    file: &'static str,
}

/// All that the operator serves, in the order in which they are looked for.
fn definitions() -> [Definition; 2] {
    [
        Definition {
            resource: BackupPolicy::api_resource(),
            content: BackupPolicy::crd(),
            file: BackupPolicy::CRD_FILE,
        },
        Definition {
            resource: RestoreRequest::api_resource(),
            content: RestoreRequest::crd(),
            file: RestoreRequest::CRD_FILE,
        },
    ]
}

/// Why the operator cannot work yet.
#[derive(Debug, thiserror::Error)]
enum Unready {
    /// Without the definition a watch would fail for ever.
    #[error("waiting for the {kind} definition: install or upgrade the chart greenlang-backup-crds")]
    Absent { kind: String },
    /// The API server drops what the definition does not have, so what the operator must remember would be lost.
    #[error(
        "waiting for the {kind} definition of this release: the one in use has no field {field}; upgrade the chart greenlang-backup-crds"
    )]
    Older { kind: String, field: String },
    /// The API server, or a missing right.
    #[error("waiting for the API server: {0}")]
    Api(#[source] Box<kube::Error>),
}

/// Prints every definition as one YAML stream, or writes each into a file of its own.
#[expect(clippy::print_stdout, reason = "printing is what the command is for")]
pub fn print(folder: Option<&Path>) -> Result<(), Error> {
    for Definition { content, file, .. } in definitions() {
        let text = serde_yaml::to_string(&content)?;
        match folder.map(|folder| folder.join(file)) {
            None => print!("---\n{text}"),
            Some(path) => std::fs::write(&path, text)
                .map_err(|error| Error::Write { path: path.display().to_string(), error })?,
        }
    }
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
    for known in definitions() {
        let kind = || known.resource.kind.clone();
        let served = served(client, &known.resource).await.map_err(|error| match error {
            // By its code: without any resource of the group the server answers 404 in plain text.
            kube::Error::Api(status) if status.code == 404 => Unready::Absent { kind: kind() },
            error => Unready::Api(Box::new(error)),
        })?;
        if let Some(field) = missing_field(&known, &served) {
            return Err(Unready::Older { kind: kind(), field });
        }
    }
    Ok(())
}

/// What the API server says of the group of a resource that it serves.
async fn served(client: &Client, resource: &ApiResource) -> Result<Value, kube::Error> {
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    objects.list_metadata(&ListParams::default().limit(1)).await?;
    let group = format!("/openapi/v3/apis/{}", resource.group);
    let request = Request::new(group).get(&resource.version, &GetParams::default());
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}

/// The first field of this release that the API server's description of a resource lacks.
fn missing_field(known: &Definition, document: &Value) -> Option<String> {
    let is_ours = |schema: &&Value| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|other| other["kind"] == *known.resource.kind))
    };
    let served = document["components"]["schemas"].as_object();
    let served = served.and_then(|schemas| schemas.values().find(is_ours)).unwrap_or(&Value::Null);
    let definition = serde_json::to_value(&known.content).unwrap_or_default();
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

    /// As the API server describes what it serves.
    fn document() -> Value {
        let schemas = definitions().map(|known| {
            let kind = known.resource.kind;
            let definition = serde_json::to_value(known.content).unwrap();
            let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
            schema["x-kubernetes-group-version-kind"] = json!([{"kind": kind}]);
            (kind, schema)
        });
        let mut schemas: serde_json::Map<_, _> = schemas.into_iter().collect();
        schemas.insert("List".into(), json!({}));
        json!({"components": {"schemas": schemas}})
    }

    #[test]
    fn a_field_that_is_not_served_is_named() {
        let [policies, requests] = definitions();
        for (known, at, field, named) in [
            (&policies, "/properties/status/properties", "catalogue", ".status.catalogue"),
            (
                &policies,
                "/properties/status/properties/backups/items/properties",
                "prune",
                ".status.backups[].prune",
            ),
            (&requests, "/properties/spec/properties", "quiesce", ".spec.quiesce"),
            (
                &requests,
                "/properties/status/properties/quiesced/items/properties",
                "uid",
                ".status.quiesced[].uid",
            ),
        ] {
            let mut older = document();
            assert_eq!(missing_field(known, &older), None);
            let kind = &known.resource.kind;
            let fields = older.pointer_mut(&format!("/components/schemas/{kind}{at}")).unwrap();
            assert!(fields.as_object_mut().unwrap().remove(field).is_some());
            assert_eq!(missing_field(known, &older).as_deref(), Some(named));
            assert!(missing_field(known, &json!({})).is_some(), "nothing is served yet");
        }
    }
}
