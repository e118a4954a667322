//! Rows that are far larger than any buffer.

use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use crate::fixture::Fixture;
use crate::servers::{POSTGRES, poll};

/// What a Job's container gets at least.
const LIMIT_KIB: u64 = 128 << 10;

#[test]
fn a_row_of_hundreds_of_megabytes_does_not_pass_through_memory_at_once() {
    let name = "large rows";
    POSTGRES.create_database(name);
    POSTGRES.sql(
        name,
        "CREATE UNLOGGED TABLE large (text text, bytes bytea);
         INSERT INTO large VALUES (repeat(repeat('0123456789abcdef', 16), 800000), decode(repeat('00ff', 50000000), 'hex'));",
    );
    let fixture = Fixture::new("large-rows", &[name]);
    let started = fixture.start(&[]);
    let mut peak = 0;
    let ended = poll(Duration::from_mins(5), || {
        let Some(memory) = started.peak_memory() else { return Some(()) };
        peak = memory;
        None
    });
    assert!(ended.is_some(), "it takes too long");
    started.end().expect(Outcome::Done, reasons::SUCCEEDED);
    let bytes = fixture.manifest().source_bytes();
    assert!(bytes > 400_000_000, "{bytes}");
    assert!(peak > 0 && peak < LIMIT_KIB, "{peak} KiB");
}
