//! A page of figures, in Markdown, and the verdict on them. Reads what the machine is, prints, and writes the page.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use crate::figure::{Figure, missed, table};
use crate::machine::machine;

/// What a page tells.
pub struct Page<'a> {
    /// Its heading.
    pub title: &'a str,
    /// What ran on the machine, beside each other.
    pub shared_by: &'a str,
    /// What was measured, and how.
    pub about: &'a str,
    /// The figures.
    pub figures: &'a [Figure],
    /// What it was made with, an entry each.
    pub versions: &'a [String],
}

impl Page<'_> {
    /// Prints the page, writes it to a file as well, and says whether every limit is kept; see [`missed`].
    #[expect(clippy::print_stdout, reason = "it talks to the person who started the bench")]
    pub fn publish(&self, out: Option<&Path>, smoke: bool) -> Result<ExitCode> {
        let text = self.render(&Timestamp::now().strftime("%Y-%m-%d").to_string(), &machine());
        println!("\n{text}");
        if let Some(out) = out {
            std::fs::write(out, &text).with_context(|| out.display().to_string())?;
        }
        let missed = missed(self.figures, smoke);
        for name in &missed {
            println!("limit missed: {name}");
        }
        Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn render(&self, day: &str, machine: &str) -> String {
        let Self { title, shared_by, about, figures, versions } = self;
        let mut page = format!(
            "# {title}\n\nWritten by `make bench` on {day}. {shared_by} share the machine: {machine}.\n\n{about}\n\n{}",
            table(figures)
        );
        if !versions.is_empty() {
            page.push_str("\nMade with:\n\n");
        }
        for version in *versions {
            // Writing to a text cannot fail.
            let _ = writeln!(page, "- {version}");
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_what_where_and_with_what() {
        let page =
            |versions| Page { title: "T", shared_by: "A and B", about: "About it.", figures: &[], versions };
        let head = "# T\n\nWritten by `make bench` on 2025-11-07. A and B share the machine: two cores.\n\nAbout it.\n\n\
                    | figure | measured | is | limit | aim | kept |\n| --- | --- | --- | --- | --- | --- |\n";
        assert_eq!(page(&[]).render("2025-11-07", "two cores"), head);
        let versions = ["one: 1".to_owned(), "two: 2".to_owned()];
        let whole = format!("{head}\nMade with:\n\n- one: 1\n- two: 2\n");
        assert_eq!(page(&versions).render("2025-11-07", "two cores"), whole);
    }
}
