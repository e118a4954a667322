//! What a database is made of, as its catalog says it in the snapshot of the session. Asks the server.

mod database;
mod details;
mod relations;
mod roles;
mod sequences;

use greenlang_backup_api::contents::{
    DatabaseContents, DatabaseProperties, Extension, InvalidIndex, LargeObjects, NotValidConstraint,
    Sequence, Table,
};

use super::PostgresError;
use super::connect::Session;
use super::inspect::ServerFacts;

pub use database::{properties, session_settings};
pub use relations::{Config, Member, Relation};
pub use roles::{RoleId, present};

/// What the catalog says of a database, before anything is known of its dump.
#[derive(Clone, Debug)]
pub struct DatabaseCatalog {
    /// What the database is made with.
    pub properties: DatabaseProperties,
    /// Everything that can hold rows.
    pub relations: Vec<Relation>,
    /// How many large objects there are.
    pub large_objects: u64,
    /// All sequences; a dump carries those that have a value.
    pub sequences: Vec<Sequence>,
    /// Roles that own something in it, or may use it.
    pub roles: Vec<RoleId>,
    extensions: Vec<Extension>,
    invalid_indexes: Vec<InvalidIndex>,
    not_valid_constraints: Vec<NotValidConstraint>,
    notes: Vec<String>,
}

/// Reads the catalog of the session's database. In a transaction, so that all answers are of one moment.
pub async fn read(session: &Session, server: &ServerFacts) -> Result<DatabaseCatalog, PostgresError> {
    Ok(DatabaseCatalog {
        properties: database::properties(session, &server.version).await?,
        relations: relations::read(session).await?,
        large_objects: details::large_objects(session).await?,
        extensions: details::extensions(session).await?,
        sequences: sequences::read(session, server).await?,
        roles: roles::needed(session).await?,
        invalid_indexes: details::invalid_indexes(session).await?,
        not_valid_constraints: details::not_valid_constraints(session).await?,
        notes: details::omissions(session).await?,
    })
}

impl DatabaseCatalog {
    /// The contents of the database, once the dump turned out to hold them (`coverage`).
    pub fn into_contents(self, tables: Vec<Table>, large_objects: LargeObjects) -> DatabaseContents {
        DatabaseContents {
            properties: self.properties,
            extensions: self.extensions,
            tables,
            sequences: self.sequences,
            large_objects,
            invalid_indexes: self.invalid_indexes,
            not_valid_constraints: self.not_valid_constraints,
            lost_roles: Vec::new(),
            notes: self.notes,
        }
    }
}
