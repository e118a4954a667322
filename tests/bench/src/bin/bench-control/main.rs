//! `make bench`, second part: what many policies cost the operator and the API server, how late slots start, and what it takes to
//! delete old backups. An API server of its own with nothing behind it; Jobs are carried out by [`kubelet`], which runs nothing.
//! Prunes are those of the real runner on a real S3 server. Ends with 0 only if every limit is kept.

#![expect(clippy::print_stdout, reason = "it talks to the person who started it")]

mod figures;
mod kubelet;
mod operator;
mod policies;
mod prune;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use greenlang_backup_bench::page::Page;
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE, install_chart};
use greenlang_backup_tests::wait;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::figures::{Measured, figures, of_prunes};
use crate::kubelet::Kubelet;
use crate::operator::Operator;
use crate::policies::{Slots, at_rest, create};

/// Namespace of the policies.
const SERVED: &str = "bench";
/// The minute in which nothing is due ends so long before the first slot.
const MARGIN: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_mins(1);
/// From the first slot to the second: time for the first one's runs to end.
const BETWEEN_SLOTS: SignedDuration = SignedDuration::from_mins(3);
/// When slots that have no Job are given up.
const LOST: Duration = Duration::from_mins(2);

/// Measures the operator.
#[derive(Parser)]
struct Options {
    /// Policies, each with three schedules.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..))]
    policies: u16,
    /// Slots due in the same second, of as many policies. All policies are due in another second.
    #[arg(long, default_value_t = 200)]
    due: u16,
    /// Entries of `status.available` of each policy; a policy that has lived for long has 100.
    #[arg(long, default_value_t = 100)]
    available: u16,
    /// Minutes for policies to be made and checked before anything is measured.
    #[arg(long, default_value_t = 6)]
    settle_minutes: u8,
    /// Backups of the largest prune. Default: 1000, with --smoke 80.
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..))]
    backups: Option<u32>,
    /// Manifests that cannot be read in the largest prune of them. Default: 10000, with --smoke 200.
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..))]
    manifests: Option<u32>,
    /// Measures prunes alone.
    #[arg(long)]
    only_prunes: bool,
    /// The operator's program. Default: beside this one.
    #[arg(long)]
    operator: Option<PathBuf>,
    /// Where the page is written, besides stdout.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Judges only what does not depend on time.
    #[arg(long)]
    smoke: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let mut figures = if options.only_prunes { vec![] } else { figures(&measure(&options).await?, &options) };
    let (backups, manifests) = if options.smoke { (80, 200) } else { (1_000, 10_000) };
    let backups = options.backups.unwrap_or(backups);
    let manifests = options.manifests.unwrap_or(manifests);
    figures.extend(of_prunes(&tokio::task::block_in_place(|| prune::measure(backups, manifests))?));
    let page = Page {
        title: "Figures of the control plane",
        shared_by: "API server, etcd, S3 server, operator and runner",
        about: &about(&options),
        figures: &figures,
        versions: &[],
    };
    page.publish(options.out.as_deref(), options.smoke)
}

fn about(options: &Options) -> String {
    format!(
        "{} policies with three schedules and {} entries of `status.available` each, on a Kubernetes API server without a kubelet: Jobs are carried out \
         by a program that only reports success. Memory is the most that was resident at any time, runs included. A minute at rest is one in which neither run nor \
         check is due. A delay is that from the slot to the event by which a watch of Jobs tells of the new Job. Prunes are those of the runner on versitygw, of \
         backups of one small object each, and of manifests that are cut off, of a later release, or of somebody else.",
        options.policies, options.available
    )
}

async fn measure(options: &Options) -> Result<Measured> {
    let api = ApiServer::start().await?;
    api.cluster.kube(&format!("create namespace {SERVED}")).await?;
    install_chart(&api.cluster, RELEASE, json!({"namespaces": [SERVED]})).await?;
    install_chart(&api.cluster, "greenlang-backup-crds", json!({})).await?;
    // A definition that was just made is not served at once.
    let get = format!("get backuppolicies --namespace {SERVED}");
    wait::until("policies are served", LOST, async || Ok(api.cluster.kube(&get).await.ok())).await?;

    let slots = Slots::after(Timestamp::now(), options.settle_minutes, BETWEEN_SLOTS)?;
    println!("{} policies; the first slot is {}", options.policies, slots.first);
    create(&api.cluster, options, &slots).await?;
    let kubelet = Kubelet::start(&api.cluster);
    let operator = Operator::start(&api, options.operator.clone()).await?;
    let left = wait_until_before(slots.first, MINUTE + MARGIN)?;
    wait::until("every policy is checked", left, async || {
        Ok(at_rest(&api.cluster, options.policies).await?.then_some(()))
    })
    .await
    .context("give it more time with --settle-minutes")?;
    let at_rest = operator.memory()?;

    tokio::time::sleep(wait_until_before(slots.first, MINUTE + MARGIN)?).await;
    println!("a minute at rest");
    let requests = || api.requests(NAMESPACE, RELEASE);
    let before = requests()?.len();
    tokio::time::sleep(MINUTE).await;
    let asked = requests()?;
    let idle = asked.get(before..).context("requests")?.to_vec();

    println!("{} slots of one second", options.due);
    let before = requests()?.len();
    let due = kubelet.delays(slots.first, options.due.into(), LOST).await;
    kubelet.carry_out_runs();
    wait::until("the first runs are over", BETWEEN_SLOTS.unsigned_abs(), async || {
        Ok((kubelet.runs() == 0).then_some(()))
    })
    .await?;
    let of_runs = requests()?.len() - before;
    println!("{} slots of one second", options.policies);
    kubelet.hold_runs();
    let all = kubelet.delays(slots.second, options.policies.into(), LOST).await;
    kubelet.carry_out_runs();
    wait::until("the last runs are over", Duration::from_mins(5), async || {
        Ok((kubelet.runs() == 0).then_some(()))
    })
    .await?;
    ensure!(operator.runs()?, "the operator has ended");
    Ok(Measured { at_rest, most: operator.most_memory()?, idle, of_runs, due, all })
}

/// From now to `lead` before a time.
fn wait_until_before(time: Timestamp, lead: Duration) -> Result<Duration> {
    let left = time.duration_since(Timestamp::now()) - SignedDuration::try_from(lead)?;
    Duration::try_from(left).ok().context("there is no time left: give it more with --settle-minutes")
}
