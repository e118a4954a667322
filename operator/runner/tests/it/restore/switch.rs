//! A restore from its plan to its undo, by the real programs.

use greenlang_backup_api::reasons::{self, restore};
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::restore::{
    PlanAction, PlanSource, RestoreAction, RestoreReport, RestoreTask, SwitchAction, previous_name,
};
use greenlang_backup_api::task::Task;
use greenlang_backup_api::v1alpha1::NamedDatabase;
use jiff::{SignedDuration, Timestamp};

use super::load::TARGET;
use super::plan::{self, plan};
use super::world::{Request, databases, identity, oid};
use crate::fixture::{Ended, Fixture};
use crate::servers::{POSTGRES, tasks};

fn switch(request: &Request<'_>, task: &RestoreTask, action: SwitchAction) -> Ended {
    let task = RestoreTask { action: RestoreAction::Switch(action), ..task.clone() };
    request.fixture.start_task(&Task::Restore(task), &[]).end()
}

#[test]
fn a_database_comes_back_and_an_undo_takes_it_away_again() {
    let name = "switched by hand";
    POSTGRES.create_database(name);
    POSTGRES.sql(name, "CREATE TABLE t AS SELECT i FROM generate_series(1, 100) i");
    POSTGRES.sql(
        "postgres",
        &format!("COMMENT ON DATABASE \"{name}\" IS 'ours'; ALTER DATABASE \"{name}\" SET work_mem = '7MB'"),
    );
    let fixture = Fixture::new("switch", &[name]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    POSTGRES.sql(name, "DROP TABLE t; CREATE TABLE mistake ()");
    let request = Request::new(&fixture, &POSTGRES, name, "u-switch");
    let loaded = request.loaded().database;
    let previous = NamedDatabase { name: previous_name(name, "u-switch"), oid: oid(&POSTGRES, name) };
    let action = SwitchAction {
        incoming: loaded.clone(),
        outgoing: Some(previous.clone()),
        backup: None,
        undo_of: None,
        allow_logical_replication_loss: false,
    };
    // Somebody renames what is to be replaced: it is known that the switch has not.
    rename(name, "renamed by hand");
    let refused = switch(&request, &request.task, action.clone());
    refused.expect(Outcome::Failed, restore::DATABASE_CHANGED);
    refused.expect_message(&["nothing was renamed"]);
    assert_eq!(refused.report.restore, Some(RestoreReport::NotSwitched));
    rename("renamed by hand", name);
    for _ in 0..2 {
        let ended = switch(&request, &request.task, action.clone());
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        let Some(RestoreReport::Switch(report)) = ended.report.restore else { panic!("{:?}", ended.report) };
        assert_eq!((report.serving.oid, report.previous), (loaded.oid, Some(previous.clone())));
    }
    assert_eq!(POSTGRES.sql(name, "SELECT count(*) FROM t; SHOW work_mem"), "100\n7MB\n");
    assert!(!databases(&POSTGRES).contains(&request.temporary()));
    // What was replaced comes back by a request of its own.
    let undo = RestoreTask {
        request: greenlang_backup_api::restore::RequestIdentity { name: "undo".into(), ..identity("u-undo") },
        ..request.task.clone()
    };
    expect_undo_planned(&request, &undo, &previous);
    let back = SwitchAction {
        incoming: previous,
        outgoing: Some(NamedDatabase { name: previous_name(name, "u-undo"), oid: loaded.oid }),
        undo_of: Some("back".into()),
        ..action.clone()
    };
    switch(&request, &undo, back).expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!(POSTGRES.sql(name, "SELECT count(*) FROM mistake").trim(), "0");
    // The first request has renamed, whatever became of it since.
    let late = switch(&request, &request.task, action);
    late.expect(Outcome::Failed, restore::DATABASE_CHANGED);
    assert_eq!(late.report.restore, None);
    assert!(!late.report.message.contains("nothing was renamed"), "{}", late.report.message);
    let dropped = Request { task: undo, ..request };
    let left = previous_name(name, "u-undo");
    dropped.drop_database(&left, Some(1)).expect(Outcome::Failed, restore::DATABASE_EXISTS);
    // Whoever takes the mark away keeps the database.
    let comment = |text: &str| POSTGRES.sql("postgres", &format!("COMMENT ON DATABASE \"{left}\" IS {text}"));
    let mark = dropped.task.request.mark();
    comment("NULL");
    dropped.drop_database(&left, Some(loaded.oid)).expect(Outcome::Failed, restore::DATABASE_EXISTS);
    comment(&format!("'{mark}'"));
    // Whoever asks may have a clock that is ahead: that of the server counts.
    let hours = |hours| Some(Timestamp::now() + SignedDuration::from_hours(hours));
    let early = dropped.drop_not_before(&left, Some(loaded.oid), hours(1));
    early.expect(Outcome::Retryable, restore::DROP_FAILED);
    early.expect_message(&["is kept until", "the clock of its server says"]);
    assert!(databases(&POSTGRES).contains(&left));
    dropped.drop_not_before(&left, Some(loaded.oid), hours(-1)).expect(Outcome::Done, reasons::SUCCEEDED);
    assert!(!databases(&POSTGRES).contains(&left));
}

/// What comes back is in nobody's way; what has the name that is needed is.
fn expect_undo_planned(request: &Request<'_>, undo: &RestoreTask, previous: &NamedDatabase) {
    let undoing = Request { fixture: request.fixture, target: request.target, task: undo.clone() };
    let needed = previous_name(&undo.database, &undo.request.uid);
    let asked = PlanAction {
        source: PlanSource::Undo { of: "back".into() },
        temporary: undoing.temporary(),
        previous: needed.clone(),
        ..plan::action(request)
    };
    let planned = plan(&undoing, asked.clone());
    planned.expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!(plan::report(&planned).comes_back.as_ref(), Some(previous));
    POSTGRES.create_database(&needed);
    let refused = plan(&undoing, asked.clone());
    refused.expect(Outcome::Failed, restore::DATABASE_EXISTS);
    refused.expect_message(&[&needed]);
    assert_eq!(plan::read(&refused).refusals.len(), 1);
    POSTGRES.sql("postgres", &format!("DROP DATABASE \"{needed}\""));
    expect_nothing_to_undo(undoing, &asked, previous);
}

/// Another server, and names that have changed hands since.
fn expect_nothing_to_undo(mut undoing: Request<'_>, asked: &PlanAction, previous: &NamedDatabase) {
    let expect = |undoing: &Request<'_>, words: &[&str]| {
        let refused = plan(undoing, asked.clone());
        refused.expect(Outcome::Failed, restore::NOTHING_TO_UNDO);
        refused.expect_message(words);
    };
    let name = undoing.task.database.clone();
    for (from, words) in [(&*previous.name, "is gone"), (&*name, "is not the one any more")] {
        rename(from, "out of the way");
        POSTGRES.create_database(from);
        expect(&undoing, &[from, words]);
        POSTGRES.sql("postgres", &format!("DROP DATABASE \"{from}\""));
        rename("out of the way", from);
    }
    let kept = format!("localhost:{}", undoing.task.server.port);
    let secrets = undoing.fixture.directory.path().join("elsewhere");
    undoing.task.server = tasks::postgres_server(&TARGET, "postgres", TARGET.password, &secrets);
    let here = format!("localhost:{}", undoing.task.server.port);
    expect(
        &undoing,
        &[&format!("is kept on {kept}"), &format!("looks on {here}"), "repeat the database.target"],
    );
    // By another name of the same server it is found.
    undoing.task.server = tasks::postgres_server(&POSTGRES, "postgres", POSTGRES.password, &secrets);
    "127.0.0.1".clone_into(&mut undoing.task.server.host);
    plan(&undoing, asked.clone()).expect(Outcome::Done, reasons::SUCCEEDED);
}

fn rename(from: &str, to: &str) {
    POSTGRES.sql("postgres", &format!("ALTER DATABASE \"{from}\" RENAME TO \"{to}\""));
}
