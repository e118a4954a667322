//! What the operator and the Jobs of a RestoreRequest share: names of databases, marks, the ledger, Task, report, record. Pure.

mod kept;
mod ledger;
mod names;
mod record;
mod report;
mod task;

pub use kept::*;
pub use ledger::*;
pub use names::*;
pub use record::*;
pub use report::*;
pub use task::*;
