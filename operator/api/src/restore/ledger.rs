//! What a stopped workload carries, or what is paused in its place, so that it can be brought back although the request's status is
//! lost. Pure.

use serde::{Deserialize, Serialize};

use super::RequestIdentity;
use crate::names::is_object_name;
use crate::v1alpha1::{QuiescedWorkload, SkippedApplication};

/// The value of the annotation [`crate::labels::LEDGER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// Name of the request that stopped the workload.
    pub request: String,
    /// UID of the request.
    pub request_uid: String,
    /// Replicas that it had; of a Deployment or StatefulSet, or of what the ScaledObject scales.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Whether it was suspended; of a CronJob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// What the annotation said that pauses it, absent where there was none; of a ScaledObject or an Application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation: Option<String>,
}

impl Ledger {
    /// What a recorded workload carries, or the ScaledObject in its place.
    pub fn of(request: &RequestIdentity, workload: &QuiescedWorkload) -> Self {
        let paused = workload.scaled_object.as_ref();
        Self {
            request: request.name.clone(),
            request_uid: request.uid.clone(),
            replicas: workload.replicas,
            suspend: workload.suspend,
            annotation: paused.and_then(|paused| paused.paused_replicas.clone()),
        }
    }

    /// What a recorded Application carries.
    pub fn of_application(request: &RequestIdentity, application: &SkippedApplication) -> Self {
        Self {
            request: request.name.clone(),
            request_uid: request.uid.clone(),
            replicas: None,
            suspend: None,
            annotation: application.skip_reconcile.clone(),
        }
    }

    /// The annotation's value.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads an annotation; none when it is no ledger, be it only for names that no object has: whoever may write it could write anything.
    pub fn decode(value: &str) -> Option<Self> {
        let ledger: Self = serde_json::from_str(value).ok()?;
        let can_be = [&ledger.request, &ledger.request_uid].iter().all(|name| is_object_name(name));
        can_be.then_some(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_has_the_names_of_an_object() {
        let annotation = |name: usize, uid: usize| {
            format!(r#"{{"request": "{}", "requestUid": "{}"}}"#, "n".repeat(name), "u".repeat(uid))
        };
        for (name, uid, read) in [(253, 36, true), (254, 36, false), (4, 254, false), (200_000, 36, false)] {
            assert_eq!(Ledger::decode(&annotation(name, uid)).is_some(), read, "{name} {uid}");
        }
        assert_eq!(Ledger::decode("{}"), None);
    }
}
