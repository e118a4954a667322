//! The comparison itself, on a dump made by plain `pg_dump`: equal after a restore, and unequal after any small change.

use anyhow::Result;
use greenlang_backup_tests::compare::Fingerprint;
use greenlang_backup_tests::parts::postgres::{POD, psql};
use greenlang_backup_tests::{by_hand, dataset, suite};

/// Changes that a broken restore could be, and the difference by which each must show.
const CHANGES: &[(&str, &str)] = &[
    ("DELETE FROM culture.car WHERE ctid = (SELECT min(ctid) FROM culture.car)", "content culture.car:"),
    // A trailing blank, in a table with a column of the name of every type and alias that one may think of.
    (
        r#"UPDATE "Länder"."Größen ""und"" Grenzen" SET "text" = "text" || ' ' WHERE "Schlüssel" = 1"#,
        "content \"Länder\".\"Größen",
    ),
    ("ALTER SEQUENCE transport.ticket RESTART WITH 5", "sequence transport.ticket:"),
    (
        "ALTER TABLE transport.route DROP CONSTRAINT route_origin_fkey",
        "constraint route_origin_fkey on transport.route: missing",
    ),
    ("DROP INDEX culture.movie_details", "index culture.movie_details: missing"),
    ("ALTER TABLE culture.movie DISABLE TRIGGER title_changed", "trigger title_changed on culture.movie:"),
    (
        "SELECT lo_put((SELECT content FROM culture.picture WHERE name = 'ffox.png'), 9, '\\x07')",
        "large object ",
    ),
    (r#"REVOKE ALL ON TABLE culture.change FROM "Prüferin""#, "relation culture.change:"),
    ("ALTER TABLE transport.flight OWNER TO postgres", "relation transport.flight:"),
    (
        "ALTER ROLE greenlang_app IN DATABASE greenlang RESET statement_timeout",
        "setting database greenlang, role greenlang_app: missing",
    ),
    ("ALTER DATABASE greenlang RESET work_mem", "setting database greenlang, role any:"),
    ("ALTER ROLE greenlang_app CONNECTION LIMIT 21", "role greenlang_app:"),
    (r#"REVOKE "Prüferin" FROM greenlang_app"#, "membership greenlang_app in \"Prüferin\": missing"),
    (
        "REFRESH MATERIALIZED VIEW transport.delay_by_airport WITH NO DATA",
        "relation transport.delay_by_airport:",
    ),
    ("DROP EXTENSION pg_trgm CASCADE", "extension pg_trgm: missing"),
    (
        "DROP POLICY own_department ON culture.change",
        "row security own_department on culture.change: missing",
    ),
    ("COMMENT ON COLUMN transport.airport.iata IS NULL", "column transport.airport.iata:"),
    ("DROP PUBLICATION nature", "publication nature: missing"),
    (
        "CREATE FUNCTION culture.decade(text) RETURNS text LANGUAGE sql RETURN $1",
        "function culture.decade(text): only in the restored",
    ),
];

#[tokio::test]
async fn a_restored_database_is_equal_and_every_change_shows() -> Result<()> {
    let (cluster, parts) = suite::enter_without_operator("compare").await?;
    let namespace = &*parts.namespace;
    dataset::ensure(&cluster, namespace).await?;
    assert!(!dataset::ensure(&cluster, namespace).await?, "the data set is loaded once");
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
    let differences: Vec<_> = source.differences(&restored).iter().map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let rows: u64 = source.tables(&restored).iter().filter_map(|table| table.source).sum();
    assert!(rows > 300_000, "{rows} rows are few");

    let script: String = CHANGES.iter().flat_map(|(change, _)| [change, ";\n"]).collect();
    psql(&cluster, &place.namespace, dataset::DATABASE, script).await?;
    let changed = Fingerprint::take(&cluster, &place.namespace, dataset::DATABASE).await?;
    let differences: Vec<_> = source.differences(&changed).iter().map(ToString::to_string).collect();
    for (change, shown) in CHANGES {
        let seen = differences.iter().any(|difference| difference.starts_with(shown));
        assert!(seen, "not seen: {change}\nseen: {}", differences.join("\n"));
    }
    Ok(())
}
