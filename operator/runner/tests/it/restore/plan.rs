//! Plans: what they choose, what they refuse, and that they touch nothing.

use greenlang_backup_api::reasons::{self, restore};
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::restore::{
    PlanAction, PlanReport, PlanSource, RecordState, RestoreAction, RestoreReport, RestoreTask, previous_name,
};
use greenlang_backup_api::task::Task;
use greenlang_backup_api::v1alpha1::{RestoreGlobals, RestorePlan, RestoreStrategy, VerifyRestored};

use super::world::{Request, databases};
use crate::fixture::{Ended, Fixture, ID};
use crate::happy::SEEDED;
use crate::servers::{POSTGRES, Postgres};

pub fn action(request: &Request<'_>) -> PlanAction {
    let RestoreAction::Load(load) = &request.task.action else { panic!("no load") };
    PlanAction {
        source: PlanSource::Backup { path: "database".into(), id: ID.parse().unwrap(), database: None },
        keys: load.keys.clone(),
        strategy: RestoreStrategy::Swap,
        temporary: request.temporary(),
        previous: previous_name(&request.task.database, &request.task.request.uid),
        jobs: 4,
        globals: RestoreGlobals::Restore,
        verify: VerifyRestored::Full,
        include: load.include.clone(),
        allow_logical_replication_loss: false,
        claim: false,
    }
}

pub fn plan(request: &Request<'_>, action: PlanAction) -> Ended {
    let task = RestoreTask { action: RestoreAction::Plan(action), ..request.task.clone() };
    request.fixture.start_task(&Task::Restore(task), &[]).end()
}

pub fn report(ended: &Ended) -> &PlanReport {
    match &ended.report.restore {
        Some(RestoreReport::Plan(report)) => report,
        other => panic!("{other:?}: {}", ended.stderr),
    }
}

pub fn read(ended: &Ended) -> RestorePlan {
    report(ended).plan(&ended.stdout).unwrap()
}

/// Reasons of what a plan refuses, with their messages.
pub fn refusals(ended: &Ended) -> Vec<(String, String)> {
    read(ended).refusals.into_iter().map(|refusal| (refusal.reason, refusal.message)).collect()
}

fn backup(name: &str, databases: &[&str]) -> Fixture {
    let fixture = Fixture::new(name, databases);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    fixture
}

#[test]
fn a_plan_says_what_will_be_done_and_claims_its_name_once() {
    let fixture = backup("plan", &[*SEEDED]);
    let request = Request::new(&fixture, &POSTGRES, *SEEDED, "u-plan");
    let ended = plan(&request, action(&request));
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let found = read(&ended);
    assert!(found.feasible && found.refusals.is_empty(), "{found:?}");
    let planned = found.backup.unwrap();
    assert!(planned.tables.unwrap() >= 5 && planned.rows.unwrap() > 5_000 && planned.source_bytes > 100_000);
    let target = found.target.unwrap();
    assert!(target.present_bytes.unwrap() > 1_000_000);
    assert_eq!(target.previous_database.as_deref(), Some(&*previous_name(*SEEDED, "u-plan")));
    assert!(found.steps.len() == 4 && found.roles_to_make.is_empty(), "{:?}", found.steps);
    let backup = report(&ended).backup.clone().unwrap();
    assert_eq!((backup.database.as_str(), backup.manifest_sha256.is_some()), (*SEEDED, true));
    let records =
        || fixture.bucket.keys().into_iter().filter(|key| key.contains("restores/")).collect::<Vec<_>>();
    let made = [request.temporary(), previous_name(*SEEDED, "u-plan")];
    // Other tests make databases on this server meanwhile.
    assert!(databases(&POSTGRES).iter().all(|name| !made.contains(name)), "a dry run makes nothing");
    assert_eq!(records(), Vec::<String>::new(), "a dry run writes nothing");

    let claim = PlanAction { claim: true, ..action(&request) };
    assert!(report(&ended).known.is_none(), "nothing is known of a dry run");
    let claimed = plan(&request, claim.clone());
    claimed.expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!(report(&claimed).known.as_ref().map(|known| known.state), Some(RecordState::Started));
    assert_eq!(records(), ["clusters/test/restores/greenlang/back.json"]);
    let again = plan(&request, claim.clone());
    again.expect(Outcome::Done, reasons::SUCCEEDED);
    assert!(report(&again).known.is_some(), "the request whose status was lost");
    let other = Request::new(&fixture, &POSTGRES, *SEEDED, "u-other");
    let refused = plan(&other, PlanAction { temporary: other.temporary(), ..claim });
    refused.expect(Outcome::Failed, restore::ALREADY_CARRIED_OUT);
    // Also what was rolled back: left in Git it would restore over newer data whenever it is made anew.
    let mut rolled_back = request.task.clone();
    rolled_back.action = RestoreAction::Drop(greenlang_backup_api::restore::DropAction {
        name: request.temporary(),
        oid: None,
        rolls_back: true,
        not_before: None,
    });
    fixture.start_task(&Task::Restore(rolled_back), &[]).end().expect(Outcome::Done, reasons::SUCCEEDED);
    let claim = PlanAction { claim: true, ..action(&other) };
    plan(&other, claim).expect(Outcome::Failed, restore::ALREADY_CARRIED_OUT);
}

#[test]
fn the_newest_backup_that_can_be_used_is_chosen() {
    let mut fixture = Fixture::new("plan-newest", &[*SEEDED]);
    for id in [ID, "20251108-020000", "20251109-020000"] {
        fixture.task.run.id = id.parse().unwrap();
        fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    }
    fixture.bucket.delete("clusters/test/database/20251109-020000/1/greenlang.dump.zst.age");
    fixture.bucket.put("clusters/test/database/20251110-020000/manifest.json", b"{}");
    fixture.task.run.id = "20251111-020000".parse().unwrap();
    fixture.task.run.backup = "orders".into();
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let request = Request::new(&fixture, &POSTGRES, *SEEDED, "u-newest");
    let latest = |backup: Option<&str>, schedule: Option<&str>| PlanAction {
        source: PlanSource::Latest {
            path: "database".into(),
            backup: backup.map(str::to_owned),
            schedule: schedule.map(str::to_owned),
            database: None,
        },
        ..action(&request)
    };
    for schedule in [None, Some("daily")] {
        let ended = plan(&request, latest(Some("database"), schedule));
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        assert_eq!(report(&ended).backup.as_ref().unwrap().id.as_str(), "20251108-020000");
        assert!(read(&ended).backup.unwrap().choice.contains("2 newer cannot be used"));
    }
    let none = plan(&request, latest(None, Some("weekly")));
    none.expect(Outcome::Failed, restore::BACKUP_NOT_FOUND);
    none.expect_message(&[
        "schedule weekly",
        "passed over: 1 ",
        "others that are there: 4",
        "leave out source.latest.schedule",
    ]);
    // Another backup has had the path, or has it now.
    let any = plan(&request, latest(None, None));
    assert_eq!(report(&any).backup.as_ref().unwrap().id.as_str(), "20251111-020000");
    let none = plan(&request, latest(Some("billing"), None));
    none.expect(Outcome::Failed, restore::BACKUP_NOT_FOUND);
    none.expect_message(&["made as billing below clusters/test/database/", "others that are there: 4"]);
}

/// What the catalog has of an extension whose program is not on this machine.
const PG_CRON: &str = "SET allow_system_table_mods = on;
    INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    SELECT 99999, 'pg_cron', 10, oid, false, '1.6' FROM pg_namespace WHERE nspname = 'pg_catalog'";

#[test]
fn everything_that_is_wrong_is_told_at_once_with_the_way_out() {
    POSTGRES.sql("postgres", "CREATE ROLE refused_owner LOGIN");
    POSTGRES.sql("postgres", "CREATE DATABASE refused OWNER refused_owner");
    POSTGRES.sql("refused", "SET ROLE refused_owner; CREATE TABLE t AS SELECT 1 AS one");
    let fixture = backup("plan-refused", &["refused"]);
    let server = Postgres::start_with(
        "refusing",
        &[("wal_level", "logical"), ("max_prepared_transactions", "2"), ("max_connections", "40")],
    );
    server.sql("postgres", "CREATE ROLE admin LOGIN PASSWORD 'admin-password'");
    server.create_database("refused");
    server.sql("refused", "CREATE PUBLICATION pub FOR ALL TABLES");
    server.sql("refused", "SELECT pg_create_logical_replication_slot('slot', 'pgoutput')");
    server.sql(
        "refused",
        "CREATE SUBSCRIPTION sub CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)",
    );
    server.sql("refused", PG_CRON);
    server.sql("refused", "BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'waits'");
    let mut request = Request::new(&fixture, &server, "refused", "u-refused-plan");
    server.create_database(&request.temporary());
    let hba = server.sql("postgres", "SHOW hba_file");
    let rules = std::fs::read_to_string(hba.trim()).unwrap();
    std::fs::write(
        hba.trim(),
        format!(
            "host refused_restore_nobody admin all reject\nhost \"{}\" admin all reject\n{rules}",
            request.temporary()
        ),
    )
    .unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");
    request.task.server.credentials =
        fixture.secret("refusing-admin", &[("username", "admin"), ("password", "admin-password")]);
    let before = databases(&server);
    let ended = plan(&request, PlanAction { globals: RestoreGlobals::Skip, ..action(&request) });
    assert_eq!(ended.report.outcome, Outcome::Failed);
    let found = refusals(&ended);
    for (reason, way_out) in [
        (restore::DATABASE_EXISTS, "RENAME TO"),
        (restore::PREPARED_TRANSACTIONS, "ROLLBACK PREPARED"),
        (restore::LOGICAL_REPLICATION, "pg_drop_replication_slot('slot')"),
        (restore::LOGICAL_REPLICATION, "publication pub"),
        (restore::LOGICAL_REPLICATION, "DROP SUBSCRIPTION \"sub\""),
        (restore::EXTENSION_BOUND, "move pg_cron to another database first"),
        (restore::ACCESS_RULE_MISSING, "pg_hba.conf"),
        (restore::ROLES_MISSING, "CREATE ROLE \"refused_owner\""),
        (reasons::PERMISSION_DENIED, "ALTER ROLE \"admin\" CREATEDB"),
        (reasons::PERMISSION_DENIED, "GRANT pg_signal_backend TO \"admin\""),
        (reasons::PERMISSION_DENIED, "GRANT \"postgres\" TO \"admin\""),
    ] {
        assert!(
            found.iter().any(|(found, message)| found == reason && message.contains(way_out)),
            "{reason} {way_out}: {found:#?}"
        );
    }
    assert_eq!(ended.report.reason, found[0].0);
    assert!(!read(&ended).feasible);
    assert_eq!(databases(&server), before);

    // As a superuser, with roles, and with what is accepted.
    request.task.server.credentials =
        fixture.secret("superuser", &[("username", "postgres"), ("password", "refusing")]);
    server.sql("refused", "ROLLBACK PREPARED 'waits'");
    server.sql(
        "refused",
        "SET allow_system_table_mods = on; DELETE FROM pg_extension WHERE extname = 'pg_cron'",
    );
    server.sql("postgres", &format!("DROP DATABASE \"{}\"", request.temporary()));
    let accepted = PlanAction { allow_logical_replication_loss: true, ..action(&request) };
    let ended = plan(&request, accepted.clone());
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    assert!(read(&ended).roles_to_make.contains(&"refused_owner".to_owned()));
    for word in [
        "room for a second database, about 1 MiB (the present one has ",
        "1 replication slots keep it on the disk",
        "subscription sub, which would go on writing",
    ] {
        assert!(
            read(&ended).warnings.iter().any(|warning| warning.contains(word)),
            "{word}: {:?}",
            read(&ended)
        );
    }
    assert!(read(&ended).roles_without_password.contains(&"refused_owner".to_owned()));
    let differences = read(&ended).different_settings;
    assert!(differences.contains(&"max_connections = 40 here, 100 there".to_owned()), "{differences:?}");

    let new = PlanAction { strategy: RestoreStrategy::NewDatabase, ..accepted };
    plan(&request, new).expect(Outcome::Failed, restore::DATABASE_EXISTS);

    // What the server says is refused, although nobody gets into the database to look.
    server.sql("postgres", "ALTER DATABASE refused WITH ALLOW_CONNECTIONS false");
    let closed = plan(&request, action(&request));
    closed.expect(Outcome::Failed, restore::LOGICAL_REPLICATION);
    closed.expect_message(&["slot"]);
    assert!(read(&closed).warnings.iter().any(|warning| warning.contains("not looked at")));
}

#[test]
fn a_backup_that_cannot_be_opened_is_refused() {
    let fixture = backup("plan-damage", &[*SEEDED]);
    let request = Request::new(&fixture, &POSTGRES, *SEEDED, "u-plan-damage");
    let key = "clusters/test/database/20251107-020000/1/greenlang.dump.zst.age";
    let good = fixture.bucket.get(key);
    fixture.bucket.put(key, &good[..good.len() - 1]);
    plan(&request, action(&request)).expect(Outcome::Failed, reasons::OBJECT_DAMAGED);
    fixture.bucket.delete(key);
    plan(&request, action(&request)).expect(Outcome::Failed, reasons::OBJECT_MISSING);
    fixture.bucket.put(key, &good);
    let unknown = PlanSource::Backup {
        path: "database".into(),
        id: "20200101-000000".parse().unwrap(),
        database: None,
    };
    plan(&request, PlanAction { source: unknown, ..action(&request) })
        .expect(Outcome::Failed, restore::BACKUP_NOT_FOUND);
    let undo = PlanSource::Undo { of: "never".into() };
    plan(&request, PlanAction { source: undo, ..action(&request) })
        .expect(Outcome::Failed, restore::NOTHING_TO_UNDO);
}

/// An older server, and an extension that came after it.
#[test]
fn a_server_that_lacks_something_is_refused() {
    let name = "newer than 14";
    POSTGRES.create_database(name);
    POSTGRES.sql(name, "CREATE EXTENSION pg_walinspect");
    let fixture = backup("plan-lacks", &[name]);
    let older = crate::servers::majors::start(14, "older-password");
    let request = Request::new(&fixture, &older, name, "u-plan-older");
    let ended = plan(&request, action(&request));
    let found = refusals(&ended);
    for (reason, words) in [
        (restore::SERVER_TOO_OLD, "restore to 15 or newer"),
        (restore::EXTENSION_UNAVAILABLE, "no extension pg_walinspect"),
    ] {
        let is_told = |(found, message): &(String, String)| found == reason && message.contains(words);
        assert!(found.iter().any(is_told), "{reason}: {found:#?}");
    }
    assert_eq!(databases(&older).len(), 3);
}
