//! Compares two databases with their roles and settings: what is there, what it is, and what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::parts::postgres::{POD, psql};

/// Section of the entries that carry row counts.
const CONTENT: &str = "content";
/// Section of the definitions as `pg_dump` writes them.
const DUMP: &str = "definition as pg_dump writes it";
/// Most characters of a value that a difference shows.
const SHOWN: usize = 300;

/// Everything about a database that a restore must bring back, by section and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<(String, String), String>);

/// Something that is not the same on both sides.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    section: String,
    name: String,
    source: Option<String>,
    restored: Option<String>,
}

/// Rows of a table, view or materialized view on both sides.
#[derive(Debug)]
pub struct TableRows {
    /// Name of the table.
    pub name: String,
    /// Rows in the source.
    pub source: Option<u64>,
    /// Rows in the restored database.
    pub restored: Option<u64>,
    /// Whether the content is the same too.
    pub equal: bool,
}

impl Fingerprint {
    /// Takes it from the server `db` of a namespace.
    pub async fn take(cluster: &Cluster, namespace: &str, database: &str) -> Result<Self> {
        let rows = psql(cluster, namespace, database, include_str!("../data/compare.sql")).await?;
        let mut entries = BTreeMap::new();
        for row in rows.lines() {
            let (section, name, value): (String, Value, Value) =
                serde_json::from_str(row).with_context(|| format!("no line of a fingerprint: {row}"))?;
            let name = name.as_str().map_or_else(|| name.to_string(), ToOwned::to_owned);
            entries.insert((section, name), value.to_string());
        }
        // Beside our own look at the catalogue: pg_dump knows kinds of objects that we forgot.
        let program = ["pg_dump", "--schema-only", "-h", "/run/postgresql", database];
        entries.extend(definitions(&cluster.exec(namespace, POD, &program, "").await?));
        Ok(Self(entries))
    }

    /// What is not the same in a restored database.
    pub fn differences(&self, restored: &Self) -> Vec<Difference> {
        let keys: BTreeSet<_> = self.0.keys().chain(restored.0.keys()).collect();
        keys.into_iter()
            .filter(|key| self.0.get(key) != restored.0.get(key))
            .map(|key| Difference {
                section: key.0.clone(),
                name: key.1.clone(),
                source: self.0.get(key).cloned(),
                restored: restored.0.get(key).cloned(),
            })
            .collect()
    }

    /// Row counts side by side.
    pub fn tables(&self, restored: &Self) -> Vec<TableRows> {
        let rows = |entry: Option<&String>| serde_json::from_str::<Value>(entry?).ok()?["rows"].as_u64();
        let keys: BTreeSet<_> =
            self.0.keys().chain(restored.0.keys()).filter(|key| key.0 == CONTENT).collect();
        keys.into_iter()
            .map(|key| (key, self.0.get(key), restored.0.get(key)))
            .map(|(key, source, restored)| TableRows {
                name: key.1.clone(),
                source: rows(source),
                restored: rows(restored),
                equal: source == restored,
            })
            .collect()
    }

    /// How many entries each section has.
    pub fn sections(&self) -> BTreeMap<&str, usize> {
        self.0.keys().fold(BTreeMap::new(), |mut sections, (section, _)| {
            *sections.entry(section.as_str()).or_default() += 1;
            sections
        })
    }
}

/// Cuts a plain dump at the comments that head each object. Lines that differ from call to call are left out.
fn definitions(dump: &str) -> BTreeMap<(String, String), String> {
    let mut entries = BTreeMap::<_, String>::new();
    let mut name = "preamble".to_owned();
    for line in dump.lines() {
        if let Some(heading) = line.strip_prefix("-- Name: ") {
            heading.clone_into(&mut name);
        } else if !line.starts_with("--")
            && !line.is_empty()
            && !line.starts_with("\\restrict")
            && !line.starts_with("\\unrestrict")
        {
            let text = entries.entry((DUMP.to_owned(), name.clone())).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    entries
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { section, name, source, restored } = self;
        match (source, restored) {
            (Some(_), None) => write!(f, "{section} {name}: missing in the restored database"),
            (None, Some(_)) => write!(f, "{section} {name}: only in the restored database"),
            (source, restored) => {
                let (source, restored) =
                    (source.as_deref().unwrap_or_default(), restored.as_deref().unwrap_or_default());
                // Long definitions mostly begin alike: shown from shortly before the first difference.
                let same = source
                    .chars()
                    .zip(restored.chars())
                    .take_while(|(a, b)| a == b)
                    .count()
                    .saturating_sub(40);
                let cut = |text: &str| text.chars().skip(same).take(SHOWN).collect::<String>();
                write!(f, "{section} {name}:\n    source:   {}\n    restored: {}", cut(source), cut(restored))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(entries: &[(&str, &str, &str)]) -> Fingerprint {
        let entry = |(section, name, value): &(&str, &str, &str)| {
            (((*section).into(), (*name).into()), (*value).into())
        };
        Fingerprint(entries.iter().map(entry).collect())
    }

    #[test]
    fn differences_name_what_is_missing_added_or_changed() {
        let source = fingerprint(&[
            ("content", "a", r#"{"rows":2,"digest":"1"}"#),
            ("index", "i", "x"),
            ("role", "r", "y"),
        ]);
        let restored = fingerprint(&[
            ("content", "a", r#"{"rows":2,"digest":"3"}"#),
            ("index", "i", "x"),
            ("role", "s", "y"),
        ]);
        let texts: Vec<_> = source.differences(&restored).iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 3);
        assert!(texts[0].starts_with("content a:"), "{}", texts[0]);
        assert_eq!(texts[1], "role r: missing in the restored database");
        assert_eq!(texts[2], "role s: only in the restored database");
        let tables = source.tables(&restored);
        assert_eq!((tables[0].source, tables[0].restored, tables[0].equal), (Some(2), Some(2), false));
        assert_eq!(source.differences(&source), []);
    }

    #[test]
    fn a_dump_is_cut_by_object_and_its_random_lines_are_left_out() {
        let dump = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\nSET a = 1;\n--\n-- Name: t; Type: TABLE; Schema: s; Owner: o\n--\n\nCREATE TABLE t ();\n\\unrestrict abc\n";
        let entries: Vec<_> = definitions(dump).into_iter().map(|((_, name), text)| (name, text)).collect();
        assert_eq!(entries[0], ("preamble".into(), "SET a = 1;\n".into()));
        assert_eq!(entries[1], ("t; Type: TABLE; Schema: s; Owner: o".into(), "CREATE TABLE t ();\n".into()));
    }
}
