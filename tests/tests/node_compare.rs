//! The comparison itself, on a dump made by plain `pg_dump`: equal after a restore, and unequal after any small change.

use anyhow::Result;
use greenlang_backup_tests::compare::Fingerprint;
use greenlang_backup_tests::parts::postgres::{POD, psql};
use greenlang_backup_tests::{by_hand, dataset, suite};

/// Changes that a broken restore could be, each of which must show.
const CHANGES: &[&str] = &[
    "DELETE FROM culture.car WHERE ctid = (SELECT min(ctid) FROM culture.car)",
    "UPDATE \"Länder\".\"Größen \"\"und\"\" Grenzen\" SET \"text\" = \"text\" || ' ' WHERE \"Schlüssel\" = 1",
    "ALTER SEQUENCE transport.ticket RESTART WITH 5",
    "ALTER TABLE transport.route DROP CONSTRAINT route_origin_fkey",
    "DROP INDEX culture.movie_details",
    "ALTER TABLE culture.movie DISABLE TRIGGER title_changed",
    "SELECT lo_put((SELECT content FROM culture.picture WHERE name = 'ffox.png'), 9, '\\x07')",
    "REVOKE ALL ON TABLE culture.change FROM \"Prüferin\"",
    "ALTER TABLE transport.flight OWNER TO postgres",
    "ALTER ROLE greenlang_app IN DATABASE greenlang RESET statement_timeout",
    "ALTER DATABASE greenlang RESET work_mem",
    "ALTER ROLE greenlang_app CONNECTION LIMIT 21",
    "REVOKE \"Prüferin\" FROM greenlang_app",
    "REFRESH MATERIALIZED VIEW transport.delay_by_airport WITH NO DATA",
    "DROP EXTENSION pg_trgm CASCADE",
    "DROP POLICY own_department ON culture.change",
    "COMMENT ON COLUMN transport.airport.iata IS NULL",
    "DROP PUBLICATION nature",
];

#[tokio::test]
async fn a_restored_database_is_equal_and_every_change_shows() -> Result<()> {
    let (cluster, parts) = suite::enter_without_operator("compare").await?;
    let namespace = &*parts.namespace;
    dataset::ensure(&cluster, namespace).await?;
    assert!(
        !dataset::ensure(&cluster, namespace).await?,
        "the data set is loaded once"
    );
    let place = by_hand::prepare(&cluster, &format!("{namespace}-hand")).await?;
    let copy = "pg_dumpall --globals-only -h /run/postgresql | grep -v 'ROLE postgres'";
    let globals = cluster.script_ok(namespace, POD, copy).await?;
    psql(&cluster, &place.namespace, "postgres", globals).await?;
    let superuser = parts.postgres.superuser_password.as_str();
    let restore = format!(
        "export PGPASSWORD={superuser}\n\
         pg_dump -Fc -Z0 -h db.{namespace}.svc -U postgres greenlang >/tmp/greenlang.dump\n\
         pg_restore --create --exit-on-error -h /run/postgresql -d postgres /tmp/greenlang.dump"
    );
    cluster.script_ok(&place.namespace, POD, &restore).await?;

    let source = Fingerprint::take(&cluster, namespace, dataset::DATABASE).await?;
    let restored = Fingerprint::take(&cluster, &place.namespace, dataset::DATABASE).await?;
    let differences: Vec<_> = source
        .differences(&restored)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let rows: u64 = source
        .tables(&restored)
        .iter()
        .filter_map(|table| table.source)
        .sum();
    assert!(rows > 300_000, "{rows} rows are few");

    let mut before = restored;
    for change in CHANGES {
        psql(&cluster, &place.namespace, dataset::DATABASE, *change).await?;
        let after = Fingerprint::take(&cluster, &place.namespace, dataset::DATABASE).await?;
        assert!(!before.differences(&after).is_empty(), "not seen: {change}");
        before = after;
    }
    Ok(())
}
