//! What the catalog says of a database.

use std::sync::LazyLock;

use greenlang_backup_api::contents::{
    LargeObjects, LocaleProvider, NoData, Persistence, SequenceValue, TableData, TableKind,
};

use super::super::archive::samples;
use super::super::catalog::{self, Config, DatabaseCatalog};
use super::super::coverage::{self, Held};
use super::super::streams;
use super::{SEED, SERVERS, snapshot};
use greenlang_backup_test_servers::majors::{self, EXTENSION};
use greenlang_backup_test_servers::{ADMIN_PASSWORD, Postgres};

const SCHEMA: &str = "a \"b\" c";

/// The servers, each with a database of everything.
static SEEDED: LazyLock<&[(u32, Postgres)]> = LazyLock::new(|| {
    for (major, server) in &*SERVERS {
        server.create_database("seeded");
        server.sql_file("seeded", SEED.as_ref());
        // Debian's server has no extension of ours.
        if *major != 15 {
            server.sql("seeded", &format!("CREATE EXTENSION {EXTENSION}"));
        }
    }
    &SERVERS
});

#[tokio::test]
async fn every_major_version_tells_the_same() {
    for (major, server) in *SEEDED {
        let major = *major;
        let (session, facts) = snapshot(server, "seeded").await;
        assert_eq!(facts.version.major, major);
        let identifier = facts.identity.system_identifier.as_ref();
        assert!(!facts.identity.standby && identifier.is_some_and(|id| id.parse::<u64>().is_ok()));
        let catalog = catalog::read(&session, &facts).await.unwrap();
        let roles: Vec<&str> = catalog.roles.iter().map(|role| role.name.as_str()).collect();
        assert_eq!(roles, ["grantee", "owner", "seeded"], "{major}: in rights, as owner, by a setting");
        let movable = streams::movable(&session).await.unwrap();
        let pattern = |name: &str| streams::pattern(SCHEMA, name);
        let plain = movable.iter().find(|table| table.pattern == pattern("plain")).unwrap();
        assert_eq!(plain.sequences, [pattern("plain_id_seq")], "{major}");
        assert_eq!(movable.len(), 5, "{major}: no partitioned, foreign or extension's one: {movable:?}");
        properties(&catalog, major);
        relations(&catalog, major);
        sequences(&catalog, major);
        details(&catalog, major);
    }
}

fn properties(catalog: &DatabaseCatalog, major: u32) {
    let properties = &catalog.properties;
    assert_eq!((properties.name.as_str(), properties.owner.as_str()), ("seeded", "postgres"), "{major}");
    assert_eq!((properties.encoding.as_str(), properties.tablespace.as_str()), ("UTF8", "pg_default"));
    assert_eq!((properties.connection_limit, properties.template), (42, false));
    assert_eq!(properties.comment.as_deref(), Some("it's"));
    assert!(properties.acl.as_ref().unwrap().iter().any(|item| item == "seeded=c/postgres"));
    assert_eq!(properties.locale.provider, LocaleProvider::Libc);
    assert_eq!(
        (properties.locale.collate.as_str(), properties.locale.ctype.as_str()),
        ("C.UTF-8", "C.UTF-8")
    );
    let settings: Vec<(Option<&str>, &str, Option<&str>)> = properties
        .settings
        .iter()
        .map(|setting| (setting.role.as_deref(), setting.name.as_str(), setting.value.as_deref()))
        .collect();
    assert_eq!(
        settings,
        [(None, "search_path", Some("app, public")), (Some("seeded"), "work_mem", Some("8MB"))],
        "{major}"
    );
}

fn relations(catalog: &DatabaseCatalog, major: u32) {
    let find = |name: &str| {
        catalog
            .relations
            .iter()
            .find(|relation| relation.name == name)
            .unwrap_or_else(|| panic!("{major}: {name}"))
    };
    for (name, kind, persistence, populated) in [
        ("plain", TableKind::Table, Persistence::Permanent, None),
        ("Größe;'", TableKind::Table, Persistence::Permanent, None),
        ("fast", TableKind::Table, Persistence::Unlogged, None),
        ("parted", TableKind::PartitionedTable, Persistence::Permanent, None),
        ("part", TableKind::Table, Persistence::Permanent, None),
        ("seen", TableKind::MaterializedView, Persistence::Permanent, Some(true)),
        ("unseen", TableKind::MaterializedView, Persistence::Permanent, Some(false)),
        ("far", TableKind::ForeignTable, Persistence::Permanent, None),
    ] {
        let relation = find(name);
        assert_eq!(
            (relation.schema.as_str(), relation.kind, relation.persistence, relation.populated),
            (SCHEMA, kind, persistence, populated),
            "{major}: {name}"
        );
        assert!(relation.extension.is_none() && relation.oid > 16_000 && relation.owner == "postgres");
    }
    let of_extension = if major == 15 {
        0
    } else {
        for (name, config) in [
            ("tested_own", Config::No),
            ("tested_config", Config::Whole),
            ("tested_filtered", Config::Filtered("WHERE i > 1".to_owned())),
        ] {
            assert_eq!(find(name).extension.as_ref().unwrap().config, config, "{major}: {name}");
        }
        3
    };
    assert_eq!(catalog.relations.len(), 9 + of_extension, "{major}: {:?}", catalog.relations);
}

fn sequences(catalog: &DatabaseCatalog, major: u32) {
    let contents = catalog.clone().into_contents(vec![], LargeObjects::default());
    let value = |name: &str| {
        contents
            .sequences
            .iter()
            .find(|sequence| sequence.name == name)
            .unwrap_or_else(|| panic!("{name}"))
            .value
    };
    let stands = |last_value, is_called| Some(SequenceValue { last_value, is_called });
    assert_eq!(value("plain_id_seq"), stands(2, true), "{major}");
    assert_eq!(value("never_used"), stands(7, false), "{major}");
    assert_eq!(value("used '"), stands(100, true), "{major}");
    assert_eq!(value("fast_too_id_seq"), stands(1, false), "{major}");
    if major != 15 {
        assert_eq!(value("tested_numbers"), stands(1, false), "{major}");
        assert_eq!(value("tested_hidden"), None, "{major}: of the extension alone");
    }
}

fn details(catalog: &DatabaseCatalog, major: u32) {
    let contents = catalog.clone().into_contents(vec![], LargeObjects::default());
    let extensions: Vec<&str> = contents.extensions.iter().map(|extension| extension.name.as_str()).collect();
    let expected: &[&str] = if major == 15 { &["plpgsql"] } else { &["plpgsql", EXTENSION] };
    assert_eq!(extensions, expected);
    assert_eq!(catalog.large_objects, 2);
    assert_eq!(contents.invalid_indexes.len(), 1, "{major}");
    assert_eq!(
        (contents.invalid_indexes[0].table.as_str(), contents.invalid_indexes[0].name.as_str()),
        ("plain", "broken")
    );
    assert!(contents.invalid_indexes[0].definition.starts_with("CREATE INDEX broken ON"));
    let constraints: Vec<(&str, &str)> = contents
        .not_valid_constraints
        .iter()
        .map(|constraint| (constraint.of.as_str(), constraint.name.as_str()))
        .collect();
    assert_eq!(constraints, [("plain", "short"), ("word", "no_space")], "{major}");
    assert_eq!(contents.notes, Vec::<String>::new(), "a superuser reads all");
}

/// A dump of what the catalog lists is covered by it, and one that lacks a table is not.
#[tokio::test]
async fn the_catalog_covers_a_dump_of_itself() {
    let (_, server) = SEEDED.iter().find(|(major, _)| *major == 17).unwrap();
    let (session, facts) = snapshot(server, "seeded").await;
    let catalog = catalog::read(&session, &facts).await.unwrap();
    // What pg_dump 17 lists as TABLE DATA of this database.
    let dumped = ["plain", "Größe;'", "fast", "fast_too", "part", "tested_config", "tested_filtered"];
    let entries = catalog.relations.iter().filter(|relation| dumped.contains(&relation.name.as_str()));
    let entries = entries.map(|relation| samples::rows(relation.oid, &relation.schema, &relation.name));
    let mut held = Held { key: "k".to_owned(), archive: samples::archive(entries.collect()) };
    let tables = coverage::tables(catalog.relations.clone(), false, std::slice::from_ref(&held)).unwrap();
    let data = |name: &str| &tables.iter().find(|table| table.name == name).unwrap().data;
    assert_eq!(data("tested_own"), &TableData::Absent { reason: NoData::OfExtension });
    assert!(
        matches!(data("tested_filtered"), TableData::Stored { filter: Some(filter), .. } if filter == "WHERE i > 1")
    );
    held.archive.entries.retain(|entry| &*entry.tag != "fast");
    let error = coverage::tables(catalog.relations, false, &[held]).unwrap_err();
    assert!(error.to_string().contains("a \"b\" c.fast"), "{error}");
}

/// Unlogged tables and sequences are empty there, and to read them is an error.
#[tokio::test]
async fn a_standby_has_no_rows_of_unlogged_tables() {
    let server = majors::standby(
        ADMIN_PASSWORD,
        "CREATE UNLOGGED TABLE fast (id serial);\n\nCREATE TABLE slow (id serial);\n\n",
    );
    let (session, facts) = snapshot(&server, "postgres").await;
    assert!(facts.identity.standby);
    let catalog = catalog::read(&session, &facts).await.unwrap();
    let slow = catalog.relations.iter().find(|relation| relation.name == "slow").unwrap();
    let entry = samples::rows(slow.oid, &slow.schema, &slow.name);
    let held = Held { key: "k".to_owned(), archive: samples::archive(vec![entry]) };
    let tables = coverage::tables(catalog.relations.clone(), true, &[held]).unwrap();
    let fast = tables.iter().find(|table| table.name == "fast").unwrap();
    assert_eq!(fast.data, TableData::Absent { reason: NoData::UnloggedOnStandby });
    let contents = catalog.into_contents(tables, LargeObjects::default());
    let values: Vec<bool> = contents.sequences.iter().map(|sequence| sequence.value.is_some()).collect();
    assert_eq!(values, [false, true], "{:?}", contents.sequences);
}
