//! What a stopped workload carries so that it can be brought back although the request's status is lost. Pure.

use serde::{Deserialize, Serialize};

use super::RequestIdentity;
use crate::v1alpha1::QuiescedWorkload;

/// The value of the annotation [`crate::labels::LEDGER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// Name of the request that stopped the workload.
    pub request: String,
    /// UID of the request.
    pub request_uid: String,
    /// Replicas that it had; of a Deployment or StatefulSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Whether it was suspended; of a CronJob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

impl Ledger {
    /// What a recorded workload carries.
    pub fn of(request: &RequestIdentity, workload: &QuiescedWorkload) -> Self {
        Self {
            request: request.name.clone(),
            request_uid: request.uid.clone(),
            replicas: workload.replicas,
            suspend: workload.suspend,
        }
    }

    /// The annotation's value.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads an annotation; none when it is no ledger.
    pub fn decode(value: &str) -> Option<Self> {
        serde_json::from_str(value).ok()
    }
}
