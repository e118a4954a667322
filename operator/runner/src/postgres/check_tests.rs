//! Tests of `check`: that slow databases hold up no others, and what is said of all.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::sleep;

use super::super::error::Target;
use super::*;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("db{number}")).collect()
}

fn target(database: &str) -> Arc<Target> {
    Arc::new(Target {
        host: "db".to_owned(),
        port: 5432,
        user: "u".to_owned(),
        secret: "s".to_owned(),
        database: database.to_owned(),
    })
}

fn good(bytes: Option<u64>, notes: &[&str]) -> Good {
    let notes = notes.iter().map(|&note| note.to_owned()).collect();
    Good { expected_bytes: bytes, notes }
}

#[tokio::test(start_paused = true)]
async fn few_are_looked_at_at_once_and_none_after_the_end() {
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let begin = Instant::now();
    // The first hangs for as long as one may, the others answer at once, and the last ones are slow again.
    let checks = (0..100).map(|number| {
        let (running, most) = (&running, &most);
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let quick = (1..90).contains(&number);
            sleep(if quick { Duration::from_millis(10) } else { DATABASE_LIMIT }).await;
            running.fetch_sub(1, Ordering::SeqCst);
        }
        .boxed()
    });
    let ends = each(checks.collect()).await;
    assert_eq!(most.into_inner(), AT_ONCE);
    assert!(begin.elapsed() <= LIMIT + Duration::from_secs(1), "{:?}", begin.elapsed());
    let seen = ends.iter().flatten().count();
    assert!((90..100).contains(&seen), "{seen}");
    assert!(ends[..90].iter().all(Option::is_some) && ends[99].is_none());
    // The Job has time left for its start and its report.
    assert!(SERVER_LIMIT + LIMIT < Duration::from_mins(2));
}

#[test]
fn each_database_that_cannot_be_read_is_named() {
    let slow =
        |database: &str| Some(Err(PostgresError::Slow { target: target(database), limit: DATABASE_LIMIT }));
    let databases = names(5);
    let checked = summary(
        "PostgreSQL 17 at db:5432",
        &databases,
        vec![
            Some(Ok(good(Some(1), &[]))),
            Some(Err(PostgresError::HostNotFound { target: target("db1"), cause: io::Error::other("gone") })),
            slow("db2"),
            slow("db3"),
            slow("db4"),
        ],
    );
    assert!(!checked.finding.ok && checked.largest_database_bytes.is_none());
    assert_eq!(checked.finding.reason, reasons::HOST_NOT_FOUND);
    let message = checked.finding.message;
    for words in [
        "the host db was not found",
        "database db2 of",
        "database db3 of",
        "did not answer within 30s",
        "1 more databases",
    ] {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn what_was_not_found_out_is_said_and_refuses_nothing() {
    let databases = names(3);
    let checked = summary(
        "PostgreSQL 17 at db:5432",
        &databases,
        vec![Some(Ok(good(Some(5), &["of db0 one thing is not known"]))), Some(Ok(good(Some(7), &[]))), None],
    );
    assert!(checked.finding.ok);
    assert_eq!(checked.largest_database_bytes, None, "that of one is not known");
    assert_eq!(
        checked.finding.message,
        "PostgreSQL 17 at db:5432 lets its 2 databases be read; of db0 one thing is not known; 1 databases were not looked at within 75s, db2 for one"
    );
    let checked = summary(
        "PostgreSQL 17 at db:5432",
        &names(2),
        vec![Some(Ok(good(Some(5), &[]))), Some(Ok(good(Some(7), &[])))],
    );
    assert_eq!(checked.largest_database_bytes, Some(7));
    let checked = summary(
        "PostgreSQL 17 at db:5432",
        &names(2),
        vec![Some(Ok(good(Some(5), &[]))), Some(Ok(good(None, &[])))],
    );
    assert_eq!(checked.largest_database_bytes, None);
}
