//! What a server refuses of a backup: told by the plan, before anything is loaded.

use greenlang_backup_api::reasons::{self, restore};
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::restore::PlanAction;
use greenlang_backup_api::v1alpha1::{RestoreGlobals, VerifyRestored};

use super::plan::{action, plan, read};
use super::world::Request;
use crate::fixture::Fixture;
use crate::happy::SEEDED;
use crate::servers::{POSTGRES, Postgres, majors};

/// Who loads a library takes its prefix; the other server lets anybody use that.
#[test]
fn a_setting_that_the_server_refuses_is_left_out_and_told() {
    let name = "set otherwise";
    POSTGRES.create_database(name);
    POSTGRES.sql(name, "CREATE TABLE t AS SELECT i FROM generate_series(1, 10) i");
    POSTGRES.sql(
        "postgres",
        &format!("ALTER DATABASE \"{name}\" SET auto_explain.not_known = 'on'; ALTER DATABASE \"{name}\" SET work_mem = '7MB'"),
    );
    let fixture = Fixture::new("refused-setting", &[name]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let server = Postgres::start_with("refusing-settings", &[("shared_preload_libraries", "auto_explain")]);
    let mut request = Request::new(&fixture, &server, name, "u-refused-setting");
    let planned = plan(&request, action(&request));
    planned.expect(Outcome::Done, reasons::SUCCEEDED);
    let warnings = read(&planned).warnings;
    let told: Vec<_> = warnings.iter().filter(|warning| warning.contains("refuses parameter")).collect();
    assert!(told.len() == 1 && told[0].contains("auto_explain.not_known"), "{warnings:#?}");
    let own = "SELECT count(*) FROM pg_db_role_setting";
    assert_eq!(server.sql("postgres", own).trim(), "0", "what was tried is gone");
    request.load().globals = RestoreGlobals::Skip;
    for how in [VerifyRestored::Full, VerifyRestored::Counts] {
        request.load().verify = how;
        let report = request.loaded();
        assert_eq!((report.data.rows, report.data.warnings), (10, 2), "{report:?}");
        assert_eq!(server.sql(&request.temporary(), "SHOW work_mem").trim(), "7MB");
    }
}

#[test]
fn a_standby_is_refused() {
    let fixture = Fixture::new("refused-standby", &[*SEEDED]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let standby = majors::standby("standby-password", "");
    let request = Request::new(&fixture, &standby, *SEEDED, "u-refused-standby");
    let planned = plan(&request, PlanAction { claim: true, ..action(&request) });
    planned.expect(Outcome::Failed, restore::SERVER_IS_STANDBY);
    planned.expect_message(&["is a standby"]);
    let claimed = fixture.bucket.keys().iter().any(|key| key.contains("restores/"));
    assert!(!claimed, "its name stays free");
}

/// Loading would fail at it, with strategy Replace when the old database is gone.
#[test]
fn an_extension_that_only_superusers_make_is_refused() {
    let name = "not trusted";
    POSTGRES.create_database(name);
    POSTGRES.sql(name, "CREATE EXTENSION amcheck; CREATE EXTENSION hstore");
    let fixture = Fixture::new("refused-extension", &[name]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let server = Postgres::start("refusing-extensions");
    server.sql(
        "postgres",
        "CREATE ROLE admin LOGIN CREATEDB CREATEROLE PASSWORD 'admin-password'; GRANT pg_signal_backend, postgres TO admin",
    );
    let mut request = Request::new(&fixture, &server, name, "u-refused-extension");
    plan(&request, action(&request)).expect(Outcome::Done, reasons::SUCCEEDED);
    request.task.server.credentials =
        fixture.secret("admin-of-it", &[("username", "admin"), ("password", "admin-password")]);
    let refused = plan(&request, action(&request));
    refused.expect(Outcome::Failed, reasons::PERMISSION_DENIED);
    let refusals = read(&refused).refusals;
    assert!(refusals.len() == 1 && refusals[0].message.contains("extension amcheck"), "{refusals:#?}");
    assert!(refusals[0].message.contains("ALTER ROLE \"admin\" SUPERUSER;"), "{refusals:#?}");
    // What a provider lets its customers do cannot be asked for.
    for let_in in [
        "ALTER ROLE admin SET extwlist.extensions = 'amcheck'",
        "ALTER ROLE admin RESET ALL; ALTER ROLE admin SET supautils.privileged_extensions = 'amcheck'",
        "ALTER ROLE admin RESET ALL; CREATE ROLE rds_superuser; GRANT rds_superuser TO admin",
    ] {
        server.sql("postgres", let_in);
        let told = plan(&request, action(&request));
        told.expect(Outcome::Done, reasons::SUCCEEDED);
        let warnings = read(&told).warnings;
        let told = warnings.iter().any(|warning| warning.contains("amcheck is not trusted"));
        assert!(told, "{let_in}: {warnings:#?}");
    }
}

#[test]
fn roles_with_rights_to_the_database_itself_are_asked_for() {
    let name = "with rights";
    POSTGRES
        .sql("postgres", "CREATE ROLE \"first/right\"; CREATE ROLE second_right; CREATE ROLE without_right");
    POSTGRES.create_database(name);
    POSTGRES.sql(
        "postgres",
        &format!(
            "GRANT CONNECT ON DATABASE \"{name}\" TO \"first/right\" WITH GRANT OPTION; SET ROLE \"first/right\"; GRANT CONNECT ON DATABASE \"{name}\" TO second_right"
        ),
    );
    let fixture = Fixture::new("refused-rights", &[name]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let server = Postgres::start("without-roles");
    let mut request = Request::new(&fixture, &server, name, "u-refused-rights");
    let skip = PlanAction { globals: RestoreGlobals::Skip, ..action(&request) };
    let refused = plan(&request, skip.clone());
    refused.expect(Outcome::Failed, restore::ROLES_MISSING);
    let refusals: Vec<String> = read(&refused).refusals.into_iter().map(|refusal| refusal.message).collect();
    assert_eq!(refusals.len(), 2, "{refusals:#?}");
    for role in ["\"first/right\"", "\"second_right\""] {
        assert!(
            refusals.iter().any(|refusal| refusal.ends_with(&format!("CREATE ROLE {role};"))),
            "{refusals:#?}"
        );
    }
    server.sql("postgres", "CREATE ROLE \"first/right\"; CREATE ROLE second_right");
    plan(&request, skip).expect(Outcome::Done, reasons::SUCCEEDED);
    request.load().globals = RestoreGlobals::Skip;
    request.loaded();
    request.expect_same(&POSTGRES);
}
