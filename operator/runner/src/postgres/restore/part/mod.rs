//! Works out what of a backup a part of a database is (`spec.database.include`): which entries of its archive, which rows, what has
//! to be left out, and what is to be found afterwards. Pure.

mod contents;
mod error;
mod graph;
mod kinds;
mod named;
mod select;
mod told;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};

use greenlang_backup_api::contents::DatabaseContents;
use greenlang_backup_api::v1alpha1::RestoreInclude;

use crate::postgres::archive::Toc;
use contents::Kept;
use graph::{Fate, Graph};
use kinds::Kind;
use select::Selection;

pub use contents::row_bytes;
pub use error::PartError;

/// A part of a database that can be restored.
#[derive(Debug)]
pub struct Part {
    /// Numbers of the entries of the first archive that are restored, in its order.
    pub entries: Vec<u32>,
    /// Keys of the objects with its rows; others need not be read.
    pub objects: BTreeSet<String>,
    /// What belongs to it and is left out all the same, with why.
    pub left_out: Vec<String>,
    /// OIDs of the tables whose rows are restored.
    rows: HashSet<u32>,
}

/// The part that was asked for with what the list of contents says of it, or everything that keeps it from being restored.
pub fn part(
    include: &RestoreInclude,
    toc: &Toc,
    contents: DatabaseContents,
) -> Result<(Part, DatabaseContents), Vec<PartError>> {
    if contents.tables.is_empty() && toc.entries.iter().any(|entry| &*entry.desc == "TABLE") {
        return Err(vec![PartError::NotListed]);
    }
    let graph = Graph::new(toc);
    let schemas: BTreeSet<&str> = include.schemas.iter().map(String::as_str).collect();
    let mut problems = named::strange(include, toc);
    let named = named::find(include, &graph, &contents, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut chosen = named.clone();
    let in_schemas =
        graph.entries.iter().enumerate().filter(|(_, entry)| schemas.contains(&*entry.namespace));
    chosen.extend(in_schemas.map(|(place, _)| place).filter(|place| graph.kind(*place) == Kind::Relation));
    graph.with_partitions(&mut chosen);
    let fates = graph.fates(&chosen);
    let problems = named::lacking(&graph, &fates, &named, &chosen);
    if !problems.is_empty() {
        return Err(problems);
    }
    let selection = select(&graph, &fates, &schemas, &chosen, &contents);
    let left_out = told::left_out(&graph, &fates, &selection.selected, &schemas, &contents);
    let contents = Kept::of(&selection).of_contents(contents);
    let chosen = |place: &usize| &graph.entries[*place];
    // Of what another archive holds the rows of, there is no entry for rows here.
    let rows = selection
        .places()
        .filter(|place| graph.kind(*place) == Kind::Relation || &*chosen(place).desc == "TABLE DATA");
    let part = Part {
        entries: selection.places().map(|place| chosen(&place).dump_id).collect(),
        rows: rows.map(|place| chosen(&place).oid).collect(),
        objects: contents::objects(&contents),
        left_out,
    };
    Ok((part, contents))
}

fn select<'a, 'b>(
    graph: &'b Graph<'a>,
    fates: &'b [Fate],
    schemas: &BTreeSet<&str>,
    chosen: &BTreeSet<usize>,
    contents: &DatabaseContents,
) -> Selection<'a, 'b> {
    let mut selection = Selection::new(graph, fates);
    for place in roots(graph, schemas, chosen, contents) {
        selection.add(place);
    }
    let tables = contents.tables.iter().filter_map(|table| Some((table.oid, table.extension.as_deref()?)));
    let with_extension = contents.extensions.iter().map(|extension| extension.schema.as_str());
    let with_extension = with_extension.filter(|schema| schemas.contains(schema));
    selection.add_of_extensions(&tables.collect(), &with_extension.collect());
    selection.add_marks_of_public(schemas.contains("public"));
    selection
}

impl Part {
    /// Numbers of the entries of another archive that hold rows of this part; dumps of data only have numbers of their own.
    pub fn rows_in(&self, toc: &Toc) -> Vec<u32> {
        let rows = toc.entries.iter().filter(|entry| &*entry.desc == "TABLE DATA");
        rows.filter(|entry| self.rows.contains(&entry.oid)).map(|entry| entry.dump_id).collect()
    }
}

/// A list as `pg_restore --use-list` reads it.
pub fn list(entries: &[u32]) -> String {
    entries.iter().flat_map(|number| [number.to_string(), ";\n".to_owned()]).collect()
}

/// What is asked for, before what comes along.
fn roots(
    graph: &Graph<'_>,
    schemas: &BTreeSet<&str>,
    chosen: &BTreeSet<usize>,
    contents: &DatabaseContents,
) -> Vec<usize> {
    let of_schemas =
        contents.extensions.iter().filter(|extension| schemas.contains(extension.schema.as_str()));
    let extensions: BTreeSet<&str> = of_schemas.map(|extension| extension.name.as_str()).collect();
    let is_root = |place: &usize| {
        let entry = &graph.entries[*place];
        match (&*entry.desc, graph.kind(*place)) {
            ("SCHEMA", _) => schemas.contains(&*entry.tag),
            ("EXTENSION", _) => extensions.contains(&*entry.tag),
            (_, Kind::Relation) => chosen.contains(place),
            (_, Kind::Sequence | Kind::Definition) => schemas.contains(&*entry.namespace),
            (_, Kind::Member | Kind::Mark | Kind::Apart) => false,
        }
    };
    (0..graph.entries.len()).filter(is_root).collect()
}
