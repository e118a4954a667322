//! Removes what attempts at a backup left in the bucket, but nothing that a manifest names. Network.

use greenlang_backup_api::manifest::Manifest;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::reasons;
use greenlang_backup_api::report::{Outcome, RunReport};
use greenlang_backup_api::task::CleanUpTask;
use greenlang_backup_store::{BackupKeys, Store};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::error::{RunError, until_cancelled};

/// Tries of each request to the bucket. The operator tries the whole again for as long as it takes.
const ATTEMPTS: u32 = 3;

/// Whose a backup is.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Namespace of the policy.
    pub namespace: &'a str,
    /// Name of the policy.
    pub policy: &'a str,
    /// Name of the backup within the policy.
    pub backup: &'a str,
}

impl Owner<'_> {
    /// Whether this is a manifest of theirs. Not by UID: a policy that was deleted and made again goes on with its backups.
    pub fn made(&self, manifest: &Manifest) -> bool {
        let Manifest { policy, backup, .. } = manifest;
        policy.namespace == self.namespace && policy.name == self.policy && backup == self.backup
    }
}

/// What a manifest spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spared {
    /// Nothing: all that was asked for is gone.
    Nothing,
    /// The attempt that made the backup.
    Attempt(u32),
    /// Everything, because another policy or backup has the place.
    All,
}

/// The task: removes what the attempts left, and says so.
pub async fn run(task: &CleanUpTask, cancel: &CancellationToken) -> Result<RunReport, RunError> {
    let store = until_cancelled(cancel, Box::pin(Store::open(&task.bucket, ATTEMPTS))).await?;
    let keys = store.layout().backup(&task.path, &task.id);
    let policy = &task.claim.owner;
    let owner = Owner { namespace: &policy.namespace, policy: &policy.policy, backup: &task.backup };
    let work = async {
        // Whoever took the prefix over has taken over what lies there, too.
        store.check_owner(&task.claim).await?;
        let spared = remove(&store, &keys, owner, &task.attempts).await?;
        for attempt in &task.attempts {
            store.remove_markers(&marker(&task.policy_uid, &task.backup, &task.id, *attempt)).await?;
        }
        Ok::<_, RunError>(spared)
    };
    // Told to stop, it may be cut off anywhere: another one does the rest.
    let spared = until_cancelled(cancel, Box::pin(work)).await?;
    let what = format!("{}/{}", task.path, task.id);
    let message = match spared {
        Spared::Nothing => format!("nothing is left of attempts {:?} at backup {what}", task.attempts),
        Spared::Attempt(made) => {
            format!(
                "attempt {made} made backup {what} and stays; nothing is left of the others of {:?}",
                task.attempts
            )
        }
        Spared::All => format!(
            "backup {what} belongs to another policy or backup, as its manifest says: nothing was touched there"
        ),
    };
    Ok(RunReport::new(Outcome::Done, reasons::SUCCEEDED, message))
}

/// Removes objects and open uploads of attempts, all of which must have ended. The manifest is read first, and what it names is
/// spared; one that cannot be read is an error, and spares everything.
pub async fn remove(
    store: &Store,
    keys: &BackupKeys,
    owner: Owner<'_>,
    attempts: &[u32],
) -> Result<Spared, RunError> {
    let mut spared = Spared::Nothing;
    if let Some(found) = store.read_manifest(&keys.manifest()).await? {
        if !owner.made(&found.manifest) {
            info!(manifest = keys.manifest(), "another policy or backup has the place: nothing removed");
            return Ok(Spared::All);
        }
        spared = Spared::Attempt(found.manifest.attempt);
    }
    for attempt in attempts.iter().filter(|attempt| spared != Spared::Attempt(**attempt)) {
        store.remove_attempt(&keys.attempt(*attempt)).await?;
    }
    Ok(spared)
}

/// Marker of an attempt's check of the bucket. No two attempts have the same: backups of one policy may be due in the same
/// second, so their ids alone do not tell them apart.
pub fn marker(policy_uid: &str, backup: &str, id: &BackupId, attempt: u32) -> String {
    format!("{policy_uid}-{backup}-{id}-{attempt}")
}
