//! A node whose clock is wrong.

use std::path::Path;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use crate::fixture::Fixture;
use crate::happy::SEEDED;

/// Of the Debian package `faketime`; the loader knows what `$LIB` is.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketime.so.1";

#[test]
fn a_clock_that_is_wrong_by_a_day_is_said_and_nothing_is_written() {
    for (name, offset) in [("clock-ahead", "+1d"), ("clock-behind", "-1d")] {
        let fixture = Fixture::new(name, &[*SEEDED]);
        let env = [
            ("LD_PRELOAD", Path::new(LIBRARY)),
            ("FAKETIME", Path::new(offset)),
            ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
        ];
        let ended = fixture.start(&env).end();
        ended.expect(Outcome::Failed, reasons::CLOCK_SKEWED);
        ended.expect_message(&["the clock of this node and that of the server differ too much", "NTP"]);
        fixture.bucket.assert_empty();
    }
}
