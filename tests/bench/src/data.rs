//! Databases to back up. Runs SQL.

use greenlang_backup_test_servers::{Postgres, Template};

/// Bytes of a row of each table in a dump.
const ACCOUNT: u64 = 103;
const DOC: u64 = 800;
/// Rows of the template: more bytes than zstd looks back, so that it does not see the repetition.
const TEMPLATE_ROWS: u64 = 4_000;

/// A database of two tables, each of half of this many bytes in a dump.
pub fn two_tables(postgres: &Postgres, database: &str, bytes: u64) {
    postgres.create_database(database);
    let fill = |sql: &str, rows: u64| postgres.sql(database, &sql.replace(":rows", &rows.to_string()));
    fill(include_str!("accounts.sql"), bytes / 2 / ACCOUNT);
    fill(include_str!("docs.sql"), bytes / 2 / DOC);
    // The first reader of new rows would otherwise mark them as committed, and pay for it.
    postgres.sql(database, "VACUUM (FREEZE, ANALYZE)");
    postgres.sql(database, "CHECKPOINT");
}

/// A database of one small table, and an archive of it as a template for archives of any length.
pub fn one_table(postgres: &Postgres, database: &str) -> Vec<u8> {
    postgres.create_database(database);
    postgres.sql(database, &include_str!("docs.sql").replace(":rows", &TEMPLATE_ROWS.to_string()));
    // As many blanks again: the two tables together compress so, and 20 GiB of it fit on most disks.
    postgres.sql(database, "ALTER TABLE docs ADD COLUMN filler char(800) DEFAULT ''");
    Template::dump(postgres, database)
}
