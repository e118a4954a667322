//! Finds out whether several dumps can have sessions of the server to themselves: not where a connection pooler shares its
//! processes among sessions, and not where no further ones are to be had. Network.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::timeout;

use super::PostgresError;
use super::connect::{Endpoint, Session};
use super::snapshot::Snapshot;

const BACKEND: &str = "SELECT pg_catalog.pg_backend_pid()";
/// A pooler whose pool is used up lets a session wait, for minutes by default.
const LIMIT: Duration = Duration::from_secs(15);

/// Why that many dumps at once cannot be had, or none if they can. A server answers each session from a process of its own; a
/// pooler answers a session's next transaction from whichever process is free.
pub async fn in_between(
    endpoint: &Endpoint,
    database: &str,
    snapshot: &Snapshot,
    streams: u8,
) -> Result<Option<String>, PostgresError> {
    let held: i32 = snapshot.session().value(BACKEND).await?;
    let seen = timeout(LIMIT, backends(endpoint, database, streams)).await;
    Ok(match seen {
        Ok(Ok(rounds)) if are_of_the_server(held, &rounds) => None,
        Ok(Ok(_)) => Some(
            "a connection pooler stands between; let postgres.host name the server itself for several streams"
                .to_owned(),
        ),
        Ok(Err(error)) => Some(format!("the server does not let {streams} more sessions in ({error})")),
        Err(_) => Some(format!(
            "{streams} more sessions were not to be had within {LIMIT:?}; if a connection pooler stands between, its pool is too small: let postgres.host name the server itself"
        )),
    })
}

/// Which process answers each session in each of three transactions. All sessions are in one at a time, so a pooler must have a
/// process for each, and gets all back. Poolers give out what came back last, or what waited longest; the first shows when
/// the sessions begin again in the same order, the other when they do in the opposite one.
async fn backends(endpoint: &Endpoint, database: &str, streams: u8) -> Result<Vec<Vec<i32>>, PostgresError> {
    let sessions = try_join_all((0..streams).map(|_| endpoint.connect(database))).await?;
    let mut rounds = Vec::new();
    for turned in [false, false, true] {
        let mut order: Vec<&Session> = sessions.iter().collect();
        if turned {
            order.reverse();
        }
        let mut round = Vec::new();
        for session in &order {
            session.execute("BEGIN").await?;
            round.push(session.value(BACKEND).await?);
        }
        for session in &order {
            session.execute("ROLLBACK").await?;
        }
        if turned {
            round.reverse();
        }
        rounds.push(round);
    }
    Ok(rounds)
}

/// Whether each session always had the same process, and no other session had it.
fn are_of_the_server(held: i32, rounds: &[Vec<i32>]) -> bool {
    let Some(first) = rounds.first() else { return false };
    let mut all: Vec<i32> = first.iter().copied().chain([held]).collect();
    all.sort_unstable();
    let distinct = all.windows(2).all(|pair| pair[0] != pair[1]);
    distinct && rounds.iter().all(|round| round == first)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// What `backends` sees of a pooler that has so many idle processes.
    fn pooled(idle: i32, sessions: usize, longest_idle_first: bool) -> Vec<Vec<i32>> {
        let mut free: VecDeque<i32> = (0..idle).collect();
        let mut next = idle;
        let mut rounds = Vec::new();
        for turned in [false, false, true] {
            let mut round: Vec<i32> = (0..sessions)
                .map(|_| {
                    free.pop_front().unwrap_or_else(|| {
                        next += 1;
                        next
                    })
                })
                .collect();
            for &process in &round {
                if longest_idle_first {
                    free.push_back(process);
                } else {
                    free.push_front(process);
                }
            }
            if turned {
                round.reverse();
            }
            rounds.push(round);
        }
        rounds
    }

    #[test]
    fn a_pooler_shows_however_it_gives_out_its_processes() {
        for sessions in 2..=16 {
            for idle in 0..40 {
                for order in [false, true] {
                    assert!(
                        !are_of_the_server(-1, &pooled(idle, sessions, order)),
                        "{sessions} {idle} {order}"
                    );
                }
            }
        }
        assert!(are_of_the_server(1, &[vec![2, 3], vec![2, 3], vec![2, 3]]));
        assert!(!are_of_the_server(2, &[vec![2, 3], vec![2, 3], vec![2, 3]]));
    }
}
