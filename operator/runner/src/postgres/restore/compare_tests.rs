//! What counts as a difference, and what does not.

use greenlang_backup_api::contents::{
    Extension, Locale, LocaleProvider, Persistence, SecurityLabel, SequenceValue, TableKind,
};

use super::*;

const DEPTH: Depth<'_> = Depth { content: true, refused: &properties::Settings::new() };

fn table(name: &str, rows: u64, digest: &str) -> Table {
    Table {
        oid: 1,
        schema: "app".into(),
        name: name.into(),
        kind: TableKind::Table,
        persistence: Persistence::Permanent,
        owner: "owner".into(),
        extension: None,
        populated: None,
        data: TableData::Stored {
            object: name.into(),
            rows,
            bytes: rows,
            digest: digest.into(),
            filter: None,
        },
    }
}

fn sequence(last_value: i64, is_called: bool) -> Sequence {
    let value = Some(SequenceValue { last_value, is_called });
    Sequence { oid: 1, schema: "app".into(), name: "numbers".into(), value }
}

pub fn contents() -> DatabaseContents {
    let locale = Locale {
        provider: LocaleProvider::Libc,
        collate: "C".into(),
        ctype: "C".into(),
        name: None,
        icu_rules: None,
        collation_version: Some("1".into()),
        actual_collation_version: None,
    };
    let properties = DatabaseProperties {
        name: "shop".into(),
        owner: "owner".into(),
        encoding: "UTF8".into(),
        locale,
        acl: None,
        connection_limit: -1,
        template: false,
        tablespace: "pg_default".into(),
        comment: Some("ours".into()),
        settings: vec![Setting {
            database: Some("shop".into()),
            role: None,
            name: "work_mem".into(),
            value: Some("8MB".into()),
        }],
        security_labels: vec![SecurityLabel { provider: "anon".into(), label: "MASKED".into() }],
    };
    DatabaseContents {
        properties,
        extensions: vec![Extension { name: "hstore".into(), version: "1.8".into(), schema: "public".into() }],
        tables: vec![table("a", 1, "aa"), table("b", 2, "bb")],
        sequences: vec![sequence(10, true)],
        large_objects: greenlang_backup_api::contents::LargeObjects::default(),
        invalid_indexes: vec![],
        not_valid_constraints: vec![],
        lost_roles: vec![],
        notes: vec![],
    }
}

fn differences(change: impl FnOnce(&mut DatabaseContents), depth: Depth<'_>) -> Comparison {
    let mut found = contents();
    found.properties.name = "shop_restore_1".into();
    found.properties.comment = Some("greenlang-backup restore u-1 n/r\nours".into());
    found.properties.locale.collation_version = Some("2".into());
    for setting in &mut found.properties.settings {
        setting.database = Some("shop_restore_1".into());
    }
    change(&mut found);
    let direction = Direction { ascending: true, cycles: false };
    let directions = BTreeMap::from([(("app".to_owned(), "numbers".to_owned()), direction)]);
    compare(&contents(), &found, &directions, depth)
}

#[test]
fn what_must_differ_is_no_difference() {
    assert_eq!(differences(|_| {}, DEPTH), Comparison::default());
}

#[test]
fn every_kind_of_difference_is_found() {
    type Change = fn(&mut DatabaseContents);
    let changes: [(&str, Change); 15] = [
        ("the owner", |of| of.properties.owner = "other".into()),
        ("the locale", |of| of.properties.locale.collate = "de_DE".into()),
        ("the rights", |of| of.properties.acl = Some(vec!["owner=CTc/owner".into()])),
        ("the comment", |of| of.properties.comment = Some("greenlang-backup restore u-1 n/r".into())),
        ("setting work_mem", |of| of.properties.settings.clear()),
        ("extension hstore is missing", |of| of.extensions.clear()),
        ("table app.b is missing", |of| drop(of.tables.pop())),
        ("table app.c is not in the backup", |of| of.tables.push(table("c", 0, ""))),
        ("table app.a has 0 rows instead of 1", |of| of.tables[0] = table("a", 0, "")),
        ("table app.a has 1 rows as it should, but others", |of| of.tables[0] = table("a", 1, "ab")),
        ("the owner of table app.a", |of| of.tables[0].owner = "other".into()),
        ("sequence app.numbers stands at", |of| of.sequences[0] = sequence(9, true)),
        ("sequence app.numbers is missing", |of| of.sequences.clear()),
        ("the number of large objects", |of| of.large_objects.count = 1),
        ("sequence app.numbers stands at", |of| of.sequences[0] = sequence(10, false)),
    ];
    for (expected, change) in changes {
        let found = differences(change, DEPTH).differences;
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:?}");
    }
}

#[test]
fn some_differences_are_only_told() {
    let notes = |change: fn(&mut DatabaseContents), depth: Depth<'_>| {
        let Comparison { differences, notes } = differences(change, depth);
        assert_eq!(differences, Vec::<String>::new());
        notes.len()
    };
    assert_eq!(notes(|of| of.extensions[0].version = "1.9".into(), DEPTH), 1);
    assert_eq!(notes(|of| of.sequences[0] = sequence(12, true), DEPTH), 0, "it was used meanwhile");
    let refused = properties::Settings::from([(None, "work_mem".to_owned())]);
    assert_eq!(notes(|of| of.properties.settings.clear(), Depth { refused: &refused, ..DEPTH }), 1);
    let of_a_role = properties::Settings::from([(Some("owner".to_owned()), "work_mem".to_owned())]);
    let found = differences(|of| of.properties.settings.clear(), Depth { refused: &of_a_role, ..DEPTH });
    assert_eq!(found.differences.len(), 1, "another setting was refused: {found:?}");
    assert_eq!(notes(|of| of.properties.security_labels.clear(), DEPTH), 1);
    let counted = Depth { content: false, ..DEPTH };
    assert_eq!(notes(|of| of.tables[0] = table("a", 1, "ab"), counted), 0, "only rows were counted");
    let granted = |of: &mut DatabaseContents| {
        of.properties.acl = Some(vec!["owner=CTc/owner".into(), "=Tc/owner".into()]);
    };
    assert_eq!(differences(granted, DEPTH), Comparison::default(), "these are the default rights");
}
