//! Probes that find all well, and those whose findings only a probe has.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use crate::fixture::Fixture;
use crate::happy::SEEDED;
use crate::servers::POSTGRES;

#[test]
fn all_is_well_and_no_marker_stays() {
    let fixture = Fixture::new("probe", &[*SEEDED]);
    let ended = fixture.probe();
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let probe = ended.report.probe.unwrap();
    assert!(probe.storage.ok && probe.database.as_ref().unwrap().ok && probe.encryption.ok);
    assert!(probe.database.unwrap().message.contains("PostgreSQL 15"));
    fixture.bucket.assert_empty();
}

#[test]
fn missing_rights_come_with_the_grant_that_gives_them() {
    // A database of its own: grants would show in the dumps of other tests.
    POSTGRES.create_database("rightless");
    POSTGRES.sql("rightless", "CREATE TABLE t (); SELECT lo_create(424242)");
    POSTGRES.sql("postgres", "CREATE ROLE \"no rights\" LOGIN PASSWORD 'none'");
    let mut fixture = Fixture::new("probe-rights", &["rightless"]);
    fixture.task.server.credentials =
        fixture.secret("none", &[("username", "no rights"), ("password", "none")]);
    let ended = fixture.probe();
    ended.expect(Outcome::Done, reasons::PROBE_FAILED);
    let finding = ended.report.probe.unwrap().database.unwrap();
    assert_eq!(finding.reason, reasons::PERMISSION_DENIED);
    assert!(finding.message.contains("GRANT pg_read_all_data TO \"no rights\";"), "{}", finding.message);

    POSTGRES.sql("postgres", "GRANT pg_read_all_data TO \"no rights\"");
    let finding = fixture.probe().report.probe.unwrap().database.unwrap();
    assert!(finding.message.contains("1 large objects cannot be read, 424242"), "{}", finding.message);
    POSTGRES.sql("rightless", "GRANT SELECT ON LARGE OBJECT 424242 TO \"no rights\"");
    fixture.probe().expect(Outcome::Done, reasons::SUCCEEDED);

    POSTGRES.create_database("secured");
    POSTGRES.sql("secured", "CREATE TABLE t (); ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    fixture.task.databases = vec!["secured".to_owned()];
    let finding = fixture.probe().report.probe.unwrap().database.unwrap();
    assert!(finding.message.contains("ALTER ROLE \"no rights\" BYPASSRLS;"), "{}", finding.message);
}
