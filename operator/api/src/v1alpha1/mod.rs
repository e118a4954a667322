//! Version v1alpha1 of the resources. Field documentation is what `kubectl explain` prints. No I/O.
//!
//! Enums of optional fields carry `#[schemars(description = "")]`: a description of theirs would take the place of the field's,
//! which says what each value does and which one is the default.

mod backup;
mod backup_policy;
mod job_template;
mod postgres;
mod restore_request;
mod retention_status;
mod schedule;
mod status;
mod storage;

pub use backup::*;
pub use backup_policy::*;
pub use job_template::*;
pub use postgres::*;
pub use restore_request::*;
pub use retention_status::*;
pub use schedule::*;
pub use status::*;
pub use storage::*;
