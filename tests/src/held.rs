//! Holds a dump in its middle by stopping (SIGSTOP) the server's process that writes the big table to `pg_dump`: what happens
//! then does not depend on how fast anything is.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::parts::{Parts, postgres};
use crate::{bucket, policy, wait};

/// How long the dump may take to begin and to send its first part.
const LIMIT: Duration = Duration::from_mins(4);
/// Random, so that it is as large in the bucket: several parts of an upload.
const BIG: &str = "CREATE TABLE big AS SELECT gen_random_uuid() AS a, gen_random_uuid() AS b, gen_random_uuid() AS c, gen_random_uuid() AS d FROM generate_series(1, 700000)";
/// Stops the process that sends the big table, as soon as there is one.
const HOLD: &str = "
for try in $(seq 3000); do
  pid=$(psql -XqAt -h /run/postgresql -c \"SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY public.big %' AND backend_type = 'client backend'\" postgres)
  if [ -n \"$pid\" ]; then kill -STOP $pid; echo $pid; exit 0; fi
done
echo 'no dump came' >&2; exit 1";

/// A dump that stands still.
pub struct HeldDump {
    /// Process of the server that is stopped.
    pub server_process: String,
}

/// A policy whose dumps can be held.
pub async fn policy(cluster: &Cluster, parts: &Parts, name: &str) -> Result<Value> {
    let policy = policy::small(cluster, parts, name).await?;
    postgres::psql(cluster, &parts.namespace, name, BIG).await?;
    Ok(policy)
}

/// Holds the next dump, after parts of it were sent to the bucket.
pub async fn hold(cluster: &Cluster, parts: &Parts) -> Result<HeldDump> {
    let namespace = &*parts.namespace;
    let server_process = cluster.script_ok(namespace, postgres::POD, HOLD).await?.trim().to_owned();
    // What was sent before is on its way to the bucket.
    wait::until_in(cluster, namespace, "an upload is open", LIMIT, async || {
        Ok((!bucket::uploads(cluster, parts).await?.is_empty()).then_some(()))
    })
    .await?;
    Ok(HeldDump { server_process })
}

impl HeldDump {
    /// Lets it go on.
    pub async fn let_go(&self, cluster: &Cluster, parts: &Parts) -> Result<()> {
        let script = format!("kill -CONT {}", self.server_process);
        cluster.script_ok(&parts.namespace, postgres::POD, &script).await.map(drop)
    }
}
