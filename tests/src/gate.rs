//! Keeps a restore where it is for as long as a gate is closed, so that what happens then does not depend on how fast anything is. A gate is
//! closed while the server has a role of its name: roles are the same in every database, also in one that lets nobody else in. Child
//! processes.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::parts::postgres;
use crate::story::Story;
use crate::wait;

/// How long it may take until a restore stands before a gate.
const LIMIT: Duration = Duration::from_mins(4);
/// SQL of what makes the restores of a database stop at gates: who inserts into the table waits at the gate of that name.
pub const CONTENT: &str = "
CREATE FUNCTION passes(gate text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  WHILE EXISTS (SELECT FROM pg_roles WHERE rolname = gate) LOOP PERFORM pg_sleep(0.1); END LOOP;
  RETURN true;
END $$;
CREATE TABLE gate (name text CHECK (passes(name)));
INSERT INTO gate VALUES ('gate_load');";

/// Where a restore can be kept.
#[derive(Clone, Copy, Debug)]
pub enum Gate {
    /// Among the data.
    Load,
    /// In a check of the request, one minute at most: [`Gate::checks`].
    Check,
}

impl Gate {
    const fn role(self) -> &'static str {
        match self {
            Self::Load => "gate_load",
            Self::Check => "gate_check",
        }
    }

    /// `spec.checks` of a request that waits there.
    pub fn checks() -> Value {
        json!({"sql": [{"query": format!("SELECT public.passes('{}')", Self::Check.role()), "expect": "t"}]})
    }

    /// Closes it.
    pub async fn close(self, story: &Story) -> Result<()> {
        server(story, &format!("CREATE ROLE {}", self.role())).await.map(drop)
    }

    /// Opens it.
    pub async fn open(self, story: &Story) -> Result<()> {
        server(story, &format!("DROP ROLE {}", self.role())).await.map(drop)
    }

    /// Waits until a restore stands before the gate among the data. Gives the server's process, which is another for each attempt.
    pub async fn until_loading(story: &Story) -> Result<String> {
        Self::until_loading_again(story, "").await
    }

    /// As [`Self::until_loading`], by another process than this.
    pub async fn until_loading_again(story: &Story, before: &str) -> Result<String> {
        let question = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY public.gate %' AND wait_event = 'PgSleep'";
        wait::until_in(&story.cluster, story.namespace(), "a restore is at the gate", LIMIT, async || {
            let rows = server(story, question).await?;
            Ok(rows.lines().find(|process| *process != before).map(str::to_owned))
        })
        .await
    }
}

async fn server(story: &Story, sql: &str) -> Result<String> {
    postgres::psql(&story.cluster, story.namespace(), "postgres", sql).await
}
