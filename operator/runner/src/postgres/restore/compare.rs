//! Compares what is in a restored database with what its backup says. Pure.

use std::collections::{BTreeMap, BTreeSet};

use greenlang_backup_api::contents::{
    DatabaseContents, DatabaseProperties, NoData, Sequence, Table, TableData,
};
use greenlang_backup_api::globals::Setting;

use super::databases::Found;
use super::properties;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What makes the restored database another one than that of the backup.
    pub differences: Vec<String>,
    /// What people should know although it is the same.
    pub notes: Vec<String>,
}

/// How far two databases are compared.
#[derive(Clone, Copy, Debug)]
pub struct Depth<'a> {
    /// Whether the content of tables and large objects was read, or rows were only counted.
    pub content: bool,
    /// Settings that the server refused, which was said then.
    pub refused: &'a properties::Settings,
}

/// How a sequence counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    pub ascending: bool,
    pub cycles: bool,
}

/// Schema and name.
type Name<'a> = (&'a str, &'a str);

/// Compares the backup's contents with those of the restored database, which is called otherwise and still carries its mark.
pub fn compare(
    expected: &DatabaseContents,
    found: &DatabaseContents,
    directions: &BTreeMap<(String, String), Direction>,
    depth: Depth<'_>,
) -> Comparison {
    let mut comparison = Comparison::default();
    comparison.properties(&expected.properties, &found.properties, depth);
    let renewed = comparison.extensions(expected, found);
    comparison.tables(expected, found, &renewed, depth);
    comparison.sequences(&expected.sequences, &found.sequences, directions);
    comparison.large_objects(expected, found, depth);
    comparison.indexes(expected, found);
    comparison.constraints(expected, found);
    comparison
}

impl Comparison {
    fn differ(&mut self, what: impl Into<String>) {
        self.differences.push(what.into());
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, expected: &T, found: &T) {
        if expected != found {
            self.differ(format!("{what} is {found:?} instead of {expected:?}"));
        }
    }

    /// All but the limit of connections, which is set once those who compare have gone.
    fn properties(&mut self, expected: &DatabaseProperties, found: &DatabaseProperties, depth: Depth<'_>) {
        self.same("the owner", &expected.owner, &found.owner);
        self.same("the encoding", &expected.encoding, &found.encoding);
        let locale = |of: &DatabaseProperties| {
            let locale = of.locale.clone();
            (locale.provider, locale.collate, locale.ctype, locale.name, locale.icu_rules)
        };
        self.same("the locale", &locale(expected), &locale(found));
        self.same("whether it is a template", &expected.template, &found.template);
        self.same("the tablespace", &expected.tablespace, &found.tablespace);
        if !same_rights(expected, found) {
            self.differ(format!(
                "the rights to the database are {:?} instead of {:?}",
                found.acl, expected.acl
            ));
        }
        let database = Found { comment: found.comment.clone(), ..Found::default() };
        self.same("the comment", &expected.comment.as_deref(), &database.own_comment());
        // What the server refused to set was told, and means nothing to a server that has not loaded what reads it.
        for label in expected.security_labels.iter().filter(|label| !found.security_labels.contains(label)) {
            self.notes
                .push(format!("the security label of the database for {} is not there", label.provider));
        }
        let (wanted, set) = (settings(&expected.settings), settings(&found.settings));
        for (setting, value) in &wanted {
            let Some(value) = value else { continue };
            if set.get(setting) == Some(&Some(*value)) {
                continue;
            }
            let (role, name) = setting;
            let what =
                format!("setting {name} of the database (role {}) is not {value:?}", role.unwrap_or("any"));
            let refused = depth.refused.contains(&(role.map(str::to_owned), (*name).to_owned()));
            if refused { self.notes.push(what) } else { self.differ(what) }
        }
    }

    /// Returns the extensions that have another version than in the backup, whose tables may be others.
    fn extensions<'a>(
        &mut self,
        expected: &'a DatabaseContents,
        found: &DatabaseContents,
    ) -> BTreeSet<&'a str> {
        let mut renewed = BTreeSet::new();
        for extension in &expected.extensions {
            match found.extensions.iter().find(|other| other.name == extension.name) {
                None => self.differ(format!("extension {} is missing", extension.name)),
                Some(other) if other.version != extension.version => {
                    renewed.insert(extension.name.as_str());
                    self.notes.push(format!(
                        "extension {} has version {} instead of {}: a dump does not carry it",
                        extension.name, other.version, extension.version
                    ));
                }
                Some(_) => {}
            }
        }
        renewed
    }

    fn tables(
        &mut self,
        expected: &DatabaseContents,
        found: &DatabaseContents,
        renewed: &BTreeSet<&str>,
        depth: Depth<'_>,
    ) {
        let is_renewed =
            |table: &Table| table.extension.as_deref().is_some_and(|name| renewed.contains(name));
        let mut others: BTreeMap<Name<'_>, &Table> =
            found.tables.iter().map(|table| (name(table), table)).collect();
        for table in expected.tables.iter().filter(|table| !is_renewed(table)) {
            match others.remove(&name(table)) {
                Some(other) => self.table(table, other, depth),
                None => self.differ(format!("table {}.{} is missing", table.schema, table.name)),
            }
        }
        for table in others.values().filter(|table| !is_renewed(table)) {
            self.differ(format!("table {}.{} is not in the backup", table.schema, table.name));
        }
    }

    fn table(&mut self, expected: &Table, found: &Table, depth: Depth<'_>) {
        let what = format!("table {}.{}", expected.schema, expected.name);
        self.same(&format!("the kind of {what}"), &expected.kind, &found.kind);
        self.same(&format!("the persistence of {what}"), &expected.persistence, &found.persistence);
        self.same(&format!("the owner of {what}"), &expected.owner, &found.owner);
        if expected.populated == Some(true) && found.populated == Some(false) {
            self.differ(format!("{what} was not filled"));
        }
        match (&expected.data, &found.data) {
            (
                TableData::Stored { rows, bytes, digest, .. },
                TableData::Stored { rows: other_rows, bytes: other_bytes, digest: other_digest, .. },
            ) => {
                if rows != other_rows {
                    self.differ(format!("{what} has {other_rows} rows instead of {rows}"));
                } else if depth.content && (bytes, digest) != (other_bytes, other_digest) {
                    self.differ(format!("{what} has {rows} rows as it should, but others"));
                }
            }
            // A standby had none to give.
            (TableData::Absent { reason: NoData::UnloggedOnStandby }, _) => {}
            (TableData::Absent { reason }, TableData::Absent { reason: other }) if reason == other => {}
            (expected, found) => self.differ(format!("{what} is {found:?} instead of {expected:?}")),
        }
    }

    /// A sequence that was used while the backup was made stands further on in the archive than the list says.
    fn sequences(
        &mut self,
        expected: &[Sequence],
        found: &[Sequence],
        directions: &BTreeMap<(String, String), Direction>,
    ) {
        let others: BTreeMap<Name<'_>, &Sequence> =
            found.iter().map(|sequence| ((&*sequence.schema, &*sequence.name), sequence)).collect();
        for sequence in expected {
            let Sequence { schema, name, value, .. } = sequence;
            let Some(other) = others.get(&(&**schema, &**name)) else {
                if value.is_some() {
                    self.differ(format!("sequence {schema}.{name} is missing"));
                }
                continue;
            };
            let (Some(value), Some(other)) = (value, &other.value) else { continue };
            let direction = directions.get(&(schema.clone(), name.clone()));
            let further = direction.is_some_and(|direction| {
                direction.cycles
                    || other.last_value != value.last_value
                        && (other.last_value > value.last_value) == direction.ascending
                    || other.last_value == value.last_value && other.is_called
            });
            if value != other && !further {
                self.differ(format!("sequence {schema}.{name} stands at {other:?} instead of {value:?}"));
            }
        }
    }

    fn large_objects(&mut self, expected: &DatabaseContents, found: &DatabaseContents, depth: Depth<'_>) {
        let (expected, found) = (&expected.large_objects, &found.large_objects);
        self.same("the number of large objects", &expected.count, &found.count);
        if depth.content && expected.count == found.count {
            self.same(
                "the content of large objects",
                &(expected.bytes, &expected.digest),
                &(found.bytes, &found.digest),
            );
        }
    }

    fn indexes(&mut self, expected: &DatabaseContents, found: &DatabaseContents) {
        let names = |of: &DatabaseContents| -> BTreeSet<(String, String)> {
            of.invalid_indexes.iter().map(|index| (index.schema.clone(), index.name.clone())).collect()
        };
        let (known, invalid) = (names(expected), names(found));
        for (schema, name) in invalid.difference(&known) {
            self.differ(format!("index {schema}.{name} is not valid"));
        }
        for (schema, name) in known.difference(&invalid) {
            self.notes.push(format!("index {schema}.{name} was not valid, and is not in the backup"));
        }
    }

    fn constraints(&mut self, expected: &DatabaseContents, found: &DatabaseContents) {
        let names = |of: &DatabaseContents| -> BTreeSet<(String, String, String)> {
            let of = of.not_valid_constraints.iter();
            of.map(|constraint| (constraint.schema.clone(), constraint.of.clone(), constraint.name.clone()))
                .collect()
        };
        let (known, others) = (names(expected), names(found));
        for (schema, of, name) in known.symmetric_difference(&others) {
            self.differ(format!("whether constraint {name} of {schema}.{of} is NOT VALID"));
        }
    }
}

fn name(table: &Table) -> Name<'_> {
    (&table.schema, &table.name)
}

/// Settings by role and name; those of other databases are not among them.
fn settings(of: &[Setting]) -> BTreeMap<(Option<&str>, &str), Option<&str>> {
    of.iter().map(|setting| ((setting.role.as_deref(), &*setting.name), setting.value.as_deref())).collect()
}

/// Rights that were never changed and the same rights in full are alike; their order means nothing.
fn same_rights(expected: &DatabaseProperties, found: &DatabaseProperties) -> bool {
    let set = |acl: &[String]| acl.iter().cloned().collect::<BTreeSet<_>>();
    let is_default = |acl: &[String]| {
        acl.len() == 2
            && acl.iter().any(|item| item.starts_with("=Tc/"))
            && acl.iter().any(|item| !item.starts_with('=') && item.contains("=CTc/"))
    };
    match (&expected.acl, &found.acl) {
        (None, None) => true,
        (Some(one), Some(other)) => set(one) == set(other),
        (None, Some(acl)) | (Some(acl), None) => is_default(acl),
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
pub mod tests;
