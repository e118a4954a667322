//! A small database with a backup, and applications that use it: what a test of restores begins with, what happens to it, and what must be
//! true of it afterwards. Network, child processes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use greenlang_backup_api::labels::LEDGER;
use greenlang_backup_api::v1alpha1::RestoreRequestStatus;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::compare::Fingerprint;
use crate::parts::{Parts, postgres};
use crate::restore::{self, APPLICATIONS};
use crate::{namespaces, policy, wait};

/// Longer than any step takes on a busy machine.
pub const LIMIT: Duration = Duration::from_mins(8);

/// The database, its policy and its applications.
pub struct Story {
    /// The cluster.
    pub cluster: Cluster,
    /// Server and bucket.
    pub parts: Parts,
    /// Name of the database and of its policy.
    pub name: String,
    /// What was backed up.
    pub before: Fingerprint,
}

impl Story {
    /// Makes the database with `content` beside the table that it has anyway, backs it up, and starts the applications.
    pub async fn begin(cluster: Cluster, parts: Parts, name: &str, content: &str) -> Result<Self> {
        let namespace = &*parts.namespace;
        let wanted = policy::small(&cluster, &parts, name).await?;
        postgres::psql(&cluster, namespace, name, content).await?;
        let before = Fingerprint::take(&cluster, namespace, name).await?;
        restore::secrets(&cluster, &parts).await?;
        tokio::try_join!(
            policy::first_backup(&cluster, &wanted, LIMIT),
            restore::start_applications(&cluster, namespace, name),
        )?;
        Ok(Self { cluster, parts, name: name.to_owned(), before })
    }

    /// The namespace of all of it.
    pub fn namespace(&self) -> &str {
        &self.parts.namespace
    }

    /// What a bad migration does to what was backed up. Gives what is there afterwards.
    pub async fn damage(&self) -> Result<Fingerprint> {
        let migration = "DROP TABLE note; CREATE TABLE left_over (id int)";
        postgres::psql(&self.cluster, self.namespace(), &self.name, migration).await?;
        Fingerprint::take(&self.cluster, self.namespace(), &self.name).await
    }

    /// A request for the newest backup.
    pub fn request(&self, name: &str) -> Value {
        restore::request(&self.parts, name, &self.name, &self.name)
    }

    /// The request that undoes another one.
    pub fn undo(&self, name: &str, of: &str) -> Value {
        restore::undo(&self.parts, name, &self.name, &self.name, of)
    }

    /// Applies a request.
    pub async fn apply(&self, request: &Value) -> Result<()> {
        restore::apply(&self.cluster, request).await.map(drop)
    }

    /// Applies a request and waits until it has ended, whichever way.
    pub async fn carry_out(&self, name: &str, request: &Value) -> Result<RestoreRequestStatus> {
        self.apply(request).await?;
        self.ended(name).await
    }

    /// What the status of a request says.
    pub async fn status(&self, name: &str) -> Result<RestoreRequestStatus> {
        restore::status(&self.cluster, self.namespace(), name).await
    }

    /// Waits until a request has ended, whichever way.
    pub async fn ended(&self, name: &str) -> Result<RestoreRequestStatus> {
        restore::ended(&self.cluster, self.namespace(), name, LIMIT).await
    }

    /// Waits until the status of a request says something.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&RestoreRequestStatus) -> bool,
    ) -> Result<RestoreRequestStatus> {
        wait::until_in(&self.cluster, self.namespace(), &format!("{name}: {what}"), LIMIT, async || {
            let status = self.status(name).await?;
            Ok(is_so(&status).then_some(status))
        })
        .await
    }

    /// What is in the database must be this.
    pub async fn expect_equal(&self, wanted: &Fingerprint) -> Result<()> {
        let now = Fingerprint::take(&self.cluster, self.namespace(), &self.name).await?;
        let differences: Vec<_> = wanted.differences(&now).iter().map(ToString::to_string).collect();
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(())
    }

    /// All applications must have what they had, be ready, and carry nothing of ours.
    pub async fn expect_running(&self) -> Result<()> {
        let counts = restore::replicas(&self.cluster, self.namespace()).await?;
        ensure!(counts == APPLICATIONS.map(|(_, count)| (count, count)), "asked for and ready: {counts:?}");
        let question =
            format!("get deployments -n {} -o jsonpath={{.items[*].metadata.annotations}}", self.namespace());
        let annotations = self.cluster.kube(&question).await?;
        ensure!(!annotations.contains(LEDGER), "{annotations}");
        Ok(())
    }

    /// As [`Self::expect_running`], once they are ready: what is undone ends before.
    pub async fn until_running(&self) -> Result<()> {
        restore::applications_ready(&self.cluster, self.namespace()).await?;
        self.expect_running().await
    }

    /// All applications must be stopped.
    pub async fn expect_stopped(&self) -> Result<()> {
        let counts = restore::replicas(&self.cluster, self.namespace()).await?;
        ensure!(counts == APPLICATIONS.map(|_| (0, 0)), "asked for and ready: {counts:?}");
        Ok(())
    }

    /// Names of the databases of the server.
    pub async fn databases(&self) -> Result<BTreeSet<String>> {
        let names = "SELECT datname FROM pg_database";
        let rows = postgres::psql(&self.cluster, self.namespace(), "postgres", names).await?;
        Ok(rows.lines().map(str::to_owned).collect())
    }

    /// No database that a request loads into may be there.
    pub async fn expect_nothing_half_made(&self) -> Result<()> {
        let mut names = self.databases().await?;
        names.retain(|name| name.contains("_restore_"));
        ensure!(names.is_empty(), "{names:?}");
        Ok(())
    }

    /// Events of a reason, as kubectl shows them.
    pub async fn events(&self, reason: &str) -> Result<String> {
        let question = format!("get events -n {} --field-selector reason={reason}", self.namespace());
        self.cluster.kube(&question).await
    }

    /// The end: the namespace goes, with all that runs in it.
    pub async fn close(self) -> Result<()> {
        namespaces::delete(&self.cluster, self.namespace()).await
    }
}
