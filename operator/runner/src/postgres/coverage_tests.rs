//! Tests of `coverage`: each way in which a dump and a catalog can disagree, and, for any catalog, what a right dump and a
//! damaged one give.

use greenlang_backup_api::contents::SequenceValue;
use proptest::prelude::*;

use super::super::archive::samples;
use super::*;

fn relation(oid: u32, kind: TableKind) -> Relation {
    Relation {
        oid,
        schema: "app".to_owned(),
        name: format!("t{oid}"),
        kind,
        persistence: Persistence::Permanent,
        owner: "postgres".to_owned(),
        populated: None,
        extension: None,
    }
}

fn of_extension(oid: u32, config: Config) -> Relation {
    Relation { extension: Some(Member { name: "e".to_owned(), config }), ..relation(oid, TableKind::Table) }
}

fn unlogged(oid: u32) -> Relation {
    Relation { persistence: Persistence::Unlogged, ..relation(oid, TableKind::Table) }
}

fn entry(oid: u32) -> Entry {
    samples::rows(oid, "app", &format!("t{oid}"))
}

fn archive(key: &str, oids: &[u32]) -> Held {
    of(key, oids.iter().copied().map(entry).collect())
}

fn of(key: &str, entries: Vec<Entry>) -> Held {
    Held { key: key.to_owned(), archive: samples::archive(entries) }
}

#[test]
fn each_table_is_stored_or_has_a_reason() {
    type Found<'a> = Result<(&'a str, u64, Option<&'a str>), NoData>;
    let relations = vec![
        relation(1, TableKind::Table),
        relation(2, TableKind::PartitionedTable),
        relation(3, TableKind::MaterializedView),
        relation(4, TableKind::ForeignTable),
        of_extension(5, Config::No),
        of_extension(6, Config::Whole),
        of_extension(7, Config::Filtered("WHERE x".to_owned())),
        unlogged(8),
    ];
    let archives = [archive("a", &[1, 7]), archive("b", &[6])];
    let tables = tables(relations, true, &archives).unwrap();
    let found: Vec<(u32, Found)> = tables
        .iter()
        .map(|table| {
            let data = match &table.data {
                TableData::Stored { object, rows, filter, .. } => {
                    Ok((object.as_str(), *rows, filter.as_deref()))
                }
                TableData::Absent { reason } => Err(*reason),
            };
            (table.oid, data)
        })
        .collect();
    assert_eq!(
        found,
        [
            (1, Ok(("a", 1, None))),
            (2, Err(NoData::Partitioned)),
            (3, Err(NoData::MaterializedView)),
            (4, Err(NoData::Foreign)),
            (5, Err(NoData::OfExtension)),
            (6, Ok(("b", 6, None))),
            (7, Ok(("a", 7, Some("WHERE x")))),
            (8, Err(NoData::UnloggedOnStandby)),
        ]
    );
}

#[test]
fn each_disagreement_is_named() {
    let table = |oid| relation(oid, TableKind::Table);
    let renamed = of("a", vec![samples::rows(1, "app", "other")]);
    let moved = of("a", vec![samples::rows(1, "other", "t1")]);
    let cases: Vec<(Vec<Relation>, Vec<Held>, &str)> = vec![
        (
            vec![table(1), table(2), table(3)],
            vec![archive("a", &[2])],
            "lacks the rows of 2 tables, app.t1 for one",
        ),
        (vec![table(1)], vec![], "lacks the rows of 1 tables, app.t1"),
        (vec![unlogged(1)], vec![archive("a", &[])], "lacks the rows of 1 tables, app.t1"),
        (vec![of_extension(1, Config::Whole)], vec![archive("a", &[])], "lacks the rows of 1 tables, app.t1"),
        (vec![table(1)], vec![archive("a", &[1]), archive("b", &[1])], "twice, in a and in b"),
        (vec![table(1)], vec![archive("a", &[1, 1])], "twice, in a and in a"),
        (vec![table(1)], vec![archive("a", &[1, 2])], "app.t2 (OID 2), which the catalog does not know"),
        (vec![table(1)], vec![renamed], "app.other (OID 1), which the catalog calls app.t1"),
        (vec![table(1)], vec![moved], "other.t1 (OID 1), which the catalog calls app.t1"),
        (
            vec![relation(1, TableKind::ForeignTable)],
            vec![archive("a", &[1])],
            "has none in a dump (Foreign)",
        ),
        (vec![of_extension(1, Config::No)], vec![archive("a", &[1])], "has none in a dump (OfExtension)"),
    ];
    for (relations, archives, expected) in cases {
        let error = tables(relations, false, &archives).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}\nlacks: {expected}");
    }
    assert_eq!(tables(vec![], false, &[archive("a", &[])]).unwrap(), [], "no table is no error");
}

#[test]
fn large_objects_are_all_in_one_archive() {
    let holder = |key: &str, count: u32| {
        let mut held = archive(key, &[]);
        held.archive.large_objects = samples::large_objects(count);
        held
    };
    let found = large_objects(20_000, &[archive("a", &[]), holder("b", 20_000)]).unwrap();
    assert_eq!((found.object.as_deref(), found.count, found.bytes), (Some("b"), 20_000, 140_000));
    assert_eq!(
        (found.digest.map(|digest| digest.len()), found.list.len()),
        (Some(32), MAX_LISTED_LARGE_OBJECTS)
    );
    assert_eq!(large_objects(0, &[archive("a", &[])]).unwrap(), LargeObjects::default());
    for (expected, archives, message) in [
        (1, vec![archive("a", &[])], "holds 0 large objects and the database 1"),
        (0, vec![holder("a", 1)], "holds 1 large objects and the database 0"),
        (3, vec![holder("a", 2)], "holds 2 large objects and the database 3"),
        (2, vec![holder("a", 1), holder("b", 1)], "in two dumps, a and b"),
    ] {
        let error = large_objects(expected, &archives).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn each_sequence_with_a_value_is_set_once() {
    let sequence = |name: &str, value: Option<i64>| Sequence {
        oid: 1,
        schema: "app".to_owned(),
        name: name.to_owned(),
        value: value.map(|last_value| SequenceValue { last_value, is_called: true }),
    };
    let set = |key: &str, names: &[&str]| {
        of(key, names.iter().map(|name| samples::sequence("app", name)).collect())
    };
    let latin1 = |mut held: Held| {
        held.archive.encoding = Some("LATIN1".to_owned());
        held
    };
    let catalog = [sequence("a", Some(1)), sequence("of an extension", None), sequence("Zähler", Some(2))];
    // In another encoding, what is not ASCII has replacement characters.
    let good = [
        vec![set("k", &["a", "Zähler"]), archive("data", &[])],
        vec![set("k", &["a"]), set("l", &["Zähler"])],
        vec![latin1(set("k", &["a", "Z\u{fffd}hler"]))],
    ];
    for archives in good {
        sequences(&catalog, &archives).unwrap();
    }
    let bad = [
        (vec![set("k", &["a"])], "where 1 sequences stand, app.Zähler for one"),
        (vec![archive("k", &[])], "where 2 sequences stand, app."),
        (vec![set("k", &["a", "Zähler", "a"])], "k sets sequence app.a, which"),
        (vec![set("k", &["a", "Zähler"]), set("l", &["a"])], "l sets sequence app.a, which"),
        (vec![set("k", &["a", "Zähler", "of an extension"])], "sets sequence app.of an extension, which"),
        (vec![latin1(set("k", &["a"]))], "where 1 sequences stand, app.Zähler"),
        (vec![latin1(set("k", &["Z\u{fffd}hler", "\u{fffd}"]))], "app.a for one"),
        (vec![latin1(set("k", &["a", "Z\u{fffd}hler", "Z\u{fffd}hler"]))], "app.Zähler for one"),
    ];
    for (archives, expected) in bad {
        let error = sequences(&catalog, &archives).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nlacks: {expected}");
    }
}

/// Any catalog.
fn relations() -> impl Strategy<Value = Vec<Relation>> {
    let one = (0_u8..7).prop_map(|kind| match kind {
        0..3 => relation(0, TableKind::Table),
        3 => relation(0, TableKind::PartitionedTable),
        4 => of_extension(0, Config::No),
        5 => of_extension(0, Config::Filtered("WHERE x".to_owned())),
        _ => unlogged(0),
    });
    prop::collection::vec(one, 0..40).prop_map(|mut relations| {
        for (oid, relation) in (1..).zip(&mut relations) {
            relation.oid = oid;
            relation.name = format!("t{oid}");
        }
        relations
    })
}

/// The dump of a catalog, spread over some archives.
fn dump(relations: &[Relation], standby: bool, archives: usize) -> Vec<Held> {
    let mut dump: Vec<Held> = (0..archives).map(|number| archive(&format!("a{number}"), &[])).collect();
    for relation in relations.iter().filter(|relation| no_data(relation, standby).is_none()) {
        dump[relation.oid as usize % archives].archive.entries.push(entry(relation.oid));
    }
    dump
}

proptest! {
    #[test]
    fn a_whole_dump_covers_and_nothing_else_does(
        relations in relations(), standby: bool, archives in 1_usize..5, damage: prop::sample::Index, kind in 0_u8..4
    ) {
        let mut dump = dump(&relations, standby, archives);
        let covered = tables(relations.clone(), standby, &dump).unwrap();
        prop_assert_eq!(covered.len(), relations.len());
        for (table, relation) in covered.iter().zip(&relations) {
            prop_assert_eq!(table.oid, relation.oid);
            if let TableData::Stored { object, rows, .. } = &table.data {
                let holder = dump.iter().find(|archive| &archive.key == object).unwrap();
                prop_assert!(holder.tables().any(|(entry, seen)| entry.oid == table.oid && seen.count == *rows));
            }
        }
        let entries: Vec<(usize, usize)> = dump
            .iter()
            .enumerate()
            .flat_map(|(archive, content)| (0..content.archive.entries.len()).map(move |entry| (archive, entry)))
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let &(holder, position) = damage.get(&entries);
        let oid = dump[holder].archive.entries[position].oid;
        let named = match kind {
            0 => {
                dump[holder].archive.entries.remove(position);
                format!("t{oid}")
            }
            1 => {
                let again = dump[holder].archive.entries[position].clone();
                dump[(holder + 1) % archives].archive.entries.push(again);
                format!("t{oid}")
            }
            2 => {
                dump[holder].archive.entries.push(entry(oid + 1000));
                format!("t{}", oid + 1000)
            }
            _ => {
                dump[holder].archive.entries[position].tag = "other".into();
                "other".to_owned()
            }
        };
        let error = tables(relations, standby, &dump).unwrap_err().to_string();
        prop_assert!(error.contains(&named), "{} does not name {}", error, named);
    }
}
