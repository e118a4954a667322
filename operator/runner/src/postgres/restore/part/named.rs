//! Finds what was named in an archive, and what is missing there or cannot be made alone. Pure.

use std::collections::{BTreeMap, BTreeSet};

use greenlang_backup_api::contents::DatabaseContents;
use greenlang_backup_api::v1alpha1::RestoreInclude;

use super::graph::{Fate, Graph};
use super::kinds::Kind;
use super::{PartError, told};
use crate::postgres::archive::Toc;

/// Names that an archive in another encoding does not have as they are.
pub fn strange(include: &RestoreInclude, toc: &Toc) -> Vec<PartError> {
    let encoding = toc.encoding.as_deref().unwrap_or("an unknown encoding");
    let names =
        include.schemas.iter().chain(include.tables.iter().flat_map(|table| [&table.schema, &table.name]));
    let mut strange: Vec<&String> = names.filter(|name| encoding != "UTF8" && !name.is_ascii()).collect();
    strange.sort();
    strange.dedup();
    let problem = |name: &String| PartError::Encoding { encoding: encoding.to_owned(), name: name.clone() };
    strange.into_iter().map(problem).collect()
}

/// Places of the tables that were named; what is not there is a problem, schemas too.
pub fn find(
    include: &RestoreInclude,
    graph: &Graph<'_>,
    contents: &DatabaseContents,
    problems: &mut Vec<PartError>,
) -> BTreeSet<usize> {
    let (mut known, mut relations) = (BTreeSet::new(), BTreeMap::new());
    for (place, entry) in graph.entries.iter().enumerate() {
        match graph.kind(place) {
            Kind::Definition if &*entry.desc == "SCHEMA" => {
                known.insert(&*entry.tag);
            }
            Kind::Relation => {
                known.insert(&*entry.namespace);
                relations.insert((&*entry.namespace, &*entry.tag), place);
            }
            Kind::Sequence | Kind::Definition => {
                known.insert(&*entry.namespace);
            }
            Kind::Member | Kind::Mark | Kind::Apart => {}
        }
    }
    known.remove("");
    for schema in include.schemas.iter().filter(|schema| !known.contains(schema.as_str())) {
        problems.push(PartError::NoSchema(schema.clone(), told::known_schemas(&known)));
    }
    let mut named = BTreeSet::new();
    for table in &include.tables {
        if let Some(place) = relations.get(&(table.schema.as_str(), table.name.as_str())) {
            named.insert(*place);
            continue;
        }
        let listed =
            contents.tables.iter().find(|found| (&found.schema, &found.name) == (&table.schema, &table.name));
        let extension = listed.and_then(|found| found.extension.as_deref());
        let why = extension.map_or_else(String::new, |extension| {
            format!(", but one that extension {extension} makes, which comes with the schema of the extension and with what needs it")
        });
        problems.push(PartError::NoTable { schema: table.schema.clone(), name: table.name.clone(), why });
    }
    named
}

/// Tables whose rows were asked for and that cannot be made, and everything else that was named and cannot be made.
pub fn lacking(
    graph: &Graph<'_>,
    fates: &[Fate],
    named: &BTreeSet<usize>,
    chosen: &BTreeSet<usize>,
) -> Vec<PartError> {
    let has_rows = |place: &usize| &*graph.entries[*place].desc == "TABLE";
    let lost = chosen.iter().filter(|place| matches!(fates[**place], Fate::Lacks(_)));
    lost.filter(|place| named.contains(place) || has_rows(place))
        .map(|place| {
            let mut needs = *place;
            while let Fate::Lacks(next) = fates[needs] {
                needs = next;
            }
            let way_out = if graph.kind(needs) == Kind::Relation {
                "add it to database.include.tables, or its schema to database.include.schemas"
            } else {
                "restore the whole database"
            };
            let told = |place: usize| told::subject(&graph.entries[place]);
            PartError::NeedsMore { what: told(*place), needs: told(needs), way_out }
        })
        .collect()
}
