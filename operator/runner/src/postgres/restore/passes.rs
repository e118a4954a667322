//! Decides whether indexes and constraints are made in two passes. Pure.
//!
//! `pg_restore` with several connections may attach the index of a partition while another connection makes a foreign key to the
//! partitioned table: each holds a lock that the other one wants, the server ends one of them, and the restore has failed (seen
//! with 15, once in eight times with two levels of partitions). So foreign keys wait until all indexes are attached, and with them
//! what `pg_restore` itself makes after all constraints: an event trigger would fire for those that are made later.

use std::collections::BTreeSet;

use crate::postgres::archive::{Entry, Section, Toc};

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

/// A foreign key, what is said of one (comments of other constraints may wait as well), and what `pg_restore` of any version has in
/// the passes after its main one.
fn waits(entry: &Entry) -> bool {
    let of_event_trigger = entry.tag.starts_with("EVENT TRIGGER ");
    match &*entry.desc {
        "FK CONSTRAINT" | "DEFAULT ACL" | "EVENT TRIGGER" | "MATERIALIZED VIEW DATA" => true,
        // Since 18, of materialized views above all.
        "STATISTICS DATA" => entry.section == Section::PostData,
        "COMMENT" => of_event_trigger || entry.tag.starts_with("CONSTRAINT "),
        "SECURITY LABEL" => of_event_trigger,
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
                "DEFAULT ACL DEFAULT PRIVILEGES FOR TABLES",
                "FK CONSTRAINT refers refers_at_fkey",
                "FK CONSTRAINT refers refers_t_fkey",
                "FK CONSTRAINT t t_base_fkey",
                "FK CONSTRAINT unchecked far",
                "MATERIALIZED VIEW DATA counted",
                "MATERIALIZED VIEW DATA counted_base",
            ]
        );
        let all: Vec<u32> = toc.entries.iter().map(|entry| entry.dump_id).collect();
        let both: BTreeSet<u32> = first.iter().chain(&later).copied().collect();
        assert_eq!((both.len(), first.len() + later.len()), (all.len(), all.len()));
        let first: Vec<usize> =
            first.iter().map(|number| all.iter().position(|known| known == number).unwrap()).collect();
        assert!(first.is_sorted());
    }

    /// They fire for whatever is made after them.
    #[test]
    fn event_triggers_wait_with_what_is_said_of_them() {
        let mut toc = toc();
        let late = [
            ("EVENT TRIGGER", "watch", Section::PostData),
            ("COMMENT", "EVENT TRIGGER watch", Section::None),
            ("SECURITY LABEL", "EVENT TRIGGER watch", Section::None),
            ("STATISTICS DATA", "counted", Section::PostData),
        ];
        let early = [
            ("COMMENT", "TABLE watch", Section::None),
            ("SECURITY LABEL", "TABLE watch", Section::None),
            ("STATISTICS DATA", "t", Section::Data),
        ];
        let before = passes(&toc, None).unwrap();
        for (number, (desc, tag, section)) in (1_000_000..).zip([&late[..], &early].concat()) {
            let entry = toc.entries[0].clone();
            toc.entries.push(Entry { dump_id: number, desc: desc.into(), tag: tag.into(), section, ..entry });
        }
        let after = passes(&toc, None).unwrap();
        for (pass, expected) in [(0, &early[..]), (1, &late[..])] {
            let new = after[pass].strip_prefix(before[pass].as_slice()).unwrap();
            let expected: Vec<String> =
                expected.iter().map(|(desc, tag, _)| format!("{desc} {tag}")).collect();
            assert_eq!(of(&toc, new), expected);
        }
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
