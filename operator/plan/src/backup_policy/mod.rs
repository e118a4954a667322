//! BackupPolicy: validate its spec, decide what to do next, derive its status. Pure.
//!
//! The invariant that makes a crash between any two writes harmless: what is going on (`active`) stands in status before
//! its Job exists, and the Job's name follows from it. A Job therefore either belongs to what status says is going on, or
//! its end has been counted already.

mod annotations;
mod available;
mod catalogue;
mod clean_up;
pub(crate) mod decide;
mod first_probe;
mod observe;
mod probe;
mod prune;
mod restores;
mod retention_task;
mod run;
mod summary;
pub(crate) mod task;
pub(crate) mod validate;

pub use decide::{Decision, Effect, Event, decide, reject, unserved};
pub use observe::{Granted, Observed};
pub use restores::{BackupPlace, OngoingRestore, ReadBackup, ReplacedDatabase};
pub use validate::{Invalid, Source, ValidatedBackup, ValidatedPolicy, ValidatedSchedule, validate};
