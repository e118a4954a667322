//! The page of figures, in Markdown. Reads what the machine is.

use std::fmt::Write as _;

use anyhow::Result;
use greenlang_backup_bench::figure::{Figure, table};
use greenlang_backup_bench::machine::machine;
use greenlang_backup_bench::world::World;
use jiff::Timestamp;

use crate::versions::versions;

/// What the page tells.
pub struct Page<'a> {
    /// The figures.
    pub figures: &'a [Figure],
    /// Length of the dump.
    pub dump_bytes: u64,
    /// How often it was measured.
    pub rounds: u32,
    /// Lengths of the dumps whose memory was measured.
    pub lengths: [u64; 2],
}

impl Page<'_> {
    /// Writes it out.
    pub fn render(&self, world: &World) -> Result<String> {
        let [short, long] = self.lengths.map(|bytes| bytes / 1_000_000);
        let mut page = format!(
            "# Figures\n\nWritten by `make bench` on {}. PostgreSQL, S3 server and runner share the machine: {}.\n\n\
             The database gives a dump of {} MB, half of it rows of pgbench, half of it rows of words, jsonb, uuid and base64 text. Each\n\
             time and ratio is the median of {} interleaved rounds; a ratio is taken within its round. Memory is that of dumps of {short} and\n\
             {long} MB. zstd level 1, two recipients. A restore is measured until its last index is built; what compares and analyzes comes\n\
             after that, and pg_restore alone does neither.\n\n",
            Timestamp::now().strftime("%Y-%m-%d"),
            machine(),
            self.dump_bytes / 1_000_000,
            self.rounds,
        );
        page.push_str(&table(self.figures));
        page.push_str("\nMade with:\n\n");
        writeln!(
            page,
            "- PostgreSQL server: {}",
            world.postgres.sql("postgres", "SHOW server_version").trim()
        )?;
        for version in versions() {
            writeln!(page, "- {version}")?;
        }
        Ok(page)
    }
}
