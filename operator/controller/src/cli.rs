//! Command line and environment of the operator. No I/O of its own.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use greenlang_backup_plan::job::RunnerSettings;

/// Backs up platforms as BackupPolicies say.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<RunSettings>),
    /// Print the custom resource definitions as YAML.
    Crd {
        /// Write each into a file of this folder instead.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

#[derive(Clone, Debug, Args)]
pub struct RunSettings {
    /// Namespaces in which Jobs may be made, separated by commas; the operator needs its Role in each.
    #[arg(long, env = "NAMESPACES", value_delimiter = ',', required = true)]
    pub namespaces: Vec<String>,
    /// Namespace of the Lease by which replicas elect the active one.
    #[arg(long, env = "POD_NAMESPACE")]
    pub lease_namespace: String,
    /// Name of this replica in the Lease and in events.
    #[arg(long, env = "POD_NAME")]
    pub identity: String,
    /// Name of the Lease.
    #[arg(long, env = "LEASE_NAME", default_value = "greenlang-backup-operator")]
    pub lease_name: String,
    /// Image with the runner.
    #[arg(long, env = "RUNNER_IMAGE")]
    pub runner_image: String,
    /// Pull policy of that image.
    #[arg(long, env = "RUNNER_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    pub runner_image_pull_policy: String,
    /// Service account of the Jobs; it needs no rights.
    #[arg(long, env = "RUNNER_SERVICE_ACCOUNT", default_value = "backup-runner")]
    pub runner_service_account: String,
    /// Runs of all policies that may go on at once, at least 1; others wait, and policies take turns.
    #[arg(long, env = "MAX_CONCURRENT_RUNS", default_value = "20")]
    pub max_concurrent_runs: NonZeroUsize,
    /// Namespace of Argo CD itself, where Applications are whose namespace their parts do not say.
    #[arg(long, env = "ARGO_CD_NAMESPACE", default_value = "argocd")]
    pub argo_cd_namespace: String,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Log filter, for example `info` or `greenlang_backup_operator=debug`.
    #[arg(long, env = "LOG", default_value = "info")]
    pub log: String,
}

impl RunSettings {
    /// What all Jobs have in common.
    pub fn runner(&self, cluster_uid: String) -> RunnerSettings {
        RunnerSettings {
            image: self.runner_image.clone(),
            image_pull_policy: self.runner_image_pull_policy.clone(),
            cluster_uid,
            service_account: self.runner_service_account.clone(),
        }
    }
}
