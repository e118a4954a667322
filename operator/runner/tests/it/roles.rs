//! Roles that come and go while databases are dumped.

use greenlang_backup_api::contents::Contents;
use greenlang_backup_api::globals::Globals;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use crate::fixture::{Fixture, ID};
use crate::happy::recovery;
use crate::servers::{ADMIN_PASSWORD, Postgres, run};

/// A server with a database in which two roles own a schema each, and the backup of it, made while this happens.
fn backup_during(name: &str, change: &str) -> Fixture {
    let server = Postgres::start(ADMIN_PASSWORD);
    server.create_database("app");
    server.sql(
        "app",
        "CREATE ROLE leaver; CREATE ROLE \"old name\"; CREATE ROLE stays;
        CREATE SCHEMA one AUTHORIZATION leaver; CREATE SCHEMA two AUTHORIZATION \"old name\";
        CREATE SCHEMA three AUTHORIZATION stays; CREATE TABLE three.t AS SELECT 1 AS one",
    );
    let mut fixture = Fixture::new(name, &["app"]);
    fixture.task.server.port = server.port;
    // The snapshot is taken when pg_dump starts.
    let script = format!("$REAL/psql -Xq --set=ON_ERROR_STOP=1 -c '{change}' >&2 || exit 1");
    let ended = fixture.run_with_clients(&fixture.fake_clients(&[("pg_dump", &script)]));
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    fixture
}

fn opened(fixture: &Fixture, file: &str) -> String {
    fixture.opened(&format!("clusters/test/database/{ID}/1/{file}.zst.age"))
}

fn lost_roles(fixture: &Fixture) -> Vec<String> {
    let contents: Contents = serde_json::from_str(&opened(fixture, "contents.json")).unwrap();
    contents.databases[0].lost_roles.clone()
}

#[test]
fn a_role_that_is_made_during_a_dump_is_among_the_globals() {
    let fixture = backup_during("late-role", "CREATE ROLE late CREATEDB; ALTER SCHEMA three OWNER TO late");
    let globals: Globals = serde_json::from_str(&opened(&fixture, "globals.json")).unwrap();
    assert!(globals.roles.iter().any(|role| role.name == "late" && role.create_db));
    assert!(opened(&fixture, "globals.sql").contains("CREATE ROLE late;"));
    assert_eq!((lost_roles(&fixture), fixture.manifest().warnings), (vec![], vec![]));
}

#[test]
fn a_role_that_goes_during_a_dump_is_told_and_can_be_made_by_hand() {
    let fixture = backup_during(
        "lost-roles",
        "ALTER SCHEMA one OWNER TO postgres; DROP ROLE leaver; ALTER ROLE \"old name\" RENAME TO \"new name\"",
    );
    assert_eq!(lost_roles(&fixture), ["leaver", "old name"]);
    let manifest = fixture.manifest();
    let [warning] = manifest.warnings.as_slice() else { panic!("{:?}", manifest.warnings) };
    assert!(warning.contains("database app: 2 roles that own or may use something in it"), "{warning}");
    assert!(manifest.recovery.needs.iter().any(|need| need.contains("lost_roles")));
    let json = serde_json::to_string(&manifest).unwrap();
    assert!(!json.contains("leaver") && !json.contains("old name"), "roles are named in contents.json only");

    let target = Postgres::start("another password");
    target.sql("postgres", "CREATE ROLE leaver; CREATE ROLE \"old name\"");
    run(&mut recovery(&fixture, &target, &manifest.recovery.commands));
    let owners = target.sql(
        "app",
        "SELECT nspowner::regrole FROM pg_namespace WHERE nspname IN ('one', 'two', 'three') ORDER BY nspname",
    );
    assert_eq!(owners.lines().collect::<Vec<_>>(), ["leaver", "stays", "\"old name\""]);
}
