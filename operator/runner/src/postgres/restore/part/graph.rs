//! What needs what in an archive, and what therefore cannot be restored without the rest. Pure.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::kinds::Kind;
use crate::postgres::archive::{Entry, Toc};

/// The entries of an archive, by their places, with what each of them needs.
pub struct Graph<'a> {
    pub entries: &'a [Entry],
    /// What must be there before an entry can be made.
    pub needs: Vec<Vec<usize>>,
    /// The other way round.
    pub users: Vec<Vec<usize>>,
    /// The sequences that belong to a table, by the table.
    pub sequences: HashMap<usize, Vec<usize>>,
    /// Partitions and what they are partitions of.
    pub partitions: Vec<(usize, usize)>,
    /// Whether an entry is about something that an extension makes, so that the archive does not have it.
    pub of_extension: Vec<bool>,
}

/// Whether an entry can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// If somebody wants it.
    Free,
    /// It is not part of what is wanted, and nothing that others need brings it along.
    Unwanted,
    /// It needs this one, which cannot be restored.
    Lacks(usize),
}

impl<'a> Graph<'a> {
    pub fn new(toc: &'a Toc) -> Self {
        let entries = &*toc.entries;
        let places: HashMap<u32, usize> =
            entries.iter().enumerate().map(|(place, entry)| (entry.dump_id, place)).collect();
        let mut needs: Vec<Vec<usize>> = Vec::with_capacity(entries.len());
        let mut of_extension = Vec::with_capacity(entries.len());
        for (place, numbers) in toc.dependencies.iter().enumerate() {
            let mut known: Vec<usize> =
                numbers.iter().filter_map(|number| places.get(number).copied()).collect();
            known.retain(|need| *need != place);
            of_extension.push(known.is_empty() && !numbers.is_empty());
            needs.push(known);
        }
        let mut graph = Self {
            entries,
            needs,
            users: Vec::new(),
            sequences: HashMap::new(),
            partitions: Vec::new(),
            of_extension,
        };
        graph.own_sequences();
        graph.part_partitions();
        graph.complete_views();
        graph.users = vec![Vec::new(); entries.len()];
        for (place, needs) in graph.needs.iter().enumerate() {
            for need in needs {
                graph.users[*need].push(place);
            }
        }
        graph
    }

    pub fn kind(&self, place: usize) -> Kind {
        self.entries.get(place).map_or(Kind::Apart, Kind::of)
    }

    fn is(&self, place: usize, desc: &str) -> bool {
        self.entries.get(place).is_some_and(|entry| &*entry.desc == desc)
    }

    fn relations(&self, place: usize) -> Vec<usize> {
        let needs = self.needs.get(place).into_iter().flatten().copied();
        needs.filter(|need| self.kind(*need) == Kind::Relation).collect()
    }

    /// A sequence can be made without the table that owns it: the table is needed only where the two are tied together. That of an
    /// identity column is made with its table, and not tied.
    fn own_sequences(&mut self) {
        let tied: Vec<(usize, usize)> = (0..self.entries.len())
            .filter(|place| self.is(*place, "SEQUENCE OWNED BY"))
            .filter_map(|place| {
                Some((place, *self.needs[place].iter().find(|need| self.is(**need, "SEQUENCE"))?))
            })
            .collect();
        let tied_by: HashMap<usize, usize> = tied.iter().map(|(tie, sequence)| (*sequence, *tie)).collect();
        for sequence in 0..self.entries.len() {
            if self.kind(sequence) != Kind::Sequence {
                continue;
            }
            let tables = self.relations(sequence);
            for table in &tables {
                self.sequences.entry(*table).or_default().push(sequence);
            }
            if let Some(tie) = tied_by.get(&sequence) {
                self.needs[sequence].retain(|need| !tables.contains(need));
                self.needs[*tie].extend(tables);
            }
        }
    }

    /// A partition, its indexes and their constraints can be made without their parents; only attaching them needs both.
    fn part_partitions(&mut self) {
        for place in 0..self.entries.len() {
            if self.is(place, "TABLE ATTACH") {
                self.attached_table(place);
            } else if self.is(place, "INDEX ATTACH") {
                self.attached_index(place);
            }
        }
    }

    fn attached_table(&mut self, attach: usize) {
        let entries = self.entries;
        let name = |place: usize| (&*entries[place].namespace, &*entries[place].tag);
        let tables = self.relations(attach);
        for table in &tables {
            self.needs[*table].retain(|need| !tables.contains(need));
        }
        if let Some(child) = tables.iter().find(|table| name(**table) == name(attach)) {
            let parents = tables.iter().filter(|table| *table != child);
            self.partitions.extend(parents.map(|parent| (*child, *parent)));
        }
    }

    fn attached_index(&mut self, attach: usize) {
        let tables = self.relations(attach);
        let indexes: Vec<usize> = self.needs[attach]
            .iter()
            .copied()
            .filter(|need| self.is(*need, "INDEX") || self.is(*need, "CONSTRAINT"))
            .collect();
        for index in &indexes {
            self.needs[*index].retain(|need| !indexes.contains(need));
        }
        // Those of parents of parents, too, stand among them.
        let far: Vec<usize> = indexes
            .into_iter()
            .filter(|index| self.relations(*index).iter().any(|table| !tables.contains(table)))
            .collect();
        self.needs[attach].retain(|need| !far.contains(need));
    }

    /// A view in a circle is made empty first and gets its query as a rule: without that it would be another one.
    fn complete_views(&mut self) {
        for place in 0..self.entries.len() {
            if !self.is(place, "RULE") {
                continue;
            }
            for view in self.relations(place) {
                let (rule, of) = (&self.entries[place], &self.entries[view]);
                if rule.namespace == of.namespace && *rule.tag == *format!("{} _RETURN", of.tag) {
                    self.needs[view].push(place);
                }
            }
        }
    }

    /// The partitions, at any depth, of what was chosen: the rows of a partitioned table are theirs.
    pub fn with_partitions(&self, chosen: &mut BTreeSet<usize>) {
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        for (child, parent) in &self.partitions {
            children.entry(*parent).or_default().push(*child);
        }
        let mut queue: Vec<usize> = chosen.iter().copied().collect();
        while let Some(parent) = queue.pop() {
            for child in children.get(&parent).into_iter().flatten() {
                if chosen.insert(*child) {
                    queue.push(*child);
                }
            }
        }
    }

    /// What becomes of each entry if only these relations are wanted. What lacks several things lacks the nearest of them.
    pub fn fates(&self, chosen: &BTreeSet<usize>) -> Vec<Fate> {
        let unwanted = |place: usize| match self.kind(place) {
            Kind::Relation => !chosen.contains(&place),
            Kind::Apart => true,
            _ => false,
        };
        let mut fates: Vec<Fate> = (0..self.entries.len())
            .map(|place| if unwanted(place) { Fate::Unwanted } else { Fate::Free })
            .collect();
        let mut queue: VecDeque<usize> =
            (0..fates.len()).filter(|place| fates[*place] == Fate::Unwanted).collect();
        while let Some(lost) = queue.pop_front() {
            for user in &self.users[lost] {
                if fates[*user] == Fate::Free {
                    fates[*user] = Fate::Lacks(lost);
                    queue.push_back(*user);
                }
            }
        }
        fates
    }
}
