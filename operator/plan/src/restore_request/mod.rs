//! RestoreRequest: validate its spec, decide its next step, derive its status. Pure.
//!
//! What makes a crash between any two writes harmless: a Job that is to run stands in status before it exists (`active`), an
//! application is recorded in status before it is stopped, and the point of no return (`switchStartedTime`) is stored before
//! anything is renamed. Before that point a failure undoes everything; after it the request only goes forward
//! (`docs/adr/0012-restore-state-machine.md`).

mod argo_cd;
mod check;
mod dumps;
mod follow;
mod keda;
mod kept;
mod ledger;
mod load;
mod observe;
mod pass;
mod past;
mod plan;
mod quiesce;
mod reject;
mod resume;
mod skipped;
mod step;
mod summary;
mod switch;
mod task;
mod undo;
mod validate;

pub use crate::backup_policy::{Event, Invalid};
pub use dumps::{OngoingDump, may_wait_for_dumps};
pub use kept::{KeptStep, holds, kept_config_map, kept_name, kept_step, read_kept, without_previous};
pub use observe::{
    ApplicationRef, ApplicationState, Forbidden, Kept, Lock, Observed, ObservedApplication, ObservedWorkload,
    PartOf, PatchRefusal, Patched, ScaledObjectState, WorkloadState,
};
pub use past::PastLoad;
pub use reject::{farewell, leftover, reject};
pub use step::{Effect, Step, step};
pub use summary::unserved;
pub use validate::{ValidatedRestore, lock_name, validate};
