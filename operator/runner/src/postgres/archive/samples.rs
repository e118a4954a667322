//! Archives as a walk finds them, for tests of what is made of them.

use super::copy::Rows;
use super::large_objects::{LargeObject, LargeObjects};
use super::model::{Archive, Data, Entry, FormatVersion, Section};

/// An archive of a database in UTF-8.
pub fn archive(entries: Vec<Entry>) -> Archive {
    Archive {
        version: FormatVersion::NEWEST,
        database: "db".to_owned(),
        server_version: "17.5".to_owned(),
        dump_version: "17.5".to_owned(),
        encoding: Some("UTF8".to_owned()),
        entries,
        large_object_entries: 0,
        large_objects: LargeObjects::default(),
    }
}

/// Rows of a table.
pub fn rows(oid: u32, schema: &str, name: &str) -> Entry {
    let rows = Rows { count: oid.into(), bytes: 10 * u64::from(oid), digest: oid.into() };
    Entry { oid, data: Some(Data::Rows(rows)), ..entry("TABLE DATA", schema, name) }
}

/// Where a sequence stands.
pub fn sequence(schema: &str, name: &str) -> Entry {
    entry("SEQUENCE SET", schema, name)
}

/// So many large objects.
pub fn large_objects(count: u32) -> LargeObjects {
    let mut objects = LargeObjects::default();
    for oid in 1..=count {
        objects.add(LargeObject { oid, length: 7, digest: 0 });
    }
    objects
}

fn entry(desc: &str, schema: &str, name: &str) -> Entry {
    Entry {
        dump_id: 1,
        catalog: 0,
        oid: 0,
        desc: desc.into(),
        section: Section::Data,
        namespace: schema.into(),
        tag: name.into(),
        owner: "postgres".into(),
        data: None,
    }
}
