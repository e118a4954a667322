//! Version v1alpha1 of the resources. Field documentation is what `kubectl explain` prints. No I/O.

mod backup;
mod backup_policy;
mod job_template;
mod postgres;
mod schedule;
mod status;
mod storage;

pub use backup::*;
pub use backup_policy::*;
pub use job_template::*;
pub use postgres::*;
pub use schedule::*;
pub use status::*;
pub use storage::*;
