//! Waiting with a deadline for something to become true, and what to show when it does not.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cluster::Cluster;
use crate::command::tail;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Looks until `check` gives a value. An error of a look is not final: the API server or a Pod may be restarting.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut last = String::new();
    loop {
        match check().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(error) => last = format!(" The last look failed: {error:#}"),
        }
        if start.elapsed() > limit {
            bail!("{what}: not so after {} s.{last}", limit.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// As [`until`], and the state of a namespace in the error.
pub async fn until_in<T>(
    cluster: &Cluster,
    namespace: &str,
    what: &str,
    limit: Duration,
    check: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    match until(what, limit, check).await {
        Ok(value) => Ok(value),
        Err(error) => bail!("{error:#}\n{}", diagnosis(cluster, namespace).await),
    }
}

/// What a person would look at first: objects, events, the policies' status, the newest log lines of Jobs and operator.
pub async fn diagnosis(cluster: &Cluster, namespace: &str) -> String {
    let mut text = String::new();
    for question in [
        format!("get pods,jobs,backuppolicies,restorerequests -n {namespace} -o wide"),
        format!("get events -n {namespace} --sort-by=.lastTimestamp"),
        format!(
            "get backuppolicies -n {namespace} -o jsonpath={{range.items[*]}}{{.metadata.name}}:{{.status}}{{\"\\n\"}}{{end}}"
        ),
        format!(
            "get restorerequests -n {namespace} -o jsonpath={{range.items[*]}}{{.metadata.name}}:{{.status}}{{\"\\n\"}}{{end}}"
        ),
        format!("logs -n {namespace} -l backup.greenlang.io/restore --tail=10 --prefix --ignore-errors"),
        format!("logs -n {namespace} -l backup.greenlang.io/policy --tail=10 --prefix --ignore-errors"),
        format!(
            "logs -n {} -l app.kubernetes.io/component=operator --tail=20 --prefix --ignore-errors",
            crate::operator::NAMESPACE
        ),
    ] {
        let answer = cluster.kube(&question).await.unwrap_or_else(|error| format!("{error:#}"));
        let _ = writeln!(text, "--- kubectl {question}\n{}", tail(&answer));
    }
    text
}

/// Waits until all Pods of a workload are ready.
pub async fn rollout(cluster: &Cluster, namespace: &str, workload: &str, limit: Duration) -> Result<()> {
    let seconds = limit.as_secs();
    match cluster.kube(&format!("rollout status -n {namespace} {workload} --timeout={seconds}s")).await {
        Ok(_) => Ok(()),
        Err(error) => bail!("{error:#}\n{}", diagnosis(cluster, namespace).await),
    }
}
