//! What every reconcile may use, and nothing else is reachable. No I/O of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use greenlang_backup_plan::job::RunnerSettings;
use kube::Client;

use crate::backup_policy::{Children, Expected, Places};
use crate::events::Events;
use crate::metrics::Reconciles;
use crate::passes::Passes;
use crate::restore_request::Requests;

/// Shared by all reconciles.
pub struct Context {
    /// Talks to the API server.
    pub client: Client,
    /// Publishes events.
    pub events: Events,
    /// Namespaces in which Jobs may be made.
    pub namespaces: BTreeSet<String>,
    /// Namespace of the Leases by which one request at a time restores a database.
    pub lease_namespace: String,
    /// Namespace of Argo CD itself, where Applications are whose namespace a mark does not say.
    pub argo_cd_namespace: String,
    /// Jobs and Pods in these, as the watches have them.
    pub children: Children,
    /// The requests of all namespaces, as the watch has them.
    pub restores: Requests,
    /// What passes have done and the watches do not show yet.
    pub expected: Expected,
    /// Which runs go on, of all policies.
    pub places: Arc<Places>,
    /// What all Jobs have in common.
    pub runner: RunnerSettings,
    /// What passes run in.
    pub passes: Passes,
    /// Counts passes.
    pub reconciles: Reconciles,
}
