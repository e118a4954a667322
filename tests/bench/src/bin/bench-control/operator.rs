//! The operator's program as a process of this machine. Starts it, reads `/proc`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use greenlang_backup_bench::image;
use greenlang_backup_bench::usage::field;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE};
use greenlang_backup_tests::wait;
use tokio::process::{Child, Command};

use crate::SERVED;

/// More runs at once than the bench makes.
const NO_LIMIT: &str = "10000";

/// A running operator; it is killed when this is dropped.
pub struct Operator {
    process: Child,
    _log: tempfile::NamedTempFile,
}

impl Operator {
    /// Starts it as the service account of the chart, and waits until it leads.
    pub async fn start(api: &ApiServer, program: Option<PathBuf>) -> Result<Self> {
        let program = match program {
            Some(program) => program,
            None => std::env::current_exe()?.with_file_name("greenlang-backup-operator"),
        };
        let log = tempfile::NamedTempFile::new()?;
        let process = Command::new(&program)
            .arg("run")
            .env_clear()
            .envs(image::environment())
            .env("KUBECONFIG", api.as_service_account(NAMESPACE, RELEASE).await?)
            .env("NAMESPACES", SERVED)
            .env("POD_NAMESPACE", NAMESPACE)
            .env("POD_NAME", "bench")
            .env("LEASE_NAME", RELEASE)
            .env("RUNNER_IMAGE", "localhost/none:1")
            .env("MAX_CONCURRENT_RUNS", NO_LIMIT)
            .env("LISTEN", "127.0.0.1:0")
            .env("LOG", "warn,greenlang_backup_operator::leader=info")
            .stdin(Stdio::null())
            .stdout(log.reopen()?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        wait::until("the operator leads", Duration::from_mins(1), async || {
            Ok(std::fs::read_to_string(log.path())?.contains("this replica leads").then_some(()))
        })
        .await?;
        Ok(Self { process, _log: log })
    }

    /// Resident bytes now.
    pub fn memory(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// Most resident bytes since its start.
    pub fn most_memory(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    /// Whether it still runs.
    pub fn runs(&self) -> Result<bool> {
        let id = self.process.id().context("the operator has ended")?;
        Ok(std::fs::exists(format!("/proc/{id}/status"))?)
    }

    fn status(&self, name: &str) -> Result<u64> {
        let id = self.process.id().context("the operator has ended")?;
        Ok(field(&format!("/proc/{id}/status"), name)? * 1024)
    }
}
