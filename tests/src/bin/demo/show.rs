//! Prints what the bucket holds and how two databases compare.

use greenlang_backup_tests::bucket::Object;
use greenlang_backup_tests::compare::Fingerprint;
use indicatif::HumanBytes;

/// Most differences that are printed.
const MAX_DIFFERENCES: usize = 40;

/// Prints objects with their sizes.
pub fn objects(objects: &[Object]) {
    println!("In the bucket:");
    for object in objects {
        println!("  {:>11}  {}", HumanBytes(object.size).to_string(), object.key);
    }
    println!();
}

/// A text moved to the right.
pub fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["    ", line, "\n"]).collect()
}

/// Prints rows of every table on both sides, what else was compared, and what differs. Says whether all is equal.
pub fn comparison(source: &Fingerprint, restored: &Fingerprint) -> bool {
    let tables = source.tables(restored);
    let rows = |rows: Option<u64>| rows.map_or_else(|| "missing".to_owned(), |rows| rows.to_string());
    println!("\n{:<42} {:>10} {:>10}  content", "table or view", "source", "restored");
    for table in &tables {
        let verdict = if table.equal { "equal" } else { "DIFFERENT" };
        println!("{:<42} {:>10} {:>10}  {verdict}", table.name, rows(table.source), rows(table.restored));
    }
    let sum = |side: Vec<Option<u64>>| side.into_iter().flatten().sum::<u64>();
    let (before, after) = (
        sum(tables.iter().map(|table| table.source).collect()),
        sum(tables.iter().map(|table| table.restored).collect()),
    );
    println!("{:<42} {before:>10} {after:>10}\n", "all");
    let compared: Vec<_> =
        source.sections().into_iter().map(|(section, entries)| format!("{section} {entries}")).collect();
    println!("Compared: {}\n", compared.join(", "));
    let differences = source.differences(restored);
    for difference in differences.iter().take(MAX_DIFFERENCES) {
        println!("{difference}");
    }
    if differences.len() > MAX_DIFFERENCES {
        println!("… and {} more", differences.len() - MAX_DIFFERENCES);
    }
    differences.is_empty() && before > 0
}
