//! Databases to back up, and the SQL that makes them. Runs SQL.

use greenlang_backup_test_servers::{Postgres, Template};

/// Bytes of a row of each table in a dump.
const ACCOUNT: u64 = 103;
const DOC: u64 = 800;
/// Rows of the template: more bytes than zstd looks back, so that it does not see the repetition.
const TEMPLATE_ROWS: u64 = 4_000;

/// SQL that makes two tables, each of half of this many bytes in a dump. Each piece is for itself: a VACUUM stands alone.
pub fn two_tables(bytes: u64) -> [String; 4] {
    let fill = |sql: &str, rows: u64| sql.replace(":rows", &rows.to_string());
    [
        fill(include_str!("accounts.sql"), bytes / 2 / ACCOUNT),
        fill(include_str!("docs.sql"), bytes / 2 / DOC),
        // The first reader of new rows would otherwise mark them as committed, and pay for it.
        "VACUUM (FREEZE, ANALYZE)".to_owned(),
        "CHECKPOINT".to_owned(),
    ]
}

/// A database of one small table, and an archive of it as a template for archives of any length.
pub fn one_table(postgres: &Postgres, database: &str) -> Vec<u8> {
    postgres.create_database(database);
    postgres.sql(database, &include_str!("docs.sql").replace(":rows", &TEMPLATE_ROWS.to_string()));
    // As many blanks again: the two tables together compress so, and 20 GiB of it fit on most disks.
    postgres.sql(database, "ALTER TABLE docs ADD COLUMN filler char(800) DEFAULT ''");
    Template::dump(postgres, database)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_have_half_of_the_bytes() {
        let [accounts, docs, ..] = two_tables(1_648_000);
        assert!(accounts.contains("generate_series(1, 8000) i"), "{accounts}");
        assert!(docs.contains("generate_series(1, 1030) i"), "{docs}");
    }
}
