//! The local node as a machine: parts of it fail and come back, or it is made anew. Runs `tests/cluster/node.sh`.

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::cluster::Cluster;
use crate::command;
use crate::operator::checkout;

/// What fails.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The API server neither ends nor answers.
    ApiServer,
    /// The kubelet ends; containers go on.
    Kubelet,
    /// Everything ends at once, as by a loss of power; what is on a disk stays.
    All,
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ApiServer => "api-server",
            Self::Kubelet => "kubelet",
            Self::All => "all",
        }
    }
}

/// Lets a part fail.
pub async fn stop(cluster: &Cluster, part: Part) -> Result<()> {
    run(cluster, &["stop", part.as_str()]).await
}

/// Brings back what failed, whatever it was.
pub async fn start(cluster: &Cluster) -> Result<()> {
    run(cluster, &["start"]).await
}

/// Removes the node with all that is in it and makes another one, which has the images. The old connection is of no use any more.
pub async fn make_anew(cluster: &Cluster) -> Result<Cluster> {
    for verb in ["down", "up", "images"] {
        run(cluster, &[verb]).await?;
    }
    Cluster::connect().await
}

async fn run(cluster: &Cluster, arguments: &[&str]) -> Result<()> {
    ensure!(
        cluster.is_local,
        "only the local node may be broken or made anew, and this is not the local node"
    );
    let script = checkout().join("tests/cluster/node.sh");
    command::run(Command::new(script).args(arguments), "").await.map(drop)
}
