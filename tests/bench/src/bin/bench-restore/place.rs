//! What restores are measured on: servers in Pods, the operator as users install it, a database of some length with a backup, and
//! applications that use it. Talks to the cluster.

use std::time::{Duration, Instant};

use anyhow::Result;
use greenlang_backup_bench::data;
use greenlang_backup_tests::cluster::Cluster;
use greenlang_backup_tests::parts::{self, Parts, postgres};
use greenlang_backup_tests::{namespaces, operator, policy, restore, wait};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::{DATABASE, POLICY};

/// Longest that the backup may take, and that Jobs may keep the node busy afterwards.
const LIMIT: Duration = Duration::from_mins(15);
/// So long no Job must go on for the node to be idle: the operator starts the next one sooner.
const QUIET: Duration = Duration::from_secs(5);
/// Nothing of the server's own may happen in one measurement and not in another.
const SETTINGS: &str = "ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf();";

/// Makes all of it in a namespace, with a dump of so many bytes.
pub async fn prepare(cluster: &Cluster, namespace: &str, bytes: u64) -> Result<Parts> {
    namespaces::ensure_served(cluster, namespace).await?;
    let parts = parts::install(cluster, namespace).await?;
    operator::install(cluster).await?;
    postgres::psql(cluster, namespace, "postgres", SETTINGS).await?;
    postgres::psql(cluster, namespace, "postgres", format!("CREATE DATABASE {DATABASE}")).await?;
    for sql in data::two_tables(bytes) {
        postgres::psql(cluster, namespace, DATABASE, sql).await?;
    }
    restore::secrets(cluster, &parts).await?;
    back_up(cluster, &parts).await?;
    restore::start_applications(cluster, namespace, DATABASE).await?;
    Ok(parts)
}

/// A new policy makes its first backup at once; none follows while restores are measured.
async fn back_up(cluster: &Cluster, parts: &Parts) -> Result<()> {
    let mut wanted = policy::for_test(parts, POLICY)?;
    let spec = &mut wanted["spec"];
    spec["postgres"]["database"] = json!(DATABASE);
    spec["backups"][0]["postgresDump"] = json!({});
    policy::first_backup(cluster, &wanted, LIMIT).await
}

/// Waits until no Job has gone on for some seconds; what the server has yet to write is written before.
pub async fn idle(cluster: &Cluster, namespace: &str) -> Result<()> {
    postgres::psql(cluster, namespace, "postgres", "CHECKPOINT").await?;
    let jobs: Api<Job> = Api::namespaced(cluster.client.clone(), namespace);
    let mut since = Instant::now();
    wait::until_in(cluster, namespace, "no Job goes on", LIMIT, async || {
        if jobs.list(&ListParams::default()).await?.iter().any(goes_on) {
            since = Instant::now();
        }
        Ok((since.elapsed() >= QUIET).then_some(()))
    })
    .await
}

fn goes_on(job: &Job) -> bool {
    let mut conditions = job.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    !conditions.any(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_goes_on_until_it_is_complete_or_failed() -> Result<()> {
        let job = |type_: &str, status: &str| -> Result<Job> {
            let condition = json!({"type": type_, "status": status});
            Ok(serde_json::from_value(json!({"status": {"conditions": [condition]}}))?)
        };
        assert!(!goes_on(&job("Complete", "True")?));
        assert!(!goes_on(&job("Failed", "True")?));
        assert!(goes_on(&job("Suspended", "True")?));
        assert!(goes_on(&job("Complete", "False")?));
        assert!(goes_on(&Job::default()), "nobody has looked at it yet");
        Ok(())
    }
}
