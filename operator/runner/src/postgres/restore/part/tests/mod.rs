//! Parts of a real archive: what comes along, what is left out, what is refused. `testdata/part/15.dump` is what `pg_dump
//! --format=custom --compress=0` of PostgreSQL 15 wrote into a pipe, of a database made by `seed.sql` beside it.

mod selection;

use std::fs;

use greenlang_backup_api::contents::{
    Extension, InvalidIndex, LargeObjects, NotValidConstraint, Persistence, Sequence, SequenceValue, Table,
    TableData, TableKind,
};
use greenlang_backup_api::reasons::restore;
use greenlang_backup_api::v1alpha1::IncludedTable;
use proptest::prelude::*;

use super::super::compare;
use super::*;
use crate::postgres::archive::{Entry, Walker};

fn toc_of(file: &str) -> Toc {
    let mut walker = Walker::with_dependencies();
    walker.push(&fs::read(format!("testdata/{file}")).unwrap()).unwrap();
    walker.into_toc().unwrap()
}

fn toc() -> Toc {
    toc_of("part/15.dump")
}

/// The list of contents that a backup has beside such an archive; the rows of schema other are in another object.
fn contents(toc: &Toc) -> DatabaseContents {
    let of =
        |kinds: &'static [&'static str]| toc.entries.iter().filter(|entry| kinds.contains(&&*entry.desc));
    let table = |entry: &Entry| {
        let object = if &*entry.namespace == "other" { "2" } else { "1" };
        let stored = TableData::Stored {
            object: object.into(),
            rows: 1,
            bytes: u64::from(entry.oid),
            digest: String::new(),
            filter: None,
        };
        Table {
            oid: entry.oid,
            schema: entry.namespace.to_string(),
            name: entry.tag.to_string(),
            kind: TableKind::Table,
            persistence: Persistence::Permanent,
            owner: "owner".into(),
            extension: None,
            populated: None,
            data: stored,
        }
    };
    let sequence = |entry: &Entry| Sequence {
        oid: entry.oid,
        schema: entry.namespace.to_string(),
        name: entry.tag.to_string(),
        value: Some(SequenceValue { last_value: 1, is_called: true }),
    };
    let extension = |(name, schema): (&str, &str)| Extension {
        name: name.into(),
        version: "1".into(),
        schema: schema.into(),
    };
    let extensions =
        [("citext", "public"), ("file_fdw", "public"), ("hstore", "ext"), ("plpgsql", "pg_catalog")];
    DatabaseContents {
        extensions: extensions.map(extension).into(),
        tables: of(&["TABLE", "FOREIGN TABLE", "MATERIALIZED VIEW"]).map(table).collect(),
        sequences: of(&["SEQUENCE"]).map(sequence).collect(),
        large_objects: LargeObjects { count: 1, ..LargeObjects::default() },
        ..compare::tests::contents()
    }
}

fn include(schemas: &[&str], tables: &[(&str, &str)]) -> RestoreInclude {
    let table =
        |(schema, name): &(&str, &str)| IncludedTable { schema: (*schema).into(), name: (*name).into() };
    RestoreInclude {
        schemas: schemas.iter().map(|schema| (*schema).into()).collect(),
        tables: tables.iter().map(table).collect(),
    }
}

fn made(schemas: &[&str], tables: &[(&str, &str)]) -> (Part, DatabaseContents) {
    let toc = toc();
    part(&include(schemas, tables), &toc, contents(&toc)).unwrap()
}

/// What is restored, as `pg_restore --list` names it; of the kinds whose names begin so.
fn restored(part: &Part, kinds: &[&str]) -> Vec<String> {
    let toc = toc();
    let entries = part.entries.iter().map(|number| {
        let entry = toc.entries.iter().find(|entry| entry.dump_id == *number).unwrap();
        format!("{} {} {}", entry.desc, entry.namespace, entry.tag)
    });
    let mut restored: Vec<String> =
        entries.filter(|name| kinds.iter().any(|kind| name.starts_with(&format!("{kind} ")))).collect();
    restored.sort();
    restored
}

fn refused(schemas: &[&str], tables: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let toc = toc();
    let problems = part(&include(schemas, tables), &toc, contents(&toc)).unwrap_err();
    problems.into_iter().map(|problem| (problem.reason(), problem.to_string())).collect()
}

/// All but rights and comments.
const THINGS: [&str; 24] = [
    "SCHEMA",
    "EXTENSION",
    "TYPE",
    "DOMAIN",
    "FUNCTION",
    "TABLE",
    "FOREIGN TABLE",
    "VIEW",
    "MATERIALIZED VIEW",
    "SEQUENCE",
    "DEFAULT",
    "CONSTRAINT",
    "CHECK CONSTRAINT",
    "FK CONSTRAINT",
    "INDEX",
    "INDEX ATTACH",
    "STATISTICS",
    "RULE",
    "TRIGGER",
    "POLICY",
    "ROW SECURITY",
    "PUBLICATION",
    "SERVER",
    "BLOB",
];

#[test]
fn what_is_not_there_or_cannot_be_made_alone_is_refused_with_all_that_is_wrong() {
    let found = refused(&["App", "pg_catalog", ""], &[("app", "T"), ("app", "on_t "), ("app", "t_id_seq")]);
    assert!(found.iter().all(|(reason, _)| *reason == restore::NOT_IN_BACKUP), "{found:?}");
    assert_eq!(found.len(), 6);
    assert!(found[0].1.contains("\"App\"") && found[0].1.contains("\"app\""), "{found:?}");
    assert!(found[3].1.contains("\"T\" in schema \"app\""), "{found:?}");

    let found = refused(&["tied"], &[("app", "on_view")]);
    assert!(found.iter().all(|(reason, _)| *reason == restore::PART_NEEDS_MORE), "{found:?}");
    let messages: BTreeSet<&str> =
        found.iter().map(|(_, message)| message.split_once(':').unwrap().0).collect();
    assert_eq!(
        messages,
        BTreeSet::from([
            "TABLE tied child cannot be made without TABLE other base",
            "TABLE tied rows cannot be made without TABLE other base",
            "VIEW app on_view cannot be made without VIEW app on_base",
        ])
    );
    made(&["tied"], &[("other", "base")]);
    made(&[], &[("app", "on_view"), ("app", "on_base"), ("other", "base")]);
}

/// What extensions make is not in the archive; their configuration, its sequences and rights to their functions are.
#[test]
fn what_is_about_things_of_an_extension_comes_with_it() {
    let mut toc = toc();
    let mut contents = contents(&toc);
    let mut known = contents.tables[0].clone();
    (known.oid, known.schema, known.name) = (999, "ext".into(), "known".into());
    known.extension = Some("hstore".into());
    contents.tables.push(known);
    let numbers = 90_001..;
    for (number, (desc, tag)) in
        numbers.zip([("TABLE DATA", "known"), ("SEQUENCE SET", "numbers"), ("ACL", "FUNCTION f()")])
    {
        let (dump_id, oid) = (number, if desc == "TABLE DATA" { 999 } else { 0 });
        let like = toc.entries.iter().find(|entry| &*entry.desc == "TABLE DATA").unwrap();
        let entry = Entry {
            dump_id,
            oid,
            desc: desc.into(),
            namespace: "ext".into(),
            tag: tag.into(),
            ..like.clone()
        };
        toc.entries.push(entry);
        // Of something that has a number and no entry.
        toc.dependencies.push([90_000].into());
    }
    let found = |include: &RestoreInclude| {
        let (part, contents) = part(include, &toc, contents.clone()).unwrap();
        let entries: Vec<u32> = part.entries.into_iter().filter(|number| *number > 90_000).collect();
        (entries, contents.tables.iter().any(|table| table.name == "known"))
    };
    assert_eq!(found(&include(&["ext"], &[])), (vec![90_001, 90_002, 90_003], true));
    assert_eq!(found(&include(&[], &[("app", "t")])), (vec![90_001], true));
    assert_eq!(found(&include(&["a"], &[])), (vec![], false));
    let problems = part(&include(&[], &[("ext", "known")]), &toc, contents.clone()).unwrap_err();
    assert!(problems[0].to_string().contains("extension hstore makes"), "{problems:?}");
}

#[test]
fn what_is_found_afterwards_is_what_was_restored() {
    let toc = toc();
    let constraint = |of: &str, name: &str| NotValidConstraint {
        schema: "app".into(),
        of: of.into(),
        name: name.into(),
        definition: String::new(),
    };
    let index = |table: &str| InvalidIndex {
        schema: "app".into(),
        table: table.into(),
        name: "i".into(),
        definition: String::new(),
    };
    let contents = DatabaseContents {
        not_valid_constraints: vec![
            constraint("unchecked", "far"),
            constraint("unchecked", "near"),
            constraint("t", "x"),
        ],
        invalid_indexes: vec![index("unchecked"), index("t")],
        ..contents(&toc)
    };
    let (_, contents) = part(&include(&[], &[("app", "unchecked")]), &toc, contents).unwrap();
    assert_eq!(contents.not_valid_constraints, [constraint("unchecked", "near")]);
    assert_eq!(contents.invalid_indexes, [index("unchecked")]);
}

#[test]
fn a_backup_that_cannot_be_told_apart_is_refused() {
    let mut toc = toc();
    let wanted = include(&["app", "ä"], &[("ä", "größe"), ("app", "t")]);
    let unlisted = DatabaseContents { tables: vec![], ..contents(&toc) };
    assert_eq!(part(&wanted, &toc, unlisted).unwrap_err(), [PartError::NotListed]);
    toc.encoding = Some("LATIN1".into());
    let problems = part(&wanted, &toc, contents(&toc)).unwrap_err();
    let strange: Vec<&PartError> =
        problems.iter().filter(|problem| matches!(problem, PartError::Encoding { .. })).collect();
    assert_eq!(strange.len(), 2, "{problems:?}");
    assert_eq!(strange[0].reason(), restore::NOT_SUPPORTED);
    part(&include(&["app"], &[]), &toc, contents(&toc)).unwrap();
}

/// The first archive has no entry for rows that another one holds, and that counts its entries on its own.
#[test]
fn rows_are_found_by_table_in_a_dump_of_data_only() {
    let is_rows = |entry: &Entry| &*entry.desc == "TABLE DATA";
    let (mut first, mut data) = (toc(), toc());
    let keeps: Vec<bool> =
        first.entries.iter().map(|entry| !is_rows(entry) || &*entry.namespace == "app").collect();
    let mut keep = keeps.iter();
    first.entries.retain(|_| *keep.next().unwrap());
    let mut keep = keeps.iter();
    first.dependencies.retain(|_| *keep.next().unwrap());
    data.entries.retain(|entry| is_rows(entry) && &*entry.namespace != "app");
    for (number, entry) in (7..).zip(&mut data.entries) {
        entry.dump_id = number;
    }
    let wanted = include(&[], &[("app", "t"), ("a", "b.c")]);
    let (part, _) = part(&wanted, &first, contents(&first)).unwrap();
    let rows: Vec<u32> =
        data.entries.iter().filter(|entry| &*entry.tag == "b.c").map(|entry| entry.dump_id).collect();
    assert_eq!((rows.len(), part.rows_in(&data)), (1, rows));
    assert_eq!(list(&[7, 12]), "7;\n12;\n");
}

/// Archives of other majors have what is needed under the same names.
#[test]
fn partitions_and_sequences_come_along_in_archives_of_all_majors() {
    for major in [14, 16, 17, 18] {
        let toc = toc_of(&format!("archives/{major}.dump"));
        let wanted = include(&[], &[("public", "parent"), ("public", "identity"), ("public", "binary_data")]);
        let (part, contents) = part(&wanted, &toc, contents(&toc)).unwrap();
        let names: BTreeSet<&str> = contents.tables.iter().map(|table| table.name.as_str()).collect();
        let expected =
            ["binary_data", "identity", "parent", "parent_eu", "parent_us", "parent_us_1", "parent_us_2"];
        assert_eq!(names, BTreeSet::from(expected), "PostgreSQL {major}");
        assert_eq!(contents.sequences.len(), 2, "PostgreSQL {major}");
        let kinds = |desc: &str| {
            let entries = toc.entries.iter().filter(|entry| &*entry.desc == desc);
            entries.filter(|entry| part.entries.contains(&entry.dump_id)).count()
        };
        assert_eq!(
            ["TABLE ATTACH", "INDEX ATTACH", "CONSTRAINT", "DEFAULT", "SEQUENCE SET"].map(kinds),
            [4, 4, 7, 1, 2],
            "PostgreSQL {major}"
        );
        assert!(part.left_out.iter().all(|told| told.contains("large objects")), "{:?}", part.left_out);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is named: nothing comes without what it needs, no rows come that were not asked for, and the order stays.
    #[test]
    fn a_part_can_always_be_made(picked in proptest::collection::btree_set(0_usize..200, 1..6)) {
        let toc = toc();
        let graph = Graph::new(&toc);
        let relations: Vec<&Entry> = toc.entries.iter().filter(|entry| Kind::of(entry) == Kind::Relation).collect();
        let tables: BTreeSet<(&str, &str)> = picked
            .iter()
            .map(|at| relations[at % relations.len()])
            .map(|entry| (&*entry.namespace, &*entry.tag))
            .collect();
        let asked = include(&[], &tables.iter().copied().collect::<Vec<_>>());
        let Ok((part, contents)) = part(&asked, &toc, contents(&toc)) else { return Ok(()) };
        let places: Vec<usize> = part
            .entries
            .iter()
            .map(|number| toc.entries.iter().position(|entry| entry.dump_id == *number).unwrap())
            .collect();
        prop_assert!(places.is_sorted());
        for place in &places {
            for need in &graph.needs[*place] {
                prop_assert!(places.contains(need), "{:?} without {:?}", toc.entries[*place], toc.entries[*need]);
            }
        }
        for table in &contents.tables {
            let is_partition = table.name.starts_with("parts_");
            prop_assert!(is_partition || tables.contains(&(&*table.schema, &*table.name)), "{}", table.name);
        }
        for (schema, name) in &tables {
            let there = places.iter().map(|place| &toc.entries[*place]);
            prop_assert!(there.clone().any(|entry| (&*entry.namespace, &*entry.tag) == (*schema, *name)));
        }
    }
}
