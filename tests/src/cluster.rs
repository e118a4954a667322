//! The cluster that tests and the demo work on: client, kubectl and helm, and the refusal to touch anybody else's cluster.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::process::Command;

use crate::command::{self, Output};

/// Context of the node that `tests/cluster/node.sh up` makes.
const LOCAL_CONTEXT: &str = "greenlang-local";
/// Field manager of all that tests and demo apply.
const FIELD_MANAGER: &str = "greenlang-backup-tests";

/// A cluster that may be used for tests.
#[derive(Clone)]
pub struct Cluster {
    /// Client of its API server.
    pub client: Client,
    /// Image of operator and runner; empty where none is named.
    pub image: String,
    /// What the names of the parts' images start with.
    pub parts_prefix: String,
    /// Whether it is the node of `tests/cluster`.
    pub is_local: bool,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
}

/// Folder for what is slow to get.
pub fn cache() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("GREENLANG_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("greenlang-backup")))
        .or_else(|| Some(variable("HOME")?.join(".cache/greenlang-backup")))
        .context("no place for the cache: set GREENLANG_CACHE or HOME")
}

/// Waits until no other demo or program of node tests works on a cluster: they share one operator. Released when dropped.
pub async fn lock() -> Result<File> {
    let folder = cache()?;
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let file = File::create(folder.join("cluster-user.lock"))?;
    Ok(tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await??)
}

/// A program that `tests/cluster/node.sh programs` built; without it, the one of that name in `PATH`.
pub fn program(name: &str) -> Result<PathBuf> {
    let cached = cache()?.join("bin").join(name);
    Ok(if cached.is_file() { cached } else { PathBuf::from(name) })
}

fn variable_or(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

impl Cluster {
    /// Connects as the environment says: `KUBECONFIG` (default: the local node's), `ALLOW_CLUSTER`, `IMAGE`, `PARTS_PREFIX`.
    pub async fn connect() -> Result<Self> {
        let cache = cache()?;
        let kubeconfig =
            PathBuf::from(variable_or("KUBECONFIG", &cache.join("kubeconfig").to_string_lossy()));
        let file = Kubeconfig::read_from(&kubeconfig).with_context(|| {
            format!(
                "no cluster: {} cannot be read; `tests/cluster/node.sh up` makes one",
                kubeconfig.display()
            )
        })?;
        allowed(&file.current_context.clone().unwrap_or_default(), &variable_or("ALLOW_CLUSTER", ""))?;
        Self::open(kubeconfig, file).await
    }

    /// The cluster of a kubeconfig that a test wrote itself.
    pub(crate) async fn open(kubeconfig: PathBuf, file: Kubeconfig) -> Result<Self> {
        let is_local = file.current_context.as_deref() == Some(LOCAL_CONTEXT);
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(Self {
            client: Client::try_from(config)?,
            image: variable_or("IMAGE", ""),
            parts_prefix: variable_or("PARTS_PREFIX", "localhost/greenlang-test"),
            is_local,
            kubectl: program("kubectl")?,
            helm: program("helm")?,
            kubeconfig,
        })
    }

    /// `kubectl`, to be given arguments.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// `helm`, to be given arguments.
    pub fn helm(&self) -> Command {
        let mut command = Command::new(&self.helm);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// Runs kubectl with arguments separated by spaces.
    pub async fn kube(&self, arguments: &str) -> Result<String> {
        command::run(self.kubectl().args(arguments.split_whitespace()), "").await
    }

    /// Server-side apply of YAML or JSON documents.
    pub async fn apply(&self, documents: &str) -> Result<()> {
        let mut kubectl = self.kubectl();
        kubectl.args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager",
            FIELD_MANAGER,
            "-f",
            "-",
        ]);
        command::run(&mut kubectl, documents).await.map(drop)
    }

    /// Runs a shell script in a Pod (`name` or `kind/name`), given by standard input so that no argument holds a secret.
    pub async fn script(&self, namespace: &str, pod: &str, script: &str) -> Result<Output> {
        let mut kubectl = self.kubectl();
        kubectl.args(["exec", "--quiet", "-i", "-n", namespace, pod, "--", "bash", "-s"]);
        command::output(&mut kubectl, script).await
    }

    /// As [`Self::script`], stopping at the first command that fails, and an error then. Gives its standard output.
    pub async fn script_ok(&self, namespace: &str, pod: &str, script: &str) -> Result<String> {
        let done = self.script(namespace, pod, &format!("set -euo pipefail\n{script}")).await?;
        if !done.ok {
            bail!("a script in {namespace}/{pod} failed:\n{}", done.quote());
        }
        Ok(done.stdout)
    }

    /// Runs a program in a Pod with `stdin`.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        program: &[&str],
        stdin: impl Into<Vec<u8>>,
    ) -> Result<String> {
        let mut kubectl = self.kubectl();
        kubectl.args(["exec", "--quiet", "-i", "-n", namespace, pod, "--"]).args(program);
        command::run(&mut kubectl, stdin).await
    }
}

/// Tests delete namespaces and make load, so a cluster must be meant by name.
fn allowed(context: &str, allow: &str) -> Result<()> {
    if context == LOCAL_CONTEXT || context == allow && !context.is_empty() {
        return Ok(());
    }
    bail!(
        "the cluster of context {context:?} is not the local test node: tests and demo would install things there. If that is what you want, set ALLOW_CLUSTER={context}"
    )
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn only_the_local_node_and_the_cluster_named_are_used() {
        assert!(allowed("greenlang-local", "").is_ok());
        assert!(allowed("kind-test", "kind-test").is_ok());
        for (context, allow) in [("production", ""), ("production", "kind-test"), ("", "")] {
            assert!(allowed(context, allow).unwrap_err().to_string().contains("ALLOW_CLUSTER"));
        }
    }
}
