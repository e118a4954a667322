//! The databases of a request on the server: found by name or OID, marked by a comment, and dropped only when they are ours.
//! Asks the server and changes it.

use greenlang_backup_api::restore::RequestIdentity;
use greenlang_backup_api::v1alpha1::NamedDatabase;
use jiff::Timestamp;
use tokio_postgres::{Error, Row};
use tracing::{info, warn};

use super::RestoreError;
use crate::error::RunError;
use crate::postgres::PostgresError;
use crate::postgres::connect::{Session, quoted_identifier, quoted_literal};

/// A database that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub oid: u32,
    pub name: String,
    pub comment: Option<String>,
    /// Whether it lets sessions in.
    pub open: bool,
    /// Whether databases may be made of it, which keeps it from being dropped.
    pub template: bool,
    /// Whether a `DROP DATABASE` of it was cut off: it lets nobody in, and can be dropped but not altered.
    pub half_dropped: bool,
}

/// What was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes that it took.
    pub bytes: u64,
}

/// -2 is how the server (from 14.9 and 15.4 on) marks what it began to drop.
const COLUMNS: &str = "d.oid, d.datname::text, pg_catalog.shobj_description(d.oid, 'pg_database'), d.datallowconn, \
                       d.datistemplate, d.datconnlimit = -2";

fn found(row: &Row) -> Result<Found, Error> {
    Ok(Found {
        oid: row.try_get(0)?,
        name: row.try_get(1)?,
        comment: row.try_get(2)?,
        open: row.try_get(3)?,
        template: row.try_get(4)?,
        half_dropped: row.try_get(5)?,
    })
}

/// The database of a name.
pub async fn named(session: &Session, name: &str) -> Result<Option<Found>, PostgresError> {
    let sql = format!("SELECT {COLUMNS} FROM pg_catalog.pg_database d WHERE d.datname::text = $1");
    Ok(session.list_with(&sql, &[name], found).await?.pop())
}

/// The database of an OID, whatever it is called.
pub async fn with_oid(session: &Session, oid: u32) -> Result<Option<Found>, PostgresError> {
    let sql = format!("SELECT {COLUMNS} FROM pg_catalog.pg_database d WHERE d.oid = {oid}");
    Ok(session.list(&sql, found).await?.pop())
}

impl Found {
    /// Whether this request has made it, or moved it out of its place. One without a comment that never let anybody in was made by
    /// an attempt that was cut off before it could mark it: nothing can be in it, and nobody else's has such a name.
    pub fn is_of(&self, request: &RequestIdentity) -> bool {
        match &self.comment {
            Some(comment) => request.is_mark(comment),
            None => !self.open,
        }
    }

    /// The comment that belongs to it, which stands after the mark while it carries one.
    pub fn own_comment(&self) -> Option<&str> {
        let comment = self.comment.as_deref()?;
        match greenlang_backup_api::restore::marked_by(comment) {
            Some(_) => comment.split_once('\n').map(|(_, own)| own),
            None => Some(comment),
        }
    }
}

/// The mark of a request, and the comment that the database has besides.
pub fn marked(request: &RequestIdentity, own: Option<&str>) -> String {
    match own {
        Some(own) => format!("{}\n{own}", request.mark()),
        None => request.mark(),
    }
}

/// The statement that gives a database its comment, or takes it away.
pub fn comment_on(name: &str, comment: Option<&str>) -> String {
    let comment = comment.map_or_else(|| "NULL".to_owned(), quoted_literal);
    format!("COMMENT ON DATABASE {} IS {comment}", quoted_identifier(name))
}

/// Fails where it is not time yet, as the server says: whoever asks may have a clock that is ahead.
pub async fn expect_due(session: &Session, name: &str, not_before: Timestamp) -> Result<(), RunError> {
    const NOW: &str = "SELECT pg_catalog.floor(pg_catalog.date_part('epoch', pg_catalog.now()))::int8";
    let now: i64 = session.value(NOW).await?;
    if now >= not_before.as_second() {
        return Ok(());
    }
    let now = Timestamp::from_second(now).unwrap_or(Timestamp::MIN);
    Err(RestoreError::TooEarly { database: name.to_owned(), not_before, now }.into())
}

/// Drops a database if it is there under this name, with this OID if that is known, and ours. One that is gone is none.
pub async fn drop_ours(
    session: &Session,
    request: &RequestIdentity,
    name: &str,
    oid: Option<u32>,
) -> Result<Option<Dropped>, RunError> {
    let Some(found) = named(session, name).await? else { return Ok(None) };
    let refused = |why: String| RestoreError::NotOurs { database: name.to_owned(), why };
    if let Some(oid) = oid.filter(|oid| *oid != found.oid) {
        return Err(refused(format!("has OID {} instead of {oid}", found.oid)).into());
    }
    // One whose OID is known carried the mark once: whoever took it away wants to keep what it is.
    if !found.is_of(request) || (oid.is_some() && found.comment.is_none()) {
        let why = match &found.comment {
            Some(comment) => format!("has the comment {comment:?} instead of the mark of this request"),
            None => "lacks the mark of this request".to_owned(),
        };
        return Err(refused(why).into());
    }
    let size = format!("SELECT pg_catalog.pg_database_size({}::oid)", found.oid);
    let bytes: i64 = session.value(&size).await.unwrap_or_default();
    drop_now(session, &found).await?;
    info!(database = found.name, oid = found.oid, bytes, "database dropped");
    Ok(Some(Dropped { bytes: bytes.unsigned_abs() }))
}

/// Drops the database that a request replaces with strategy Replace: the very one that the plan saw, and no other. Where that fails,
/// it is as before.
pub async fn drop_replaced(session: &Session, wanted: &NamedDatabase) -> Result<(), RunError> {
    let Some(found) = named(session, &wanted.name).await? else { return Ok(()) };
    if found.oid != wanted.oid {
        let problem = format!("database {} has OID {} instead of {}", wanted.name, found.oid, wanted.oid);
        return Err(RestoreError::DatabaseChanged(problem).into());
    }
    if let Err(failure) = drop_now(session, &found).await {
        if found.template
            && let Err(error) = session.execute(&is_template(&found.name, true)).await
        {
            warn!(%error, database = found.name, "it could not be dropped, and is no template any more");
        }
        return Err(failure.into());
    }
    info!(database = wanted.name, oid = wanted.oid, "the database to be replaced was dropped");
    Ok(())
}

/// With FORCE the server itself keeps new sessions out. Nothing is altered before unless it must be: what an earlier DROP has left that
/// was cut off cannot be altered any more.
async fn drop_now(session: &Session, found: &Found) -> Result<(), PostgresError> {
    if found.template {
        session.execute(&is_template(&found.name, false)).await?;
    }
    session.execute(&format!("DROP DATABASE {} WITH (FORCE)", quoted_identifier(&found.name))).await
}

fn is_template(name: &str, is: bool) -> String {
    format!("ALTER DATABASE {} WITH IS_TEMPLATE {is}", quoted_identifier(name))
}

#[cfg(test)]
mod tests {
    use greenlang_backup_test_servers::{ADMIN_PASSWORD, POSTGRES};

    use super::*;
    use crate::postgres::server_tests::endpoint;

    fn request(uid: &str) -> RequestIdentity {
        RequestIdentity { namespace: "greenlang".into(), name: "back".into(), uid: uid.into() }
    }

    fn database(comment: Option<String>, open: bool) -> Found {
        Found { oid: 1, name: "d".into(), comment, open, ..Found::default() }
    }

    #[test]
    fn a_database_is_ours_by_its_mark() {
        let ours = request("u-1");
        for (comment, open, expected) in [
            (Some(marked(&ours, None)), true, true),
            (Some(marked(&ours, Some("production\nof all"))), true, true),
            (Some(marked(&request("u-2"), None)), true, false),
            (Some("u-1".to_owned()), false, false),
            // Made, and not marked yet.
            (None, false, true),
            (None, true, false),
        ] {
            assert_eq!(database(comment.clone(), open).is_of(&ours), expected, "{comment:?} {open}");
        }
    }

    #[test]
    fn the_own_comment_comes_through_a_mark() {
        let ours = request("u-1");
        for own in [None, Some("production"), Some("two\nlines"), Some("")] {
            assert_eq!(database(Some(marked(&ours, own)), true).own_comment(), own);
        }
        assert_eq!(database(Some("plain\ntext".into()), true).own_comment(), Some("plain\ntext"));
        assert_eq!(database(None, true).own_comment(), None);
    }

    /// The server's own mark of what it began to drop: such a database lets nobody in, not even to be altered.
    #[tokio::test]
    async fn a_drop_that_was_cut_off_is_finished() {
        let ours = request("u-cut-off");
        for name in ["cut_off_ours", "cut_off_replaced"] {
            POSTGRES.create_database(name);
        }
        POSTGRES.sql("postgres", &comment_on("cut_off_ours", Some(&marked(&ours, None))));
        let cut = "UPDATE pg_database SET datconnlimit = -2 WHERE datname LIKE 'cut@_off@_%' ESCAPE '@'";
        POSTGRES.sql("postgres", cut);
        let endpoint = endpoint(&POSTGRES, "postgres", ADMIN_PASSWORD);
        let session = endpoint.connect_to_change("postgres").await.unwrap();
        let Some(found) = named(&session, "cut_off_replaced").await.unwrap() else { panic!("it is gone") };
        assert!(found.half_dropped && found.open && !found.template, "{found:?}");
        assert!(drop_ours(&session, &ours, "cut_off_ours", None).await.unwrap().is_some());
        let replaced = NamedDatabase { name: found.name, oid: found.oid };
        drop_replaced(&session, &replaced).await.unwrap();
        for name in ["cut_off_ours", "cut_off_replaced"] {
            assert_eq!(named(&session, name).await.unwrap(), None);
        }
    }
}
