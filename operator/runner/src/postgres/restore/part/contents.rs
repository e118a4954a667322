//! What a list of contents says of a part, which is what is compared with what was restored. Pure.

use std::collections::{BTreeSet, HashSet};

use greenlang_backup_api::contents::{DatabaseContents, LargeObjects, TableData};

use super::kinds::Kind;
use super::select::Selection;

/// What of the things that a list of contents has is restored.
#[derive(Debug, Default)]
pub struct Kept {
    /// OIDs of tables, views and sequences.
    relations: HashSet<u32>,
    extensions: BTreeSet<String>,
    /// Schema and name of sequences and domains.
    named: BTreeSet<(String, String)>,
    /// Schema and name of constraints that are not restored, each after the name of its table or domain.
    lost_constraints: BTreeSet<(String, String)>,
}

impl Kept {
    pub fn of(selection: &Selection<'_, '_>) -> Self {
        let graph = selection.graph;
        let mut kept = Self { extensions: selection.extensions(), ..Self::default() };
        for (place, entry) in graph.entries.iter().enumerate() {
            let name = || (entry.namespace.to_string(), entry.tag.to_string());
            match (selection.selected[place], graph.kind(place), &*entry.desc) {
                (true, Kind::Relation | Kind::Sequence, _) => {
                    kept.relations.insert(entry.oid);
                }
                (true, _, "SEQUENCE SET" | "DOMAIN") => {
                    kept.named.insert(name());
                }
                (false, _, desc) if desc.ends_with("CONSTRAINT") => {
                    kept.lost_constraints.insert(name());
                }
                _ => {}
            }
        }
        kept
    }

    /// The list of the whole database without what is not restored.
    pub fn of_contents(&self, mut contents: DatabaseContents) -> DatabaseContents {
        let named = |schema: &str, name: &str| self.named.contains(&(schema.to_owned(), name.to_owned()));
        contents.extensions.retain(|extension| self.extensions.contains(&extension.name));
        contents.tables.retain(|table| match &table.extension {
            Some(extension) => self.extensions.contains(extension),
            None => self.relations.contains(&table.oid),
        });
        contents.sequences.retain(|sequence| {
            self.relations.contains(&sequence.oid) || named(&sequence.schema, &sequence.name)
        });
        contents.large_objects = LargeObjects::default();
        let tables: BTreeSet<(&str, &str)> =
            contents.tables.iter().map(|table| (table.schema.as_str(), table.name.as_str())).collect();
        contents
            .invalid_indexes
            .retain(|index| tables.contains(&(index.schema.as_str(), index.table.as_str())));
        contents.not_valid_constraints.retain(|constraint| {
            let (schema, of) = (constraint.schema.as_str(), constraint.of.as_str());
            let entry = (constraint.schema.clone(), format!("{of} {}", constraint.name));
            // Of a table, or of a domain.
            (tables.contains(&(schema, of)) || named(schema, of)) && !self.lost_constraints.contains(&entry)
        });
        contents
    }
}

/// Keys of the objects with rows that such contents need.
pub fn objects(contents: &DatabaseContents) -> BTreeSet<String> {
    let stored = contents.tables.iter().filter_map(|table| match &table.data {
        TableData::Stored { object, .. } => Some(object.clone()),
        TableData::Absent { .. } => None,
    });
    stored.collect()
}

/// Bytes of the rows of such contents.
pub fn row_bytes(contents: &DatabaseContents) -> u64 {
    let stored = contents.tables.iter().map(|table| match table.data {
        TableData::Stored { bytes, .. } => bytes,
        TableData::Absent { .. } => 0,
    });
    stored.sum()
}
