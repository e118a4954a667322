//! `make bench`: how fast a backup and a restore are, beside what they cannot be faster than and what they replace; server, bucket and runner on
//! the same cores. Ends with 0 only if every limit is kept.

#![expect(clippy::print_stdout, reason = "it talks to the person who started it")]

mod baselines;
mod figures;
mod restores;
mod rounds;
mod versions;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use greenlang_backup_bench::data;
use greenlang_backup_bench::page::Page;
use greenlang_backup_bench::world::World;
use greenlang_backup_test_servers::{ADMIN_PASSWORD, Postgres, S3};

use crate::figures::{figures, restore_figures};
use crate::restores::restores;
use crate::rounds::{memory, round};
use crate::versions::versions;

const MB: u64 = 1_000_000;
const DATABASE: &str = "bench";
const SYNTHETIC: &str = "synthetic";

/// Measures the runner.
#[derive(Parser)]
struct Options {
    /// Rounds of all measurements; figures are medians of them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of the dump in MB.
    #[arg(long, default_value_t = 1400, value_parser = clap::value_parser!(u64).range(1..))]
    megabytes: u64,
    /// Lengths in MB of the two dumps whose memory is compared.
    #[arg(long, num_args = 2, default_values_t = [1_000, 10_000])]
    memory_megabytes: Vec<u64>,
    /// Where the table is written, besides stdout.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measures everything, but judges only what does not depend on time: at a small length times say nothing. Each figure
    /// must come out all the same.
    #[arg(long)]
    smoke: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    println!("starting PostgreSQL and versitygw, making {} MB of data", options.megabytes);
    // Nothing of the server's own may happen in one measurement and not in another.
    let postgres = Postgres::start_with(ADMIN_PASSWORD, &[("autovacuum", "off"), ("max_wal_size", "16GB")]);
    let s3 = S3::start_versitygw();
    let world = World::new(&postgres, &s3)?;
    postgres.create_database(DATABASE);
    for sql in data::two_tables(options.megabytes * MB) {
        postgres.sql(DATABASE, &sql);
    }
    let template = data::one_table(&postgres, SYNTHETIC);
    println!("one dump and one backup to warm up");
    let dump = baselines::dump_to_memory(&world, DATABASE)?;
    world.warm_up(SYNTHETIC)?;

    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        println!("round {number} of {}", options.rounds);
        rounds.push(round(&world, DATABASE, SYNTHETIC, &template, &dump)?);
    }
    println!("{} rounds of restores", options.rounds);
    let restores = restores(&world, DATABASE, &dump, options.rounds)?;
    println!("memory at {} and {} MB", options.memory_megabytes[0], options.memory_megabytes[1]);
    let lengths = [options.memory_megabytes[0] * MB, options.memory_megabytes[1] * MB];
    let memory = memory(&world, SYNTHETIC, &template, lengths)?;

    let mut figures = figures(&rounds, &memory);
    figures.extend(restore_figures(&restores));
    let page = Page {
        title: "Figures",
        shared_by: "PostgreSQL, S3 server and runner",
        about: &about(&options, dump.bytes),
        figures: &figures,
        versions: &versions(&world),
    };
    page.publish(options.out.as_deref(), options.smoke)
}

fn about(options: &Options, dump_bytes: u64) -> String {
    let [short, long] = [options.memory_megabytes[0], options.memory_megabytes[1]];
    format!(
        "The database gives a dump of {} MB, half of it rows of pgbench, half of it rows of words, jsonb, uuid and base64 text. Each\n\
         time and ratio is the median of {} interleaved rounds; a ratio is taken within its round. Memory is that of dumps of {short} and\n\
         {long} MB. zstd level 1, two recipients. A restore is measured until its last index is built; what compares and analyzes comes\n\
         after that, and pg_restore alone does neither.",
        dump_bytes / MB,
        options.rounds,
    )
}
