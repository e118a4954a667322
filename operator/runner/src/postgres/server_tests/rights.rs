//! Missing rights, and that the statements that are named give them.

use std::time::Duration;

use super::super::rights;
use super::{SERVERS, session};
use greenlang_backup_test_servers::majors::EXTENSION;
use greenlang_backup_test_servers::{ADMIN_PASSWORD, Postgres};

/// A user of a name that is hostile to SQL, and the same as SQL has it.
const USER: (&str, &str) = ("it's \"me\"", "\"it's \"\"me\"\"\"");
const MEMBER: (&str, &str) = ("a member", "\"a member\"");

fn seed(server: &Postgres, major: u32) {
    server.create_database("app");
    server.sql("postgres", &format!("CREATE ROLE {} LOGIN PASSWORD 'pw'", USER.1));
    server.sql(
        "app",
        "CREATE SCHEMA closed; CREATE TABLE closed.t (a int, b int); CREATE SEQUENCE closed.s;
        CREATE TABLE secured (); ALTER TABLE secured ENABLE ROW LEVEL SECURITY; GRANT SELECT ON secured TO PUBLIC",
    );
    server.sql("app", "SELECT lo_create(77), lo_create(78)");
    if major != 15 {
        server.sql("app", &format!("CREATE EXTENSION {EXTENSION}"));
    }
}

async fn check(server: &Postgres, user: &str, database: &str) -> Result<(), String> {
    let session = session(server, user, "pw", database).await;
    let checked = rights::check(&session, rights::LIMIT).await.map_err(|error| error.to_string());
    checked.map(|unknown| assert_eq!(unknown, Vec::<String>::new()))
}

#[tokio::test]
async fn the_statements_that_are_named_give_what_is_missing() {
    for (major, server) in &*SERVERS {
        let major = *major;
        seed(server, major);
        let message = check(server, USER.0, "app").await.unwrap_err();
        // closed.t, closed.s, and of the extension what is dumped: two tables and a sequence.
        let unreadable = if major == 15 { 2 } else { 5 };
        assert!(
            message.contains(&format!("{unreadable} tables and sequences cannot be read, closed.s")),
            "{message}"
        );
        assert!(message.contains("1 tables hide rows by row security, public.secured"), "{message}");
        assert!(message.contains("2 large objects cannot be read, 77 for one"), "{message}");

        // Rights to columns, or to the schema alone, are not enough: pg_dump locks tables.
        server.sql(
            "app",
            &format!("GRANT USAGE ON SCHEMA closed TO {0}; GRANT SELECT (a, b) ON closed.t TO {0}", USER.1),
        );
        server.sql("app", &format!("GRANT USAGE ON SEQUENCE closed.s TO {}", USER.1));
        assert!(
            check(server, USER.0, "app")
                .await
                .unwrap_err()
                .contains(&format!("{unreadable} tables and sequences"))
        );

        let statements: Vec<&str> =
            message.split(" for one: ").skip(1).map(|rest| rest.split("; ").next().unwrap()).collect();
        let [tables, security, large_objects] = statements.as_slice() else { panic!("{message}") };
        server.sql("app", tables);
        server.sql("app", security);
        let left = check(server, USER.0, "app").await.unwrap_err();
        assert!(!left.contains("tables") && left.contains("2 large objects"), "{left}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), large_objects).unwrap();
        server.sql_file("app", file.path());
        check(server, USER.0, "app").await.unwrap();
    }
}

/// The other ways to be let at large objects count, too.
#[tokio::test]
async fn large_objects_are_read_by_owners_members_everyone_and_compatibility() {
    for (major, server) in &*SERVERS {
        server.create_database("objects");
        server
            .sql("postgres", &format!("CREATE ROLE {} LOGIN PASSWORD 'pw'; CREATE ROLE app_owner", MEMBER.1));
        server.sql("objects", "SELECT lo_create(77); ALTER LARGE OBJECT 77 OWNER TO app_owner");
        let give_and_take = [
            ("GRANT app_owner TO {}", "REVOKE app_owner FROM {}"),
            ("GRANT SELECT ON LARGE OBJECT 77 TO PUBLIC", "REVOKE SELECT ON LARGE OBJECT 77 FROM PUBLIC"),
            ("ALTER ROLE {} SET lo_compat_privileges = on", "ALTER ROLE {} RESET lo_compat_privileges"),
            ("ALTER ROLE {} SUPERUSER", "ALTER ROLE {} NOSUPERUSER"),
        ];
        for (give, take) in give_and_take {
            assert_eq!(verdict(server).await, (false, false), "{major}: before {give}");
            server.sql("objects", &give.replace("{}", MEMBER.1));
            assert_eq!(verdict(server).await, (true, true), "{major}: after {give}");
            server.sql("objects", &take.replace("{}", MEMBER.1));
        }
        server.sql(
            "objects",
            &format!("GRANT UPDATE ON LARGE OBJECT 77 TO {0}; GRANT pg_read_all_data TO {0}", MEMBER.1),
        );
        assert_eq!(verdict(server).await, (false, false), "{major}: to write is not to read");
    }
}

/// As where there are millions of large objects: the preflight is a hint, and may not keep a database from being backed up.
#[tokio::test]
async fn what_is_not_found_out_in_time_is_said_and_refuses_nothing() {
    for (major, server) in &*SERVERS {
        server.create_database("slow");
        server.sql("postgres", "CREATE ROLE waiting LOGIN PASSWORD 'pw'");
        let holder = session(server, "postgres", ADMIN_PASSWORD, "slow").await;
        holder
            .execute(
                "BEGIN READ WRITE; LOCK TABLE pg_catalog.pg_largeobject_metadata IN ACCESS EXCLUSIVE MODE",
            )
            .await
            .unwrap();
        let asker = session(server, "waiting", "pw", "slow").await;
        let unknown = rights::check(&asker, Duration::from_millis(300)).await.unwrap();
        assert_eq!(
            unknown,
            [
                "database slow: whether user waiting may read all large objects was not found out within 300ms; pg_dump fails if not"
            ],
            "{major}"
        );
        // The session goes on, without a limit of ours, and what is missing is still refused.
        assert_eq!(asker.value::<String>("SHOW statement_timeout").await.unwrap(), "30s");
        server.sql("slow", "CREATE TABLE closed ()");
        let refused = rights::check(&asker, Duration::from_millis(300)).await.unwrap_err().to_string();
        assert!(refused.contains("1 tables and sequences cannot be read, public.closed"), "{refused}");
    }
}

/// What the check says of the one large object, and whether it can be read.
async fn verdict(server: &Postgres) -> (bool, bool) {
    let checked = check(server, MEMBER.0, "objects").await.is_ok();
    let session = session(server, MEMBER.0, "pw", "objects").await;
    (checked, session.rows("SELECT lo_get(77)").await.is_ok())
}
