//! What lies beside the dumps, and what a backup must hold to be one.

use std::collections::BTreeMap;

use greenlang_backup_api::contents::{Contents, NoData, TableData};
use greenlang_backup_api::globals::Globals;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::settings::Settings;
use greenlang_backup_api::v1alpha1::{Checksum, RolePasswords, Verification};

use crate::fixture::{Fixture, ID};
use crate::happy::SEEDED;
use crate::servers::{ADMIN_PASSWORD, POSTGRES};

/// An object of the only attempt as it was before it was sealed.
fn opened(fixture: &Fixture, file: &str) -> String {
    fixture.opened(&format!("clusters/test/database/{ID}/1/{file}.zst.age"))
}

#[test]
fn every_table_is_listed_with_its_rows_or_the_reason_why_it_has_none() {
    let mut fixture = Fixture::new("contents", &[*SEEDED]);
    for (id, streams) in [(ID, 1), ("20251107-030000", 2)] {
        fixture.task.streams = streams;
        fixture.task.run.id = id.parse().unwrap();
        fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
        let key = format!("clusters/test/database/{id}/1/contents.json.zst.age");
        let found: Contents = serde_json::from_str(&fixture.opened(&key)).unwrap();
        let [database] = found.databases.as_slice() else { panic!("{found:?}") };
        let mut listed = BTreeMap::new();
        for table in &database.tables {
            let name = format!("{}.{}", table.schema, table.name);
            match &table.data {
                TableData::Stored { rows, object, .. } => {
                    assert!(fixture.bucket.keys().contains(object), "{object}");
                    listed.insert(name, rows.to_string());
                }
                TableData::Absent { reason } => {
                    listed.insert(name, format!("{reason:?}"));
                }
            }
        }
        let expected: BTreeMap<String, String> = [
            ("app.Größe \"m²\"", "5000".to_owned()),
            ("app.events", format!("{:?}", NoData::Partitioned)),
            ("app.events_2024", count("app.events_2024")),
            ("app.events_2025", count("app.events_2025")),
            ("app.per_month", format!("{:?}", NoData::MaterializedView)),
        ]
        .map(|(name, rows)| (name.to_owned(), rows))
        .into();
        assert_eq!(listed, expected);
        assert_eq!((database.large_objects.count, database.large_objects.bytes), (1, 10_000));
        assert_eq!(database.properties.name, *SEEDED);
        assert!(database.extensions.iter().any(|extension| extension.name == "hstore"));
    }
}

fn count(table: &str) -> String {
    POSTGRES.sql(*SEEDED, &format!("SELECT count(*) FROM {table}")).trim().to_owned()
}

#[test]
fn a_dump_that_leaves_a_table_out_is_no_backup() {
    let fixture = Fixture::new("left-out", &[*SEEDED]);
    let clients = fixture
        .fake_clients(&[("pg_dump", "exec $REAL/pg_dump \"$@\" --exclude-table-data=app.events_2024")]);
    let ended = fixture.run_with_clients(&clients);
    ended.expect(Outcome::Retryable, reasons::INCOMPLETE_DUMP);
    ended.expect_message(&["app.events_2024"]);
    fixture.bucket.assert_empty();
}

#[test]
fn a_dump_that_leaves_a_sequence_out_is_no_backup() {
    let fixture = Fixture::new("sequence-left-out", &[*SEEDED]);
    let clients =
        fixture.fake_clients(&[("pg_dump", "exec $REAL/pg_dump \"$@\" --exclude-table-data=app.numbers")]);
    let ended = fixture.run_with_clients(&clients);
    ended.expect(Outcome::Retryable, reasons::INCOMPLETE_DUMP);
    ended.expect_message(&["lacks where 1 sequences stand", "app.numbers"]);
    fixture.bucket.assert_empty();
}

#[test]
fn missing_rights_end_a_backup_before_it_writes() {
    POSTGRES.create_database("objects");
    POSTGRES.sql("objects", "SELECT lo_from_bytea(9, 'x'); CREATE ROLE half LOGIN PASSWORD 'half'; GRANT pg_read_all_data TO half");
    let mut fixture = Fixture::new("half-rights", &["objects"]);
    fixture.task.server.credentials = fixture.secret("half", &[("username", "half"), ("password", "half")]);
    let ended = fixture.run();
    ended.expect(Outcome::Failed, reasons::PERMISSION_DENIED);
    ended.expect_message(&["1 large objects cannot be read", "GRANT SELECT ON LARGE OBJECT"]);
    fixture.bucket.assert_empty();
}

#[test]
fn roles_and_settings_are_there_as_data() {
    let seeded = *SEEDED;
    let mut fixture = Fixture::new("globals-data", &[seeded]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let text = opened(&fixture, "globals.json");
    let globals: Globals = serde_json::from_str(&text).unwrap();
    let owner = globals.roles.iter().find(|role| role.name == "seed owner").unwrap();
    assert_eq!((owner.connection_limit, owner.password_hash.is_some()), (7, true));
    assert!(globals.memberships.iter().any(|member| member.role == "seed_reader" && member.admin));
    let settings: Settings = serde_json::from_str(&opened(&fixture, "settings.json")).unwrap();
    assert!(
        settings
            .parameters
            .iter()
            .any(|parameter| parameter.name == "ssl" && parameter.value.as_deref() == Some("on"))
    );
    assert!(settings.access_rules.is_some_and(|rules| !rules.is_empty()));
    assert!(!text.contains(ADMIN_PASSWORD));

    fixture.task.run.id = "20251107-030000".parse().unwrap();
    fixture.task.role_passwords = RolePasswords::Never;
    fixture.task.settings = false;
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    let text = fixture.opened("clusters/test/database/20251107-030000/1/globals.json.zst.age");
    assert!(!text.contains("SCRAM-SHA-256"));
    assert!(
        !fixture.bucket.keys().iter().any(|key| key.contains("20251107-030000") && key.contains("settings"))
    );
}

#[test]
fn a_backup_is_read_again_up_to_the_limit_or_if_nobody_confirmed_it() {
    let mut fixture = Fixture::new("levels", &[*SEEDED]);
    for (id, checksum, limit, level) in [
        ("20251107-010000", Checksum::Auto, 1 << 40, Verification::ReadBack),
        ("20251107-020000", Checksum::Auto, 0, Verification::Stored),
        ("20251107-030000", Checksum::Crc64Nvme, 0, Verification::Stored),
        ("20251107-040000", Checksum::Crc32, 0, Verification::Stored),
        ("20251107-050000", Checksum::Sha256, 0, Verification::Stored),
        ("20251107-060000", Checksum::None, 0, Verification::ReadBack),
    ] {
        fixture.task.run.id = id.parse().unwrap();
        (fixture.task.bucket.checksum, fixture.task.read_back_limit) = (checksum, limit);
        let ended = fixture.run();
        ended.expect(Outcome::Done, reasons::SUCCEEDED);
        assert_eq!(ended.report.backup.as_ref().unwrap().verified, level, "{checksum:?}");
        let steps: Vec<String> = ended.progress().into_iter().map(|progress| progress.step).collect();
        assert_eq!(
            steps.iter().any(|step| step == "Reading back"),
            level == Verification::ReadBack,
            "{steps:?}"
        );
    }
}
