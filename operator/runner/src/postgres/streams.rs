//! Decides which dump writes the data of which table, so that all of them end at about the same time. [`movable`] asks the
//! server; the rest is pure.

use super::PostgresError;
use super::connect::{Session, quoted_identifier};
use super::scope;

/// Data that can go into any of the dumps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movable {
    /// Name as a pattern of `pg_dump` that fits this table only.
    pub pattern: String,
    /// Patterns of the sequences that `pg_dump` takes along with the table; they stay in the first dump.
    pub sequences: Vec<String>,
    /// Bytes on the server's disk.
    pub bytes: u64,
}

impl Movable {
    /// Whether its names are the same in every encoding.
    pub fn is_ascii(&self) -> bool {
        self.pattern.is_ascii() && self.sequences.iter().all(|sequence| sequence.is_ascii())
    }
}

/// Tables smaller than this stay in the first dump: moving them saves nothing.
const MIN_BYTES: u64 = 1 << 20;
/// Most tables that are moved: each is an argument of two programs.
const MAX_MOVED: usize = 1_000;

/// Tables of the session's database whose data a dump of its own can hold: none of an extension, whose data only a whole dump
/// knows to leave out or in. The sequences are those that a table owns: `pg_dump` takes them along with it (tried on 15 and 17).
pub async fn movable(session: &Session) -> Result<Vec<Movable>, PostgresError> {
    let sql = format!(
        "SELECT n.nspname::text, c.relname::text, pg_table_size(c.oid)::bigint, owned.schemas, owned.names
        FROM {} CROSS JOIN LATERAL (
            SELECT coalesce(array_agg(m.nspname::text ORDER BY s.oid), '{{}}') AS schemas,
                coalesce(array_agg(s.relname::text ORDER BY s.oid), '{{}}') AS names
            FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
                JOIN pg_catalog.pg_namespace m ON m.oid = s.relnamespace
            WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
                AND d.refobjid = c.oid AND d.deptype IN ('a', 'i')) owned
        WHERE c.relkind = 'r' AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')",
        scope::RELATIONS
    );
    session
        .list(&sql, |row| {
            let (schemas, names): (Vec<String>, Vec<String>) = (row.try_get(3)?, row.try_get(4)?);
            Ok(Movable {
                pattern: pattern(row.try_get(0)?, row.try_get(1)?),
                sequences: schemas.iter().zip(&names).map(|(schema, name)| pattern(schema, name)).collect(),
                bytes: u64::try_from(row.try_get::<_, i64>(2)?).unwrap_or_default(),
            })
        })
        .await
}

/// Spreads tables over dumps. The first dump has the schema, everything that is not named here (`rest` bytes of it) and what is
/// not moved; the result has one list for each further dump, none of them empty. Largest first, each to the dump with the
/// least so far.
pub fn spread(mut tables: Vec<Movable>, rest: u64, streams: u8) -> Vec<Vec<Movable>> {
    tables.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.pattern.cmp(&b.pattern)));
    let movable = tables.iter().take_while(|table| table.bytes >= MIN_BYTES).count().min(MAX_MOVED);
    let small: u64 = tables.drain(movable..).map(|table| table.bytes).sum();
    let mut loads = vec![0; usize::from(streams.max(1))];
    loads[0] = rest.saturating_add(small);
    let mut dumps: Vec<Vec<Movable>> = loads.iter().map(|_| Vec::new()).collect();
    for table in tables {
        let lightest = (0..loads.len()).min_by_key(|&dump| loads[dump]).unwrap_or_default();
        loads[lightest] = loads[lightest].saturating_add(table.bytes);
        dumps[lightest].push(table);
    }
    dumps.into_iter().skip(1).filter(|dump| !dump.is_empty()).collect()
}

/// A name as a pattern of `pg_dump`: within double quotes every character means itself.
pub fn pattern(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted_identifier(schema), quoted_identifier(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(name: usize, bytes: u64) -> Movable {
        Movable { pattern: pattern("s", &name.to_string()), sequences: vec![], bytes }
    }

    fn bytes(dumps: &[Vec<Movable>]) -> Vec<u64> {
        dumps.iter().map(|dump| dump.iter().map(|table| table.bytes).sum()).collect()
    }

    #[test]
    fn the_largest_go_where_there_is_least() {
        const M: u64 = 1 << 20;
        for (sizes, rest, streams, expected) in [
            (vec![10 * M, 6 * M, 4 * M, 1], 0, 2, vec![10 * M]),
            (vec![10 * M, 6 * M], 20 * M, 3, vec![10 * M, 6 * M]),
            (vec![10 * M, 6 * M], 0, 1, vec![]),
            (vec![M - 1, 3], 0, 4, vec![]),
            (vec![], 0, 4, vec![]),
        ] {
            let tables = sizes.iter().enumerate().map(|(at, &size)| table(at, size)).collect();
            assert_eq!(bytes(&spread(tables, rest, streams)), expected, "{sizes:?}");
        }
    }

    #[test]
    fn quotes_in_names_are_doubled() {
        assert_eq!(pattern("a\"b", "T.*"), "\"a\"\"b\".\"T.*\"");
    }

    proptest! {
        #[test]
        fn no_table_is_in_two_dumps_and_none_is_overloaded(
            sizes in proptest::collection::vec(0u64..(1 << 40), 0..2_000), rest in 0u64..(1 << 40), streams in 1u8..=16
        ) {
            let tables: Vec<_> = sizes.iter().enumerate().map(|(at, &size)| table(at, size)).collect();
            let dumps = spread(tables.clone(), rest, streams);
            prop_assert!(dumps.len() < usize::from(streams) && dumps.iter().all(|dump| !dump.is_empty()));
            let mut moved: Vec<&Movable> = dumps.iter().flatten().collect();
            prop_assert!(moved.len() <= MAX_MOVED && moved.iter().all(|table| tables.contains(table)));
            let count = moved.len();
            moved.sort_by(|a, b| a.pattern.cmp(&b.pattern));
            moved.dedup();
            prop_assert_eq!(moved.len(), count);
            // No dump beyond the first has more than its share and one table.
            let total = rest + sizes.iter().sum::<u64>();
            let largest = sizes.iter().max().copied().unwrap_or_default();
            prop_assert!(bytes(&dumps).iter().all(|&load| load <= total / u64::from(streams) + largest));
        }
    }
}
