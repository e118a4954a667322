//! The operator's program as a process of this machine, set up as the chart sets it up, and what it tells the outside.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use greenlang_backup_tests::api_server::{ApiServer, signal};
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE, install_chart};
use greenlang_backup_tests::{command, wait};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Longer than a Lease runs, on a machine that is busy with other tests.
pub const LIMIT: Duration = Duration::from_mins(2);
/// Of the Debian package `faketime`; the loader knows what `$LIB` is.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";
/// Namespace that the operator serves.
pub const SERVED: &str = "served";

/// Installs the chart of the operator, whose Deployment starts nothing here, for its accounts and rights.
pub async fn install(api: &ApiServer) -> Result<()> {
    api.cluster.kube(&format!("create namespace {SERVED}")).await?;
    install_chart(&api.cluster, RELEASE, json!({"namespaces": [SERVED]})).await
}

/// Variables of a process whose clock is off by so much.
pub fn clock_off(offset: &str) -> [(&'static str, &str); 3] {
    [("LD_PRELOAD", FAKETIME), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
}

/// A running operator; it is killed when this is dropped.
pub struct Replica {
    pub name: &'static str,
    process: Child,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Replica {
    /// Starts one as the service account of the chart, and waits until its endpoints are served.
    pub async fn start(api: &ApiServer, name: &'static str) -> Result<Self> {
        let kubeconfig = api.as_service_account(NAMESPACE, RELEASE).await?;
        let replica = Self::start_with(&kubeconfig, name, &[])?;
        replica.said("serving /livez, /readyz and /metrics").await?;
        Ok(replica)
    }

    /// Starts one whose clock is off by so much, such as `+1d`, and waits until it leads.
    pub async fn start_off(api: &ApiServer, offset: &str) -> Result<Self> {
        let kubeconfig = api.as_service_account(NAMESPACE, RELEASE).await?;
        let replica = Self::start_with(&kubeconfig, "operator", &clock_off(offset))?;
        replica.said("this replica leads").await?;
        Ok(replica)
    }

    /// Starts one with this access to the API server, and these variables before those of the chart.
    pub fn start_with(kubeconfig: &str, name: &'static str, variables: &[(&str, &str)]) -> Result<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_greenlang-backup-operator"))
            .arg("run")
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .env("NAMESPACES", SERVED)
            .env("POD_NAMESPACE", NAMESPACE)
            .env("POD_NAME", name)
            .env("LEASE_NAME", RELEASE)
            .env("RUNNER_IMAGE", "localhost/none:1")
            .env("LISTEN", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the operator cannot be started")?;
        let log = Arc::<Mutex<Vec<Value>>>::default();
        let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
        let copy = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                copy.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Self { name, process, log })
    }

    /// Lines of its log with this message.
    pub fn lines(&self, message: &str) -> Vec<Value> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|line| line["message"] == message).cloned().collect()
    }

    /// Waits for a line with this message.
    pub async fn said(&self, message: &str) -> Result<Value> {
        let what = format!("{} says {message:?}", self.name);
        let said = wait::until(&what, LIMIT, async || Ok(self.lines(message).pop())).await;
        said.with_context(|| format!("{:#?}", self.log.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Waits until it says something that begins so.
    pub async fn said_part(&self, beginning: &str) -> Result<()> {
        let begins = |line: &Value| line["message"].as_str().is_some_and(|said| said.starts_with(beginning));
        let what = format!("{} says {beginning:?}", self.name);
        let said = async || {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(log.iter().any(begins).then_some(()))
        };
        wait::until(&what, LIMIT, said).await
    }

    /// Status code and body of an endpoint; none while nobody answers.
    pub async fn get(&self, path: &str) -> Result<Option<(u16, String)>> {
        let served = self.lines("serving /livez, /readyz and /metrics");
        let address =
            served.first().and_then(|line| line["address"].as_str()).context("nothing is served")?;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "10", "--write-out", "\n%{http_code}"]);
        curl.arg(format!("http://{address}{path}"));
        let answer = command::output(&mut curl, "").await?;
        let Some((body, code)) = answer.stdout.rsplit_once('\n').filter(|_| answer.ok) else {
            return Ok(None);
        };
        Ok(Some((code.parse()?, body.to_owned())))
    }

    /// Fails unless an endpoint answers with this code and a body that has this word.
    pub async fn answers(&self, path: &str, code: u16, word: &str) -> Result<()> {
        let (found, body) =
            self.get(path).await?.with_context(|| format!("{} does not answer {path}", self.name))?;
        ensure!(found == code && body.contains(word), "{}: {path}: {found} {body:?}", self.name);
        Ok(())
    }

    /// Whether its metrics say that it leads.
    pub async fn leads(&self) -> Result<bool> {
        let (_, text) = self.get("/metrics").await?.context("no metrics")?;
        Ok(text.lines().any(|line| line == "greenlang_backup_operator_leader 1"))
    }

    /// Sends it a signal.
    pub async fn signal(&self, name: &str) -> Result<()> {
        signal(&self.process, name).await
    }

    /// The most memory that it has taken so far, in bytes.
    pub fn most_memory(&self) -> Result<u64> {
        let pid = self.process.id().context("it has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// Whether a signal has stopped it in its tracks.
    #[cfg(feature = "crash-points")]
    pub fn is_stopped(&self) -> Result<bool> {
        let pid = self.process.id().context("it has ended")?;
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // After the name, which stands in parentheses and may hold anything.
        Ok(state.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    }

    /// Waits for its end. The Pod's grace period, which Kubernetes gives it, is the limit.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        match tokio::time::timeout(limit, self.process.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("{} still runs after {} s", self.name, limit.as_secs()),
        }
    }

    /// Waits for an orderly end.
    pub async fn ended_well(&mut self, limit: Duration) -> Result<()> {
        let status = self.ended(limit).await?;
        ensure!(status.code() == Some(0), "{}: {status} (signal {:?})", self.name, status.signal());
        Ok(())
    }
}
