//! Writes an archive in `pg_dump`'s custom format, as long as it is told, to stdout.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use greenlang_backup_test_servers::{Pace, Template};

/// A source that is as long and as fast as a test wants it.
#[derive(Parser)]
struct Options {
    /// Uncompressed archive of one table, written by `pg_dump` to a pipe.
    #[arg(long)]
    template: PathBuf,
    /// Length of the archive.
    #[arg(long)]
    bytes: u64,
    /// Not faster than this.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    bytes_per_second: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let path = options.template.display();
    let archive = fs::read(&options.template).with_context(|| format!("reading {path}"))?;
    let template = Template::parse(&archive)
        .with_context(|| format!("{path} is not an uncompressed archive of one table with rows"))?;
    drop(archive);
    // The descriptor itself: Rust's stdout keeps lines back and copies them.
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    template.write(&mut out, options.bytes, options.bytes_per_second.map(Pace::new))?;
    Ok(())
}
