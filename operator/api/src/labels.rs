//! Keys of labels, annotations and field managers. They are API: renaming one orphans what carries it. No I/O.

/// Value of `app.kubernetes.io/managed-by` on all that the operator makes.
pub const MANAGED_BY: &str = "greenlang-backup-operator";
/// Field manager of status writes and server-side apply.
pub const FIELD_MANAGER: &str = "greenlang-backup-operator";

/// Label: name of the policy that a Job serves.
pub const POLICY: &str = "backup.greenlang.io/policy";
/// Label: name of the backup within the policy; only on backups.
pub const BACKUP: &str = "backup.greenlang.io/backup";
/// Label: what the Job does, [`TASK_BACKUP`], [`TASK_PROBE`], [`TASK_CLEAN_UP`], [`TASK_PRUNE`],
/// [`TASK_CATALOGUE`] or [`TASK_RESTORE`].
pub const TASK: &str = "backup.greenlang.io/task";
/// Label: backup id (`yyyymmdd-hhmmss`) of the run; only on backups and clean-ups.
pub const ID: &str = "backup.greenlang.io/id";
/// Label: number of the attempt, from 1; only on backups and restores.
pub const ATTEMPT: &str = "backup.greenlang.io/attempt";
/// Value of [`TASK`] for a Job that makes a backup.
pub const TASK_BACKUP: &str = "backup";
/// Value of [`TASK`] for a Job that checks bucket, database and keys.
pub const TASK_PROBE: &str = "probe";
/// Value of [`TASK`] for a Job that removes what failed attempts left.
pub const TASK_CLEAN_UP: &str = "clean-up";

/// Value of [`TASK`] for a Job that deletes backups which are kept long enough.
pub const TASK_PRUNE: &str = "prune";
/// Value of [`TASK`] for a Job that lists what the bucket holds.
pub const TASK_CATALOGUE: &str = "catalogue";

/// Prefix of the annotation of a policy that keeps a backup for as long as it is there: `pin.backup.greenlang.io/<backup>.<id>`,
/// with any value.
pub const PIN_PREFIX: &str = "pin.backup.greenlang.io/";
/// Annotation of a policy: each new value makes prunes say in their reports what they would delete, and delete nothing.
pub const PRUNE_DRY_RUN: &str = "prune.backup.greenlang.io/dry-run";
/// Annotation of a policy: id of the owner of a prefix whose place the policy may take.
pub const ADOPT: &str = "backup.greenlang.io/adopt";

/// Prefix of the annotation of a policy that starts a run at once: `run.backup.greenlang.io/<backup>: <token>`.
pub const RUN_PREFIX: &str = "run.backup.greenlang.io/";

/// Whether a key of a label or annotation is one of ours.
pub fn is_ours(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    domain == "backup.greenlang.io" || domain.ends_with(".backup.greenlang.io")
}

/// Label: name of the RestoreRequest that a Job serves.
pub const RESTORE: &str = "backup.greenlang.io/restore";
/// Label: UID of the RestoreRequest; on what may outlive it.
pub const RESTORE_UID: &str = "backup.greenlang.io/restore-uid";
/// Value of [`TASK`] for a Job of a RestoreRequest.
pub const TASK_RESTORE: &str = "restore";
/// Label: what a Job of a RestoreRequest does (`plan`, `load`, `switch`, …).
pub const ACTION: &str = "backup.greenlang.io/action";
/// Annotation of a workload that a RestoreRequest has stopped: what brings it back, as JSON
/// ([`crate::restore::Ledger`]). Written in one request with the stop, removed with the resumption.
pub const LEDGER: &str = "backup.greenlang.io/quiesced";
/// Annotation of a ScaledObject, of KEDA: it scales its workload to this count and then leaves it.
pub const KEDA_PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
/// Annotation of a ScaledObject, of KEDA: it leaves its workload as it is.
pub const KEDA_PAUSED: &str = "autoscaling.keda.sh/paused";
/// Annotation of an Application, of Argo CD: while it is `true`, the controller leaves everything as it is.
pub const ARGO_CD_SKIP_RECONCILE: &str = "argocd.argoproj.io/skip-reconcile";
/// Annotation by which Argo CD knows what is part of an Application.
pub const ARGO_CD_TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
/// Label with the name of the instance that something is part of; Argo CD can be told to know what is its own by it.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Finalizer of a RestoreRequest for as long as applications may be stopped by it, or a database may have been made.
pub const RESUME_FINALIZER: &str = "backup.greenlang.io/resume";
/// Annotation of a RestoreRequest: its own UID as the value ends a request of which nobody knows whether the databases were switched;
/// the applications come back to whatever database is there.
pub const GIVE_UP: &str = "restore.backup.greenlang.io/give-up";
/// Label of the ConfigMaps that say which replaced database is dropped when.
pub const KEPT_DATABASE: &str = "backup.greenlang.io/kept-database";
