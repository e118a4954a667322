//! Whole backups with the rights that docs/operations.md asks for and no others: the statements are read from there.

use std::fs;

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use crate::fixture::Fixture;
use crate::servers::{ADMIN_PASSWORD, Postgres};

const DOCUMENT: &str = "../../docs/operations.md";
const SEED: &str = "tests/it/seed.sql";

/// The blocks of SQL of the section, in their order: of a superuser for the server, for large objects, for what is optional,
/// and of a managed server's administrator.
fn statements() -> [String; 4] {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let section = document.split("## Rights in the database\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks: Vec<String> =
        section.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    blocks.try_into().unwrap()
}

/// A server with a database of everything, and a world that backs it up as the documented user.
fn world(name: &str) -> (Postgres, Fixture) {
    let server = Postgres::start(ADMIN_PASSWORD);
    server.create_database("greenlang");
    server.sql_file("greenlang", SEED.as_ref());
    server.sql(
        "greenlang",
        "CREATE ROLE greenlang_owner; CREATE SCHEMA owned AUTHORIZATION greenlang_owner;
        CREATE TABLE owned.secured AS SELECT 1 AS one; ALTER TABLE owned.secured OWNER TO greenlang_owner;
        ALTER TABLE owned.secured ENABLE ROW LEVEL SECURITY; ALTER LARGE OBJECT 424242 OWNER TO greenlang_owner;
        CREATE SEQUENCE owned.numbers; SELECT lo_create(7); ALTER LARGE OBJECT 7 OWNER TO greenlang_owner",
    );
    let mut fixture = Fixture::new(name, &["greenlang"]);
    fixture.task.server.port = server.port;
    fixture.task.server.credentials =
        fixture.secret("documented", &[("username", "greenlang_backup"), ("password", "…")]);
    (server, fixture)
}

fn apply(server: &Postgres, fixture: &Fixture, user: &str, database: &str, sql: &str) {
    let file = fixture.directory.path().join("statements.sql");
    fs::write(&file, sql).unwrap();
    let mut command = server.command("psql", database);
    command.env("PGUSER", user).args(["-Xq", "--set=ON_ERROR_STOP=1", "-o", "/dev/null", "-f"]).arg(&file);
    crate::servers::run(&mut command);
}

fn database_finding(fixture: &Fixture) -> (String, String) {
    let finding = fixture.probe().report.probe.unwrap().database.unwrap();
    (finding.reason, finding.message)
}

#[test]
fn what_a_superuser_grants_is_enough_and_needed() {
    let (server, fixture) = world("rights-superuser");
    let [roles, large_objects, optional, _] = statements();
    apply(&server, &fixture, "postgres", "postgres", &roles);
    let (reason, message) = database_finding(&fixture);
    assert_eq!(reason, reasons::PERMISSION_DENIED);
    assert!(message.contains("2 large objects") && !message.contains("tables"), "{message}");
    apply(&server, &fixture, "postgres", "greenlang", &large_objects);
    assert_eq!(database_finding(&fixture).0, reasons::SUCCEEDED);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    assert_eq!(fixture.manifest().warnings, Vec::<String>::new());
    apply(&server, &fixture, "postgres", "postgres", &optional);

    // Each of the rights is missed when it is taken away.
    for (take, give, missed) in [
        ("ALTER ROLE greenlang_backup NOBYPASSRLS", "ALTER ROLE greenlang_backup BYPASSRLS", "row security"),
        (
            "REVOKE pg_read_all_data FROM greenlang_backup",
            "GRANT pg_read_all_data TO greenlang_backup",
            "cannot be read",
        ),
    ] {
        server.sql("greenlang", take);
        let (reason, message) = database_finding(&fixture);
        assert_eq!(reason, reasons::PERMISSION_DENIED);
        assert!(message.contains(missed), "{message}");
        server.sql("greenlang", give);
    }
    assert_eq!(database_finding(&fixture).0, reasons::SUCCEEDED);
}

#[test]
fn what_the_administrator_of_a_managed_server_grants_is_enough() {
    let (server, fixture) = world("rights-managed");
    let [_, _, _, managed] = statements();
    server.sql(
        "postgres",
        &format!(
            "CREATE ROLE cloud_admin LOGIN CREATEROLE CREATEDB PASSWORD '{ADMIN_PASSWORD}';
            GRANT pg_read_all_data, pg_read_all_settings, greenlang_owner TO cloud_admin WITH ADMIN OPTION"
        ),
    );
    apply(&server, &fixture, "cloud_admin", "postgres", &managed);
    assert_eq!(database_finding(&fixture).0, reasons::SUCCEEDED);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
}
