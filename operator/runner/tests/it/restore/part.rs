//! Parts of a database: what is there afterwards, and what is refused before anything is touched.

use std::sync::LazyLock;

use greenlang_backup_api::manifest::Content;
use greenlang_backup_api::reasons::{self, restore};
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::restore::PlanAction;
use greenlang_backup_api::v1alpha1::{IncludedTable, RestoreInclude, RestoreStrategy, VerifyRestored};

use super::load::TARGET;
use super::plan::{action, plan, read};
use super::world::Request;
use crate::fixture::{Ended, Fixture};
use crate::servers::{POSTGRES, Postgres};
use crate::streams::WIDE;

/// A database of which parts are restored.
static SEEDED: LazyLock<&str> = LazyLock::new(|| {
    let name = "in parts";
    POSTGRES.create_database(name);
    POSTGRES.sql_file(name, "testdata/part/seed.sql".as_ref());
    name
});

fn backup(name: &str, database: &str, streams: u8) -> Fixture {
    let mut fixture = Fixture::new(name, &[database]);
    fixture.task.streams = streams;
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    fixture
}

fn include(schemas: &[&str], tables: &[(&str, &str)]) -> RestoreInclude {
    let table =
        |(schema, name): &(&str, &str)| IncludedTable { schema: (*schema).into(), name: (*name).into() };
    RestoreInclude {
        schemas: schemas.iter().map(|schema| (*schema).into()).collect(),
        tables: tables.iter().map(table).collect(),
    }
}

fn planned(request: &Request<'_>) -> Ended {
    plan(request, PlanAction { strategy: RestoreStrategy::NewDatabase, ..action(request) })
}

/// Names of all relations, by kind.
fn relations(server: &Postgres, database: &str) -> String {
    server.sql(
        database,
        "SELECT string_agg(c.relkind::text || ' ' || n.nspname || '.' || c.relname, ', ' ORDER BY c.relkind::text, n.nspname, c.relname COLLATE \"C\")
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind <> 'i' AND c.relkind <> 'I'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')",
    )
}

#[test]
fn a_table_comes_back_with_what_belongs_to_it() {
    let fixture = backup("part-table", *SEEDED, 1);
    let mut request = Request::new(&fixture, &TARGET, *SEEDED, "u-part-table");
    request.load().include = Some(include(&[], &[("app", "t")]));
    let ended = planned(&request);
    ended.expect(Outcome::Done, reasons::SUCCEEDED);
    let plan = read(&ended);
    let backup = plan.backup.unwrap();
    assert_eq!((backup.tables, backup.rows), (Some(1), Some(40)));
    assert!(backup.expected_bytes.unwrap() < backup.source_bytes, "{backup:?}");
    assert!(
        plan.left_out.iter().any(|told| told.starts_with("FK CONSTRAINT app t t_base_fkey: ")),
        "{:?}",
        plan.left_out
    );
    assert!(plan.steps.iter().any(|step| step.contains("0 schemas and 1 tables")), "{:?}", plan.steps);
    assert!(!request.is_there());

    for (jobs, verify) in [(1, VerifyRestored::Full), (3, VerifyRestored::Full), (1, VerifyRestored::Counts)]
    {
        (request.load().jobs, request.load().verify) = (jobs, verify);
        let report = request.loaded();
        assert_eq!((report.data.tables, report.data.rows), (1, 40));
        assert_eq!(report.data.left_out as usize, plan.left_out.len());
        assert!(report.data.verified.is_some());
        let name = request.temporary();
        assert_eq!(
            relations(&TARGET, &name).trim(),
            "S app.t_id_seq, S app.t_number_seq, S other.base_id_seq, S other.shared, r app.t"
        );
        let rows = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM app.t";
        assert_eq!(TARGET.sql(&name, rows), POSTGRES.sql(*SEEDED, rows));
        // Every default works, and sequences go on where they stood.
        let new =
            "INSERT INTO app.t (text) VALUES ('new') RETURNING id, number, mood, positive, shared, borrowed";
        assert_eq!(TARGET.sql(&name, new).trim(), "41|41|calm|1|41|92");
        let indexes =
            "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'app'";
        assert_eq!(TARGET.sql(&name, indexes).trim(), "t_mood t_pkey");
        let constraints = "SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE conrelid = 'app.t'::regclass";
        assert_eq!(TARGET.sql(&name, constraints).trim(), "t_pkey");
        let others = "SELECT obj_description('app.t'::regclass) || ' ' || (SELECT tgname FROM pg_trigger WHERE tgrelid = 'app.t'::regclass)
            || ' ' || (SELECT string_agg(polname, ',') FROM pg_policy) || ' ' || has_table_privilege('pg_monitor', 'app.t', 'SELECT')";
        assert_eq!(TARGET.sql(&name, others).trim(), "of the table touched own true");
        request.drop_database(&name, None).expect(Outcome::Done, reasons::SUCCEEDED);
    }
}

#[test]
fn a_schema_comes_back_without_what_needs_the_rest() {
    let fixture = backup("part-schema", *SEEDED, 1);
    let mut request = Request::new(&fixture, &TARGET, *SEEDED, "u-part-schema");
    request.load().include = Some(include(&["app"], &[]));
    // pg_restore alone deadlocks now and then with several connections.
    for jobs in [1, 4, 4, 4] {
        request.load().jobs = jobs;
        let report = request.loaded();
        assert!(report.data.left_out > 10, "{report:?}");
        let name = request.temporary();
        assert_eq!(
            relations(&TARGET, &name).trim(),
            "S app.t_id_seq, S app.t_number_seq, S other.base_id_seq, S other.shared, f app.of_file, m app.counted, \
             p app.parts, p other.parts_2, r app.grouped, r app.parts_1, r app.refers, r app.t, r app.unchecked, \
             r other.parts_2_a, v app.by_key, v app.on_t"
        );
        let rows = "SELECT (SELECT count(*) FROM app.parts), (SELECT count(*) FROM app.on_t), (SELECT sum(count) FROM app.counted), (SELECT count(*) FROM app.by_key)";
        assert_eq!(TARGET.sql(&name, rows).trim(), "361|40|40|0");
        let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
        assert_eq!(TARGET.sql(&name, invalid).trim(), "0");
        let keys = "SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE contype = 'f' AND conparentid = 0";
        assert_eq!(TARGET.sql(&name, keys).trim(), "refers_at_fkey refers_t_fkey");
        request.drop_database(&name, None).expect(Outcome::Done, reasons::SUCCEEDED);
    }
}

#[test]
fn all_schemas_together_are_the_whole_but_for_what_is_in_none() {
    let fixture = backup("part-all", *SEEDED, 1);
    let mut request = Request::new(&fixture, &TARGET, *SEEDED, "u-part-all");
    let all = ["app", "other", "ext", "tied", "public", "a", "a.b", "A.b \"C\""];
    request.load().include = Some(include(&all, &[]));
    request.loaded();
    let name = request.temporary();
    assert_eq!(relations(&TARGET, &name), relations(&POSTGRES, *SEEDED));
    // What pg_dump makes of both differs in nothing else.
    let dump = |server: &Postgres, database: &str| {
        let mut command = server.command("pg_dump", database);
        let output = command.args(["--no-publications", "--no-blobs"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut lines: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.retain(|line| !line.is_empty() && !line.starts_with("--") && !line.starts_with('\\'));
        lines.sort();
        lines
    };
    assert_eq!(dump(&TARGET, &name), dump(&POSTGRES, *SEEDED));
    request.drop_database(&name, None).expect(Outcome::Done, reasons::SUCCEEDED);
}

#[test]
fn hostile_names_mean_themselves() {
    let fixture = backup("part-names", *SEEDED, 1);
    for (at, (schema, table, schemas, rows)) in [
        ("a", "b.c", false, "schema a"),
        ("a.b", "c", false, "schema a.b"),
        ("A.b \"C\"", "d.E", false, "hostile"),
        ("A.b \"C\"", "d.E", true, "hostile"),
        ("public", "Größe", false, "1"),
        ("public", "größe", false, "2"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = Request::new(&fixture, &TARGET, *SEEDED, &format!("u-part-names-{at}"));
        let wanted = if schemas { include(&[schema], &[]) } else { include(&[], &[(schema, table)]) };
        request.load().include = Some(wanted);
        planned(&request).expect(Outcome::Done, reasons::SUCCEEDED);
        assert_eq!(request.loaded().data.tables, 1);
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let name = request.temporary();
        let found = TARGET.sql(&name, &format!("TABLE {}.{}", quoted(schema), quoted(table)));
        assert!(found.trim().ends_with(rows), "{schema} {table}: {found}");
        request.drop_database(&name, None).expect(Outcome::Done, reasons::SUCCEEDED);
    }
}

#[test]
fn what_is_not_in_the_backup_is_refused_by_name_with_nothing_touched() {
    let fixture = backup("part-refused", *SEEDED, 1);
    let mut request = Request::new(&fixture, &TARGET, *SEEDED, "u-part-refused");
    let before = fixture.bucket.keys();
    for (wanted, reason, names) in [
        (include(&["app", "App"], &[]), restore::NOT_IN_BACKUP, "no schema \"App\""),
        (include(&[], &[("app", "t"), ("app", "T")]), restore::NOT_IN_BACKUP, "\"T\" in schema \"app\""),
        (include(&["tied"], &[]), restore::PART_NEEDS_MORE, "TABLE other base"),
    ] {
        request.load().include = Some(wanted);
        let claiming = PlanAction { strategy: RestoreStrategy::NewDatabase, claim: true, ..action(&request) };
        let ended = plan(&request, claiming);
        ended.expect(Outcome::Failed, reason);
        ended.expect_message(&[names]);
        let plan = read(&ended);
        assert!(!plan.feasible && plan.refusals[0].message.contains(names), "{plan:?}");
        // Also if the plan was another one.
        let ended = request.run();
        ended.expect(Outcome::Failed, reason);
        ended.expect_message(&[names]);
        assert!(!request.is_there());
        assert_eq!(fixture.bucket.keys(), before);
    }
}

#[test]
fn of_a_wide_backup_only_the_objects_with_rows_of_the_part_are_read() {
    let seeded = "wide in parts";
    POSTGRES.create_database(seeded);
    POSTGRES.sql(seeded, WIDE);
    let fixture = backup("part-wide", seeded, 3);
    let parts = [("s p.a*c?e\"[", "t|a(b)$ü"), ("public", "first"), ("public", "parts"), ("public", "small")];
    let data: Vec<String> = fixture
        .manifest()
        .objects
        .into_iter()
        .filter(|object| matches!(object.content, Content::PostgresData { .. }))
        .map(|object| object.key)
        .collect();
    assert_eq!(data.len(), 2);
    let mut needed = [0; 4];
    for (at, wanted) in parts.iter().enumerate() {
        for jobs in [1, 4] {
            let mut request = Request::new(&fixture, &TARGET, seeded, &format!("u-part-wide-{at}-{jobs}"));
            (request.load().include, request.load().jobs) = (Some(include(&[], &[*wanted])), jobs);
            // Whatever is not there cannot be read.
            let kept: Vec<(&String, Vec<u8>)> =
                data.iter().map(|key| (key, fixture.bucket.get(key))).collect();
            for (key, bytes) in &kept {
                fixture.bucket.delete(key);
                if planned(&request).report.outcome != Outcome::Done {
                    fixture.bucket.put(key, bytes);
                    needed[at] += 1;
                }
            }
            planned(&request).expect(Outcome::Done, reasons::SUCCEEDED);
            let report = request.loaded();
            let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
            let name = request.temporary();
            let rows = format!(
                "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {}.{} t",
                quoted(wanted.0),
                quoted(wanted.1)
            );
            assert_eq!(TARGET.sql(&name, &rows), POSTGRES.sql(seeded, &rows), "{wanted:?}");
            assert!(report.data.verified.is_some());
            for (key, bytes) in &kept {
                fixture.bucket.put(key, bytes);
            }
            request.drop_database(&name, None).expect(Outcome::Done, reasons::SUCCEEDED);
        }
    }
    // Each twice: a table is in one object, and a small one in the first archive.
    assert!(needed[0] <= 2 && needed[1] <= 2 && needed[3] == 0, "{needed:?}");
    assert!(needed[0] + needed[1] + needed[2] >= 4, "{needed:?}");
}

/// The last rows of the archive are others than they were. Who wants only the first ones, and compares them, does not see it.
#[test]
fn reading_ends_with_the_last_row_that_is_wanted_if_rows_are_compared() {
    let seeded = "read in parts";
    POSTGRES.create_database(seeded);
    POSTGRES.sql(
        seeded,
        "CREATE TABLE a_first AS SELECT i FROM generate_series(1, 1000) i;
         CREATE TABLE b_last AS SELECT i, md5(i::text) || md5((i * 7)::text) AS text FROM generate_series(1, 300000) i",
    );
    let fixture = backup("part-early", seeded, 1);
    let objects = fixture.manifest().objects;
    let key = objects.into_iter().find(|object| object.key.ends_with(".dump.zst.age")).unwrap().key;
    let mut bytes = fixture.bucket.get(&key);
    let at = bytes.len() - 100_000;
    bytes[at] ^= 1;
    fixture.bucket.put(&key, &bytes);
    let mut request = Request::new(&fixture, &TARGET, seeded, "u-part-early");
    for jobs in [1, 2] {
        request.load().jobs = jobs;
        request.load().include = Some(include(&[], &[("public", "a_first")]));
        request.load().verify = VerifyRestored::Full;
        assert_eq!(request.loaded().data.rows, 1000);
        request.load().verify = VerifyRestored::Counts;
        request.run().expect(Outcome::Failed, reasons::OBJECT_DAMAGED);
        request.load().verify = VerifyRestored::Full;
        request.load().include = Some(include(&[], &[("public", "b_last")]));
        request.run().expect(Outcome::Failed, reasons::OBJECT_DAMAGED);
        assert!(!request.is_there());
    }
}
