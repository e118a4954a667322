//! Tests that are too heavy for every change; `tests/test-all.sh` runs them, on a release build. Each needs some GiB of disk or
//! some minutes. Ends with 0 only if all passed.

#![expect(clippy::print_stdout, reason = "it talks to the person who started it")]

mod synthetic;
mod tables;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, anyhow};

type Test = (&'static str, fn() -> Result<()>);

const TESTS: [Test; 3] = [
    ("an archive of 20 GiB leaves the runner's memory flat", synthetic::twenty_gib),
    ("20,000 tables are all in a backup of one stream", || tables::all_are_there(1)),
    ("20,000 tables are all in a backup of four streams", || tables::all_are_there(4)),
];

fn main() -> ExitCode {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&filter)) {
        let start = Instant::now();
        // Servers that do not start, and programs that fail beside the runner, are panics.
        let result =
            catch_unwind(AssertUnwindSafe(test)).unwrap_or_else(|_| Err(anyhow!("see the panic above")));
        match result {
            Ok(()) => {
                println!("ok - {name} ({} s)", start.elapsed().as_secs());
                passed += 1;
            }
            Err(error) => {
                println!("not ok - {name}: {error:#}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
