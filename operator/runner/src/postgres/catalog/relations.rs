//! Everything that can hold rows. From `pg_class`, not from the dump, so that what the dump lacks shows. Asks the server.

use greenlang_backup_api::contents::{Persistence, TableKind};
use tokio_postgres::{Error, Row};

use super::super::PostgresError;
use super::super::connect::Session;
use super::super::scope;

/// A relation that can hold rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// OID.
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
    /// Whether a materialized view can be read; absent for all else.
    pub populated: Option<bool>,
    /// The extension that it belongs to.
    pub extension: Option<Member>,
}

/// Membership in an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of the extension.
    pub name: String,
    /// Whether its rows are dumped.
    pub config: Config,
}

impl Member {
    /// Whether its rows are for the extension to make again.
    pub fn is_left_out(&self) -> bool {
        self.config == Config::No
    }
}

/// What an extension calls configuration (`pg_extension_config_dump`), and so is dumped with its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// Nothing is dumped.
    No,
    /// All rows are.
    Whole,
    /// Those that this condition lets through are.
    Filtered(String),
}

/// All relations that can hold rows, by schema and name.
pub async fn read(session: &Session) -> Result<Vec<Relation>, PostgresError> {
    let sql = format!(
        "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
            pg_catalog.pg_get_userbyid(c.relowner)::text, c.relispopulated, e.extname::text, config.condition
        FROM {} {}
            LEFT JOIN LATERAL (
                SELECT u.condition FROM unnest(e.extconfig, e.extcondition) AS u (oid, condition) WHERE u.oid = c.oid LIMIT 1
            ) config ON true
        WHERE c.relkind IN ('r', 'p', 'm', 'f')
        ORDER BY n.nspname, c.relname",
        scope::RELATIONS,
        scope::EXTENSIONS
    );
    session.list(&sql, relation).await
}

fn relation(row: &Row) -> Result<Relation, Error> {
    let kind = match row.try_get(3)? {
        "p" => TableKind::PartitionedTable,
        "m" => TableKind::MaterializedView,
        "f" => TableKind::ForeignTable,
        _ => TableKind::Table,
    };
    let populated: bool = row.try_get(6)?;
    let extension: Option<String> = row.try_get(7)?;
    let condition: Option<String> = row.try_get(8)?;
    Ok(Relation {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        kind,
        persistence: match row.try_get(4)? {
            "u" => Persistence::Unlogged,
            _ => Persistence::Permanent,
        },
        owner: row.try_get(5)?,
        populated: (kind == TableKind::MaterializedView).then_some(populated),
        extension: extension.map(|name| Member {
            name,
            config: match condition {
                None => Config::No,
                Some(condition) if condition.is_empty() => Config::Whole,
                Some(condition) => Config::Filtered(condition),
            },
        }),
    })
}
