//! Renames the restored database to its name, and what had that name to another. Before each statement it looks at server and
//! record and decides what is next, so it may be cut off anywhere. Network.

mod decide;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use greenlang_backup_api::report::RunReport;
use greenlang_backup_api::restore::{
    RecordState, RestoreRecord, RestoreReport, RestoreTask, SwitchAction, SwitchReport, marked_by,
};
use greenlang_backup_api::v1alpha1::NamedDatabase;
use greenlang_backup_store::Store;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::databases::{self, Found, comment_on, marked};
use super::record::Ledger;
use super::{RestoreError, done, open_store};
use crate::error::{RunError, until_cancelled};
use crate::postgres::PostgresError;
use crate::postgres::connect::{Endpoint, Session, quoted_identifier, quoted_literal};
use crate::report;
use decide::{Seen, Step, next};

/// How long sessions may take to end once they were told to.
const SESSIONS: Duration = Duration::from_mins(1);
/// Pause between two looks at sessions that are ending.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks at server and record after a failure in the middle, to find out what became of it.
const LOOKS: u32 = 3;

/// Switches, or finds that it was done.
pub async fn run(
    task: &RestoreTask,
    action: &SwitchAction,
    cancel: &CancellationToken,
) -> Result<RunReport, RunError> {
    let prepare = async {
        let store = open_store(task).await?;
        let switch = Switch::open(task, action, &store).await?;
        Ok::<_, RunError>((store, switch))
    };
    let (store, switch) = until_cancelled(cancel, Box::pin(prepare)).await?;
    // From here on it is short, and told to stop it would have to be undone: it goes on.
    let report = match switch.to_the_end(&store).await {
        Ok(report) => report,
        Err(error) if switch.nothing_was_renamed(&store).await => {
            let failed = report::failed(&error);
            let message = format!("{}; nothing was renamed", failed.message);
            return Ok(RunReport { restore: Some(RestoreReport::NotSwitched), message, ..failed });
        }
        Err(error) => return Err(error),
    };
    let message = match &report.previous {
        Some(previous) => {
            format!("database {} is the restored one; what was there is {}", task.database, previous.name)
        }
        None => format!("database {} is the restored one", task.database),
    };
    Ok(done(message, RestoreReport::Switch(report)))
}

/// One switch.
pub(super) struct Switch<'a> {
    pub task: &'a RestoreTask,
    pub action: &'a SwitchAction,
    pub endpoint: Endpoint,
    /// Request whose mark the restored database carries.
    pub marked_by: String,
    /// Statements and writes after which it breaks off; for tests, which cut it there.
    pub budget: Option<u32>,
}

impl<'a> Switch<'a> {
    pub(super) async fn open(
        task: &'a RestoreTask,
        action: &'a SwitchAction,
        store: &Store,
    ) -> Result<Self, RunError> {
        let marked_by = match &action.undo_of {
            None => task.request.uid.clone(),
            Some(name) => {
                let record = store.read_record(&task.request.namespace, name).await?;
                let missing = || {
                    RestoreError::DatabaseChanged(format!(
                        "the bucket has no record of request {name}, which is to be undone"
                    ))
                };
                record.ok_or_else(missing)?.record.uid
            }
        };
        Ok(Self { task, action, endpoint: Endpoint::open(&task.server)?, marked_by, budget: None })
    }

    /// Goes on until all is done. What fails before the renaming is opened again; what may have been done is looked at anew.
    pub(super) async fn to_the_end(&self, store: &Store) -> Result<SwitchReport, RunError> {
        let mut looks = LOOKS;
        loop {
            let error = match self.steps(store).await {
                Ok(report) => return Ok(report),
                Err(error) => error,
            };
            looks -= 1;
            if looks > 0 && self.budget.is_none() && error.is_retryable() {
                warn!(%error, "looking how far the switch came");
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            if self.budget.is_none()
                && let Err(problem) = self.reopen().await
            {
                warn!(%problem, "the database was not opened again");
                let error = format!("{error}; whether sessions get in again is not known ({problem})");
                return Err(RestoreError::SwitchUncertain(error).into());
            }
            return Err(error);
        }
    }

    /// Whether it is seen that nothing was renamed, by this attempt or an earlier one, and sessions get in as before. Only then the
    /// operator may undo the rest of the restore.
    pub(super) async fn nothing_was_renamed(&self, store: &Store) -> bool {
        let look = async {
            let session = self.session().await?;
            let holder = databases::named(&session, &self.task.database).await?;
            let incoming = databases::with_oid(&session, self.action.incoming.oid).await?;
            Ok::<_, RunError>((holder, incoming))
        };
        let Ok((holder, incoming)) = look.await else { return false };
        let Some(incoming) = incoming else { return self.old_one_is_back(store, holder).await };
        let waits = incoming.name == self.action.incoming.name;
        // Both are renamed in one transaction, so the one that waits tells of the other.
        let closed = |outgoing: &NamedDatabase| {
            holder.as_ref().is_some_and(|found| found.oid == outgoing.oid && !found.open)
        };
        waits && !self.action.outgoing.as_ref().is_some_and(closed)
    }

    /// Whether the database that was to be replaced has its name and lets sessions in, where somebody dropped the one that was to replace
    /// it. There is nothing left that could be renamed, unless that was done and undone.
    async fn old_one_is_back(&self, store: &Store, holder: Option<Found>) -> bool {
        let Some((outgoing, holder)) = self.action.outgoing.as_ref().zip(holder) else { return false };
        let Ok(ledger) = Ledger::read(store, self.task).await else { return false };
        holder.oid == outgoing.oid && holder.open && ledger.state() != Some(RecordState::Switched)
    }

    async fn session(&self) -> Result<Session, RunError> {
        Ok(self.endpoint.connect_to_change(&self.task.server.maintenance_database).await?)
    }

    async fn steps(&self, store: &Store) -> Result<SwitchReport, RunError> {
        let session = self.session().await?;
        let mut ledger = Ledger::read(store, self.task).await?;
        let (mut left, mut closed, mut closed_milliseconds) = (self.budget, None, None);
        loop {
            let seen = self.look(&session, &ledger).await?;
            let step = next(&seen)?;
            if step == Step::Done {
                break;
            }
            if left == Some(0) {
                return Err(RunError::Interrupted);
            }
            left = left.map(|left| left - 1);
            info!(?step, "switching");
            match step {
                Step::Done => {}
                Step::WriteSwitching => {
                    ledger.write(self.record(&ledger, RecordState::Switching, &seen)).await?;
                }
                Step::WriteSwitched => {
                    ledger.write(self.record(&ledger, RecordState::Switched, &seen)).await?;
                }
                Step::CloseOutgoing => {
                    closed = Some(Instant::now());
                    if let Some(outgoing) = &self.action.outgoing {
                        close(&session, &self.task.database, outgoing.oid).await?;
                    }
                }
                Step::CloseIncoming => {
                    close(&session, &self.action.incoming.name, self.action.incoming.oid).await?;
                }
                Step::Open => self.open_to_all(&session).await?,
                Step::EndSessions => {
                    if closed.get_or_insert_with(Instant::now).elapsed() > SESSIONS {
                        return Err(RestoreError::SessionsRemain(self.task.database.clone()).into());
                    }
                    self.end_sessions(&session).await?;
                    sleep(PAUSE).await;
                }
                Step::Rename => match session.execute(&self.renaming(&seen)).await {
                    Ok(()) => closed_milliseconds = closed.map(|since| since.elapsed().as_millis()),
                    // Somebody is in there after all, such as a worker of autovacuum.
                    Err(error) if error.is_object_in_use() => {
                        session.execute("ROLLBACK").await?;
                        if closed.get_or_insert_with(Instant::now).elapsed() > SESSIONS {
                            return Err(RestoreError::SessionsRemain(self.task.database.clone()).into());
                        }
                        self.end_sessions(&session).await?;
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
        let serving = NamedDatabase { name: self.task.database.clone(), oid: self.action.incoming.oid };
        let closed_milliseconds = closed_milliseconds.and_then(|time| u64::try_from(time).ok());
        Ok(SwitchReport { serving, previous: self.action.outgoing.clone(), closed_milliseconds })
    }

    /// What server and record say now.
    async fn look(&self, session: &Session, ledger: &Ledger<'_>) -> Result<Seen, RunError> {
        let SwitchAction { incoming, outgoing, .. } = self.action;
        let leaving = match outgoing {
            Some(outgoing) => databases::with_oid(session, outgoing.oid).await?,
            None => None,
        };
        let coming = databases::with_oid(session, incoming.oid).await?;
        let ours = |found: &Found| {
            let comment = found.comment.as_deref().unwrap_or_default();
            marked_by(comment) == Some(self.marked_by.as_str())
        };
        Ok(Seen {
            record: ledger.state(),
            database: self.task.database.clone(),
            wanted_incoming: incoming.name.clone(),
            wanted_outgoing: outgoing.as_ref().map(|outgoing| outgoing.name.clone()),
            holder: databases::named(session, &self.task.database).await?.map(|found| found.oid),
            incoming_is_marked: coming.as_ref().is_some_and(ours),
            incoming: coming,
            outgoing: leaving,
            sessions: self.count_sessions(session).await?,
            prepared: self.prepared_transactions(session).await?,
            followers: self.followers(session).await?,
        })
    }

    async fn count_sessions(&self, session: &Session) -> Result<i64, PostgresError> {
        let sql = format!("SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE {}", self.sessions());
        session.value(&sql).await
    }

    async fn end_sessions(&self, session: &Session) -> Result<(), PostgresError> {
        let sql = format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE {}",
            self.sessions()
        );
        session.rows(&sql).await.map(drop)
    }

    /// Sessions in one of the two databases, but for our own. The server's own workers are of no user, and are not asked to end; what kind
    /// of session another user's is, not everybody may see.
    fn sessions(&self) -> String {
        let mut oids = vec![self.action.incoming.oid];
        oids.extend(self.action.outgoing.as_ref().map(|outgoing| outgoing.oid));
        let oids: Vec<String> = oids.iter().map(u32::to_string).collect();
        format!(
            "datid IN ({}) AND pid <> pg_catalog.pg_backend_pid() AND usesysid IS NOT NULL",
            oids.join(", ")
        )
    }

    async fn prepared_transactions(&self, session: &Session) -> Result<i64, PostgresError> {
        const SQL: &str =
            "SELECT count(*) FROM pg_catalog.pg_prepared_xacts WHERE database::text = ANY (ARRAY[$1, $2])";
        let names = [self.task.database.as_str(), self.action.incoming.name.as_str()];
        let counts = session.list_with(SQL, &names, |row| row.try_get(0)).await?;
        Ok(counts.first().copied().unwrap_or_default())
    }

    /// Logical replication slots and subscriptions of the one that leaves, as the plan counts them: somebody may have made one since.
    async fn followers(&self, session: &Session) -> Result<i64, PostgresError> {
        let SwitchAction { outgoing, allow_logical_replication_loss, .. } = self.action;
        let Some(NamedDatabase { oid, .. }) = outgoing.as_ref().filter(|_| !allow_logical_replication_loss)
        else {
            return Ok(0);
        };
        let slots = format!("SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE datoid = {oid}");
        let subscriptions = format!("SELECT count(*) FROM pg_catalog.pg_subscription WHERE subdbid = {oid}");
        let slots: i64 = session.value(&slots).await?;
        // Not everybody may look.
        Ok(slots + session.value::<i64>(&subscriptions).await.unwrap_or_default())
    }

    /// Lets sessions into the database that has the name.
    async fn open_to_all(&self, session: &Session) -> Result<(), PostgresError> {
        let name = quoted_identifier(&self.task.database);
        session.execute(&format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")).await?;
        info!(database = self.task.database, "sessions get in again");
        Ok(())
    }

    /// All in one transaction: names, comments, and that sessions get into what has the name now. What it replaced stays closed.
    fn renaming(&self, seen: &Seen) -> String {
        let SwitchAction { incoming, outgoing, .. } = self.action;
        let database = quoted_identifier(&self.task.database);
        let mut statements = vec!["BEGIN".to_owned()];
        if let (Some(outgoing), Some(found)) = (outgoing, &seen.outgoing) {
            statements
                .push(format!("ALTER DATABASE {database} RENAME TO {}", quoted_identifier(&outgoing.name)));
            let comment = marked(&self.task.request, found.own_comment());
            statements.push(comment_on(&outgoing.name, Some(&comment)));
        }
        statements.push(format!("ALTER DATABASE {} RENAME TO {database}", quoted_identifier(&incoming.name)));
        let comment = seen.incoming.as_ref().and_then(Found::own_comment);
        statements.push(comment_on(&self.task.database, comment));
        statements.push(format!("ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true"));
        statements.push("COMMIT".to_owned());
        statements.join("; ")
    }

    fn record(&self, ledger: &Ledger<'_>, state: RecordState, seen: &Seen) -> RestoreRecord {
        let SwitchAction { incoming, outgoing, backup, undo_of, .. } = self.action;
        let blank = || ledger.blank(state, backup.clone(), undo_of.clone());
        let before = ledger.own().cloned().unwrap_or_else(blank);
        let comment = seen.outgoing.as_ref().and_then(Found::own_comment).map(str::to_owned);
        RestoreRecord {
            state,
            backup: backup.clone(),
            undo_of: undo_of.clone(),
            restored: Some(incoming.clone()),
            previous: outgoing.clone(),
            previous_comment: comment.or_else(|| before.previous_comment.clone()),
            ..before
        }
    }

    /// Lets sessions into the database that has the name, if it is the one that had it before.
    async fn reopen(&self) -> Result<(), RunError> {
        let session = self.session().await?;
        let Some(outgoing) = &self.action.outgoing else { return Ok(()) };
        let found = databases::named(&session, &self.task.database).await?;
        if found.is_some_and(|found| found.oid == outgoing.oid && !found.open && !found.half_dropped) {
            self.open_to_all(&session).await?;
        }
        Ok(())
    }
}

/// Keeps new sessions out of a database, if it is the one with this OID. Both in one message: a Pod that is frozen after it looked may
/// go on when another attempt has renamed, and would close what serves. The server divides by none, and takes the first part back.
async fn close(session: &Session, name: &str, oid: u32) -> Result<(), PostgresError> {
    let (quoted, literal) = (quoted_identifier(name), quoted_literal(name));
    let sql = format!(
        "ALTER DATABASE {quoted} WITH ALLOW_CONNECTIONS false;
         SELECT 1 / count(*) FROM pg_catalog.pg_database WHERE datname::text = {literal} AND oid = {oid}"
    );
    session.execute(&sql).await
}
