//! Compares what the catalog says must be in a dump with what was seen in its archives: every table and every sequence is in
//! exactly one of them, or has a reason not to be. Pure.

use std::collections::HashMap;

use greenlang_backup_api::contents::{
    LargeObject, LargeObjects, MAX_LISTED_LARGE_OBJECTS, NoData, Persistence, Sequence, Table, TableData,
    TableKind,
};

use super::archive::{Archive, Entry, Rows};
use super::catalog::{Config, Member, Relation};

/// An archive that was walked, and where it is.
#[derive(Clone, Debug)]
pub struct Held {
    /// Key of the object that holds it.
    pub key: String,
    /// What is in it.
    pub archive: Archive,
}

impl Held {
    /// Whether its names are in another encoding than the catalog's: then only OIDs tell tables apart.
    fn other_encoding(&self) -> bool {
        self.archive.encoding.as_deref() != Some("UTF8")
    }

    /// Entries whose rows went by; those without data are not here.
    fn tables(&self) -> impl Iterator<Item = (&Entry, &Rows)> {
        self.archive.entries.iter().filter_map(|entry| Some((entry, entry.data.as_ref()?.rows()?)))
    }

    /// Names of the sequences that it sets, by schema and name. Their entries have no OID.
    fn sequences(&self) -> impl Iterator<Item = (&str, &str)> {
        let set = self.archive.entries.iter().filter(|entry| &*entry.desc == "SEQUENCE SET");
        set.map(|entry| (&*entry.namespace, &*entry.tag))
    }
}

/// A dump that is not what the catalog says it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoverageError {
    /// A table has no data and no reason for it.
    #[error(
        "the dump lacks the rows of {count} tables, {table} for one, although pg_dump ended well: try again, and report it if it stays"
    )]
    Missing {
        /// One of them.
        table: String,
        /// How many.
        count: usize,
    },
    /// A table is in two archives, or twice in one.
    #[error(
        "the rows of table {table} are in the dump twice, in {first} and in {second}: a restore would double them"
    )]
    Twice {
        /// The table.
        table: String,
        /// Where it was seen first.
        first: String,
        /// Where it was seen again.
        second: String,
    },
    /// An entry belongs to no table that may have data.
    #[error(
        "the dump {key} has rows of {table} (OID {oid}), which {problem}: another snapshot than the catalog's was dumped"
    )]
    Unexpected {
        /// The archive.
        key: String,
        /// What the entry calls its table.
        table: String,
        /// Its OID.
        oid: u32,
        /// What is wrong with it.
        problem: String,
    },
    /// A sequence would start anew.
    #[error(
        "the dump lacks where {count} sequences stand, {sequence} for one, although pg_dump ended well: try again, and report it if it stays"
    )]
    MissingSequence {
        /// One of them.
        sequence: String,
        /// How many.
        count: usize,
    },
    /// A sequence is set twice, or is none of the catalog.
    #[error("the dump {key} sets sequence {sequence}, which {problem}")]
    UnexpectedSequence {
        /// The archive.
        key: String,
        /// What the entry calls its sequence.
        sequence: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Large objects are missing, or too many.
    #[error(
        "the dump holds {found} large objects and the database {expected}: try again, and report it if it stays"
    )]
    LargeObjects {
        /// In the archives.
        found: u64,
        /// In the catalog.
        expected: u64,
    },
    /// Large objects are in two archives.
    #[error("large objects are in two dumps, {first} and {second}")]
    LargeObjectsTwice {
        /// Where they were seen first.
        first: String,
        /// Where they were seen again.
        second: String,
    },
}

/// The tables of a database with where their rows are. `standby`: whether the server was one.
pub fn tables(
    relations: Vec<Relation>,
    standby: bool,
    archives: &[Held],
) -> Result<Vec<Table>, CoverageError> {
    let mut stored = index(archives)?;
    let mut missing = Vec::new();
    let mut tables = Vec::with_capacity(relations.len());
    for relation in relations {
        let data = match (no_data(&relation, standby), stored.remove(&relation.oid)) {
            (None, Some(seen)) => data(&relation, seen)?,
            (Some(reason), None) => TableData::Absent { reason },
            (Some(reason), Some(seen)) => {
                return Err(unexpected(seen, format!("has none in a dump ({reason:?})")));
            }
            (None, None) => {
                missing.push(format!("{}.{}", relation.schema, relation.name));
                continue;
            }
        };
        tables.push(table(relation, data));
    }
    if let Some(stranger) = stored.into_values().min_by_key(|seen| seen.entry.oid) {
        return Err(unexpected(stranger, "the catalog does not know".to_owned()));
    }
    match missing.first() {
        Some(table) => Err(CoverageError::Missing { table: table.clone(), count: missing.len() }),
        None => Ok(tables),
    }
}

/// Proves that the dump sets every sequence that has a value in it, once, and no other.
pub fn sequences(sequences: &[Sequence], archives: &[Held]) -> Result<(), CoverageError> {
    let mut due: HashMap<(String, String), &Sequence> = sequences
        .iter()
        .filter(|sequence| sequence.value.is_some())
        .map(|sequence| ((sequence.schema.clone(), sequence.name.clone()), sequence))
        .collect();
    let count = due.len();
    let mut found = 0;
    for held in archives {
        for (schema, name) in held.sequences() {
            found += 1;
            let known = due.remove(&(schema.to_owned(), name.to_owned())).is_some();
            // Names that another encoding writes otherwise can only be counted.
            let comparable = !held.other_encoding() || (schema.is_ascii() && name.is_ascii());
            if !known && comparable {
                return Err(CoverageError::UnexpectedSequence {
                    key: held.key.clone(),
                    sequence: format!("{schema}.{name}"),
                    problem: "the catalog does not know, or which was set before".to_owned(),
                });
            }
        }
    }
    let mut missing: Vec<&Sequence> = due.into_values().collect();
    missing.retain(|sequence| {
        let ascii = sequence.schema.is_ascii() && sequence.name.is_ascii();
        found != count || ascii || !archives.iter().any(Held::other_encoding)
    });
    missing.sort_by_key(|sequence| sequence.oid);
    match missing.first() {
        None => Ok(()),
        Some(Sequence { schema, name, .. }) => {
            Err(CoverageError::MissingSequence { sequence: format!("{schema}.{name}"), count: missing.len() })
        }
    }
}

/// The large objects of a database, which all are in one archive. `expected`: how many the catalog has.
pub fn large_objects(expected: u64, archives: &[Held]) -> Result<LargeObjects, CoverageError> {
    let mut holders = archives.iter().filter(|held| held.archive.large_objects.count > 0);
    let holder = holders.next();
    if let (Some(first), Some(second)) = (holder, holders.next()) {
        let (first, second) = (first.key.clone(), second.key.clone());
        return Err(CoverageError::LargeObjectsTwice { first, second });
    }
    let found = holder.map_or(0, |held| held.archive.large_objects.count);
    if found != expected {
        return Err(CoverageError::LargeObjects { found, expected });
    }
    Ok(holder.map_or_else(LargeObjects::default, |held| {
        let objects = &held.archive.large_objects;
        let listed = objects.listed.iter().take(MAX_LISTED_LARGE_OBJECTS).map(|object| LargeObject {
            oid: object.oid,
            bytes: object.length,
            digest: hex(object.digest),
        });
        LargeObjects {
            object: Some(held.key.clone()),
            count: objects.count,
            bytes: objects.bytes,
            digest: Some(hex(objects.digest)),
            list: listed.collect(),
        }
    }))
}

/// The rows of an entry, and the archive that they are in.
#[derive(Clone, Copy)]
struct Seen<'a> {
    held: &'a Held,
    entry: &'a Entry,
    rows: &'a Rows,
}

/// All entries by the OID of their table.
fn index(archives: &[Held]) -> Result<HashMap<u32, Seen<'_>>, CoverageError> {
    let mut stored: HashMap<u32, Seen> = HashMap::new();
    for held in archives {
        for (entry, rows) in held.tables() {
            if let Some(first) = stored.insert(entry.oid, Seen { held, entry, rows }) {
                return Err(CoverageError::Twice {
                    table: format!("{}.{}", entry.namespace, entry.tag),
                    first: first.held.key.clone(),
                    second: held.key.clone(),
                });
            }
        }
    }
    Ok(stored)
}

/// Why `pg_dump` writes no rows of a relation, as its sources have it.
pub fn no_data(relation: &Relation, standby: bool) -> Option<NoData> {
    let left_to_extension = relation.extension.as_ref().is_some_and(Member::is_left_out);
    match relation.kind {
        TableKind::PartitionedTable => Some(NoData::Partitioned),
        TableKind::ForeignTable => Some(NoData::Foreign),
        TableKind::MaterializedView => Some(NoData::MaterializedView),
        TableKind::Table if left_to_extension => Some(NoData::OfExtension),
        TableKind::Table if standby && relation.persistence == Persistence::Unlogged => {
            Some(NoData::UnloggedOnStandby)
        }
        TableKind::Table => None,
    }
}

/// An OID may be used again after its table was dropped, so the names must agree, too.
fn data(relation: &Relation, seen: Seen<'_>) -> Result<TableData, CoverageError> {
    let same = (&*seen.entry.namespace, &*seen.entry.tag) == (&*relation.schema, &*relation.name);
    if !same && !seen.held.other_encoding() {
        return Err(unexpected(seen, format!("the catalog calls {}.{}", relation.schema, relation.name)));
    }
    let filter = relation.extension.as_ref().and_then(|member| match &member.config {
        Config::Filtered(condition) => Some(condition.clone()),
        Config::No | Config::Whole => None,
    });
    Ok(TableData::Stored {
        object: seen.held.key.clone(),
        rows: seen.rows.count,
        bytes: seen.rows.bytes,
        digest: hex(seen.rows.digest),
        filter,
    })
}

fn hex(digest: u128) -> String {
    format!("{digest:032x}")
}

fn unexpected(Seen { held, entry, .. }: Seen<'_>, problem: String) -> CoverageError {
    CoverageError::Unexpected {
        key: held.key.clone(),
        table: format!("{}.{}", entry.namespace, entry.tag),
        oid: entry.oid,
        problem,
    }
}

/// A table of the list of contents.
pub fn table(relation: Relation, data: TableData) -> Table {
    Table {
        oid: relation.oid,
        schema: relation.schema,
        name: relation.name,
        kind: relation.kind,
        persistence: relation.persistence,
        owner: relation.owner,
        extension: relation.extension.map(|member| member.name),
        populated: relation.populated,
        data,
    }
}

#[cfg(test)]
#[path = "coverage_tests.rs"]
mod tests;
