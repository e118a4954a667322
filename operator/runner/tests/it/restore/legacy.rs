//! Backups of the old shell scripts, made here by the commands of their procedure.

use std::process::Command;

use greenlang_backup_api::reasons::{self, restore};
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::restore::{OpeningKeys, PlanAction, PlanSource, RestoreReport};
use greenlang_backup_api::v1alpha1::{ChosenBackup, NamedDatabase, RestoreInclude, RestoreStrategy};

use super::plan::{action, plan, read, report};
use super::world::{Request, oid};
use crate::fixture::Fixture;
use crate::servers::{POSTGRES, run};

const ID: &str = "20230101-020000";
const KEY: &str = "clusters/test/database/20230101-020000/backup.tar.gz.enc";

/// Puts a backup of a database where the scripts put theirs.
fn old_backup(fixture: &Fixture, database: &str, derivation: &str) {
    let directory = fixture.directory.path().join("old");
    std::fs::create_dir_all(&directory).unwrap();
    let dump = directory.join("greenlang.dump");
    run(POSTGRES.command("pg_dump", database).args(["-F", "c", "-b", "-f"]).arg(&dump));
    let script = format!(
        r#"printf 'the old passphrase\n' > key.txt
        printf '{{\n  "database": "greenlang",\n  "size_bytes": ,\n  "checksum": "%s"\n}}\n' "$(sha256sum greenlang.dump | awk '{{print $1}}')" > manifest.json
        tar -czf backup.tar.gz -C . greenlang.dump manifest.json
        openssl enc -aes-256-cbc {derivation} -in backup.tar.gz -out backup.tar.gz.enc -pass file:key.txt 2>/dev/null"#
    );
    run(Command::new("sh").args(["-ec", &script]).current_dir(&directory));
    fixture.bucket.put(KEY, &std::fs::read(directory.join("backup.tar.gz.enc")).unwrap());
    let manifest = std::fs::read(directory.join("manifest.json")).unwrap();
    fixture.bucket.put("clusters/test/database/20230101-020000/manifest.json", &manifest);
}

/// The object is as it should be, so nobody may look for damage.
#[test]
fn a_backup_whose_key_is_not_named_is_not_called_damaged() {
    let name = "without a key";
    POSTGRES.create_database(name);
    let fixture = Fixture::new("keyless", &[name]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    old_backup(&fixture, name, "-pbkdf2");
    let mut request = Request::new(&fixture, &POSTGRES, name, "u-keyless");
    // Each has what opens the other.
    let passphrase = Some(fixture.secret("old-key", &[("passphrase", "the old passphrase")]));
    let identity = request.load().keys.identity.clone();
    for (id, keys, field) in [
        (ID, OpeningKeys { identity, legacy_passphrase: None }, "spec.legacyPassphraseSecretRef"),
        (
            crate::fixture::ID,
            OpeningKeys { identity: None, legacy_passphrase: passphrase },
            "spec.identitySecretRef",
        ),
    ] {
        request.load().keys = keys;
        request.load().backup.id = id.parse().unwrap();
        let source = PlanSource::Backup { path: "database".into(), id: id.parse().unwrap(), database: None };
        let planned = plan(&request, PlanAction { source, ..action(&request) });
        for ended in [planned, request.run()] {
            ended.expect(Outcome::Failed, reasons::INVALID_SPEC);
            ended.expect_message(&[field, id]);
        }
    }
}

#[test]
fn what_the_old_scripts_wrote_comes_back() {
    let name = "of the scripts";
    POSTGRES.create_database(name);
    POSTGRES.sql(name, "CREATE TABLE agents (id serial PRIMARY KEY, text text); INSERT INTO agents (text) SELECT md5(i::text) FROM generate_series(1, 20000) i; SELECT lo_from_bytea(77, 'x')");
    POSTGRES.sql("postgres", &format!("ALTER DATABASE \"{name}\" SET work_mem = '9MB'"));
    let fixture = Fixture::new("legacy", &[name]);
    let mut request = Request::new(&fixture, &POSTGRES, name, "u-legacy");
    let secret = |text: &str| Some(fixture.secret("old-key", &[("passphrase", text)]));
    for derivation in ["-md md5", "-md sha256", "-pbkdf2"] {
        old_backup(&fixture, name, derivation);
        request.load().keys.legacy_passphrase = secret("the old passphrase");
        let source = PlanSource::Backup { path: "database".into(), id: ID.parse().unwrap(), database: None };
        let mut asked = action(&request);
        asked.source = source;
        let planned = plan(&request, asked);
        planned.expect(Outcome::Done, reasons::SUCCEEDED);
        assert!(read(&planned).backup.unwrap().legacy);
        let chosen = report(&planned).backup.clone().unwrap();
        assert_eq!(
            chosen,
            ChosenBackup {
                path: "database".into(),
                id: ID.parse().unwrap(),
                database: name.into(),
                manifest_sha256: None
            }
        );
        request.load().backup = chosen;
        let loaded = request.loaded();
        assert_eq!((loaded.data.tables, loaded.data.rows, loaded.data.verified), (1, 20_000, None));
        let temporary = request.temporary();
        let rows = "SELECT count(*), md5(string_agg(text, ',' ORDER BY id)) FROM agents";
        assert_eq!(POSTGRES.sql(&temporary, rows), POSTGRES.sql(name, rows));
        assert_eq!(POSTGRES.sql(&temporary, "SHOW work_mem"), "9MB\n", "as the present database has it");
        request.drop_database(&temporary, None).expect(Outcome::Done, reasons::SUCCEEDED);
    }

    // What only the present database has would be dropped with it.
    let source = PlanSource::Backup { path: "database".into(), id: ID.parse().unwrap(), database: None };
    let replace =
        PlanAction { source: source.clone(), strategy: RestoreStrategy::Replace, ..action(&request) };
    let refused = plan(&request, replace);
    refused.expect(Outcome::Failed, restore::NOT_SUPPORTED);
    refused.expect_message(&["strategy Swap"]);
    request.load().drop_first = Some(NamedDatabase { name: name.into(), oid: oid(&POSTGRES, name) });
    request.run().expect(Outcome::Failed, restore::NOT_SUPPORTED);
    assert_eq!(POSTGRES.sql(name, "SHOW work_mem"), "9MB\n");
    request.load().drop_first = None;
    request.load().include = Some(RestoreInclude { schemas: vec!["public".into()], tables: vec![] });
    let part = PlanAction { source, strategy: RestoreStrategy::NewDatabase, ..action(&request) };
    plan(&request, part).expect_message(&["can only be restored as a whole"]);
    request.run().expect(Outcome::Failed, restore::NOT_SUPPORTED);
    request.load().include = None;

    request.load().keys.legacy_passphrase = secret("another passphrase");
    request.run().expect(Outcome::Failed, reasons::IDENTITY_MISMATCH);
    request.load().keys.legacy_passphrase = secret("the old passphrase");
    let good = fixture.bucket.get(KEY);
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    for bytes in [&changed[..], &good[..good.len() - 4_096]] {
        fixture.bucket.put(KEY, bytes);
        let ended = request.run();
        assert_eq!(ended.report.outcome, Outcome::Failed, "{:?}", ended.report);
        assert!(
            [reasons::OBJECT_DAMAGED, restore::LOAD_FAILED].contains(&&*ended.report.reason),
            "{:?}",
            ended.report
        );
        assert!(!matches!(ended.report.restore, Some(RestoreReport::Load(_))));
        assert!(!request.is_there());
    }
}
