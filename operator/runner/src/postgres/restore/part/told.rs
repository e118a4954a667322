//! Says what of a part is left out, and why, in the words of `pg_restore --list`. Pure.

use std::collections::BTreeSet;

use greenlang_backup_api::contents::DatabaseContents;
use greenlang_backup_api::text::cut;

use super::graph::{Fate, Graph};
use super::kinds::{self, Kind};
use crate::postgres::archive::Entry;

/// Most bytes of a name that are told; a function with many arguments has a long one.
const NAME: usize = 200;
/// Schemas that are told to somebody who named another one.
const SCHEMAS: usize = 10;

/// What an entry is called.
pub fn subject(entry: &Entry) -> String {
    let schema = if entry.namespace.is_empty() { String::new() } else { format!("{} ", entry.namespace) };
    let told = format!("{} {schema}{}", entry.desc, entry.tag);
    cut(&told.escape_debug().to_string(), NAME).to_owned()
}

/// What was in a schema that was named, or belongs to something that is restored, and cannot be restored.
pub fn left_out(
    graph: &Graph<'_>,
    fates: &[Fate],
    selected: &[bool],
    schemas: &BTreeSet<&str>,
    contents: &DatabaseContents,
) -> Vec<String> {
    let mut told = Vec::new();
    for (place, entry) in graph.entries.iter().enumerate() {
        if selected[place] || kinds::goes_without_saying(entry) {
            continue;
        }
        let missed = match graph.kind(place) {
            Kind::Relation | Kind::Sequence | Kind::Definition => schemas.contains(&*entry.namespace),
            Kind::Member => is_of_selected(graph, selected, place),
            // Of a publication: that these tables are in it.
            Kind::Apart => schemas.contains(&*entry.namespace) || is_of_selected(graph, selected, place),
            Kind::Mark => false,
        };
        if missed {
            told.push(format!("{}: {}", subject(entry), why(graph, fates, place)));
        }
    }
    let objects = contents.large_objects.count;
    if objects > 0 {
        told.push(format!(
            "{objects} large objects: they are in no schema, and columns with their numbers refer to nothing"
        ));
    }
    told
}

/// Whether it belongs to something that is restored.
fn is_of_selected(graph: &Graph<'_>, selected: &[bool], place: usize) -> bool {
    let entry = &graph.entries[place];
    graph.needs[place].iter().any(|need| {
        let to = &graph.entries[*need];
        let can_own = matches!(graph.kind(*need), Kind::Relation | Kind::Sequence) || &*to.desc == "DOMAIN";
        can_own && selected[*need] && kinds::belongs(entry, to)
    })
}

fn why(graph: &Graph<'_>, fates: &[Fate], place: usize) -> String {
    match fates[place] {
        Fate::Lacks(need) => format!("it needs {}", subject(&graph.entries[need])),
        Fate::Unwanted | Fate::Free => "it belongs to the database as a whole".to_owned(),
    }
}

/// What somebody may have meant who named a schema that is not there.
pub fn known_schemas(known: &BTreeSet<&str>) -> String {
    let told: Vec<String> = known.iter().take(SCHEMAS).map(|name| format!("{name:?}")).collect();
    let more = match known.len().saturating_sub(SCHEMAS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("it has {}{more}", told.join(", "))
}
