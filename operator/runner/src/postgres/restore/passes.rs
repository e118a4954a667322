//! Decides whether indexes and constraints are made in two passes. Pure.
//!
//! `pg_restore` with several connections may attach the index of a partition while another connection makes a foreign key to the
//! partitioned table: each holds a lock that the other one wants, the server ends one of them, and the restore has failed (seen
//! with 15, once in eight times with two levels of partitions). So foreign keys wait until all indexes are attached.

use std::collections::BTreeSet;

use crate::postgres::archive::{Entry, Toc};

/// Numbers of the entries of both passes, in the order of the archive; none where one pass will do. `wanted`: only these.
pub fn passes(toc: &Toc, wanted: Option<&[u32]>) -> Option<[Vec<u32>; 2]> {
    let wanted = wanted.map(|wanted| wanted.iter().copied().collect::<BTreeSet<u32>>());
    let is_wanted = |entry: &&Entry| wanted.as_ref().is_none_or(|wanted| wanted.contains(&entry.dump_id));
    let has = |desc: &str| toc.entries.iter().filter(is_wanted).any(|entry| &*entry.desc == desc);
    if !has("INDEX ATTACH") || !has("FK CONSTRAINT") {
        return None;
    }
    let (later, first): (Vec<&Entry>, Vec<&Entry>) =
        toc.entries.iter().filter(is_wanted).partition(|entry| waits(entry));
    Some([first, later].map(|entries| entries.into_iter().map(|entry| entry.dump_id).collect()))
}

/// A foreign key, and what is said of one: comments of other constraints may wait as well.
fn waits(entry: &Entry) -> bool {
    match &*entry.desc {
        "FK CONSTRAINT" => true,
        "COMMENT" => entry.tag.starts_with("CONSTRAINT "),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::archive::Walker;

    fn toc() -> Toc {
        let mut walker = Walker::new();
        walker.push(&std::fs::read("testdata/part/15.dump").unwrap()).unwrap();
        walker.into_toc().unwrap()
    }

    fn of(toc: &Toc, pass: &[u32]) -> Vec<String> {
        let entries =
            pass.iter().map(|number| toc.entries.iter().find(|entry| entry.dump_id == *number).unwrap());
        entries.map(|entry| format!("{} {}", entry.desc, entry.tag)).collect()
    }

    #[test]
    fn foreign_keys_wait_for_the_indexes_of_partitions() {
        let toc = toc();
        let [first, later] = passes(&toc, None).unwrap();
        let mut told = of(&toc, &later);
        told.sort();
        assert_eq!(
            told,
            [
                "COMMENT CONSTRAINT far ON unchecked",
                "FK CONSTRAINT refers refers_at_fkey",
                "FK CONSTRAINT refers refers_t_fkey",
                "FK CONSTRAINT t t_base_fkey",
                "FK CONSTRAINT unchecked far",
            ]
        );
        let all: Vec<u32> = toc.entries.iter().map(|entry| entry.dump_id).collect();
        let both: BTreeSet<u32> = first.iter().chain(&later).copied().collect();
        assert_eq!((both.len(), first.len() + later.len()), (all.len(), all.len()));
        let first: Vec<usize> =
            first.iter().map(|number| all.iter().position(|known| known == number).unwrap()).collect();
        assert!(first.is_sorted());
    }

    #[test]
    fn only_what_is_wanted_counts() {
        let toc = toc();
        let numbers = |kinds: &[&str]| -> Vec<u32> {
            let entries = toc.entries.iter().filter(|entry| kinds.contains(&&*entry.desc));
            entries.map(|entry| entry.dump_id).collect()
        };
        assert_eq!(passes(&toc, Some(&numbers(&["TABLE", "FK CONSTRAINT"]))), None);
        assert_eq!(passes(&toc, Some(&numbers(&["TABLE", "INDEX ATTACH"]))), None);
        let [first, later] = passes(&toc, Some(&numbers(&["INDEX ATTACH", "FK CONSTRAINT"]))).unwrap();
        assert_eq!((first, later), (numbers(&["INDEX ATTACH"]), numbers(&["FK CONSTRAINT"])));
    }
}
