//! What keeps a part of a database from being restored, with the way out. Pure.

use greenlang_backup_api::reasons::restore;

/// Why a part cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// No such schema.
    #[error(
        "the backup has no schema {0:?}: names are exact, with upper and lower case as they are and without quotes; {1}"
    )]
    NoSchema(String, String),
    /// No such table.
    #[error(
        "the backup has no table, view or foreign table {name:?} in schema {schema:?}{why}: names are exact, with upper and lower case as they are and without quotes"
    )]
    NoTable {
        /// Schema that was asked for.
        schema: String,
        /// Name that was asked for.
        name: String,
        /// What is known of it, after a comma.
        why: String,
    },
    /// Something is needed that was not named.
    #[error("{what} cannot be made without {needs}: {way_out}")]
    NeedsMore {
        /// What was asked for.
        what: String,
        /// What it needs.
        needs: String,
        /// What to do.
        way_out: &'static str,
    },
    /// The names cannot be compared.
    #[error(
        "the backup has its names in {encoding}, in which {name:?} may be written otherwise: only names in ASCII can be told apart; restore the whole database"
    )]
    Encoding {
        /// Encoding of the archive.
        encoding: String,
        /// Name that was asked for.
        name: String,
    },
    /// Nothing says which tables there are.
    #[error(
        "the backup has no list of its tables, because its archive was newer than the program that made it: restore the whole database"
    )]
    NotListed,
}

impl PartError {
    /// Stable reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoSchema(..) | Self::NoTable { .. } => restore::NOT_IN_BACKUP,
            Self::NeedsMore { .. } => restore::PART_NEEDS_MORE,
            Self::Encoding { .. } | Self::NotListed => restore::NOT_SUPPORTED,
        }
    }
}
