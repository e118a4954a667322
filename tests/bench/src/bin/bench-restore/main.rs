//! `make bench`, last part, on a real node: how much longer applications are away in a restore than in the same rollout without one, and how
//! soon a plan is there. The operator is installed as users do, server and bucket are in Pods. Ends with 0 only if every limit is kept.

#![expect(clippy::print_stdout, reason = "it talks to the person who started it")]

mod away;
mod figures;
mod instrument;
mod place;
mod rounds;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use greenlang_backup_bench::page::Page;
use greenlang_backup_bench::versions::{project, versitygw};
use greenlang_backup_tests::cluster::{self, Cluster};
use greenlang_backup_tests::parts::postgres;
use greenlang_backup_tests::{namespaces, random};

use crate::figures::figures;
use crate::rounds::{Round, round};

const MB: u64 = 1_000_000;
/// Start of the names of the bench's namespaces.
const PREFIX: &str = "bench-restore-";
const DATABASE: &str = "bench";
const POLICY: &str = "bench";

/// Measures restores on a node.
#[derive(Parser)]
struct Options {
    /// Rounds of all measurements; figures are medians of them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of the dump in MB.
    #[arg(long, default_value_t = 1400, value_parser = clap::value_parser!(u64).range(1..))]
    megabytes: u64,
    /// Where the page is written, besides stdout.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measures everything, but judges nothing that depends on time. Each figure must come out all the same.
    #[arg(long)]
    smoke: bool,
}

/// What came of all rounds.
struct Measured {
    rounds: Vec<Round>,
    versions: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let cluster = Cluster::connect().await?;
    println!("waiting until no test uses the cluster");
    let _lock = cluster::lock().await?;
    // What an earlier run left that was killed.
    namespaces::delete_all(&cluster, PREFIX).await?;
    let namespace = format!("{PREFIX}{}", random::word(4)?);
    let measured = measure(&cluster, &namespace, &options).await;
    println!("removing the namespace {namespace}");
    let removed =
        cluster.kube(&format!("delete namespace {namespace} --ignore-not-found --wait --timeout=5m")).await;
    let measured = measured?;
    removed?;

    let figures = figures(&measured.rounds);
    let page = Page {
        title: "Figures of a restore on a node",
        shared_by: "Kubernetes node, PostgreSQL, S3 server, applications, operator and Jobs",
        about: &about(&options, &measured.rounds),
        figures: &figures,
        versions: &measured.versions,
    };
    page.publish(options.out.as_deref(), options.smoke)
}

async fn measure(cluster: &Cluster, namespace: &str, options: &Options) -> Result<Measured> {
    println!("PostgreSQL, S3 and {} MB of data in the namespace {namespace}", options.megabytes);
    let parts = place::prepare(cluster, namespace, options.megabytes * MB).await?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        println!("round {number} of {}", options.rounds);
        rounds.push(round(cluster, &parts, number).await?);
    }
    Ok(Measured { rounds, versions: versions(cluster, namespace).await? })
}

fn about(options: &Options, rounds: &[Round]) -> String {
    let dump_bytes = rounds.iter().map(|round| round.dump_bytes).max().unwrap_or_default();
    format!(
        "The database gives a dump of {} MB, half of it rows of pgbench, half of it rows of words, jsonb, uuid and base64 text. Beside it\n\
         greenlang-api (6 replicas) and greenlang-worker (4) run; each of their Pods is ready once it has a session in the database. A restore is\n\
         one with strategy Swap, `BeforeSwitch`, `drainSeconds: 0` and verification in full. The applications are away from the end of their last old Pod to the\n\
         readiness of the first new one, as a watch of Pods tells of both; in the rollout without a restore they get their replicas back at the\n\
         moment at which the last Pod is gone. A plan is that of a dry run while nothing else goes on, from the apply to the phase Planned, as a\n\
         watch tells of it. Each figure is the median of {} rounds; a difference is taken within its round.",
        dump_bytes / MB,
        options.rounds,
    )
}

async fn versions(cluster: &Cluster, namespace: &str) -> Result<Vec<String>> {
    let server = postgres::psql(cluster, namespace, "postgres", "SHOW server_version").await?;
    let kubernetes = cluster.client.apiserver_version().await?.git_version;
    Ok(vec![
        project(),
        format!("image: {}", cluster.image),
        format!("Kubernetes: {kubernetes}"),
        format!("PostgreSQL server: {}", server.trim()),
        versitygw(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_it_is_the_length_that_the_limit_is_for() {
        let options = Options::parse_from(["bench-restore"]);
        assert_eq!((options.rounds, options.megabytes, options.smoke), (3, 1400, false));
    }
}
