//! What must be true at the end of a restore.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use greenlang_backup_api::reasons::{self, restore};
use greenlang_backup_api::report::Outcome;
use greenlang_backup_api::restore::{CheckAction, RestoreAction, RestoreReport, RestoreTask};
use greenlang_backup_api::task::Task;
use greenlang_backup_api::v1alpha1::{HealthCheck, SqlCheck};

use super::world::Request;
use crate::fixture::{Ended, Fixture};
use crate::servers::POSTGRES;

/// Answers each request with the next status; the last one again and again.
fn server(statuses: &'static [u16]) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://127.0.0.1:{}/health", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        let mut statuses = statuses.iter().peekable();
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = client.read(&mut [0; 4096]);
            let status =
                if statuses.len() > 1 { *statuses.next().unwrap() } else { **statuses.peek().unwrap() };
            let _ = write!(client, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    url
}

fn health(url: String, expect_status: Option<u16>) -> HealthCheck {
    HealthCheck { url, expect_status, timeout_seconds: Some(5) }
}

fn sql(query: &str, expect: &str) -> SqlCheck {
    SqlCheck { query: query.into(), expect: expect.into() }
}

fn check(request: &Request<'_>, health: Vec<HealthCheck>, sql: Vec<SqlCheck>) -> Ended {
    let action = RestoreAction::Check(CheckAction { health, sql });
    request.fixture.start_task(&Task::Restore(RestoreTask { action, ..request.task.clone() }), &[]).end()
}

#[test]
fn urls_and_queries_say_whether_all_is_well() {
    POSTGRES.create_database("checked");
    POSTGRES.sql("checked", "CREATE SCHEMA app; CREATE TABLE app.agents AS SELECT 7 AS id; ALTER DATABASE checked SET search_path = app");
    let fixture = Fixture::new("checks", &["checked"]);
    let request = Request::new(&fixture, &POSTGRES, "checked", "u-check");
    let good = check(
        &request,
        vec![health(server(&[503, 503, 204]), None), health(server(&[418]), Some(418))],
        vec![
            sql("SELECT count(*) > 0 FROM agents", "t"),
            sql("SELECT NULL", ""),
            sql("SELECT id FROM agents", "7"),
        ],
    );
    good.expect(Outcome::Done, reasons::SUCCEEDED);

    let bad = check(
        &request,
        vec![health(server(&[500]), None), health("http://127.0.0.1:1/".into(), None)],
        vec![
            sql("SELECT id FROM agents", "8"),
            sql("SELECT id FROM agents WHERE id = 1", "1"),
            sql("DELETE FROM agents", ""),
            sql("SELECT no_such()", ""),
            sql("SELECT 1", "1"),
        ],
    );
    bad.expect(Outcome::Failed, restore::CHECK_FAILED);
    let Some(RestoreReport::Check(report)) = &bad.report.restore else { panic!("{:?}", bad.report) };
    assert_eq!((report.passed, report.failed.len(), report.more_failed), (1, 5, 1));
    for (failed, part) in
        report.failed.iter().zip(["500", "did not answer", "\"7\" instead of \"8\"", "no row", "read-only"])
    {
        assert!(failed.contains(part), "{failed} lacks {part}");
    }
    let several = sql("SET default_transaction_read_only = off; DELETE FROM app.agents", "");
    let refused = check(&request, vec![], vec![several, sql("COMMIT", "")]);
    let Some(RestoreReport::Check(report)) = &refused.report.restore else { panic!("{:?}", refused.report) };
    assert!(report.failed[0].contains("multiple commands"), "{:?}", report.failed);
    assert_eq!(POSTGRES.sql("checked", "SELECT count(*) FROM app.agents").trim(), "1");
}
