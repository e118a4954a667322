//! Selects the entries of a part: what was chosen, what that needs, and what belongs to it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Fate, Graph};
use super::kinds::Kind;

/// What is selected, by the places of the entries.
pub struct Selection<'a, 'b> {
    pub graph: &'b Graph<'a>,
    fates: &'b [Fate],
    pub selected: Vec<bool>,
    queue: Vec<usize>,
}

impl<'a, 'b> Selection<'a, 'b> {
    pub fn new(graph: &'b Graph<'a>, fates: &'b [Fate]) -> Self {
        Self { graph, fates, selected: vec![false; graph.entries.len()], queue: Vec::new() }
    }

    /// Selects an entry with everything that comes along, if it can be restored.
    pub fn add(&mut self, place: usize) {
        let graph = self.graph;
        self.push(place);
        while let Some(place) = self.queue.pop() {
            for need in &graph.needs[place] {
                self.push(*need);
            }
            for sequence in graph.sequences.get(&place).into_iter().flatten() {
                self.push(*sequence);
            }
            for user in &graph.users[place] {
                if self.comes_along(*user) {
                    self.push(*user);
                }
            }
        }
    }

    fn push(&mut self, place: usize) {
        if !self.selected[place] && self.fates[place] == Fate::Free {
            self.selected[place] = true;
            self.queue.push(place);
        }
    }

    /// Whether all that an entry belongs to is there.
    fn comes_along(&self, place: usize) -> bool {
        let belongs = matches!(self.graph.kind(place), Kind::Mark | Kind::Member);
        belongs && self.anchors(place).iter().all(|anchor| self.selected[*anchor])
    }

    /// What an entry belongs to: a trigger to its table, although it needs its function, too.
    fn anchors(&self, place: usize) -> Vec<usize> {
        let (graph, needs) = (self.graph, &self.graph.needs[place]);
        let relations: Vec<usize> =
            needs.iter().copied().filter(|need| graph.kind(*need) == Kind::Relation).collect();
        if !relations.is_empty() {
            return relations;
        }
        let domains: Vec<usize> =
            needs.iter().copied().filter(|need| &*graph.entries[*need].desc == "DOMAIN").collect();
        if domains.is_empty() { needs.clone() } else { domains }
    }

    /// Names of the extensions that are selected.
    pub fn extensions(&self) -> BTreeSet<String> {
        let extensions = self.places().map(|place| &self.graph.entries[place]);
        extensions.filter(|entry| &*entry.desc == "EXTENSION").map(|entry| entry.tag.to_string()).collect()
    }

    /// Selects what is about things that extensions make. `tables`: OIDs of their tables with the extension; `schemas`: those that
    /// were named and have an extension.
    pub fn add_of_extensions(&mut self, tables: &BTreeMap<u32, &str>, schemas: &BTreeSet<&str>) {
        let (graph, extensions) = (self.graph, self.extensions());
        for (place, entry) in graph.entries.iter().enumerate().filter(|(place, _)| graph.of_extension[*place])
        {
            let comes = match (&*entry.desc, graph.kind(place)) {
                ("TABLE DATA", _) => tables.get(&entry.oid).is_some_and(|name| extensions.contains(*name)),
                ("SEQUENCE SET", _) | (_, Kind::Mark) => schemas.contains(&*entry.namespace),
                _ => false,
            };
            if comes {
                self.add(place);
            }
        }
    }

    /// Selects the rights and the comment of schema public, which is in every new database and so not in every archive.
    pub fn add_marks_of_public(&mut self, is_named: bool) {
        let graph = self.graph;
        if !is_named && !self.places().any(|place| &*graph.entries[place].namespace == "public") {
            return;
        }
        for (place, entry) in graph.entries.iter().enumerate() {
            let is_mark = graph.kind(place) == Kind::Mark && graph.of_extension[place];
            if is_mark && entry.namespace.is_empty() && &*entry.tag == "SCHEMA public" {
                self.add(place);
            }
        }
    }

    /// Places of what is selected, in the order of the archive.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.selected.iter().enumerate().filter_map(|(place, selected)| selected.then_some(place))
    }
}
