//! Generated archives, damaged ones, and those of real `pg_dump`s.

mod damage;
mod fixtures;
mod generate;
mod real;
mod strategy;
mod walk;

use super::*;

/// Feeds an archive in pieces of these sizes, over and over.
fn walk(bytes: &[u8], sizes: &[usize]) -> Result<Archive, ArchiveError> {
    let mut walker = Walker::new();
    let mut rest = bytes;
    for &size in sizes.iter().cycle() {
        let (piece, next) = rest.split_at(size.min(rest.len()));
        walker.push(piece)?;
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
    walker.finish()
}
