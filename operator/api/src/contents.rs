//! `contents.json`: what every database of a backup holds, table by table, as of the snapshot that it was dumped in. What a
//! restore is compared with. Stored encrypted, since it names tables and counts rows. Pure.

use serde::{Deserialize, Serialize};

use crate::globals::Setting;

/// Version of the format that this build writes; a reader refuses a newer one.
pub const SCHEMA_VERSION: u32 = 1;
/// Most large objects that are listed one by one; of more there is the count and the digest of all.
pub const MAX_LISTED_LARGE_OBJECTS: usize = 10_000;

/// The contents of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// The server that it was read from.
    pub server: Server,
    /// The databases, in the order of the policy.
    pub databases: Vec<DatabaseContents>,
    /// What the programs that made the dumps warned of, in their words, which may name tables; the manifest has kinds and
    /// counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its version as it says it, for example `17.5 (Debian 17.5-1)`.
    pub version: String,
    /// What `pg_controldata` calls the database system identifier; absent where the user may not ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// Whether it was a standby: then unlogged tables have no data.
    pub standby: bool,
}

/// One database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseContents {
    /// What it is made with.
    #[serde(flatten)]
    pub properties: DatabaseProperties,
    /// Extensions that are installed in it.
    pub extensions: Vec<Extension>,
    /// Everything that can hold rows, by schema and name.
    pub tables: Vec<Table>,
    /// Sequences, by schema and name.
    pub sequences: Vec<Sequence>,
    /// Large objects.
    pub large_objects: LargeObjects,
    /// Indexes that are not valid: `pg_dump` leaves them out, but for those of partitioned tables.
    pub invalid_indexes: Vec<InvalidIndex>,
    /// Constraints that existing rows may break; they come back as they are.
    pub not_valid_constraints: Vec<NotValidConstraint>,
    /// Roles that own or may use something in it and are not among the globals of the backup: they were dropped or renamed
    /// while it was made. A restore needs them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_roles: Vec<String>,
    /// What could not be found out or is not part of the backup, in words.
    pub notes: Vec<String>,
}

/// What a database is made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseProperties {
    /// Name.
    pub name: String,
    /// Role that owns it.
    pub owner: String,
    /// Encoding, for example `UTF8`.
    pub encoding: String,
    /// Locale.
    pub locale: Locale,
    /// Access rights as `aclitem`s; absent means the default ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Vec<String>>,
    /// Connections that it allows at once; -1 means no limit.
    pub connection_limit: i32,
    /// Whether it can be copied by anyone who may create databases.
    pub template: bool,
    /// Default tablespace.
    pub tablespace: String,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Settings of the database, and of roles in it.
    pub settings: Vec<Setting>,
    /// Its security labels, by provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_labels: Vec<SecurityLabel>,
}

/// What a module that the server loads (a label provider) reads from an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityLabel {
    /// Name of the provider.
    pub provider: String,
    /// The label.
    pub label: String,
}

/// Where collation and character classes of a database come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locale {
    /// Who compares strings.
    pub provider: LocaleProvider,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// Locale of the providers `icu` and `builtin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Additional ICU rules; PostgreSQL 16 or newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icu_rules: Option<String>,
    /// Version of the collation when the database was made or refreshed; PostgreSQL 15 or newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation_version: Option<String>,
    /// Version of the collation that the server has now. Another one than `collation_version` means that indexes on text
    /// may be wrong on the source; a restore builds them anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_collation_version: Option<String>,
}

/// Provider of a locale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocaleProvider {
    /// The C library.
    Libc,
    /// ICU; PostgreSQL 15 or newer for a whole database.
    Icu,
    /// The server itself; PostgreSQL 17 or newer.
    Builtin,
}

/// An extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Name.
    pub name: String,
    /// Version; a dump does not carry it, a restore gets the default of its server.
    pub version: String,
    /// Schema of its objects.
    pub schema: String,
}

/// A relation that can hold rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// OID on the source.
    pub oid: u32,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: TableKind,
    /// Persistence.
    pub persistence: Persistence,
    /// Role that owns it.
    pub owner: String,
    /// Extension that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// Whether a materialized view can be read; absent for all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub populated: Option<bool>,
    /// Its rows, or why there are none in the backup.
    pub data: TableData,
}

/// Kind of a table (`pg_class.relkind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// `r`, partitions included.
    Table,
    /// `p`: its rows are those of its partitions.
    PartitionedTable,
    /// `m`.
    MaterializedView,
    /// `f`: its rows are on another server.
    ForeignTable,
}

/// Persistence of a table (`pg_class.relpersistence`); temporary ones are not part of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Persistence {
    /// `p`.
    Permanent,
    /// `u`.
    Unlogged,
}

/// The rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TableData {
    /// In the backup.
    Stored {
        /// Key of the object that holds them.
        object: String,
        /// Number of rows.
        rows: u64,
        /// Bytes of their COPY text.
        bytes: u64,
        /// Digest of their COPY lines that does not depend on their order, hexadecimal.
        digest: String,
        /// Condition that the extension of the table set on what is dumped; without it all rows are stored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<String>,
    },
    /// Not in the backup.
    Absent {
        /// Why.
        reason: NoData,
    },
}

/// Why a table has no data of its own in a backup although that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoData {
    /// The rows are those of its partitions.
    Partitioned,
    /// The rows are on another server.
    Foreign,
    /// The rows are made again by its query.
    MaterializedView,
    /// The server was a standby, where unlogged tables have no data.
    UnloggedOnStandby,
    /// The extension makes and fills it, and does not call it configuration.
    OfExtension,
}

/// A sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// OID on the source.
    pub oid: u32,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Where it stands; absent for those that a dump does not carry: of extensions, and unlogged ones of a standby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<SequenceValue>,
}

/// Where a sequence stands. Sequences are outside of every snapshot: one that was used during the dump may stand in the
/// archive further on than here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceValue {
    /// `last_value`.
    pub last_value: i64,
    /// `is_called`: false means that `last_value` is the next one.
    pub is_called: bool,
}

/// The large objects of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeObjects {
    /// Key of the object that holds them; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// How many there are.
    pub count: u64,
    /// Bytes of all together.
    pub bytes: u64,
    /// Digest of all that does not depend on their order, hexadecimal; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The first [`MAX_LISTED_LARGE_OBJECTS`] of them.
    pub list: Vec<LargeObject>,
}

/// A large object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeObject {
    /// OID, by which the rows of tables refer to it; a restore keeps it.
    pub oid: u32,
    /// Length.
    pub bytes: u64,
    /// Digest of its bytes, hexadecimal.
    pub digest: String,
}

/// An index that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidIndex {
    /// Schema of index and table.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The command that makes it.
    pub definition: String,
}

/// A constraint that was never checked for the rows that were there before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotValidConstraint {
    /// Schema of its table, or of its domain.
    pub schema: String,
    /// Its table or domain.
    pub of: String,
    /// Its name.
    pub name: String,
    /// Its definition.
    pub definition: String,
}
