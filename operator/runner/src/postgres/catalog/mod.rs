//! What a database is made of, as its catalog says it in the snapshot of the session. Asks the server.

mod database;
mod details;
mod relations;
mod sequences;

use greenlang_backup_api::contents::{
    DatabaseContents, DatabaseProperties, Extension, InvalidIndex, LargeObjects, NotValidConstraint,
    Sequence, Server, Table,
};

use super::PostgresError;
use super::connect::Session;
use super::inspect::Version;

pub use database::{server, session_settings};
pub use relations::{Config, Member, Relation};

/// What the catalog says of a database, before anything is known of its dump.
#[derive(Clone, Debug)]
pub struct DatabaseCatalog {
    /// What the database is made with.
    pub properties: DatabaseProperties,
    /// Everything that can hold rows.
    pub relations: Vec<Relation>,
    /// How many large objects there are.
    pub large_objects: u64,
    extensions: Vec<Extension>,
    sequences: Vec<Sequence>,
    invalid_indexes: Vec<InvalidIndex>,
    not_valid_constraints: Vec<NotValidConstraint>,
    notes: Vec<String>,
}

/// Reads the catalog of the session's database. In a transaction, so that all answers are of one moment.
pub async fn read(
    session: &Session,
    version: &Version,
    server: &Server,
) -> Result<DatabaseCatalog, PostgresError> {
    Ok(DatabaseCatalog {
        properties: database::properties(session, version).await?,
        relations: relations::read(session).await?,
        large_objects: details::large_objects(session).await?,
        extensions: details::extensions(session).await?,
        sequences: sequences::read(session, version, server.standby).await?,
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
            notes: self.notes,
        }
    }
}
