//! Decides what a policy does for the restores that go on in its namespace: backups that they read stay, and dumps of the databases that
//! they replace wait. Pure.

use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::retention::NeededBackup;
use greenlang_backup_api::v1alpha1::{ActiveRun, RestorePhase, RestoreRequest, RestoreRequestStatus};

use super::decide::Pass;
use super::validate::{Source, ValidatedBackup, ValidatedPolicy};
use crate::pause::seconds_later;
use crate::restore_request::lock_name;

/// Seconds between two looks at a restore that a dump waits for, should nobody tell of its end.
const LOOK_SECONDS: i64 = 30;

/// A RestoreRequest that has not ended, as far as policies have to mind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OngoingRestore {
    /// Its name.
    pub name: String,
    /// The backup that it reads, as far as it is known; none for an undo, which reads none.
    pub reads: Option<ReadBackup>,
    /// The database that is not to be dumped now.
    pub replaces: Option<ReplacedDatabase>,
}

/// A backup in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBackup {
    /// Where its path lies: of a request that has begun or has a bucket of its own the name of the bucket, else a policy.
    pub place: BackupPlace,
    /// Its id.
    pub id: BackupId,
}

/// Where a backup lies. What lies there under an endpoint or prefix of another name is kept too: that costs room and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupPlace {
    /// In the directory of a backup of a policy.
    Policy {
        /// Name of the policy.
        policy: String,
        /// Name of the backup.
        backup: String,
    },
    /// In a directory of a bucket.
    Bucket {
        /// Name of the bucket.
        bucket: String,
        /// The directory.
        path: String,
    },
}

/// A database that a restore puts another one in the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacedDatabase {
    /// What its restores are serialised by ([`lock_name`]): its server and its name.
    pub lock: String,
    /// Its name.
    pub database: String,
}

impl OngoingRestore {
    /// What policies have to mind of a request; none once it has ended.
    pub fn of(request: &RestoreRequest) -> Option<Self> {
        let unknown = RestoreRequestStatus::default();
        let status = request.status.as_ref().unwrap_or(&unknown);
        if status.phase.is_some_and(RestorePhase::is_end) {
            return None;
        }
        let name = request.metadata.name.clone().unwrap_or_default();
        Some(Self { name, reads: reads(request, status), replaces: replaces(status) })
    }

    /// As it is named to people.
    fn named(&self) -> String {
        format!("RestoreRequest {}", self.name)
    }

    fn needs(&self, policy: &ValidatedPolicy, backup: &ValidatedBackup) -> Option<&BackupId> {
        let ReadBackup { place, id } = self.reads.as_ref()?;
        let is_here = match place {
            BackupPlace::Policy { policy: of, backup: name } => {
                *of == policy.identity.name && *name == backup.name
            }
            BackupPlace::Bucket { bucket, path } => *bucket == policy.bucket.name && *path == backup.path,
        };
        is_here.then_some(id)
    }
}

/// The backup that was chosen, or the one that the spec names. The newest one, which is not chosen yet, stays anyway.
fn reads(request: &RestoreRequest, status: &RestoreRequestStatus) -> Option<ReadBackup> {
    if let (Some(chosen), Some(place)) = (&status.backup, &status.place) {
        let place = BackupPlace::Bucket { bucket: place.bucket.name.clone(), path: chosen.path.clone() };
        return Some(ReadBackup { place, id: chosen.id.clone() });
    }
    let spec = &request.spec;
    let named = spec.source.backup.as_ref()?;
    let place = match (&spec.policy_ref, &named.name, &spec.storage, &named.path) {
        (Some(policy), Some(backup), ..) => {
            BackupPlace::Policy { policy: policy.name.clone(), backup: backup.clone() }
        }
        (_, _, Some(storage), Some(path)) => {
            BackupPlace::Bucket { bucket: storage.s3.bucket.clone(), path: path.clone() }
        }
        _ => return None,
    };
    Some(ReadBackup { place, id: named.id.clone() })
}

/// The target, from the time at which applications are stopped until they are back. What was dumped then would be the state of no time; and a
/// dump that goes on keeps the old database from being replaced.
fn replaces(status: &RestoreRequestStatus) -> Option<ReplacedDatabase> {
    let is_between = match status.phase.unwrap_or_default() {
        RestorePhase::Quiescing | RestorePhase::Switching | RestorePhase::Resuming => true,
        // Applications may also be stopped only before the switch.
        RestorePhase::Restoring | RestorePhase::Verifying => {
            status.phases.iter().any(|times| times.phase == RestorePhase::Quiescing)
        }
        _ => false,
    };
    let (place, target) = (status.place.as_ref()?, status.target.as_ref()?);
    let database = target.database.clone();
    is_between.then(|| ReplacedDatabase { lock: lock_name(&place.server, &database), database })
}

/// What stays for restores, in an order that follows from nothing but that.
pub(super) fn needed(
    restores: &[OngoingRestore],
    policy: &ValidatedPolicy,
    backup: &ValidatedBackup,
) -> Vec<NeededBackup> {
    let of = |restore: &OngoingRestore| {
        restore.needs(policy, backup).map(|id| NeededBackup { id: id.clone(), by: restore.named() })
    };
    let mut needed: Vec<NeededBackup> = restores.iter().filter_map(of).collect();
    needed.sort_by(|a, b| (&a.id, &a.by).cmp(&(&b.id, &b.by)));
    needed
}

/// The restore that dumps of a backup wait for, in words.
fn in_the_way(pass: &Pass<'_>, backup: &ValidatedBackup) -> Option<String> {
    let Source::PostgresDump { server, databases, .. } = &backup.source;
    let found = pass.seen.restores.iter().find_map(|restore| {
        let replaced = restore.replaces.as_ref()?;
        let is_dumped =
            databases.contains(&replaced.database) && lock_name(server, &replaced.database) == replaced.lock;
        is_dumped.then_some((restore, &replaced.database))
    });
    found.map(|(restore, database)| format!("{} is replacing database {database}", restore.named()))
}

/// Whether the Job of a run waits for a restore. The run stands in status meanwhile, and takes no place from others.
pub(super) fn hold_up(pass: &mut Pass<'_>, backup: &ValidatedBackup) -> bool {
    let holds = in_the_way(pass, backup).is_some();
    if holds {
        pass.wake_at(seconds_later(pass.now(), LOOK_SECONDS));
    }
    holds
}

/// The restore that the attempt of a run waits for, in words; none if it waits for none.
pub(super) fn waited_for(pass: &Pass<'_>, backup: &str, run: &ActiveRun) -> Option<String> {
    let backup = pass.policy.backups.iter().find(|known| known.name == backup)?;
    let has_job = run.job_uid.is_some() || pass.job(&pass.policy.run_job_name(&backup.name, run)).is_some();
    if has_job || run.stopping.is_some() { None } else { in_the_way(pass, backup) }
}

/// The first run that waits for a restore, with that restore in words.
pub(super) fn waiting<'a>(pass: &'a Pass<'_>) -> Option<(&'a BackupId, String)> {
    let backups = pass.decision.status.backups.iter();
    let mut runs = backups.flat_map(|backup| backup.runs().map(move |run| (&backup.name, run)));
    runs.find_map(|(backup, run)| Some((&run.run.id, waited_for(pass, backup, run)?)))
}
