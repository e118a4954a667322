//! A Kubernetes API server of a test's own, with nothing but etcd behind it: no node, and no controller but on request. It starts in seconds,
//! and what a test does to it (no definitions, a frozen server) disturbs no other test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::config::Kubeconfig;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::cluster::{Cluster, program};
use crate::tls::Ca;
use crate::{random, wait};

/// How long the server may take to answer.
const START: Duration = Duration::from_mins(2);
/// Somebody else may take a port between our choice and the start of a server.
const TRIES: usize = 3;

/// One line for each request of a service account, when it comes in: a watch has no end.
const AUDIT: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["ResponseStarted", "ResponseComplete", "Panic"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}]}"#;

/// A running server; it ends when this is dropped, and when the test that started it is killed.
pub struct ApiServer {
    /// The cluster, as its administrator.
    pub cluster: Cluster,
    folder: TempDir,
    server: Child,
    arguments: Vec<String>,
    _etcd: Child,
    /// Where it listens.
    pub url: String,
    kubeconfig: String,
}

impl ApiServer {
    /// Starts etcd and the API server, and waits until it is ready.
    pub async fn start() -> Result<Self> {
        let mut last = None;
        for _ in 0..TRIES {
            match Self::try_start().await {
                Ok(server) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no try")?)
    }

    async fn try_start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let [client, peer, secure] = free_ports()?;
        let ca = Ca::new()?;
        let server = ca.server(&[Ipv4Addr::LOCALHOST.to_string()])?;
        let accounts = ca.server(&["accounts".to_owned()])?;
        let token = random::word(24)?;
        for (name, text) in [
            ("ca.crt", &ca.certificate),
            ("tls.crt", &server.certificate),
            ("tls.key", &server.key),
            ("accounts.crt", &accounts.certificate),
            ("accounts.key", &accounts.key),
            ("tokens.csv", &format!("{token},admin,admin,system:masters\n")),
            ("audit.yaml", &AUDIT.to_owned()),
        ] {
            std::fs::write(path(name), text)?;
        }
        let etcd_url = format!("http://127.0.0.1:{client}");
        let etcd = spawn(
            &folder,
            "etcd",
            &[
                format!("--data-dir={}", path("etcd")),
                format!("--listen-client-urls={etcd_url}"),
                format!("--advertise-client-urls={etcd_url}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                "--unsafe-no-fsync".to_owned(),
            ],
        )?;
        let arguments = vec![
            format!("--etcd-servers={etcd_url}"),
            format!("--secure-port={secure}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            format!("--tls-cert-file={}", path("tls.crt")),
            format!("--tls-private-key-file={}", path("tls.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", path("accounts.crt")),
            format!("--service-account-signing-key-file={}", path("accounts.key")),
            format!("--token-auth-file={}", path("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            format!("--audit-policy-file={}", path("audit.yaml")),
            format!("--audit-log-path={}", path("audit.log")),
        ];
        let mut server = spawn(&folder, "kube-apiserver", &arguments)?;
        let url = format!("https://127.0.0.1:{secure}");
        let kubeconfig = write_kubeconfig(&folder, "admin", &url, &token)?;
        let cluster =
            Cluster::open(kubeconfig.clone().into(), Kubeconfig::read_from(Path::new(&kubeconfig))?).await?;
        ready(&cluster, &mut server, &folder).await?;
        Ok(Self { cluster, folder, server, arguments, _etcd: etcd, url, kubeconfig })
    }

    /// A kubeconfig by which a program is the service account, with its rights and no more.
    pub async fn as_service_account(&self, namespace: &str, name: &str) -> Result<String> {
        self.as_service_account_by(&self.url, namespace, name).await
    }

    /// As [`Self::as_service_account`], by way of something that stands before the server.
    pub async fn as_service_account_by(&self, url: &str, namespace: &str, name: &str) -> Result<String> {
        let token = self.cluster.kube(&format!("create token -n {namespace} {name} --duration=1h")).await?;
        write_kubeconfig(&self.folder, name, url, token.trim())
    }

    /// What a service account has asked so far, each as `verb resource/subresource name`, oldest first.
    pub fn requests(&self, namespace: &str, account: &str) -> Result<Vec<String>> {
        let user = format!("system:serviceaccount:{namespace}:{account}");
        let log = std::fs::read_to_string(self.folder.path().join("audit.log"))?;
        let mut requests = Vec::new();
        // The last line may still be being written.
        for event in log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
            if event["user"]["username"] != *user {
                continue;
            }
            let object = |field: &str| event["objectRef"][field].as_str().unwrap_or_default();
            let what = [object("resource"), object("subresource")].join("/");
            let verb = event["verb"].as_str().unwrap_or_default();
            requests.push(format!("{verb} {} {}", what.trim_end_matches('/'), object("name")));
        }
        Ok(requests)
    }

    /// Starts controllers of Kubernetes, such as `garbage-collector-controller`; they end when this is dropped.
    pub fn start_controllers(&self, names: &[&str]) -> Result<Child> {
        let arguments = [
            format!("--kubeconfig={}", self.kubeconfig),
            format!("--controllers={}", names.join(",")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        spawn(&self.folder, "kube-controller-manager", &arguments)
    }

    /// Stops the server in its tracks: connections stay, and nothing is answered.
    pub async fn freeze(&self) -> Result<()> {
        signal(&self.server, "STOP").await
    }

    /// Lets a frozen server go on.
    pub async fn thaw(&self) -> Result<()> {
        signal(&self.server, "CONT").await
    }

    /// Ends the server at once, and with it all connections. What is stored stays.
    pub async fn stop(&mut self) -> Result<()> {
        Ok(self.server.kill().await?)
    }

    /// Starts a server that was stopped. It remembers no change from before, so watches cannot go on where they were.
    pub async fn start_again(&mut self) -> Result<()> {
        self.server = spawn(&self.folder, "kube-apiserver", &self.arguments)?;
        ready(&self.cluster, &mut self.server, &self.folder).await
    }
}

/// Waits until a server that was started works.
async fn ready(cluster: &Cluster, server: &mut Child, folder: &TempDir) -> Result<()> {
    let ready = wait::until("the API server is ready", START, async || {
        if let Some(ended) = server.try_wait()? {
            return Ok(Some(Err(ended)));
        }
        // The default namespace comes last: rights and roles are there by then.
        let answer = cluster.kube("get namespace default -o name --request-timeout=5s").await;
        Ok(answer.is_ok().then_some(Ok(())))
    });
    if let Err(ended) = ready.await? {
        let log = std::fs::read_to_string(folder.path().join("kube-apiserver.log")).unwrap_or_default();
        bail!("the API server ended ({ended}):\n{}", crate::command::tail(&log));
    }
    Ok(())
}

/// Sends a signal to a process that a test started.
pub async fn signal(process: &Child, signal: &str) -> Result<()> {
    let pid = process.id().context("the process has ended")?;
    let mut kill = Command::new("kill");
    kill.args(["-s", signal, &pid.to_string()]);
    crate::command::run(&mut kill, "").await.map(drop)
}

/// Ports that nobody listens on, all of them different.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners: Vec<_> =
        (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Starts a program of the local node with its output in a file. It ends with the thread that starts it, however that ends.
fn spawn(folder: &TempDir, name: &str, arguments: &[String]) -> Result<Child> {
    let program = program(name)?;
    let log = std::fs::File::create(folder.path().join(format!("{name}.log")))?;
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            format!("{} cannot be started: `tests/cluster/node.sh programs` builds it", program.display())
        })
}

fn write_kubeconfig(folder: &TempDir, user: &str, url: &str, token: &str) -> Result<String> {
    let path = folder.path().join(format!("{user}.kubeconfig"));
    let authority = folder.path().join("ca.crt");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "alone",
        "clusters": [{"name": "alone", "cluster": {"server": url, "certificate-authority": authority}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "alone", "context": {"cluster": "alone", "user": user}}],
    });
    std::fs::write(&path, config.to_string())?;
    Ok(path.display().to_string())
}
