//! A database whose owner lays traps for the user that backs it up.

use super::super::snapshot::Snapshot;
use super::super::{catalog, inspect, rights, streams};
use super::{SERVERS, begin, endpoint, session};
use greenlang_backup_test_servers::ADMIN_PASSWORD;

/// Functions with the names of PostgreSQL's own: some fit our questions better than those do, the others come first by the path.
const TRAPS: &str = "
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.spring() RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'a trap ran with the rights of %', current_user; END $$;
    CREATE FUNCTION public.pg_table_size(oid) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint FROM evil.spring()';
    CREATE FUNCTION evil.format(text, name, name) RETURNS text LANGUAGE sql AS 'SELECT ''x'' FROM evil.spring()';
    CREATE FUNCTION evil.has_schema_privilege(oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true FROM evil.spring()';
    CREATE FUNCTION evil.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true FROM evil.spring()';
    CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT ''1'' FROM evil.spring()';
    CREATE TABLE plain (id serial); INSERT INTO plain DEFAULT VALUES;
    CREATE VIEW view AS SELECT 1 AS last_value, true AS is_called";
const PATH: &str = "evil, pg_catalog, public";

#[tokio::test]
async fn no_function_of_the_owner_runs_with_the_rights_of_the_backup() {
    for (major, server) in &*SERVERS {
        server.create_database("hostile");
        server.sql("hostile", TRAPS);
        server.sql("postgres", &format!("ALTER DATABASE hostile SET search_path = {PATH}"));
        let one = session(server, "postgres", ADMIN_PASSWORD, "hostile").await;
        // A pooler may pass over the options with which a session begins: then the path is the owner's.
        let pooled = session(server, "postgres", ADMIN_PASSWORD, "hostile").await;
        pooled.execute(&format!("SET search_path = {PATH}")).await.unwrap();
        assert!(pooled.rows("SELECT pg_is_in_recovery()").await.is_err(), "{major}: the traps are none");
        // Asked outside of a transaction.
        assert_eq!(inspect::version(&one).await.unwrap().major, *major);
        for session in [&one, &pooled] {
            rights::check(session, rights::LIMIT).await.unwrap();
            session.begin().await.unwrap();
            streams::movable(session).await.unwrap();
            session.execute("ROLLBACK").await.unwrap();
        }
        let facts = begin(&one).await;
        one.execute("ROLLBACK").await.unwrap();
        assert!(
            inspect::database(&one).await.unwrap().expected_bytes.is_some_and(|bytes| bytes > 1),
            "{major}"
        );

        let endpoint = endpoint(server, "postgres", ADMIN_PASSWORD);
        let snapshot = Snapshot::take(&endpoint, "hostile", *major).await.unwrap();
        catalog::read(snapshot.session(), &facts).await.unwrap();
        snapshot.verify().await.unwrap();
        // What takes the place of a sequence is not read.
        let refused = snapshot.session().rows("SELECT last_value FROM public.view").await.unwrap_err();
        assert!(refused.to_string().contains("access to non-system view"), "{major}: {refused}");
    }
}
