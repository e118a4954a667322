//! What the node tests share: one cluster, one operator, and a fresh namespace for each test.

use std::fs::File;

use anyhow::{Result, ensure};
use tokio::sync::OnceCell;

use crate::cluster::{self, Cluster};
use crate::parts::{self, Parts};
use crate::{namespaces, operator, random};

/// Start of the names of the tests' namespaces.
const PREFIX: &str = "node-test-";

/// A program of node tests: it holds the cluster for itself, and its namespaces have a suffix that no other run has.
struct Suite {
    suffix: String,
    // Held until the program ends; another program of node tests waits so long.
    _lock: File,
}

static SUITE: OnceCell<Suite> = OnceCell::const_new();

/// The cluster and a namespace for one test, which the operator serves. Every test of a program calls this with the same
/// list of `names`, one of which is its own: the operator is installed once, for all of them.
pub async fn enter(names: &[&str], name: &str) -> Result<(Cluster, String)> {
    ensure!(names.contains(&name), "{name} is not in the list of namespaces");
    let suite = SUITE.get_or_try_init(async || start(names).await).await?;
    // A client belongs to the runtime of the test that made it, so each test has its own.
    let cluster = Cluster::connect().await?;
    Ok((cluster, format!("{PREFIX}{name}-{}", suite.suffix)))
}

/// As [`enter`], for a program whose one test needs no operator.
pub async fn enter_without_operator(name: &str) -> Result<(Cluster, Parts)> {
    let suite = SUITE.get_or_try_init(async || Ok::<_, anyhow::Error>(prepare().await?.0)).await?;
    let cluster = Cluster::connect().await?;
    let namespace = format!("{PREFIX}{name}-{}", suite.suffix);
    namespaces::ensure_other(&cluster, &namespace).await?;
    let parts = parts::install(&cluster, &namespace).await?;
    Ok((cluster, parts))
}

/// As [`enter`], and the parts in the namespace.
pub async fn enter_with_parts(names: &[&str], name: &str) -> Result<(Cluster, Parts)> {
    let (cluster, namespace) = enter(names, name).await?;
    let parts = parts::install(&cluster, &namespace).await?;
    Ok((cluster, parts))
}

async fn start(names: &[&str]) -> Result<Suite> {
    let (suite, cluster) = prepare().await?;
    for name in names {
        namespaces::ensure_served(&cluster, &format!("{PREFIX}{name}-{}", suite.suffix)).await?;
    }
    operator::install(&cluster).await?;
    Ok(suite)
}

async fn prepare() -> Result<(Suite, Cluster)> {
    let lock = cluster::lock().await?;
    // Only now: the program that was waited for may have made the node anew.
    let cluster = Cluster::connect().await?;
    // What an earlier program left goes away while this one works.
    namespaces::delete_all(&cluster, PREFIX).await?;
    Ok((Suite { suffix: random::word(4)?, _lock: lock }, cluster))
}
