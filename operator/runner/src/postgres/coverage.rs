//! Compares what the catalog says must be in a dump with what was seen in its archives: every table is in exactly one of them,
//! or has a reason not to be. Pure.

use std::collections::HashMap;

use greenlang_backup_api::contents::{
    LargeObject, LargeObjects, MAX_LISTED_LARGE_OBJECTS, NoData, Persistence, Table, TableData, TableKind,
};

use super::catalog::{Config, Member, Relation};

/// What was seen in one archive.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// Key of the object that holds it.
    pub key: String,
    /// Whether its names are in another encoding than the catalog's, UTF-8: then only OIDs tell tables apart.
    pub other_encoding: bool,
    /// Entries whose rows went by; entries without data are not here.
    pub tables: Vec<TableEntry>,
    /// Its large objects.
    pub large_objects: LargeObjectEntries,
}

/// A `TABLE DATA` entry with the rows that went by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// OID of the table, as the entry has it.
    pub oid: u32,
    /// Schema, as the entry has it.
    pub schema: String,
    /// Table, as the entry has it.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text.
    pub bytes: u64,
    /// Digest that does not depend on the order of rows, hexadecimal.
    pub digest: String,
}

/// The large objects that went by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LargeObjectEntries {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Digest of all, hexadecimal.
    pub digest: String,
    /// The first of them.
    pub first: Vec<LargeObject>,
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
    archives: &[Archive],
) -> Result<Vec<Table>, CoverageError> {
    let mut stored = index(archives)?;
    let mut missing = Vec::new();
    let mut tables = Vec::with_capacity(relations.len());
    for relation in relations {
        let data = match (no_data(&relation, standby), stored.remove(&relation.oid)) {
            (None, Some((archive, entry))) => data(&relation, archive, entry)?,
            (Some(reason), None) => TableData::Absent { reason },
            (Some(reason), Some((archive, entry))) => {
                return Err(unexpected(&archive.key, entry, format!("has none in a dump ({reason:?})")));
            }
            (None, None) => {
                missing.push(format!("{}.{}", relation.schema, relation.name));
                continue;
            }
        };
        tables.push(table(relation, data));
    }
    let mut strangers: Vec<_> = stored.into_values().collect();
    strangers.sort_by_key(|(_, entry)| entry.oid);
    if let Some((archive, entry)) = strangers.into_iter().next() {
        return Err(unexpected(&archive.key, entry, "the catalog does not know".to_owned()));
    }
    match missing.first() {
        Some(table) => Err(CoverageError::Missing { table: table.clone(), count: missing.len() }),
        None => Ok(tables),
    }
}

/// The large objects of a database, which all are in one archive. `expected`: how many the catalog has.
pub fn large_objects(expected: u64, archives: &[Archive]) -> Result<LargeObjects, CoverageError> {
    let mut holders = archives.iter().filter(|archive| archive.large_objects.count > 0);
    let holder = holders.next();
    if let (Some(first), Some(second)) = (holder, holders.next()) {
        let (first, second) = (first.key.clone(), second.key.clone());
        return Err(CoverageError::LargeObjectsTwice { first, second });
    }
    let found = holder.map_or(0, |archive| archive.large_objects.count);
    if found != expected {
        return Err(CoverageError::LargeObjects { found, expected });
    }
    Ok(holder.map_or_else(LargeObjects::default, |archive| {
        let entries = &archive.large_objects;
        LargeObjects {
            object: Some(archive.key.clone()),
            count: entries.count,
            bytes: entries.bytes,
            digest: Some(entries.digest.clone()),
            list: entries.first.iter().take(MAX_LISTED_LARGE_OBJECTS).cloned().collect(),
        }
    }))
}

/// All entries by the OID of their table.
fn index(archives: &[Archive]) -> Result<HashMap<u32, (&Archive, &TableEntry)>, CoverageError> {
    let mut stored: HashMap<u32, (&Archive, &TableEntry)> = HashMap::new();
    for archive in archives {
        for entry in &archive.tables {
            if let Some((first, _)) = stored.insert(entry.oid, (archive, entry)) {
                return Err(CoverageError::Twice {
                    table: format!("{}.{}", entry.schema, entry.name),
                    first: first.key.clone(),
                    second: archive.key.clone(),
                });
            }
        }
    }
    Ok(stored)
}

/// Why `pg_dump` writes no rows of a relation, as its sources have it.
fn no_data(relation: &Relation, standby: bool) -> Option<NoData> {
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
fn data(relation: &Relation, archive: &Archive, entry: &TableEntry) -> Result<TableData, CoverageError> {
    let same = (&entry.schema, &entry.name) == (&relation.schema, &relation.name);
    if !same && !archive.other_encoding {
        let problem = format!("the catalog calls {}.{}", relation.schema, relation.name);
        return Err(unexpected(&archive.key, entry, problem));
    }
    let filter = relation.extension.as_ref().and_then(|member| match &member.config {
        Config::Filtered(condition) => Some(condition.clone()),
        Config::No | Config::Whole => None,
    });
    Ok(TableData::Stored {
        object: archive.key.clone(),
        rows: entry.rows,
        bytes: entry.bytes,
        digest: entry.digest.clone(),
        filter,
    })
}

fn unexpected(key: &str, entry: &TableEntry, problem: String) -> CoverageError {
    CoverageError::Unexpected {
        key: key.to_owned(),
        table: format!("{}.{}", entry.schema, entry.name),
        oid: entry.oid,
        problem,
    }
}

fn table(relation: Relation, data: TableData) -> Table {
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
