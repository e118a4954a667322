//! Attempts that go on after they were given up for dead: they touch nothing of those that followed.

use std::path::Path;
use std::time::Duration;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use super::load::TARGET;
use super::world::{Request, oid};
use crate::fixture::Fixture;
use crate::happy::SEEDED;
use crate::servers::{POSTGRES, poll};

#[test]
fn a_load_that_comes_late_drops_nothing_of_the_next_attempt() {
    let fixture = Fixture::new("late-load", &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let first = Request::new(&fixture, &TARGET, *SEEDED, "u-late");
    // It hangs when its database is made.
    let begun = fixture.directory.path().join("begun");
    let hangs = format!("touch {}; exec sleep 600", begun.display());
    let clients = fixture.fake_clients(&[("pg_restore", &hangs)]);
    let env: [(&str, &Path); 1] = [("GREENLANG_PG_BIN_DIR", &clients)];
    let started = first.start(&env);
    poll(Duration::from_mins(2), || begun.exists().then_some(())).unwrap();
    let dropped = oid(&TARGET, &first.temporary());

    let elsewhere = Fixture::new("late-load-next", &[*SEEDED]);
    let second = Request { fixture: &elsewhere, target: &TARGET, task: first.task.clone() };
    let loaded = second.loaded().database;
    assert_ne!(loaded.oid, dropped);

    started.signal("TERM");
    started.end().expect(Outcome::Interrupted, reasons::INTERRUPTED);
    assert_eq!(oid(&TARGET, &first.temporary()), loaded.oid);
    second.expect_same(&POSTGRES);
    second.drop_database(&loaded.name, Some(loaded.oid)).expect(Outcome::Done, reasons::SUCCEEDED);
}
