//! What the entries of an archive are to somebody who wants some of them. Pure.

use crate::postgres::archive::Entry;

/// How an entry comes into a part of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something that people name, or have in a schema that they name: a table, a view. It never comes because something needs it,
    /// for its rows would come along.
    Relation,
    /// Comes with its table, and if it is needed.
    Sequence,
    /// Comes if it is needed, and with its schema: a type, a function, an extension, a schema.
    Definition,
    /// Comes with what it belongs to: an index, a constraint, rows.
    Member,
    /// Rights, comments and labels of an entry.
    Mark,
    /// Is in no schema and belongs to the database as a whole.
    Apart,
}

impl Kind {
    /// Of an entry. What later versions bring is taken for a definition, which comes if it is needed.
    pub fn of(entry: &Entry) -> Self {
        match &*entry.desc {
            "TABLE" | "FOREIGN TABLE" | "VIEW" | "MATERIALIZED VIEW" => Self::Relation,
            "SEQUENCE" => Self::Sequence,
            "ACL" | "COMMENT" | "SECURITY LABEL" => Self::Mark,
            "TABLE DATA"
            | "MATERIALIZED VIEW DATA"
            | "STATISTICS DATA"
            | "SEQUENCE SET"
            | "SEQUENCE OWNED BY"
            | "DEFAULT"
            | "INDEX"
            | "INDEX ATTACH"
            | "TABLE ATTACH"
            | "RULE"
            | "TRIGGER"
            | "POLICY"
            | "ROW SECURITY"
            | "STATISTICS" => Self::Member,
            desc if desc.ends_with("CONSTRAINT") => Self::Member,
            "ENCODING"
            | "STDSTRINGS"
            | "SEARCHPATH"
            | "DATABASE"
            | "DATABASE PROPERTIES"
            | "BLOB"
            | "BLOB METADATA"
            | "BLOBS"
            | "EVENT TRIGGER"
            | "PUBLICATION"
            | "PUBLICATION TABLE"
            | "PUBLICATION TABLES IN SCHEMA"
            | "SUBSCRIPTION"
            | "SUBSCRIPTION TABLE"
            | "USER MAPPING" => Self::Apart,
            _ => Self::Definition,
        }
    }
}

/// Whether nobody misses it who misses what it belongs to.
pub fn goes_without_saying(entry: &Entry) -> bool {
    matches!(
        &*entry.desc,
        "TABLE DATA" | "MATERIALIZED VIEW DATA" | "STATISTICS DATA" | "SEQUENCE SET" | "INDEX ATTACH"
    ) || Kind::of(entry) == Kind::Mark
}

/// Whether a member is one of this entry, and does not only refer to it: its name begins with that of what it belongs to, but for
/// the kinds that have a name of their own.
pub fn belongs(member: &Entry, to: &Entry) -> bool {
    match &*member.desc {
        "INDEX" | "STATISTICS" | "SEQUENCE OWNED BY" | "PUBLICATION TABLE" => true,
        _ => {
            let rest = member.tag.strip_prefix(&*to.tag).filter(|_| member.namespace == to.namespace);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        }
    }
}
