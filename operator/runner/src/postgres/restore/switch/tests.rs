//! Switches on a real server, cut off after each statement and write.

use std::process::{Child, Stdio};
use std::sync::{LazyLock, mpsc};

use greenlang_backup_api::reasons::restore;
use greenlang_backup_test_servers::{ADMIN_PASSWORD, Postgres, S3, poll, run as run_command, tasks};
use tempfile::TempDir;

use super::*;
use greenlang_backup_api::restore::{RequestIdentity, RestoreAction, previous_name, temporary_name};

static SERVER: LazyLock<Postgres> = LazyLock::new(|| {
    Postgres::start_with(ADMIN_PASSWORD, &[("max_prepared_transactions", "4"), ("wal_level", "logical")])
});
const BUCKET: &str = "switches";
static WITH_BUCKET: LazyLock<()> = LazyLock::new(|| {
    run_command(S3.aws().args(["s3", "mb", &format!("s3://{BUCKET}")]));
});

/// A database and what was restored beside it.
struct World {
    task: RestoreTask,
    action: SwitchAction,
    store: Store,
    _secrets: TempDir,
}

fn oid(name: &str) -> u32 {
    SERVER
        .sql("postgres", &format!("SELECT oid FROM pg_database WHERE datname = '{name}'"))
        .trim()
        .parse()
        .unwrap()
}

fn request(name: &str) -> RequestIdentity {
    RequestIdentity { namespace: "greenlang".into(), name: name.into(), uid: format!("uid-{name}") }
}

/// A session of somebody else that stays until it is ended; it is there once this returns.
fn hold(database: &str, (user, password): (&str, &str)) -> Child {
    const QUESTION: &str = "SELECT pg_sleep(600)";
    let mut command = SERVER.command("psql", database);
    command.env("PGUSER", user).env("PGPASSWORD", password).stderr(Stdio::null());
    let held = command.args(["-qc", QUESTION]).spawn().unwrap();
    let there = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND query = '{QUESTION}'"
    );
    poll(Duration::from_mins(1), || (SERVER.sql("postgres", &there) != "0\n").then_some(())).unwrap();
    held
}

/// What an application gets that connects now: the OID of the database that it is in, or the server's words.
fn knock(database: &str) -> Result<u32, String> {
    static ROLE: LazyLock<()> = LazyLock::new(|| {
        SERVER.sql("postgres", "CREATE ROLE knocker LOGIN PASSWORD 'knocker-password'");
    });
    LazyLock::force(&ROLE);
    let mut command = SERVER.command("psql", database);
    command.env("PGUSER", "knocker").env("PGPASSWORD", "knocker-password");
    let question = "SELECT oid FROM pg_database WHERE datname = current_database()";
    let output = command.args(["-XAtqc", question]).output().unwrap();
    let (answer, words) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
    if output.status.success() { Ok(answer.trim().parse().unwrap()) } else { Err(words) }
}

impl World {
    /// `there`: whether the database is there already.
    async fn new(database: &str, there: bool) -> Self {
        LazyLock::force(&WITH_BUCKET);
        let secrets = tempfile::tempdir().unwrap();
        let request = request(database);
        let temporary = temporary_name(database, &request.uid);
        if there {
            SERVER.create_database(database);
            SERVER.sql("postgres", &format!("COMMENT ON DATABASE \"{database}\" IS 'the old one'"));
            SERVER.sql(database, "CREATE TABLE which AS SELECT 'old' AS one");
        }
        SERVER.create_database(&temporary);
        SERVER.sql(&temporary, "CREATE TABLE which AS SELECT 'new' AS one");
        let mark = marked(&request, Some("the new one"));
        SERVER.sql("postgres", &comment_on(&temporary, Some(&mark)));
        let action = SwitchAction {
            incoming: NamedDatabase { oid: oid(&temporary), name: temporary },
            outgoing: there
                .then(|| NamedDatabase { name: previous_name(database, &request.uid), oid: oid(database) }),
            backup: None,
            undo_of: None,
            allow_logical_replication_loss: false,
        };
        let task = RestoreTask {
            request,
            spec_sha256: "0".repeat(64),
            bucket: tasks::bucket(BUCKET, &S3.endpoint, secrets.path()),
            server: tasks::postgres_server(&SERVER, "postgres", ADMIN_PASSWORD, secrets.path()),
            database: database.to_owned(),
            stall_seconds: 600,
            action: RestoreAction::Switch(action.clone()),
        };
        let store = Store::open(&task.bucket, 2).await.unwrap();
        Self { task, action, store, _secrets: secrets }
    }

    async fn switch(&self, budget: Option<u32>) -> Result<SwitchReport, RunError> {
        let mut switch = Switch::open(&self.task, &self.action, &self.store).await?;
        switch.budget = budget;
        switch.to_the_end(&self.store).await
    }

    /// What is said of a switch that failed.
    async fn nothing_was_renamed(&self) -> bool {
        let switch = Switch::open(&self.task, &self.action, &self.store).await.unwrap();
        switch.nothing_was_renamed(&self.store).await
    }

    async fn state(&self) -> Option<RecordState> {
        let RequestIdentity { namespace, name, .. } = &self.task.request;
        Some(self.store.read_record(namespace, name).await.unwrap()?.record.state)
    }

    fn comment(name: &str) -> String {
        SERVER.sql(
            "postgres",
            &format!(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{name}'"
            ),
        )
    }

    async fn expect_switched(&self) {
        let database = &self.task.database;
        assert_eq!(SERVER.sql(database, "SELECT one FROM which"), "new\n");
        assert_eq!(Self::comment(database), "the new one\n");
        assert_eq!(oid(database), self.action.incoming.oid);
        assert_eq!(self.state().await, Some(RecordState::Switched));
        if let Some(outgoing) = &self.action.outgoing {
            assert_eq!(oid(&outgoing.name), outgoing.oid);
            assert_eq!(Self::comment(&outgoing.name), format!("{}\nthe old one\n", self.task.request.mark()));
            let open = format!("SELECT datallowconn FROM pg_database WHERE oid = {}", outgoing.oid);
            assert_eq!(SERVER.sql("postgres", &open), "f\n");
        }
    }
}

#[tokio::test]
async fn a_switch_that_is_cut_anywhere_comes_to_the_same_end() {
    for there in [true, false] {
        let mut cuts = 0;
        loop {
            let world = World::new(&format!("cut_{there}_{cuts}"), there).await;
            match world.switch(Some(cuts)).await {
                Ok(_) => break,
                Err(RunError::Interrupted) => {}
                Err(error) => panic!("{error}"),
            }
            let report = world.switch(None).await.unwrap();
            assert_eq!(report.serving.oid, world.action.incoming.oid);
            world.expect_switched().await;
            // And once more, with nothing left to do.
            assert_eq!(world.switch(Some(0)).await.unwrap().closed_milliseconds, None);
            world.expect_switched().await;
            cuts += 1;
        }
        assert!(cuts >= if there { 5 } else { 4 }, "every step was cut, not {cuts} of them");
    }
}

#[tokio::test]
async fn an_undo_puts_back_what_was_there() {
    let world = World::new("undone", true).await;
    world.switch(None).await.unwrap();
    let (incoming, outgoing) = (world.action.outgoing.clone().unwrap(), world.action.incoming.clone());
    let undo = request("the-undo");
    let action = SwitchAction {
        incoming,
        outgoing: Some(NamedDatabase { name: previous_name("undone", &undo.uid), oid: outgoing.oid }),
        undo_of: Some("undone".into()),
        ..world.action.clone()
    };
    let undone = World {
        task: RestoreTask { request: undo, ..world.task.clone() },
        action,
        ..World::new("not_used", true).await
    };
    undone.switch(None).await.unwrap();
    assert_eq!(SERVER.sql("undone", "SELECT one FROM which"), "old\n");
    assert_eq!(World::comment("undone"), "the old one\n");
    let moved = &undone.action.outgoing.as_ref().unwrap().name;
    assert_eq!(World::comment(moved), format!("{}\nthe new one\n", undone.task.request.mark()));
    // What the first request did is not done again by a Pod that comes late.
    let late = world.switch(None).await.unwrap_err();
    assert_eq!(late.reason(), restore::DATABASE_CHANGED);
    assert_eq!(SERVER.sql("undone", "SELECT one FROM which"), "old\n");
}

#[tokio::test]
async fn sessions_are_ended_and_prepared_transactions_are_not() {
    let world = World::new("busy", true).await;
    let mut held = hold("busy", ("postgres", ADMIN_PASSWORD));
    SERVER.sql("busy", "BEGIN; INSERT INTO which VALUES ('prepared'); PREPARE TRANSACTION 'one'");
    let refused = world.switch(None).await.unwrap_err();
    assert_eq!((refused.reason(), refused.is_retryable()), (restore::PREPARED_TRANSACTIONS, false));
    assert_eq!(
        SERVER.sql("busy", "SELECT count(*) FROM which"),
        "1\n",
        "it lets sessions in, and was not renamed"
    );
    assert!(world.nothing_was_renamed().await);
    SERVER.sql("postgres", "ALTER DATABASE busy WITH ALLOW_CONNECTIONS false");
    assert!(!world.nothing_was_renamed().await, "sessions do not get in");
    SERVER.sql("postgres", "ALTER DATABASE busy WITH ALLOW_CONNECTIONS true");
    SERVER.sql("busy", "ROLLBACK PREPARED 'one'");
    let report = world.switch(None).await.unwrap();
    assert!(report.closed_milliseconds.is_some());
    world.expect_switched().await;
    assert!(!world.nothing_was_renamed().await);
    assert!(!held.wait().unwrap().success(), "its session was ended");
}

/// Made since the plan looked.
#[tokio::test]
async fn who_follows_a_database_is_not_left_behind_unasked() {
    for (number, follow) in [
        // Waits for all transactions of the server, those that another test has prepared among them.
        "SET statement_timeout = '3min'; SELECT pg_create_logical_replication_slot('followed', 'pgoutput')",
        "CREATE SUBSCRIPTION follows CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)",
    ]
    .into_iter()
    .enumerate()
    {
        let database = format!("followed_{number}");
        let mut world = World::new(&database, true).await;
        SERVER.sql(&database, follow);
        let refused = world.switch(None).await.unwrap_err();
        assert_eq!((refused.reason(), refused.is_retryable()), (restore::LOGICAL_REPLICATION, false));
        assert_eq!(SERVER.sql(&database, "SELECT one FROM which"), "old\n");
        assert!(world.nothing_was_renamed().await);
        world.action.allow_logical_replication_loss = true;
        world.switch(None).await.unwrap();
        world.expect_switched().await;
    }
}

#[tokio::test]
async fn an_application_gets_into_the_old_one_then_into_none_then_into_the_new_one() {
    let world = World::new("knocked_at", true).await;
    let (old, new) = (oid("knocked_at"), world.action.incoming.oid);
    let mut answers = vec![knock("knocked_at")];
    // One step at a time, and an application that connects after each.
    while let Err(RunError::Interrupted) = world.switch(Some(1)).await {
        answers.push(knock("knocked_at"));
    }
    world.expect_switched().await;
    let shut = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(shut >= 2, "once the old one is closed, and once both are: {answers:?}");
    for words in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert!(words.contains("is not currently accepting connections"), "{words}");
    }
    let mut seen: Vec<Option<u32>> = answers.into_iter().map(Result::ok).collect();
    seen.dedup();
    assert_eq!(seen, [Some(old), None, Some(new)]);
}

#[tokio::test]
async fn an_application_that_connects_again_and_again_does_not_keep_the_names_from_changing() {
    let world = World::new("hammered_at", true).await;
    let (old, new) = (oid("hammered_at"), world.action.incoming.oid);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            let answer = knock("hammered_at");
            let is_new = answer == Ok(new);
            if tell.send(answer).is_err() || is_new {
                return;
            }
        }
    });
    assert_eq!(told.recv().unwrap(), Ok(old));
    world.switch(None).await.unwrap();
    world.expect_switched().await;
    // It ends with the first answer of the new one.
    let rest: Vec<Option<u32>> = told.iter().map(Result::ok).collect();
    let closed = rest.iter().position(|answer| *answer != Some(old)).unwrap();
    assert!(!rest[closed..].contains(&Some(old)), "it got into what was closed: {rest:?}");
    assert_eq!(rest.last(), Some(&Some(new)));
}

#[tokio::test]
async fn another_database_than_the_planned_one_is_not_renamed() {
    let world = World::new("changed", true).await;
    SERVER.sql("postgres", "ALTER DATABASE changed RENAME TO changed_by_hand");
    let gone = world.switch(None).await.unwrap_err();
    assert_eq!(gone.reason(), restore::DATABASE_CHANGED);
    assert!(world.nothing_was_renamed().await, "the restored one waits under its own name");
    SERVER.create_database("changed");
    let other = world.switch(None).await.unwrap_err();
    assert_eq!(other.reason(), restore::DATABASE_CHANGED);
    assert_eq!(SERVER.sql("changed_by_hand", "SELECT one FROM which"), "old\n");

    let new = World::new("came_meanwhile", false).await;
    SERVER.create_database("came_meanwhile");
    assert_eq!(new.switch(None).await.unwrap_err().reason(), restore::DATABASE_CHANGED);

    let unmarked = World::new("unmarked", true).await;
    let name = &unmarked.action.incoming.name;
    SERVER.sql("postgres", &comment_on(name, Some("somebody else's")));
    assert_eq!(unmarked.switch(None).await.unwrap_err().reason(), restore::DATABASE_CHANGED);
}

#[tokio::test]
async fn what_somebody_began_to_drop_is_not_switched() {
    let world = World::new("half_dropped", true).await;
    let cut = "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half_dropped'";
    SERVER.sql("postgres", cut);
    let refused = world.switch(None).await.unwrap_err();
    assert_eq!((refused.reason(), refused.is_retryable()), (restore::DATABASE_CHANGED, false), "{refused}");
    assert!(refused.to_string().contains("began to drop database half_dropped"), "{refused}");
}

#[tokio::test]
async fn where_somebody_drops_the_restored_database_it_is_known_that_nothing_was_renamed() {
    let world = World::new("lost", true).await;
    SERVER.sql("postgres", &format!("DROP DATABASE \"{}\"", world.action.incoming.name));
    assert_eq!(world.switch(None).await.unwrap_err().reason(), restore::DATABASE_CHANGED);
    assert!(world.nothing_was_renamed().await);
    SERVER.sql("postgres", "ALTER DATABASE lost WITH ALLOW_CONNECTIONS false");
    assert!(!world.nothing_was_renamed().await, "sessions do not get in");
    // It was switched, and somebody took it back by hand.
    let world = World::new("taken_back", true).await;
    world.switch(None).await.unwrap();
    let old = &world.action.outgoing.as_ref().unwrap().name;
    SERVER.sql("postgres", "DROP DATABASE taken_back");
    let rename = format!("ALTER DATABASE \"{old}\" RENAME TO taken_back");
    SERVER.sql("postgres", &rename);
    SERVER.sql("postgres", "ALTER DATABASE taken_back WITH ALLOW_CONNECTIONS true");
    assert!(!world.nothing_was_renamed().await, "the record says that it was switched");
    // Where nothing was to be replaced nobody can tell.
    let world = World::new("made_new", false).await;
    SERVER.sql("postgres", &format!("DROP DATABASE \"{}\"", world.action.incoming.name));
    assert!(!world.nothing_was_renamed().await);
}

#[tokio::test]
async fn a_request_of_the_same_name_is_not_carried_out_again() {
    let world = World::new("once", true).await;
    world.switch(None).await.unwrap();
    let mut again = World::new("once_more", true).await;
    again.task.request.name = "once".into();
    let mark = marked(&again.task.request, None);
    SERVER.sql("postgres", &comment_on(&again.action.incoming.name, Some(&mark)));
    let refused = again.switch(None).await.unwrap_err();
    assert_eq!(refused.reason(), restore::ALREADY_CARRIED_OUT);
    assert_eq!(SERVER.sql("once_more", "SELECT one FROM which"), "old\n");
}

/// A Pod that was frozen between its look and its statement, and went on when another attempt was done.
#[tokio::test]
async fn what_serves_is_opened_when_a_late_attempt_has_closed_it() {
    let world = World::new("closed_late", true).await;
    world.switch(None).await.unwrap();
    let switch = Switch::open(&world.task, &world.action, &world.store).await.unwrap();
    let session = switch.session().await.unwrap();
    let outgoing = world.action.outgoing.as_ref().unwrap().oid;
    let refused = close(&session, "closed_late", outgoing).await.unwrap_err();
    assert!(refused.is_retryable(), "it looks again: {refused}");
    world.expect_switched().await;
    for record_is_lost in [false, true] {
        if record_is_lost {
            let mut ledger = Ledger::read(&world.store, &world.task).await.unwrap();
            let own = ledger.own().cloned().unwrap();
            ledger.write(RestoreRecord { state: RecordState::Switching, ..own }).await.unwrap();
        }
        close(&session, "closed_late", world.action.incoming.oid).await.unwrap();
        let open = "SELECT datallowconn FROM pg_database WHERE datname = 'closed_late'";
        assert_eq!(SERVER.sql("postgres", open), "f\n");
        world.switch(None).await.unwrap();
        assert_eq!(SERVER.sql("postgres", open), "t\n");
        world.expect_switched().await;
    }
}

/// As managed services give it: no superuser, who may not see what other users' sessions are.
#[tokio::test]
async fn a_user_without_superuser_ends_sessions_of_others() {
    let world = World::new("of_others", true).await;
    let temporary = &world.action.incoming.name;
    SERVER.sql("postgres", &format!(
        "CREATE ROLE others LOGIN; CREATE ROLE app LOGIN PASSWORD 'app-password'; CREATE ROLE switcher LOGIN CREATEDB PASSWORD 'its-password';
         GRANT pg_signal_backend, others TO switcher; ALTER DATABASE of_others OWNER TO others; ALTER DATABASE \"{temporary}\" OWNER TO others"));
    let secrets = tempfile::tempdir().unwrap();
    let server = tasks::postgres_server(&SERVER, "switcher", "its-password", secrets.path());
    let world = World { task: RestoreTask { server, ..world.task.clone() }, ..world };
    let mut held = hold("of_others", ("app", "app-password"));
    world.switch(None).await.unwrap();
    world.expect_switched().await;
    assert!(!held.wait().unwrap().success(), "its session was ended");
}

#[tokio::test]
async fn a_database_that_cannot_be_dropped_lets_sessions_in_as_before() {
    let world = World::new("undroppable", true).await;
    let switch = Switch::open(&world.task, &world.action, &world.store).await.unwrap();
    let session = switch.session().await.unwrap();
    let replaced = NamedDatabase { name: "undroppable".into(), oid: oid("undroppable") };
    SERVER.sql(
        "undroppable",
        "BEGIN; INSERT INTO which VALUES ('prepared'); PREPARE TRANSACTION 'undroppable'",
    );
    SERVER.sql("postgres", "ALTER DATABASE undroppable WITH IS_TEMPLATE true");
    databases::drop_replaced(&session, &replaced).await.unwrap_err();
    assert_eq!(SERVER.sql("undroppable", "SELECT one FROM which"), "old\n");
    let template = "SELECT datistemplate FROM pg_database WHERE datname = 'undroppable'";
    assert_eq!(SERVER.sql("postgres", template), "t\n");
    SERVER.sql("undroppable", "ROLLBACK PREPARED 'undroppable'");
    let other = NamedDatabase { oid: replaced.oid + 1, ..replaced.clone() };
    databases::drop_replaced(&session, &other).await.unwrap_err();
    databases::drop_replaced(&session, &replaced).await.unwrap();
    assert_eq!(databases::named(&session, "undroppable").await.unwrap(), None);
}
