//! What can go wrong in the operator, each with a stable reason and the pause before the next try. No I/O.

use std::time::Duration;

use greenlang_backup_api::reasons;

/// An error of the operator itself. What users did wrong is no error here but a condition.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server said no, or could not be reached.
    #[error("Kubernetes API: {0}")]
    Kubernetes(#[source] Box<kube::Error>),
    /// A definition could not be written as YAML.
    #[error("cannot be written as YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
    /// A definition could not be written to its file.
    #[error("{path}: {error}")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// The object that a pass is about was changed, or deleted, while the pass took long.
    #[error("the object has changed since it was read: what was decided on it is decided anew")]
    Overtaken,
    /// A flag or variable has an unusable value.
    #[error("{0}")]
    Settings(String),
    /// The address for probes and metrics cannot be used.
    #[error("cannot listen on {0}: {1}")]
    Listen(std::net::SocketAddr, #[source] std::io::Error),
    /// The Lease could not be set up.
    #[error("leader election: {0}")]
    Lease(#[from] kube_lease_manager::LeaseManagerError),
    /// Another replica leads now; this one must stop at once.
    #[error("the lease was lost: another replica may be active now")]
    LeaseLost,
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

impl Error {
    /// Stable reason, for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Kubernetes(error) => match error.as_ref() {
                kube::Error::Api(status) if status.is_conflict() => "Conflict",
                kube::Error::Api(status) if status.is_forbidden() => "Forbidden",
                kube::Error::Api(status) if status.is_not_found() => "NotFound",
                kube::Error::Api(_) => "KubernetesRefused",
                _ => "KubernetesUnreachable",
            },
            Self::Overtaken => "Conflict",
            Self::Yaml(_) | Self::Write { .. } => reasons::INTERNAL_ERROR,
            Self::Settings(_) => "InvalidSettings",
            Self::Listen(..) => "CannotListen",
            Self::Lease(_) => "LeaseFailed",
            Self::LeaseLost => "LeaseLost",
        }
    }

    /// Whether somebody else wrote first.
    pub fn is_conflict(&self) -> bool {
        self.reason() == "Conflict"
    }

    /// How long to wait before the object is looked at again. A conflict means that somebody else wrote first: what they
    /// wrote is read at once. kube's client has already repeated what 429 and 5xx answers allow.
    pub fn pause(&self) -> Duration {
        match self.reason() {
            "Conflict" => Duration::from_millis(200),
            "Forbidden" => Duration::from_mins(1),
            _ => Duration::from_secs(10),
        }
    }
}
